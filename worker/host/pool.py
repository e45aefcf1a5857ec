"""Warm hosts, one a name. Memory is a budget: the host that was not used for longest gives way.

There is a budget for the main memory and one for each GPU. A host that works on a GPU sees that one alone, so engines
spread over the GPUs of a machine and more of them stay warm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from worker.engines.card import EngineCard
from worker.hardware.machine import this_machine
from worker.hardware.nvidia import Gpu
from worker.host.process import HostProcess

EMBEDDED = "embedded"
_SHARE_OF_MEMORY = 0.7
_SHARE_OF_GPU = 0.92  # the rest is the desktop's and the driver's
_MEMORY_BESIDE_GPU_MB = 3000  # main memory that a process with PyTorch and CUDA takes whatever its engine


def host_name(card: EngineCard | None) -> str:
    """Stages without an engine and all embedded engines live in one process; every other engine has its own."""
    return EMBEDDED if card is None else card.name


def _gpu_budgets(gpus: Sequence[Gpu], number: int, of: int) -> dict[str, float]:
    """Megabytes by GPU for pool `number` of `of`: whole GPUs where there are enough, else an equal part of one."""
    if not gpus:
        return {}
    first = number % len(gpus)
    sharers = len(range(first, of, len(gpus)))
    return {gpu.id: gpu.memory_mb * _SHARE_OF_GPU / sharers for gpu in gpus[first::of]}


class HostPool:
    """Hosts between stages and jobs.

    `budget_mb`: main memory that all warm hosts together may need; None: 70 % of this machine. `gpus`: those it may
    use; None: all. `share` (number, of): what one of several pools beside each other gets of both.
    """

    def __init__(
        self, budget_mb: float | None = None, gpus: Sequence[Gpu] | None = None, share: tuple[int, int] = (0, 1)
    ) -> None:
        if budget_mb is None:
            budget_mb = this_machine().memory_mb * _SHARE_OF_MEMORY / share[1]
        self._budget_mb = budget_mb
        self._gpu_budgets_mb = _gpu_budgets(this_machine().gpus if gpus is None else gpus, *share)
        self._hosts: dict[str, HostProcess] = {}
        self._ran_out: dict[str, dict[str, float]] = {}  # by host: tiers that the GPU had no memory for, and when
        self._lock = threading.Lock()

    def __enter__(self) -> HostPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def host_for(self, card: EngineCard | None, tier: str | None, device: str = "cpu") -> HostProcess:
        """A living host for this card, started if need be; others give way where a budget asks for it."""
        name = host_name(card)
        need = 0 if card is None or tier is None else card.memory_mb.get(tier, 0)
        gpu_need = need if device == "cuda" else 0
        if device == "cuda":
            need = _MEMORY_BESIDE_GPU_MB
        with self._lock:
            host = self._hosts.get(name)
            if host is not None and not (host.alive and self._serves(host, device)):
                self._drop(name)
                host = None
            gpu = (host.gpu if host else self._choose_gpu(gpu_need)) if device == "cuda" else None
            self._give_way(host, need, self._budget_mb, lambda other: other.memory_mb)
            if gpu is not None:
                budget = self._gpu_budgets_mb[gpu]
                self._give_way(host, gpu_need, budget, lambda other: other.gpu_memory_mb * (other.gpu == gpu))
            if host is None:
                host = self._hosts[name] = HostProcess(name, gpu)
            host.memory_mb = max(host.memory_mb, need)
            host.gpu_memory_mb = max(host.gpu_memory_mb, gpu_need)
            return host

    def _serves(self, host: HostProcess, device: str) -> bool:
        """A host keeps the GPU that it was started with; one that was started without never gets one."""
        return device != "cuda" or host.gpu is not None or not self._gpu_budgets_mb

    def _choose_gpu(self, need: int) -> str | None:
        """The GPU with most room left; among those too full, the largest."""
        room = {
            gpu: budget - sum(host.gpu_memory_mb for host in self._hosts.values() if host.gpu == gpu)
            for gpu, budget in self._gpu_budgets_mb.items()
        }
        fitting = [gpu for gpu in room if room[gpu] >= need]
        if fitting:
            return max(fitting, key=room.__getitem__)  # the first of equals
        return max(room, key=lambda gpu: (self._gpu_budgets_mb[gpu], room[gpu]), default=None)

    def _give_way(
        self, host: HostProcess | None, need: int, budget_mb: float, takes: Callable[[HostProcess], float]
    ) -> None:
        """Let hosts go, longest unused first, until `need` more fits the budget or none that takes of it is left."""
        others = sorted((h for h in self._hosts.values() if h is not host and takes(h)), key=lambda h: h.last_used)
        mine = takes(host) if host else 0
        while others and max(need, mine) + sum(map(takes, others)) > budget_mb:
            self._drop(others.pop(0).name)

    def ran_out(self, host: HostProcess, tier: str) -> None:
        """Memory ran out in this host: every other that takes of the same memory goes before the next try.

        Of a GPU the tier is remembered until the host retires: engines there work at one size whatever the still's, so
        the next still would only load and fail again.
        """
        with self._lock:
            if host.gpu is not None:
                self._ran_out.setdefault(host.name, {})[tier] = time.monotonic()
            for other in list(self._hosts.values()):
                if other is not host and (host.gpu is None or other.gpu == host.gpu):
                    self._drop(other.name)

    def tiers_left(self, card: EngineCard, tiers: Sequence[str]) -> tuple[str, ...]:
        """Those of `tiers` that did not run out of the GPU's memory lately; at least the last."""
        full = self._ran_out.get(host_name(card), {})
        return tuple(tier for tier in tiers if tier not in full) or tuple(tiers[-1:])

    def _drop(self, name: str) -> None:
        self._hosts.pop(name).close()

    def retire_idle(self, seconds: float) -> None:
        """Let hosts go that nobody used for so long, and what is remembered of those that gave way before."""
        with self._lock:
            now = time.monotonic()
            for name in [name for name, host in self._hosts.items() if now - host.last_used > seconds]:
                self._drop(name)
                self._ran_out.pop(name, None)
            for name in set(self._ran_out) - set(self._hosts):
                if now - max(self._ran_out[name].values()) > seconds:
                    del self._ran_out[name]

    def pids(self) -> dict[str, int]:
        with self._lock:
            return {name: host.pid for name, host in self._hosts.items() if host.alive}

    def close(self) -> None:
        with self._lock:
            for name in list(self._hosts):
                self._drop(name)
