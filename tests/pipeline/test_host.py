"""Messages, hosts and their pool, apart from the conductor."""

from __future__ import annotations

import io
import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engines.card import EngineCard
from worker.engines.faults import is_out_of_memory
from worker.hardware.nvidia import Gpu
from worker.host import messages
from worker.host.child import _error_fields
from worker.host.pool import HostPool, host_name
from worker.host.process import HostDied, HostProcess, Limits, Measured, describe_exit

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=4))
def test_what_is_sent_is_received(bodies: list[dict]) -> None:
    stream = io.BytesIO()
    sent = [{**body, "kind": "x"} for body in bodies]
    for message in sent:
        messages.send(stream, message)
    stream.seek(0)
    assert [messages.receive(stream) for _ in sent] == sent
    assert messages.receive(stream) is None


def test_results_become_plain_json() -> None:
    odd = {"a": np.bool_(True), "b": np.float32(0.5), "c": (1, np.int64(2)), "d": float("nan"), 5: np.arange(2),
           "e": np.float64("inf")}  # fmt: skip
    assert messages.plain(odd) == {"a": True, "b": 0.5, "c": [1, 2], "d": None, "5": [0, 1], "e": None}
    with pytest.raises(TypeError):
        messages.plain({"a": object()})


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xffxxxx", b"\0\0\0\2[]", b"\0\0\0\1{", b"\0\0\0\2{}"])
def test_nonsense_is_no_message(raw: bytes) -> None:
    with pytest.raises(messages.BrokenStream):
        messages.receive(io.BytesIO(raw))


def test_a_cut_message_is_the_end() -> None:
    assert messages.receive(io.BytesIO(b"\0\0\0\x09{}")) is None
    assert messages.receive(io.BytesIO(b"\0\0")) is None


def test_cards_survive_the_pipe() -> None:
    from worker.engines.registry import all_cards

    for card in all_cards():
        stream = io.BytesIO()
        messages.send(stream, {"kind": "card", "card": messages.card_to_json(card)})
        stream.seek(0)
        received = messages.receive(stream)
        assert received and messages.card_from_json(received["card"]) == card


def test_file_names_that_are_no_unicode_pass_the_pipe() -> None:
    stream = io.BytesIO()
    name = os.fsdecode(b"caf\xe9.png")
    messages.send(stream, {"kind": "x", "path": name})
    stream.seek(0)
    received = messages.receive(stream)
    assert received and received["path"] == name


def windows_commit_limit() -> OSError:
    """Error 1455 in a language that is not English."""
    fault = OSError(22, "Die Auslagerungsdatei ist zu klein")
    fault.winerror = 1455  # type: ignore[attr-defined,unused-ignore]
    return fault


def test_out_of_memory_is_known_by_whatever_library_says_it() -> None:
    class OutOfMemoryError(RuntimeError):  # as torch names it
        pass

    for fault in (MemoryError(), OutOfMemoryError("CUDA out of memory"), RuntimeError("std::bad_alloc"),
                  ValueError("(-4:Insufficient memory) Failed to allocate 9 bytes"),
                  RuntimeError("CUDA error: out of memory"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
                  RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
                  RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
                  windows_commit_limit(),
                  RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)")):  # fmt: skip
        assert is_out_of_memory(fault) and _error_fields(fault)["type"] == "OutOfMemory"
    assert not is_out_of_memory(ValueError("no"))
    for words in ("CUDA error: an illegal memory access was encountered", "CUDA error: misaligned address",
                  "CUDNN_STATUS_EXECUTION_FAILED"):  # fmt: skip
        assert _error_fields(RuntimeError(words))["type"] == "DeviceFault"
    assert _error_fields(OSError(28, "No space left on device"))["code"] == "output.full"
    assert _error_fields(OSError(2, "No such file"))["type"] == "Fault"


def test_exits_are_told_by_name() -> None:
    assert describe_exit(3) == "exit code 3"
    if os.name == "posix":
        assert describe_exit(-signal.SIGSEGV) == "signal 11 (SIGSEGV)"


def test_a_host_ends_when_its_stdin_does(fakes: None) -> None:
    host = HostProcess("x")
    assert host.alive
    host.close()
    assert not psutil.pid_exists(host.pid) and not host.alive
    host.close()


def test_a_host_that_is_dead_before_it_is_asked(fakes: None) -> None:
    host = HostProcess("x")
    psutil.Process(host.pid).kill()
    time.sleep(0.1)
    with pytest.raises(HostDied) as caught:
        host.run({"stage": "x"}, Limits(), lambda f, n: None, threading.Event(), Measured())
    assert "SIGKILL" in caught.value.how or "exit code" in caught.value.how
    host.close()


def test_the_pool_gives_way_to_what_is_needed_now(fakes: None) -> None:
    from fake_plan import card

    first, second, third = (card(name, "scene") for name in ("one", "two", "three"))  # 100 MB each
    with HostPool(budget_mb=250) as pool:
        hosts = [pool.host_for(engine, "full") for engine in (first, second)]
        assert pool.host_for(first, "full") is hosts[0], "warm"
        hosts[0].last_used = time.monotonic() + 1
        pool.host_for(third, "full")
        assert set(pool.pids()) == {"one", "three"}, "the one not used for longest went"
        assert not hosts[1].alive
        pids = pool.pids()
        pool.retire_idle(-10.0)
        assert pool.pids() == {}
    assert not any(psutil.pid_exists(pid) for pid in pids.values())


GPUS = (Gpu("A", 1000, "580", "0"), Gpu("B", 1000, "580", "3"))


def visible(host: HostProcess) -> str | None:
    """Asked until the system shows an environment at all: a process that has just become Python has none yet."""
    end = time.monotonic() + 5.0
    while not (shown := psutil.Process(host.pid).environ()) and time.monotonic() < end:
        time.sleep(0.01)
    return shown.get("CUDA_VISIBLE_DEVICES")


def test_the_gpus_memory_is_a_budget_of_its_own(fakes: None) -> None:
    from fake_plan import card

    def net(name: str) -> EngineCard:
        return card(name, "scene", devices=("cuda",), memory_mb={"full": 500, "low": 200})

    with HostPool(budget_mb=20_000, gpus=GPUS[:1]) as pool:
        first = pool.host_for(net("one"), "full", "cuda")
        plain = pool.host_for(card("plain", "scene"), "full")
        assert pool.host_for(net("one"), "full", "cuda") is first, "warm"
        assert visible(first) == "0" and visible(plain) is None
        assert psutil.Process(first.pid).environ()["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
        assert psutil.Process(first.pid).environ()["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        pool.host_for(net("two"), "low", "cuda")
        assert set(pool.pids()) == {"one", "two", "plain"}
        pool.host_for(net("three"), "full", "cuda")
        assert set(pool.pids()) == {"two", "three", "plain"}, "the longest unused on the GPU went, nothing else"
        pool.host_for(net("two"), "full", "cuda")
        assert set(pool.pids()) == {"two", "plain"}, "a host that grows needs room too"


def test_two_gpus_keep_two_engines_warm(fakes: None) -> None:
    from fake_plan import card

    cards = [card(name, "scene", devices=("cuda",), memory_mb={"full": 900}) for name in ("one", "two", "three")]
    with HostPool(budget_mb=20_000, gpus=GPUS) as pool:
        hosts = [pool.host_for(one, "full", "cuda") for one in cards[:2]]
        assert [visible(host) for host in hosts] == ["0", "3"]
        third = pool.host_for(cards[2], "full", "cuda")
        assert set(pool.pids()) == {"two", "three"} and visible(third) == "0"


def test_a_slice_is_a_gpu_with_its_own_name(fakes: None) -> None:
    from fake_plan import card

    part = Gpu("A MIG 1g.10gb", 9984, "580", "MIG-1")
    with HostPool(budget_mb=20_000, gpus=(part,)) as pool:
        assert visible(pool.host_for(card("one", "scene", devices=("cuda",)), "full", "cuda")) == "MIG-1"


def test_where_memory_ran_out_only_its_neighbours_go(fakes: None) -> None:
    from fake_plan import card

    cards = [card(name, "scene", devices=("cuda",), memory_mb={"full": 400}) for name in ("one", "two", "three")]
    with HostPool(budget_mb=20_000, gpus=GPUS) as pool:
        hosts = [pool.host_for(one, "full", "cuda") for one in cards]
        assert [host.gpu for host in hosts] == ["0", "3", "0"]
        plain = pool.host_for(card("plain", "scene"), "full")
        pool.ran_out(hosts[2], "full")
        assert set(pool.pids()) == {"two", "three", "plain"}
        assert pool.tiers_left(cards[2], ("full", "low")) == ("low",)
        assert pool.tiers_left(cards[2], ["full"]) == ("full",), "at least one is left"
        pool.ran_out(plain, "full")
        assert set(pool.pids()) == {"plain"} and pool.tiers_left(card("plain", "scene"), ("full",)) == ("full",)
        hosts[2] = pool.host_for(cards[2], "full", "cuda")
        pool.retire_idle(-10.0)
        assert pool.tiers_left(cards[2], ("full", "low")) == ("full", "low"), "what retired is forgotten"


def test_what_ran_out_is_forgotten_though_its_host_gave_way(fakes: None) -> None:
    from fake_plan import card

    first, large = (card(name, "scene", devices=("cuda",), memory_mb={"full": 900}) for name in ("first", "large"))
    with HostPool(budget_mb=20_000, gpus=GPUS[:1]) as pool:
        pool.ran_out(pool.host_for(first, "full", "cuda"), "full")
        pool.host_for(large, "full", "cuda")
        assert set(pool.pids()) == {"large"}
        pool.retire_idle(60.0)
        assert pool.tiers_left(first, ("full", "low")) == ("low",), "it was a moment ago"
        pool.retire_idle(-10.0)
        assert pool.tiers_left(first, ("full", "low")) == ("full", "low")


@pytest.mark.parametrize(
    ("gpus", "of", "budgets"),
    [
        (2, 2, [{"0": 920}, {"3": 920}]),  # jobs spread over the GPUs
        (1, 2, [{"0": 460}, {"0": 460}]),
        (2, 1, [{"0": 920, "3": 920}]),
        (2, 3, [{"0": 460}, {"3": 920}, {"0": 460}]),
        (0, 2, [{}, {}]),
    ],
)
def test_pools_beside_each_other_share(gpus: int, of: int, budgets: list[dict[str, float]]) -> None:
    from worker.host.pool import _gpu_budgets

    assert [_gpu_budgets(GPUS[:gpus], number, of) for number in range(of)] == budgets


def test_hosts_by_name() -> None:
    from fake_plan import card

    assert host_name(None) == host_name(card("embedded", "scene")) == "embedded"
    assert host_name(card("sharp", "scene")) == "sharp"
