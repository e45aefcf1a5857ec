"""Which build of PyTorch a machine gets, and from where. For `bootstrap.py gpu`; standard library only.

One version of torch has many builds: one for each CUDA, one without, one for macOS. The table is PyTorch's own
(RELEASE.md, "Release Compatibility Matrix" and "CUDA Support Matrix", release 2.13).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace

from environments import LOCKS, TYPED, WORKER, Environment, SetupError

VERSION = "2.13.0"
INDEX = "https://download.pytorch.org/whl/"
DEFAULT_INDEX = "default"  # pip's own, with the mirror that the user configured
OVERRIDE = "ASSETIZE_TORCH_INDEX"
GPU = f"{TYPED} gpu"


@dataclass(frozen=True)
class Cuda:
    """One CUDA that torch is built for: the oldest driver that runs it, and the GPUs it has code for."""

    index: str
    title: str
    driver: tuple[int, int]
    oldest_capability: tuple[int, int]
    newest_capability: tuple[int, int]


CUDAS = (  # newest first
    Cuda("cu130", "CUDA 13.0", (580, 65), (7, 5), (99, 0)),
    Cuda("cu126", "CUDA 12.6", (525, 60), (5, 0), (9, 0)),
)


@dataclass(frozen=True)
class Nvidia:
    """What the NVIDIA driver says of the first GPU; `capability` None where the driver is too old to tell."""

    name: str
    driver: str
    capability: tuple[int, int] | None

    @property
    def driver_numbers(self) -> tuple[int, int]:
        numbers = [int(part) for part in self.driver.split(".") if part.isdigit()]
        return (*numbers[:2], 0, 0)[:2]  # type: ignore[return-value]


@dataclass(frozen=True)
class Build:
    """`index` None: pip's own. Sizes of 2.13.0 for Linux, of the download and once unpacked, in gigabytes."""

    device: str
    title: str
    index: str | None
    download_gb: float
    unpacked_gb: float


_CPU = Build("cpu", "for the processor alone", INDEX + "cpu", 0.2, 0.8)
_MAC = Build("mps", "for macOS", None, 0.1, 0.5)


