"""The registry where engines have downloaded weights, torch, and tiers that only some devices have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_plan import card

from worker.engines import registry
from worker.engines.card import WeightFile
from worker.hardware.machine import Machine, Torch, this_machine
from worker.hardware.nvidia import Gpu
from worker.weights import store
from worker.weights.store import Receipt

SMALL = Machine(2, 8000)
HALF = {"half": 3000, "full": 6000, "slow": 5000}
NET = card("net", "scene", devices=("cuda", "mps", "cpu"), memory_mb=HALF,
           tier_devices={"half": ("cuda", "mps"), "slow": ("cpu",)})  # fmt: skip


def gpu(memory_mb: int = 24000, driver: str = "580.82.07") -> Gpu:
    return Gpu("NVIDIA RTX 4090", memory_mb, driver)


@pytest.fixture
def weights_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSETIZE_WEIGHTS_DIR", str(tmp_path / "weights"))
    return tmp_path / "weights"


def test_a_tier_runs_only_where_it_may() -> None:
    assert NET.tiers_on("cuda") == ("half", "full") and NET.tiers_on("cpu") == ("full", "slow")
    assert NET.tiers_on("npu") == ()
    assert registry.fit(NET, Machine(2, 8000, (gpu(),))) == ("cuda", "half")
    assert registry.fit(NET, SMALL) == ("cpu", "full")
    assert registry.fit(NET, Machine(2, 5500)) == ("cpu", "slow")
    assert registry.fit(NET, Machine(8, 16000, apple_gpu=True)) == ("mps", "half")
    choice = registry.choose("scene", "net", [NET], SMALL, frozenset())
    assert choice.tiers == ("full", "slow"), "a retry stays on the device"


def test_weights_that_were_not_brought_are_missing(weights_dir: Path) -> None:
    exact = WeightFile("net.safetensors", 5, None, "https://example.org/net.safetensors")
    near = WeightFile("near.pt", 5, None, "hf://a/b/near.pt", bytes_exact=False)
    engine = replace(NET, weights=(exact, near))
    assert registry.missing_parts(engine) == ["net.safetensors", "near.pt"]
    assert store.path_of("net", exact) == weights_dir / "net" / "net.safetensors"
    (weights_dir / "net").mkdir(parents=True)
    store.path_of("net", exact).write_bytes(b"1234")
    store.path_of("net", near).write_bytes(b"123456")
    assert registry.missing_parts(engine) == ["net.safetensors"], "a size that is not exact does not tell"
    store.path_of("net", exact).write_bytes(b"12345")
    assert registry.missing_parts(engine) == []
    store.receipt_path(store.path_of("net", near)).write_text(store.receipt_text(Receipt(7, "ab", "x")))
    assert registry.missing_parts(engine) == ["near.pt"], "the receipt tells what was there"
    store.receipt_path(store.path_of("net", near)).write_text("{")
    assert registry.missing_parts(engine) == [], "a broken receipt says nothing"


def test_the_record_names_the_hash_that_was_found_here(weights_dir: Path) -> None:
    named = WeightFile("a.pt", 5, "ab" * 32, "https://example.org/a.pt")
    found = WeightFile("b.pt", 5, None, "https://example.org/b.pt")
    engine = replace(NET, weights=(named, found))
    assert registry.weights_sha256(engine) == {"a.pt": "ab" * 32}
    receipt = store.receipt_path(store.path_of("net", found))
    receipt.parent.mkdir(parents=True)
    receipt.write_text(store.receipt_text(Receipt(5, "cd" * 32, "x")))
    assert registry.weights_sha256(engine) == {"a.pt": "ab" * 32, "b.pt": "cd" * 32}


@pytest.mark.parametrize("name", ["../x.pt", "/etc/x.pt", "..\\x.pt"])
def test_a_weight_file_stays_in_its_folder(weights_dir: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no file name"):
        store.path_of("net", WeightFile(name, 1, None, "https://x"))


@pytest.mark.parametrize(
    ("machine", "says", "fix"),
    [
        (SMALL, "no NVIDIA GPU with a working driver", "doctor"),
        (Machine(2, 8000, (gpu(),), torch=Torch("2.13.0+cpu")), "without GPU support", "bootstrap.py gpu"),
        (Machine(2, 8000, (gpu(driver="525.60"),), torch=Torch("2.13.0+cu130", "13.0")), "driver 525.60 is too old",
         "bootstrap.py gpu"),
        (Machine(2, 8000, (gpu(2000),), torch=Torch("2.13.0+cu130", "13.0")),
         "3000 MB are needed and 2000 MB", "doctor"),
    ],
)  # fmt: skip
def test_why_an_engine_cannot_run_here(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, says: str, fix: str
) -> None:
    engine = replace(NET, devices=("cuda",), needs=("torch",), tier_devices={})
    monkeypatch.setattr(registry, "missing_modules", lambda card: [])  # with or without torch here
    refusal = registry.why_not(engine, machine, frozenset())
    assert refusal and refusal.code == "engine.does_not_fit"
    assert says in refusal.en and fix in (refusal.fix or "") and "引擎" in refusal.zh


@pytest.mark.parametrize(
    ("driver", "cuda", "old"),
    [("580.65.06", "13.0", False), ("579.99", "13.0", True), ("525.60", "12.6", False), ("470.57", "12.6", True),
     ("550.54", None, False), ("", "13.0", False)],
)  # fmt: skip
def test_a_driver_is_old_only_for_the_torch_that_is_there(driver: str, cuda: str | None, old: bool) -> None:
    machine = Machine(2, 8000, (gpu(driver=driver),), torch=Torch("2", cuda))
    assert bool(machine.old_driver()) is old
    assert machine.torch_runs_on("cuda") is (cuda is not None and not old) and machine.torch_runs_on("cpu")


def test_torch_is_known_without_importing_it() -> None:
    torch = pytest.importorskip("torch")
    known = this_machine().torch
    assert known == Torch(torch.__version__, torch.version.cuda)
