"""Which GPUs and slices are ours to use, as the driver lists them and CUDA_VISIBLE_DEVICES hands them out."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.cli import doctor
from worker.engines import registry
from worker.engines.card import EngineCard, Licence
from worker.hardware import machine, nvidia

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a script stands in for nvidia-smi")

PLAIN = "--query-gpu=index,uuid,memory.total,driver_version,name"
WITH_MIG = "--query-gpu=mig.mode.current,index,uuid,memory.total,driver_version,name"
TWO = {
    WITH_MIG: "[N/A], 0, GPU-aa11, 81559, 550.54, NVIDIA H100 80GB HBM3\n"
    "[N/A], 1, GPU-ab22, 15360, 550.54, Tesla T4, a name with a comma\n"
}
# A cut-up H100 beside a whole one, in the words of `nvidia-smi -L` and `-q -x` (drivers 535 and 550).
CUT_UP = {
    WITH_MIG: "Enabled, 0, GPU-aa11, [Insufficient Permissions], 550.54, NVIDIA H100 80GB HBM3\n"
    "Disabled, 1, GPU-bb22, 81559, 550.54, NVIDIA H100 80GB HBM3\n",
    "-L": "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aa11)\n"
    "  MIG 3g.40gb     Device  0: (UUID: MIG-c0ffee-1)\n"
    "  MIG 1g.10gb+me  Device  1: (UUID: MIG-c0ffee-2)\n"
    "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bb22)\n",
    "-q": """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log><driver_version>550.54</driver_version>
  <gpu id="00000000:07:00.0"><uuid>GPU-aa11</uuid>
    <fb_memory_usage><total>81559 MiB</total></fb_memory_usage>
    <mig_devices>
      <mig_device><index>0</index><fb_memory_usage><total>40448 MiB</total></fb_memory_usage></mig_device>
      <mig_device><index>1</index><fb_memory_usage><total>9984 MiB</total></fb_memory_usage></mig_device>
    </mig_devices></gpu>
  <gpu id="00000000:0B:00.0"><uuid>GPU-bb22</uuid><mig_devices>None</mig_devices></gpu>
