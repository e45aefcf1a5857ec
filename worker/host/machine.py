"""What this machine has: processors, memory, GPUs. Asked once, without importing any GPU library."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_mb: int
    driver: str


@dataclass(frozen=True)
class Machine:
    cores: int
    memory_mb: int
    gpus: tuple[Gpu, ...] = ()

    def memory_of(self, device: str) -> int:
        """Megabytes of the largest `device`; 0 where there is none."""
        if device == "cpu":
            return self.memory_mb
        if device == "cuda":
            return max((gpu.memory_mb for gpu in self.gpus), default=0)
        return 0


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


def _gpus() -> tuple[Gpu, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        answer = subprocess.run(
            [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=10, check=True, stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    gpus = []
    for line in answer.stdout.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3 and parts[1].isdigit():
            gpus.append(Gpu(parts[0], int(parts[1]), parts[2]))
    return tuple(gpus)


@cache
def this_machine() -> Machine:
    return Machine(_cores(), _memory_mb(), _gpus())
