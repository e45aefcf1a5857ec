"""How much memory a stretch of work took at its worst."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType

import psutil

from worker.engines import gpu_memory

_SAMPLE_S = 0.05
_CHILDREN_EVERY = 10  # samples; finding children goes through all processes of the machine


class MemoryMeter:
    """`with MemoryMeter() as meter: ...`, then `meter.memory_mb` and `meter.gpu_mb`.

    Main memory: what this process and its children hold, sampled while the block runs, so a short spike may be missed.
    GPU: what torch of this process had given out at most, exactly; None where it runs on no NVIDIA GPU.
    """

    def __init__(self) -> None:
        self.memory_mb = 0.0
        self.gpu_mb: float | None = None
        self._process = psutil.Process()
        self._children: list[psutil.Process] = []
        self._samples = 0
        self._done = threading.Event()

    def __enter__(self) -> MemoryMeter:
        self._sample()
        gpu_memory.begin_stretch()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        self._sample()
        self.gpu_mb = gpu_memory.stretch_peak_mb()

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        if self._samples % _CHILDREN_EVERY == 0:
            with contextlib.suppress(psutil.Error):
                self._children = self._process.children(recursive=True)
        self._samples += 1
        held = 0.0
        for process in (self._process, *self._children):
            with contextlib.suppress(psutil.Error):
                held += process.memory_info().rss / 2**20
        self.memory_mb = max(self.memory_mb, held)
