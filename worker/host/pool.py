"""Warm hosts, one a name. Memory is a budget: the host that was not used for longest gives way."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from worker.engines.card import EngineCard
from worker.host.machine import this_machine
from worker.host.process import HostProcess

EMBEDDED = "embedded"
_SHARE_OF_MEMORY = 0.7


def host_name(card: EngineCard | None) -> str:
    """Stages without an engine and all embedded engines live in one process; every other engine has its own."""
    return EMBEDDED if card is None else card.name


class HostPool:
    """Hosts between stages and jobs. `budget_mb`: what all warm hosts together may need; None: 70 % of this machine."""

    def __init__(self, budget_mb: float | None = None) -> None:
        if budget_mb is None:
            budget_mb = this_machine().memory_mb * _SHARE_OF_MEMORY
        self._budget_mb = budget_mb
        self._hosts: dict[str, HostProcess] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> HostPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def host_for(self, card: EngineCard | None, tier: str | None) -> HostProcess:
        """A living host for this card, started if need be; others give way where the budget asks for it."""
        name = host_name(card)
        need = 0 if card is None or tier is None else card.memory_mb.get(tier, 0)
        with self._lock:
            host = self._hosts.get(name)
            if host is not None and not host.alive:
                self._drop(name)
                host = None
            others = sorted((h for h in self._hosts.values() if h is not host), key=lambda h: h.last_used)
            while others and need + sum(h.memory_mb for h in self._hosts.values()) > self._budget_mb:
                self._drop(others.pop(0).name)
            if host is None:
                host = self._hosts[name] = HostProcess(name)
            host.memory_mb = max(host.memory_mb, need)
            return host

    def _drop(self, name: str) -> None:
        self._hosts.pop(name).close()

    def retire_idle(self, seconds: float) -> None:
        """Let hosts go that nobody used for so long."""
        with self._lock:
            old = [name for name, host in self._hosts.items() if time.monotonic() - host.last_used > seconds]
            for name in old:
                self._drop(name)

    def pids(self) -> dict[str, int]:
        with self._lock:
            return {name: host.pid for name, host in self._hosts.items() if host.alive}

    def close(self) -> None:
        with self._lock:
            for name in list(self._hosts):
                self._drop(name)
