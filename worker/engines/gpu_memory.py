"""The most memory that PyTorch's tensors took of the GPU, over a stage and over stretches within it.

PyTorch keeps one peak a process; whoever resets it for a stretch of work would make the stage's own too small, so all
ask here. Nothing here imports torch: None and silence where no engine has brought it, or it runs on no NVIDIA GPU.
"""

from __future__ import annotations

import sys
from typing import Any

_earlier_mb = 0.0  # the highest of the stretches that ended since the stage began


def _cuda() -> Any:
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


def _now_mb() -> float | None:
    return float(cuda.max_memory_allocated()) / 2**20 if (cuda := _cuda()) else None


def begin_stage() -> None:
    global _earlier_mb
    _earlier_mb = 0.0
    if cuda := _cuda():
        cuda.reset_peak_memory_stats()


def begin_stretch() -> None:
    global _earlier_mb
    _earlier_mb = max(_earlier_mb, _now_mb() or 0.0)
    if cuda := _cuda():
        cuda.reset_peak_memory_stats()


def stretch_peak_mb() -> float | None:
    return _now_mb()


def stage_peak_mb() -> float | None:
    now = _now_mb()
    return None if now is None else max(now, _earlier_mb)
