"""What doctor says of PyTorch, the GPU and the weights, on machines of all kinds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fake_weights
import pytest

from worker.cli import doctor
from worker.hardware.machine import Machine, Torch
from worker.hardware.nvidia import Gpu
from worker.weights import store

GPU = (Gpu("RTX 4090", 24576, "551.23"),)
MACHINE = Machine(8, 32000)


def told(machine: Machine) -> doctor.Check:
    (check,) = doctor._torch(machine)
    return check


def test_without_torch_the_command_is_named() -> None:
    check = told(MACHINE)
    assert check.state == "note" and "not installed" in check.text and check.fix == "python3 install/bootstrap.py gpu"


def test_an_old_driver_is_told_without_asking_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_ASK_TORCH", "raise SystemExit('asked')")
    check = told(replace(MACHINE, gpus=GPU, torch=Torch("2.13.0+cu130", "13.0")))
    assert check.state == "note" and "newer NVIDIA driver than 551.23" in check.text


@pytest.mark.parametrize(
    ("answer", "gpus", "state", "says"),
    [
        ('{"cuda": true, "mps": false, "free": 21474836480}', GPU, "ok", "on the GPU (20.0 GB of it are free)"),
        ('{"cuda": false, "mps": true, "free": null}', (), "ok", "on Apple's GPU"),
        ('{"cuda": false, "mps": false, "free": null}', (), "ok", "on the processor"),
        ('{"cuda": false, "mps": false, "free": null}', GPU, "note", "though there is a GPU"),
        ("what?", GPU, "note", "does not start"),
    ],
)
def test_torch_is_asked_what_it_can(
    monkeypatch: pytest.MonkeyPatch, answer: str, gpus: tuple[Gpu, ...], state: str, says: str
) -> None:
    monkeypatch.setattr(doctor, "_ASK_TORCH", f"print({answer!r})")
    check = told(replace(MACHINE, gpus=gpus, torch=Torch("2.13.0", "12.6")))
    assert check.state == state and says in check.text and "2.13.0" in check.text
    assert (check.fix is None) == (state == "ok")


def test_a_broken_torch_ends_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_ASK_TORCH", "raise ImportError('libcudart.so.13: cannot open shared object file')")
    check = told(replace(MACHINE, torch=Torch("2.13.0", "13.0")))
    assert check.state == "note" and "libcudart.so.13" in check.text and check.fix


def test_the_weights_place_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSETIZE_WEIGHTS_DIR", str(tmp_path / "w"))
    plan = fake_weights.plan(fake_weights.net("https://x.invalid/y"))
    assert f"0.0 MB in {tmp_path / 'w'}" in next(iter(doctor._weights(plan))).text
    path = store.path_of("net", plan.cards[0].weights[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(fake_weights.DATA)
    assert "2.4 MB in" in next(iter(doctor._weights(plan))).text


def test_a_drive_that_is_not_there_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows ASSETIZE_WEIGHTS_DIR may name a share's letter that is not connected today."""
    looked: list[Path] = []

    def exists(path: Path) -> bool:
        looked.append(path)
        assert len(looked) < 50, "for ever"
        return False

    def disk_usage(place: Path) -> None:
        raise FileNotFoundError(2, "no such drive", str(place))

    with monkeypatch.context() as patch:  # pytest itself asks for paths
        patch.setattr(Path, "exists", exists)
        patch.setattr(doctor.shutil, "disk_usage", disk_usage)
        assert doctor._free(Path("/unplugged/weights")) == (0, Path("/"))
