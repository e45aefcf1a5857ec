"""What this machine has: processors, memory, GPUs, and the torch that would use them. Asked once, without importing any
GPU library."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from worker.hardware import nvidia
from worker.hardware.nvidia import Gpu


@dataclass(frozen=True)
class Torch:
    """The PyTorch that is installed. `cuda`: the CUDA it was built for ("13.0"); None: a build without."""

    version: str
    cuda: str | None = None


# The oldest driver for each CUDA that torch is built for (NVIDIA's table "CUDA Toolkit and minimum driver version").
_OLDEST_DRIVER = {11: (450, 80), 12: (525, 60), 13: (580, 65)}


@dataclass(frozen=True)
class Machine:
    """`apple_gpu`: this is a Mac with Apple's own processor, whose GPU works in the main memory. `hidden_gpus`: those
    that CUDA_VISIBLE_DEVICES keeps from us."""

    cores: int
    memory_mb: int
    gpus: tuple[Gpu, ...] = ()
    apple_gpu: bool = False
    torch: Torch | None = None
    hidden_gpus: tuple[Gpu, ...] = ()

    def memory_of(self, device: str) -> int:
        """Megabytes of the largest `device`; 0 where there is none."""
        if device == "cpu":
            return self.memory_mb
        if device == "cuda":
            return max((gpu.memory_mb for gpu in self.gpus), default=0)
        if device == "mps" and self.apple_gpu:
            return self.memory_mb * 2 // 3  # what Metal recommends at most ("recommended working set")
        return 0

    def old_driver(self) -> str | None:
        """The GPU's driver, where it is too old for the installed torch."""
        if self.torch is None or self.torch.cuda is None or not self.gpus:
            return None
        oldest = _OLDEST_DRIVER.get(int(self.torch.cuda.split(".")[0]), (0, 0))
        driver = self.gpus[0].driver
        numbers = tuple(int(part) for part in driver.split(".")[:2] if part.isdigit())
        return driver if numbers and numbers < oldest else None

    def torch_runs_on(self, device: str) -> bool:
        """Whether the installed torch can use this device. True where there is no torch: then that is what is said."""
        if self.torch is None or device != "cuda":
            return True
        return self.torch.cuda is not None and self.old_driver() is None


def _cores() -> int:
    """Cores this process may use, which in a container is fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_mb() -> int:
    """This machine's memory, or what a container lets us have of it."""
    memory = psutil.virtual_memory().total
    with contextlib.suppress(OSError, ValueError):  # "max", or no such file: no limit
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory // 2**20


def _torch() -> Torch | None:
    """Read from torch's own version file: importing torch takes seconds and hundreds of megabytes."""
    try:
        found = importlib.util.find_spec("torch")
        text = (Path(found.origin).parent / "version.py").read_text("utf-8") if found and found.origin else ""
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError):
        return None
    values: dict[str, str] = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
            values[target.id] = value.value
    version = values.get("__version__")
    return Torch(version, values.get("cuda")) if version else None


@cache
def this_machine() -> Machine:
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    torch = _torch()
    gpus = nvidia.find(torch is not None and torch.cuda is not None)
    return Machine(_cores(), _memory_mb(), gpus.usable, apple, torch, gpus.hidden)
