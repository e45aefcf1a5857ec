"""Evaluations that repeat with the same shapes, replayed as CUDA graphs.

A transformer is many hundred small kernels, and a processor takes longer to start them one by one than a large GPU
takes to run them. A graph starts them all at once; it runs the same kernels on the same numbers, so the bytes are the
same. PyTorch's manual, "CUDA semantics", tells what may be captured: nothing that waits for the GPU or asks what it
computed, and every tensor at a place that stays.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

log = logging.getLogger("assetize.graph")
T = TypeVar("T")
Evaluate = Callable[[Tensor, Tensor], Tensor]

_refused = False  # by this process' GPU, driver or libraries; once is enough to go on without


class Captured(Generic[T]):
    """`compute(*given)` as a graph; other numbers of the same shapes may then be given to it.

    The answer lies where the next replay writes its own. `compute` must have run before, so that libraries have set
    themselves up and kernels are compiled. `pool`: of `torch.cuda.graph_pool_handle`; captures that share one share
    their memory, and may then not be replayed while an answer of another is still needed.

    Raises RuntimeError where the capture is refused; the process can go on, without any of its memory lost.
    """

    def __init__(self, compute: Callable[..., T], *given: Tensor, pool: torch.cuda._POOL_HANDLE | None = None) -> None:
        self._given = [tensor.clone() for tensor in given]
        self._graph, self._before = torch.cuda.CUDAGraph(), torch.cuda.Event()
        pool = pool or torch.cuda.graph_pool_handle()
        here = torch.cuda.current_stream()
        try:
            # other threads may use the GPU meanwhile: only what this one does is captured
            with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
                self._answer = compute(*self._given)
        except BaseException:
            torch.cuda.set_stream(here)  # PyTorch leaves both as they were within where the end itself fails
            with contextlib.suppress(RuntimeError):
                torch._C._cuda_endAllocateToPool(here.device_index, pool)
                torch._C._cuda_releasePool(here.device_index, pool)
            raise
        finally:
            # cuBLAS took its workspace from the graph's memory, and would hold on to it after the graph is gone
            torch._C._cuda_clearCublasWorkspaces()

    def __call__(self, *given: Tensor) -> T:
        for place, tensor in zip(self._given, given, strict=True):
            place.copy_(tensor)
        self._graph.replay()
        self._before.synchronize()  # at most two in the queue, so that whoever tells progress tells the GPU's
        self._before.record()
        return self._answer


class Replayed:
    """`compute` of tensors whose shapes stay the same: run as it is at first, from the second call on as a graph.

    On a processor, and where the capture was refused (the log tells), every call runs as it is. An answer must be used
    before the next call.
    """

    def __init__(self, compute: Callable[..., Tensor], pool: torch.cuda._POOL_HANDLE | None = None) -> None:
        self._compute, self._pool = compute, pool
        self._captured: Captured[Tensor] | None = None
        self._ran = False

    def __call__(self, *given: Tensor) -> Tensor:
        if self._captured is None and self._ran and given[0].is_cuda and not _refused:
            self._capture(given)
        self._ran = True
        return self._compute(*given) if self._captured is None else self._captured(*given)

    def _capture(self, given: tuple[Tensor, ...]) -> None:
        global _refused
        try:
            self._captured = Captured(self._compute, *given, pool=self._pool)
        except RuntimeError as fault:
            _refused = True
            log.warning("no CUDA graph could be captured; going on without: %s", fault)
