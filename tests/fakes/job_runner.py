"""Runs jobs with the fake plan, and reads what they left."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from worker.hardware.machine import Machine
from worker.host.pool import HostPool
from worker.host.process import Limits
from worker.pipeline.conductor import Conductor
from worker.pipeline.job import Job, Outcome
from worker.pipeline.plan import Plan
from worker.session.options import Options

MACHINE = Machine(cores=2, memory_mb=8000)
Still = Callable[..., Path]


class Runner:
    """Runs jobs with the fake plan and remembers the events."""

    def __init__(self, pool: HostPool, root: Path) -> None:
        from fake_plan import PLAN

        self.pool, self.root, self.events = pool, root, []
        self.plan: Plan = PLAN
        self.machine = MACHINE
        self.limits = Limits(silence_s=5.0, idle_s=5.0)
        self.accepted: frozenset[str] = frozenset()

    def conductor(self, source: Path, cancel: threading.Event | None = None, fresh: bool = False, **options: Any):
        self.events = []
        return Conductor(
            Job(source, Options(**options), self.root, fresh=fresh), self.pool, self.events.append, cancel,
            plan=self.plan, machine=self.machine, accepted=self.accepted, limits=self.limits,
        )  # fmt: skip

    def __call__(self, source: Path, **options: Any) -> Outcome:
        return self.conductor(source, **options).run()


def written(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "session.json").read_text("utf-8"))


def states(outcome: Outcome) -> dict[str, str]:
    return {name: record["state"] for name, record in written(outcome.folder)["stages"].items()}


def times(outcome: Outcome) -> dict[str, int]:
    return {str(p.relative_to(outcome.folder)): p.stat().st_mtime_ns for p in outcome.folder.rglob("out.txt")}


def assert_gone(pid: int, within: float = 1.0) -> None:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} lives on")
