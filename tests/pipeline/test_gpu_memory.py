"""The GPU's peak over a stage survives the stretches measured within it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from worker.engines import gpu_memory
from worker.engines.meter import MemoryMeter


class Cuda:
    """Counts as torch.cuda does."""

    held = peak = 0

    def is_initialized(self) -> bool:
        return True

    def take(self, megabytes: int) -> None:
        self.held += megabytes
        self.peak = max(self.peak, self.held)

    def max_memory_allocated(self) -> int:
        return self.peak * 2**20

    def reset_peak_memory_stats(self) -> None:
        self.peak = self.held


def test_a_stretch_does_not_hide_the_stages_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))  # type: ignore[arg-type]
    gpu_memory.begin_stage()
    cuda.take(900)
    cuda.take(-800)
    with MemoryMeter() as first:
        cuda.take(300)
    cuda.take(-300)
    with MemoryMeter() as second:
        cuda.take(50)
    assert (first.gpu_mb, second.gpu_mb) == (400, 150)
    assert gpu_memory.stage_peak_mb() == 900
    gpu_memory.begin_stage()
    assert gpu_memory.stage_peak_mb() == 150, "what is still held counts for the next stage"


def test_without_torch_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]
    gpu_memory.begin_stage()
    gpu_memory.begin_stretch()
    assert gpu_memory.stage_peak_mb() is None
