"""Which PyTorch a machine gets: a table of machines, short of the downloads."""

from __future__ import annotations

import importlib.util
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

INSTALL = Path(__file__).resolve().parents[2] / "install"


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delenv("ASSETIZE_TORCH_INDEX", raising=False)
    monkeypatch.syspath_prepend(str(INSTALL))
    spec = importlib.util.spec_from_file_location("torch_build_under_test", INSTALL / "torch_build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("gpu", "index"),
    [
        (("RTX 4090", "580.82.07", (8, 9)), "cu130"),
        (("RTX 4090", "551.23", (8, 9)), "cu126"),  # a Windows driver of 2024
        (("RTX 5090", "581.15", (12, 0)), "cu130"),
        (("GTX 1080", "580.82", (6, 1)), "cu126"),  # CUDA 13 has no code for it
        (("H100", "590.10", (9, 0)), "cu130"),
        (("unknown", "530.41", None), "cu126"),
    ],
)
@pytest.mark.parametrize("system", ["linux", "win32"])
def test_the_driver_and_the_gpu_choose_the_cuda(build: ModuleType, gpu: tuple, index: str, system: str) -> None:
    for device in ("auto", "cuda"):
        found = build.choose(device, gpu=build.Nvidia(*gpu), system=system)
        assert found.device == "cuda" and found.index == f"https://download.pytorch.org/whl/{index}"


@pytest.mark.parametrize(
    ("gpu", "says"),
    [
        (("RTX 3090", "470.57.02", (8, 6)), "driver 470.57.02 is too old for the RTX 3090: PyTorch needs 525"),
        (("RTX 5090", "572.16", (12, 0)), "PyTorch needs 580"),
        (("Tesla K80", "470.57", (3, 7)), "older than every GPU"),
    ],
)
def test_what_is_too_old_is_told_and_the_processor_offered(build: ModuleType, gpu: tuple, says: str) -> None:
    with pytest.raises(build.SetupError, match=says) as caught:
        build.choose("auto", gpu=build.Nvidia(*gpu), system="linux")
    assert "--device cpu" in str(caught.value)
    assert build.choose("cpu", gpu=build.Nvidia(*gpu), system="linux").index.endswith("/cpu")


def test_machines_without_nvidia(build: ModuleType) -> None:
    assert build.choose("auto", gpu=None, system="linux").index.endswith("/cpu")
    with pytest.raises(build.SetupError, match="no NVIDIA GPU"):
        build.choose("cuda", gpu=None, system="win32")
    with pytest.raises(build.SetupError, match="this is none"):
        build.choose("mps", gpu=None, system="linux")
    mac = build.choose("auto", gpu=None, system="darwin", processor="arm64")
    assert (mac.device, mac.index) == ("mps", None)
    assert build.choose("cpu", gpu=None, system="darwin", processor="arm64").index is None
    with pytest.raises(build.SetupError, match="Apple processor only"):
        build.choose("auto", gpu=None, system="darwin", processor="x86_64")


def test_a_mirror_wins(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.choose("cpu", "default", gpu=None, system="linux").index is None
    monkeypatch.setenv("ASSETIZE_TORCH_INDEX", "https://mirror.example/whl/cu130")
    gpu = build.Nvidia("RTX 4090", "580.82", (8, 9))
    assert build.choose("auto", gpu=gpu, system="linux").index == "https://mirror.example/whl/cu130"
    assert build.choose("auto", "https://other.example", gpu=gpu, system="linux").index == "https://other.example"


@pytest.mark.skipif(sys.platform == "win32", reason="a script stands in for nvidia-smi")
@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("print('NVIDIA H100 80GB HBM3, 580.95.05, 9.0\\nTesla T4, 580.95.05, 7.5')",
         ("NVIDIA H100 80GB HBM3", "580.95.05", (9, 0))),
        ("import sys; sys.exit(2) if 'compute_cap' in sys.argv[1] else print('GTX 680, 418.40')",
         ("GTX 680", "418.40", None)),
        ("import sys; print('NVIDIA-SMI has failed, because'); sys.exit(9)", None),
    ],
)  # fmt: skip
def test_the_driver_is_asked(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: tuple | None
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!{sys.executable}\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.nvidia() == (found and build.Nvidia(*found))


def test_too_little_room_and_a_dead_index_leave_no_stamp(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    place = replace(build.WORKER, folder=tmp_path)
    monkeypatch.setattr(build, "WORKER", place)
    monkeypatch.setattr(build, "_ask_torch", lambda: None)
    wanted = build.choose("cpu", gpu=None, system="linux")
    with pytest.raises(build.SetupError, match="GB are needed"):
        build.install(replace(wanted, unpacked_gb=10**9))
    monkeypatch.setattr(build.subprocess, "call", lambda line: 1)
    with pytest.raises(build.SetupError, match="--index URL"):
        build.install(wanted)
    assert not place.torch_stamp.exists()


def test_what_is_there_already_is_not_brought_again(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    calls: list[list[str]] = []
    monkeypatch.setattr(build, "WORKER", replace(build.WORKER, folder=tmp_path))
    monkeypatch.setattr(build, "_ask_torch", lambda: "2.13.0+cpu, no CUDA")
    monkeypatch.setattr(build.subprocess, "call", lambda line: calls.append(line) or 0)
    wanted = build.choose("cpu", gpu=None, system="linux")
    build.install(wanted)
    assert any("--force-reinstall" in line for line in calls), "another build of the same version may have been there"
    done = len(calls)
    build.install(wanted)
    assert len(calls) == done
    build.install(build.choose("auto", "default", gpu=None, system="linux"))
    assert len(calls) > done


def test_gpu_help_is_quick_and_a_wrong_device_is_refused() -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(INSTALL / "bootstrap.py"), "gpu", *words]
        return subprocess.run(line, capture_output=True, text=True)

    assert "--device" in run("--help").stdout
    answer = run("--device", "npu")
    assert answer.returncode == 2 and "Traceback" not in answer.stderr
