"""`assetize engines install`, through the command line, against a server that misbehaves."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import fake_weights
import filelock
import numpy as np
import pytest
from fake_weights import DATA, NAME
from installing import HUB, MEG, PATH, Install, nothing_in_place, part_of
from safetensors.numpy import save
from weight_server import WeightServer

from worker.cli.main import main
from worker.engines import registry
from worker.weights import store


# --- it works -------------------------------------------------------------------------------------------------------
def test_a_file_is_brought_checked_and_known_from_then_on(install: Install, server: WeightServer, place: Path) -> None:
    engine = fake_weights.net(server.url + PATH)
    assert registry.missing_parts(engine) == [NAME]
    code, said = install()
    assert code == 0 and "MIT" in said and "Yours." in said, "the licence is shown"
    assert place.read_bytes() == DATA and registry.missing_parts(engine) == []
    receipt = store.receipt_of(place)
    assert receipt == store.Receipt(len(DATA), hashlib.sha256(DATA).hexdigest(), server.url + PATH)
    assert not part_of(place).parent.exists(), "nothing is left lying about"
    before = len(server.asked)
    code, said = install()
    assert code == 0 and "all its weights already" in said and len(server.asked) == before


def test_the_hub_tells_size_and_hash_and_gets_the_token(
    install: Install, server: WeightServer, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    card = fake_weights.net(f"hf://owner/repo@v1/sub/{NAME}", bytes=5, bytes_exact=False)
    code, said = install(card=card)
    assert code == 0 and place.read_bytes() == DATA
    assert [(method, path) for method, path, _ in server.asked] == [("HEAD", HUB), ("GET", HUB)], "and nothing else"
    assert set(server.tokens) == {"Bearer hf_secret"}
    assert "hf_secret" not in said


def test_a_mirror_is_another_hub_or_a_folder_of_files(install: Install, server: WeightServer, place: Path) -> None:
    code, _ = install("--mirror", server.url, card=fake_weights.net(f"hf://owner/repo@v1/sub/{NAME}"))
    assert code == 0 and place.read_bytes() == DATA
    place.unlink()
    code, _ = install("--mirror", f"{server.url}/files/", card=fake_weights.net("https://blocked.invalid/x/y"))
    assert code == 0 and place.read_bytes() == DATA


def test_progress_is_in_bytes(install: Install, server: WeightServer) -> None:
    code, said = install("--json")
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    done = [event["bytes"] for event in events if event["event"] == "progress"]
    assert code == 0 and done[0] == 0 and done[-1] == len(DATA) and done == sorted(done)
    assert all(event["total"] == len(DATA) for event in events[:-1])
    assert events[-1] == {"event": "installed", "engine": "net", "brought": [NAME]}


# --- files that are not what they should be -------------------------------------------------------------------------
def other_tensors() -> bytes:
    return save({"a.weight": np.zeros((600, 999), np.float32), "b": np.ones(1, np.float32)})


def test_another_size_is_refused_before_it_is_downloaded(install: Install, server: WeightServer, place: Path) -> None:
    server.files[PATH] = DATA + b"x"
    code, said = install()
    assert code == 3 and f"{len(DATA) + 1} bytes there" in said and nothing_in_place(place)
    assert not part_of(place).exists()


def test_another_networks_tensors_are_named(install: Install, server: WeightServer, place: Path) -> None:
    server.files[PATH] = other_tensors()
    code, said = install(card=fake_weights.net(server.url + PATH, bytes_exact=False))
    assert code == 3 and "missing: a.bias" in said and "float32 600x999, not float32 600x1000" in said
    assert nothing_in_place(place) and not part_of(place).exists(), "going on from it would not help"


def test_a_changed_byte_is_seen_by_the_hash(install: Install, server: WeightServer, place: Path) -> None:
    server.acts[PATH] = ["flip"]
    card = fake_weights.net(server.url + PATH, sha256=hashlib.sha256(DATA).hexdigest())
    code, said = install(card=card)
    assert code == 3 and "not the published one" in said and nothing_in_place(place)


def test_the_hash_of_the_first_download_counts_ever_after(install: Install, server: WeightServer, place: Path) -> None:
    assert install()[0] == 0
    assert install(action="remove")[0] == 0 and nothing_in_place(place)
    other = DATA[:-4] + b"\1\2\3\4"
    server.files[PATH] = other
    code, said = install()
    assert code == 3 and "that of its first download here" in said and f"{NAME}.json" in said
    assert nothing_in_place(place)
    store.receipt_path(place).unlink()  # as the sentence says
    assert install()[0] == 0 and place.read_bytes() == other


def test_a_cut_file_is_refused_from_a_folder_too(install: Install, place: Path, tmp_path: Path) -> None:
    hand = tmp_path / "usb"
    hand.mkdir()
    for content, says in ((DATA[:-1], "bytes"), (b"<html>" + DATA[6:], "a web page")):
        (hand / NAME).write_bytes(content)
        code, said = install("--from", str(hand))
        assert code == 3 and says in said and nothing_in_place(place)
    near = fake_weights.net("https://x.invalid/y", bytes_exact=False)
    (hand / NAME).write_bytes(DATA[:-1])
    code, said = install("--from", str(hand), card=near)
    assert code == 3 and "cut short or damaged" in said and nothing_in_place(place)


def test_a_pickled_program_is_never_put_in_place(install: Install, place: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: python3 install/bootstrap.py gpu --device cpu")
    torch.save({"a": print}, tmp_path / "evil.pt")
    engine = fake_weights.net("https://x.invalid/net.pt", bytes_exact=False)
    engine = replace(engine, weights=(replace(engine.weights[0], name="net.pt"),))
    code, said = install("--from", str(tmp_path / "evil.pt"), card=engine)
    assert code == 3 and "holds a program's objects" in said
    assert not list(place.parent.rglob("*.pt"))


# --- by hand, offline -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("whole_folder", [True, False])
def test_files_brought_by_hand(
    install: Install, server: WeightServer, place: Path, tmp_path: Path, whole_folder: bool
) -> None:
    hand = tmp_path / "usb stick"
    hand.mkdir()
    mine = hand / (NAME if whole_folder else "renamed by a browser(1)")
    mine.write_bytes(DATA)
    code, _ = install("--from", str(hand if whole_folder else mine), "--offline")
    assert code == 0 and place.read_bytes() == DATA and mine.exists() and not server.asked
    assert install("--from", str(tmp_path / "nowhere"))[0] == 0, "nothing is missing, so nothing is looked for"
    place.unlink()
    code, said = install("--from", str(tmp_path / "nowhere"))
    assert code == 3 and f"does not have {NAME}" in said


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_offline_says_what_to_bring(
    install: Install, server: WeightServer, place: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "environment":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, said = install(*(["--offline"] if how == "flag" else []))
    assert code == 3 and server.url + PATH in said and str(place) in said and not server.asked


# --- licence --------------------------------------------------------------------------------------------------------
def test_without_a_yes_nothing_is_downloaded(
    install: Install, server: WeightServer, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = fake_weights.net(server.url + PATH, closed=True)
    code, said = install(card=closed)
    assert code == 3 and "--accept_licence" in said and "Research only" in said and "NO: neither" in said
    terminal = io.StringIO("no\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    code, said = install(card=closed)
    assert code == 3 and "was not accepted; nothing was downloaded" in said
    assert not server.asked and registry.accepted_engines() == frozenset()


def test_consent_is_kept_and_taken_back(
    install: Install, server: WeightServer, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = fake_weights.net(server.url + PATH, closed=True)
    terminal = io.StringIO("yes\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    assert install(card=closed)[0] == 0 and registry.accepted_engines() == {"net"}
    code, said = install(card=closed, action="remove")
    assert code == 0 and "2.4 MB freed" in said and registry.accepted_engines() == frozenset()
    assert install("--accept-licence", card=closed)[0] == 0 and registry.accepted_engines() == {"net"}


# --- disks ----------------------------------------------------------------------------------------------------------
def test_too_little_room_is_told_before(
    install: Install, server: WeightServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000_000))
    code, said = install()
    assert code == 3 and "are needed" in said and "10.0 MB are free" in said and not server.asked


class FullDisk(io.FileIO):
    """Takes so many bytes, then has no room."""

    room = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if FullDisk.room < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        FullDisk.room -= len(data)
        return super().write(data)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_disk_that_fills_up_in_the_middle(
    install: Install, server: WeightServer, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    (tmp_path / NAME).write_bytes(DATA)
    flags = ["--from", str(tmp_path / NAME)] if by_hand else []
    opened = Path.open

    def open_full(self: Path, mode: str = "r", *rest: object, **more: object) -> object:
        return FullDisk(self, mode) if ".partial" in self.parts and mode in ("ab", "wb") else opened(self, mode)

    FullDisk.room = MEG
    monkeypatch.setattr(Path, "open", open_full)
    code, said = install(*flags)
    assert code == 3 and "became full in the middle" in said and nothing_in_place(place)
    monkeypatch.setattr(Path, "open", opened)
    if not by_hand:
        assert "1.0 MB are kept" in said and part_of(place).stat().st_size == MEG
    assert install(*flags)[0] == 0 and place.read_bytes() == DATA
    if not by_hand:
        assert server.gets()[-1] == f"bytes={MEG}-"


def test_a_folder_that_cannot_be_made(
    install: Install, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("ASSETIZE_WEIGHTS_DIR", str(tmp_path / "a file"))
    code, said = install()
    assert code == 3 and "cannot be written" in said and "ASSETIZE_WEIGHTS_DIR" in said


@pytest.mark.parametrize("number", [5, 32, 1224])
def test_weights_that_a_worker_has_open_under_windows(
    install: Install, server: WeightServer, place: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: Path, *more: Path) -> None:
        fault = PermissionError(13, "Zugriff verweigert", str(path), None, *map(str, more))
        fault.winerror = number  # type: ignore[attr-defined,unused-ignore]
        raise fault

    real_unlink, real_replace = Path.unlink, Path.replace

    def unlink(path: Path, missing_ok: bool = False) -> None:
        return refuse(path) if path == place else real_unlink(path, missing_ok)

    def rename(path: Path, target: Path) -> Path | None:
        return refuse(path, target) if Path(target) == place else real_replace(path, target)

    assert install()[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        patch.setattr(Path, "replace", rename)
        code, said = install(action="remove")
        assert code == 3 and place.is_file() and registry.missing_parts(fake_weights.net("")) == []
        assert f"{NAME} is in use" in said and "Close Blender" in said and "then remove again" in said
        place.write_bytes(b"half")  # what replaces it meets the same
        code, said = install("--language", "zh")
        assert code == 3 and "关闭 Blender" in said and "再次安装" in said
    assert install(action="remove")[0] == 0 and nothing_in_place(place)


def test_two_installs_at_once(install: Install, place: Path) -> None:
    place.parent.mkdir(parents=True)
    with filelock.FileLock(place.parent / ".lock"):
        code, said = install()
    assert code == 3 and "by another Assetize" in said
    assert install()[0] == 0


# --- check, remove, names -------------------------------------------------------------------------------------------
def test_check_reads_every_byte(install: Install, place: Path) -> None:
    code, said = install(action="check")
    assert code == 3 and "are not there" in said
    assert install()[0] == 0
    code, said = install(action="check")
    assert code == 0 and hashlib.sha256(DATA).hexdigest() in said
    place.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))  # a rotten bit that size and names do not show
    code, said = install("--language", "zh", action="check")
    assert code == 3 and "不符" in said
    code, said = install("--json", action="check")
    row = json.loads(said.splitlines()[-1])
    assert code == 3 and row["ok"] is False and row["code"] == "weights.wrong_hash"


def test_a_file_put_there_by_hand_is_known_after_a_check(install: Install, place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(DATA)
    assert store.receipt_of(place) is None
    assert install(action="check")[0] == 0
    assert store.receipt_of(place) is not None


def test_engines_without_weights_and_unknown_ones(install: Install) -> None:
    from fake_plan import card

    code, said = install(card=card("other", "scene"))
    assert code == 3 and "There is no engine “net”" in said
    code, said = install(card=card("net", "scene"))
    assert code == 3 and "nothing to bring or to accept" in said


def test_an_engine_of_the_users_own_only_needs_a_yes(install: Install, server: WeightServer) -> None:
    from fake_plan import CLOSED, card

    own = card("net", "scene", licence=CLOSED)
    code, said = install(card=own)
    assert code == 3 and registry.accepted_engines() == frozenset()
    code, said = install("--accept_licence", card=own)
    assert code == 0 and "is accepted" in said and registry.accepted_engines() == {"net"} and not server.asked


def test_a_machine_too_small_is_told_before_gigabytes_come(install: Install, server: WeightServer) -> None:
    code, said = install(card=replace(fake_weights.net(server.url + PATH), memory_mb={"full": 10**9}))
    assert code == 0 and said.index("cannot run on this machine") < said.index("is installed")


def test_modules_come_before_weights(install: Install, server: WeightServer) -> None:
    engine = replace(fake_weights.net(server.url + PATH), needs=("no_such_module",), install_hint="pip install it")
    code, said = install(card=engine)
    assert code == 3 and "needs no_such_module first" in said and "pip install it" in said and not server.asked


def test_the_table_tells_what_is_to_be_brought(
    server: WeightServer, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    cards = fake_weights.plan(fake_weights.net(server.url + PATH, closed=True))
    assert main(["engines"], plan=cards) == 0
    said = capsys.readouterr().out
    assert "2.4 MB to bring" in said and "Research only" in said and "engines install NAME" in said
    assert main(["engines", "--json"], plan=cards) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["download_bytes"] == len(DATA) and row["gated"] and not row["ready"]
    assert row["why_not"]["fix"] == "assetize engines install net"