def nvidia() -> Nvidia | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    for query in ("name,driver_version,compute_cap", "name,driver_version"):
        try:
            answer = subprocess.run([tool, f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True,
                                    text=True, timeout=20, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError):
            return None
        parts = [part.strip() for part in (answer.stdout.splitlines() or [""])[0].split(",")]
        if answer.returncode == 0 and len(parts) >= 2:
            major, dot, minor = (parts[2] if len(parts) > 2 else "").partition(".")
            known = bool(dot) and major.isdigit() and minor.isdigit()
            return Nvidia(parts[0], parts[1], (int(major), int(minor)) if known else None)
    return None


def _cuda_for(gpu: Nvidia) -> Build:
    """Raises SetupError where no build runs on this GPU with this driver."""
    fitting = [cuda for cuda in CUDAS if gpu.capability is None
               or cuda.oldest_capability <= gpu.capability <= cuda.newest_capability]
    if not fitting:
        raise SetupError(f"the {gpu.name} is older than every GPU that PyTorch {VERSION} has code for. The processor "
                         f"can do the work, slowly: {GPU} --device cpu")
    for cuda in fitting:
        if gpu.driver_numbers >= cuda.driver:
            return Build("cuda", f"with {cuda.title}", INDEX + cuda.index, 2.7, 6.5)
    need = min(cuda.driver for cuda in fitting)
    raise SetupError(f"the NVIDIA driver {gpu.driver} is too old for the {gpu.name}: PyTorch needs {need[0]} or newer. "
                     "Update it from nvidia.com/drivers, then run the same command again. "
                     f"Without a new driver the processor can do the work, slowly: {GPU} --device cpu")


def choose(device: str, index: str | None = None, *, gpu: Nvidia | None, system: str = sys.platform,
           processor: str | None = None) -> Build:
    """The build for `device` ("auto", "cuda", "mps", "cpu") on this machine, from `index` where one is given.

    Raises SetupError with what to do where that device is not there or its driver is too old.
    """
    mac = system == "darwin"
    if mac and (processor or platform.machine()) != "arm64":
        raise SetupError(f"PyTorch {VERSION} exists for Macs with an Apple processor only. "
                         "The embedded engines need no PyTorch and run here.")
    if device == "auto":
        device = "mps" if mac else "cuda" if gpu else "cpu"
    if device == "cuda":
        if mac or gpu is None:
            raise SetupError("no NVIDIA GPU with a working driver was found (nvidia-smi does not answer). Install the "
                             f"driver from nvidia.com/drivers, or take the processor: {GPU} --device cpu")
        build = _cuda_for(gpu)
    elif device == "mps" and not mac:
        raise SetupError(f"mps is the GPU of Macs, and this is none. Leave the choice to auto: {GPU}")
    else:
        build = replace(_MAC, device=device) if mac else _CPU
    if chosen := index or os.environ.get(OVERRIDE):
        build = replace(build, index=None if chosen == DEFAULT_INDEX else chosen)
    return build


# --- installing -----------------------------------------------------------------------------------------------------
def _stamp_text(build: Build) -> str:
    return json.dumps({"torch": VERSION, "device": build.device, "index": build.index})


def install(build: Build) -> None:
    """Put this build and what it needs into the worker's environment. Raises SetupError."""
    stamp = WORKER.torch_stamp
    found = _ask_torch()
    if found is not None and stamp.exists() and stamp.read_text() == _stamp_text(build):
        print(f"PyTorch is installed already: {found}.")
        return
    free = shutil.disk_usage(WORKER.folder).free / 1e9
    need = build.download_gb + build.unpacked_gb
    where = build.index or "pip's own index"
    print(f"PyTorch {VERSION} {build.title}: about {build.download_gb:g} GB to download from {where}, "
          f"{build.unpacked_gb:g} GB once unpacked.", flush=True)
    if free < need:
        raise SetupError(f"{need:.1f} GB are needed and {free:.1f} GB are free in {WORKER.folder}. Make room, then run "
                         "the same command again.")
    stamp.unlink(missing_ok=True)
    index = [] if build.index is None else ["--index-url", build.index]
    torch = [f"torch=={VERSION}", *index]
    _pip(["--require-hashes", "--no-deps", "-r", str(LOCKS / "torch.txt")])
    if found is not None:  # the same version may be another build, which pip would take for the same thing
        _pip(["--force-reinstall", "--no-deps", *torch])
    _pip(torch)
    found = _ask_torch()
    if found is None:
        raise SetupError(f"PyTorch was installed but does not start. Delete {WORKER.folder} and try again; if it stays "
                         "so, --device cpu takes the plain build.")
    stamp.write_text(_stamp_text(build))
    print(f"PyTorch is ready: {found}.")
    if build.device == "cuda" and "CUDA works" not in found:
        raise SetupError("PyTorch is there but cannot use the GPU: the driver did not answer, or the index gave a "
                         "build without CUDA. `assetize doctor` tells more.")


def _pip(arguments: list[str]) -> None:
    """In the foreground: pip's own progress bars are true."""
    line = [str(WORKER.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *arguments]
    if subprocess.call(line) != 0:
        raise SetupError("pip could not install PyTorch; its last words stand above. Check the network, or name "
                         f"another index, a mirror near you for instance: {GPU} --index URL (or {OVERRIDE}); "
                         "`--index default` takes the one that pip is configured for.")


_QUESTION = """
import torch
said = ["CUDA works" if torch.cuda.is_available() else "no CUDA"]
if torch.backends.mps.is_available():
    said = ["MPS works"]
print(torch.__version__, *said, sep=", ")
"""


def _ask_torch() -> str | None:
    """What the installed torch says of itself; None where it does not start."""
    answer = subprocess.run([str(WORKER.python), "-c", _QUESTION], capture_output=True, text=True)
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def main(device: str, index: str | None) -> int:
    gpu = nvidia()
    build = choose(device, index, gpu=gpu)
    if device == "auto":
        seen = f"{gpu.name}, driver {gpu.driver}" if gpu else "no NVIDIA GPU"
        if build.device != "mps":
            print(f"Found {seen}.")
    Environment.ensure_all([WORKER])
    install(build)
    return 0
