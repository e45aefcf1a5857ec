"""Weights over connections that break, and from servers that do not give them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fake_weights
import pytest
from fake_weights import DATA, NAME
from installing import HUB, MEG, PATH, Install, nothing_in_place, part_of
from weight_server import WeightServer


# --- connections that break -----------------------------------------------------------------------------------------
def test_a_broken_download_goes_on_where_it_ended(install: Install, server: WeightServer, place: Path) -> None:
    server.acts[PATH] = [f"cut:{MEG}", f"stall:{MEG // 2}", "503", "ok"]
    code, _ = install()
    assert code == 0 and place.read_bytes() == DATA
    assert server.gets() == [None, f"bytes={MEG}-", f"bytes={MEG * 3 // 2}-", f"bytes={MEG * 3 // 2}-"]


def test_one_that_breaks_for_good_keeps_what_came(install: Install, server: WeightServer, place: Path) -> None:
    server.acts[PATH] = [f"cut:{MEG}", "cut:0"]
    code, said = install()
    assert code == 3 and "broke off 5 times" in said and "1.0 MB are kept" in said
    assert nothing_in_place(place) and part_of(place).stat().st_size == MEG
    server.acts[PATH] = ["ok"]
    code, _ = install()
    assert code == 0 and server.gets()[-1] == f"bytes={MEG}-" and place.read_bytes() == DATA


@pytest.mark.parametrize("act", ["no_range", "changed", "no_mark"])
def test_a_rest_that_may_be_of_another_version_is_not_pasted_on(
    install: Install, server: WeightServer, place: Path, act: str
) -> None:
    if act == "no_mark":
        server.marks[PATH] = ""
    server.acts[PATH] = [f"cut:{MEG}", "cut:0"]
    assert install()[0] == 3
    part = part_of(place)
    part.write_bytes(b"old" + part.read_bytes()[3:])  # as if the version before had begun so
    server.acts[PATH] = ["no_range" if act == "no_range" else "ok"]
    if act == "changed":
        server.marks[PATH] = '"v2"'
    assert install()[0] == 0 and place.read_bytes() == DATA


@pytest.mark.parametrize("extra", [b"", b"more than there is"])
def test_a_partial_file_that_is_too_long_or_whole(
    install: Install, server: WeightServer, place: Path, extra: bytes
) -> None:
    part_of(place).parent.mkdir(parents=True)
    part_of(place).write_bytes(DATA + extra)
    assert install()[0] == 0 and place.read_bytes() == DATA
    assert len(server.gets()) == (1 if extra else 0)


def test_a_whole_partial_file_is_known_by_the_servers_word(
    install: Install, server: WeightServer, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no size is published, and a scanner of viruses, say, held the file when it was to be renamed."""
    card = fake_weights.net(server.url + PATH)
    card = replace(card, weights=(replace(card.weights[0], bytes_exact=False),))
    rename = Path.replace

    def held(path: Path, target: Path) -> Path:
        if path == part_of(place):
            raise PermissionError(13, "held by another program", str(path))
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", held)
        code, said = install(card=card)
        assert code == 3 and "held by another program" in said and nothing_in_place(place)
    assert install(card=card)[0] == 0 and place.read_bytes() == DATA
    assert server.gets() == [None, f"bytes={len(DATA)}-"]


def test_416_means_begin_anew(install: Install, server: WeightServer, place: Path) -> None:
    server.acts[PATH] = [f"cut:{MEG}", "416", "ok"]
    assert install()[0] == 0 and place.read_bytes() == DATA
    assert server.gets() == [None, f"bytes={MEG}-", None]


# --- servers that do not give it --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("act", "code", "says"),
    [
        ("403", "weights.refused", "refuses to give net.safetensors (HTTP 403)"),
        ("401", "weights.refused", "HF_TOKEN"),
        ("404", "weights.not_found", "the publisher moved it"),
        ("416", "weights.refused", "HTTP 416"),
        ("html", "weights.not_weights", "sent a web page in the place of net.safetensors"),
        ("500", "weights.broke_off", "HTTP 500"),
        ("stall:0", "weights.broke_off", "0 of"),
    ],
)
def test_a_server_that_does_not_give_it(
    install: Install, server: WeightServer, place: Path, act: str, code: str, says: str
) -> None:
    server.acts[PATH] = [act]
    exit_code, said = install()
    if act == "stall:0":
        says = "the connection was closed" if "was closed" in said else "no answer in time"
    assert exit_code == 3 and says in said
    assert nothing_in_place(place) and not (part_of(place).exists() and part_of(place).stat().st_size)


@pytest.mark.parametrize(
    ("act", "says"),
    [
        ("gated", "accept them there, make a token"),
        ("html", "Something else than the hub answers"),
        ("404", "the publisher moved it, or the mirror does not have it"),
        ("403", "refuses to give"),
        ("502", "HTTP 502"),
    ],
)
def test_a_hub_that_does_not_give_it(
    install: Install, server: WeightServer, place: Path, act: str, says: str
) -> None:
    server.acts[HUB] = [act]
    card = fake_weights.net(f"hf://owner/repo@v1/sub/{NAME}")
    code, said = install("--mirror", server.url, card=card)
    assert code == 3 and says in said and nothing_in_place(place)


@pytest.mark.parametrize("source", [f"https://127.0.0.1:9/{NAME}", f"hf://owner/repo/{NAME}"])
def test_a_network_without_the_server(
    install: Install, place: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens on the discard port
    code, said = install(card=fake_weights.net(source))
    assert code == 3 and "127.0.0.1:9 cannot be reached" in said and "--mirror" in said
    assert nothing_in_place(place)


def test_a_proxy_that_is_not_there(install: Install, server: WeightServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    code, said = install()
    assert code == 3 and "the proxy does not answer" in said