</nvidia_smi_log>""",
}
Driver = Callable[[dict[str, str], str | None], nvidia.Gpus]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """What is found where nvidia-smi answers so (by its first argument; to others it fails), under a wish."""

    def find(answers: dict[str, str], wish: str | None = None) -> nvidia.Gpus:
        tool = tmp_path / "nvidia-smi"
        script = f"answers = {json.dumps(answers)}\nif sys.argv[1] not in answers: sys.exit('invalid')\n"
        tool.write_text(f"#!{sys.executable}\nimport sys\n{script}print(answers[sys.argv[1]])\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(nvidia, "_LOADED_DRIVER", tmp_path / "version")
        monkeypatch.delenv(nvidia.VISIBLE, raising=False)
        if wish is not None:
            monkeypatch.setenv(nvidia.VISIBLE, wish)
        return nvidia.find(torch_has_cuda=True)

    return find


def ids(gpus: tuple[nvidia.Gpu, ...]) -> list[str]:
    return [gpu.id for gpu in gpus]


def test_all_are_ours_where_nobody_says_otherwise(driver: Driver) -> None:
    first, second = driver(TWO, None).usable
    assert first == nvidia.Gpu("NVIDIA H100 80GB HBM3", 81559, "550.54", "0")
    assert second == nvidia.Gpu("Tesla T4, a name with a comma", 15360, "550.54", "1")
    found = machine.Machine(2, 8000, (first, second))
    assert (found.memory_of("cuda"), found.memory_of("mps"), found.memory_of("cpu")) == (81559, 0, 8000)


def test_a_driver_that_knows_no_slices_is_asked_without(driver: Driver) -> None:
    assert driver({PLAIN: "0, GPU-aa, 4096, 442.19, GeForce GTX 1050"}, None).usable == (
        nvidia.Gpu("GeForce GTX 1050", 4096, "442.19", "0"),
    )


@pytest.mark.parametrize("says", ["", "No devices were found", "0, GPU-aa"])
def test_a_driver_without_gpus_has_none(driver: Driver, says: str) -> None:
    assert driver({WITH_MIG: says}, None) == nvidia.Gpus()
    assert driver({}, None) == nvidia.Gpus()


@pytest.mark.parametrize(("wish", "ours"), [
    ("1", ["1"]), ("1,0", ["0", "1"]), (" 0 , 1 ", ["0", "1"]), ("GPU-aa11", ["0"]), ("GPU-aa", ["0"]),
    ("GPU-a", []),  # two answer to it
    ("", []), ("-1", []), ("NoDevFiles", []), ("none", []), ("7", []), ("MIG-c0ffee-1", []),
    ("0,-1,1", ["0"]), ("0,7,1", ["0"]),  # CUDA sees what stands before the first that is none
])  # fmt: skip
def test_what_a_queue_handed_out_is_all_we_have(driver: Driver, wish: str, ours: list[str]) -> None:
    found = driver(TWO, wish)
    assert ids(found.usable) == ours
    assert sorted(ids(found.usable) + ids(found.hidden)) == ["0", "1"]


@pytest.mark.parametrize(("wish", "ours"), [
    (None, ["MIG-c0ffee-1", "MIG-c0ffee-2", "1"]), ("MIG-c0ffee-2", ["MIG-c0ffee-2"]),
    ("MIG-c0ffee-1,MIG-c0ffee-2", ["MIG-c0ffee-1", "MIG-c0ffee-2"]), ("1", ["1"]), ("GPU-bb", ["1"]),
    ("0", ["MIG-c0ffee-1", "MIG-c0ffee-2"]), ("GPU-aa11", ["MIG-c0ffee-1", "MIG-c0ffee-2"]),
    ("MIG-c0ffee", []), ("-1", []),
])  # fmt: skip
def test_slices_count_as_gpus(driver: Driver, wish: str | None, ours: list[str]) -> None:
    assert ids(driver(CUT_UP, wish).usable) == ours


def test_a_slice_has_its_own_memory(driver: Driver) -> None:
    large, small, _ = driver(CUT_UP, None).usable
    assert (large.name, large.memory_mb) == ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", 40448)
    assert (small.memory_mb, small.driver) == (9984, "550.54")
    rough = driver({**CUT_UP, "-q": "<cut off"}, None).usable
    assert [gpu.memory_mb for gpu in rough[:2]] == [38912, 9728], "by its name, a little less than it has"


def test_a_cut_up_gpu_without_slices_is_none(driver: Driver) -> None:
    assert ids(driver({**CUT_UP, "-L": CUT_UP["-L"].replace("  MIG", "  ???")}, None).usable) == ["1"]


def test_older_names_of_slices(driver: Driver) -> None:
    listing = CUT_UP["-L"].replace("MIG-c0ffee-1", "MIG-GPU-aa11/1/0").replace("MIG-c0ffee-2", "MIG-GPU-aa11/2/0")
    assert ids(driver({**CUT_UP, "-L": listing}, "MIG-GPU-aa11/2/0").usable) == ["MIG-GPU-aa11/2/0"]


@pytest.mark.parametrize(("wish", "ours"), [
    (None, ["0", "1"]), ("3", ["3"]), ("MIG-unlisted,7", ["MIG-unlisted", "7"]), ("-1", []), ("", []),
])  # fmt: skip
def test_torch_is_asked_where_the_tool_may_not_tell(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: str | None, ours: list[str]
) -> None:
    version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build\n"
    (tmp_path / "version").write_text(version)
    monkeypatch.setattr(nvidia, "_TORCH", f"print({json.dumps(json.dumps([['H100', 9984]] * (len(ours) or 2)))})")
    found = driver({}, wish).usable
    assert ids(found) == ours and all(gpu == nvidia.Gpu("H100", 9984, "550.54.15", gpu.id) for gpu in found)


def test_a_torch_that_does_not_start_finds_none(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version").write_text("?")
    monkeypatch.setattr(nvidia, "_TORCH", "raise ImportError('libcudart')")
    assert driver({}, None) == nvidia.Gpus()


def test_none_and_hidden_are_two_sentences(driver: Driver, tmp_path: Path) -> None:
    def told(gpus: nvidia.Gpus) -> tuple[str, str]:
        here = machine.Machine(2, 8000, gpus.usable, hidden_gpus=gpus.hidden)
        card = EngineCard("net", "scene", "1", "Net", Licence("MIT", None, "yes", ""), "x:Y", devices=("cuda",))
        (check,) = [check for check in doctor._hardware(here, tmp_path) if check.name == "GPU"]
        return check.text, registry.does_not_fit(card, here).en

    none, hidden = told(driver({}, None)), told(driver(TWO, "-1"))
    assert "none found" in none[0] and "no NVIDIA GPU with a working driver" in none[1]
    assert "CUDA_VISIBLE_DEVICES hides" in hidden[0] and "NVIDIA H100" in hidden[0]
    assert "CUDA_VISIBLE_DEVICES hides" in hidden[1] and "no NVIDIA GPU" not in hidden[1]
