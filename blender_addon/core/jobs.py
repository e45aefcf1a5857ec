# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel shows: the link to the worker and its jobs, as a state machine that a timer drives.

`Board.tick()` never waits. It keeps one request in the air: what the user asked for first, then the list of jobs.
The worker owns the jobs; so they survive undo, another file and a restart of Blender.
"""

from __future__ import annotations

import enum
import time
from collections import deque
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .client import Worker, check_health
from .errors import UNEXPECTED, AddonError, unexpected
from .exchange import Exchange
from .fetch import Fetch

FINAL = {"done", "partial", "failed", "cancelled"}
POLL_BUSY_S, POLL_IDLE_S, RETRY_S = 0.5, 3.0, 2.0


class Link(enum.Enum):
    ABSENT = "absent"  # no worker announced or entered
    STARTING = "starting"  # we started one, it has not answered yet
    READY = "ready"


@dataclass
class Job:
    """One still on its way. `error` is the worker's {code, en, zh, fix} or None."""

    id: str
    name: str
    state: str
    fraction: float = 0.0
    stage: str = ""
    note: str = ""
    position: int | None = None
    warnings: int = 0
    folder: str | None = None
    error: dict[str, Any] | None = None
    here: Path | None = None  # the session's folder on this machine, once it is known
    fetch: Fetch | None = None  # it is being brought from a worker elsewhere
    seen: list[tuple[float, float]] = field(default_factory=list)  # (monotonic time, fraction) while running

    @property
    def final(self) -> bool:
        return self.state in FINAL

    def seconds_left(self) -> float | None:
        """From the pace since we watch; None until it says anything."""
        if self.state != "running" or len(self.seen) < 2:
            return None
        (t0, f0), (t1, f1) = self.seen[0], self.seen[-1]
        return None if f1 - f0 < 0.03 else (1 - f1) * (t1 - t0) / (f1 - f0)


@dataclass
class _Wish:
    """A request waiting its turn: `begin` opens it, `then` takes its answer."""

    begin: Callable[[Worker], Exchange]
    then: Callable[[Any], None]
    quiet: bool = False


class Board:
    """`find` gives the worker to talk to, None where there is none, and may raise AddonError."""

    def __init__(
        self,
        find: Callable[[], Worker | None],
        clock: Callable[[], float] = time.monotonic,
        mine: MutableMapping[str, Any] | None = None,
    ) -> None:
        self._find, self._clock = find, clock
        self.mine: MutableMapping[str, Any] = {} if mine is None else mine  # sent from here -> what it was sent from
        self.link = Link.ABSENT
        self.worker: Worker | None = None
        self.version = ""
        self.jobs: list[Job] = []
        self.engines: list[dict[str, Any]] = []
        self.problem: AddonError | None = None  # the last thing that went wrong, until something goes right
        self.finished: list[Job] = []  # turned final since `take_finished`
        self._wishes: deque[_Wish] = deque()
        self._brought: dict[str, Callable[[Job], None]] = {}
        self._air: tuple[Exchange, _Wish] | None = None
        self._next_poll = 0.0
        self._evict = False  # whoever answers next is asked to end
        self._starting_until = 0.0

    # --- what the user asks for
    def submit(
        self, name: str, data: bytes | Path, options: dict[str, Any], output_root: str | None, fresh: bool,
        origin: Any = None,
    ) -> None:  # fmt: skip
        """Send a still. `origin` is kept in `mine` beside the job's id until its scene is imported."""

        def queued(answer: Any) -> None:
            self.mine[answer["id"]] = origin
            self._poll_soon()

        self._wish(lambda worker: worker.submit(name, data, options, output_root, fresh), queued)

    def act(self, job_id: str, verb: str, origin: Any = None) -> None:
        if verb == "retry":
            self.mine[job_id] = origin
        elif verb == "remove":
            self.mine.pop(job_id, None)
        self._wish(lambda worker: worker.act(job_id, verb), lambda answer: self._poll_soon())

    def ask_engines(self) -> None:
        """Which engines the worker has, and whether they run there."""
        self._wishes.append(_Wish(lambda worker: worker.engines(),
                                  lambda answer: setattr(self, "engines", answer["engines"]), quiet=True))  # fmt: skip

    def bring(self, job: Job, place: Path, then: Callable[[Job], None]) -> None:
        """Fetch a job's session to `place` from a worker on another machine; `then` when it is here."""
        if self.worker is not None and job.folder and job.fetch is None:
            job.fetch = Fetch(self.worker, job.id, job.folder, place)
            self._brought[job.id] = then

    def stop_worker(self) -> None:
        """End the worker; one that speaks another protocol too, to which there is no link."""
        if self.worker is None:
            self._evict = True
            self._poll_soon()
            return

        def stopped(answer: Any) -> None:
            self._lose(None)

        self._wish(lambda worker: worker.shutdown(), stopped)

    def expect_worker(self, seconds: float = 30.0) -> None:
        """One was started: look for it until then."""
        self.link, self.problem = Link.STARTING, None
        self._starting_until = self._clock() + seconds
        self._poll_soon()

    def look_again(self) -> None:
        """Look for a worker at the next tick."""
        self._poll_soon()

    def job(self, job_id: str) -> Job | None:
        return next((job for job in self.jobs if job.id == job_id), None)

    def take_finished(self) -> list[Job]:
        taken, self.finished = self.finished, []
        return taken

    @property
    def busy(self) -> bool:
        """Whether anything is under way that a timer should look at often."""
        talks = bool(self._air or self._wishes or self._brought) or self.link is Link.STARTING
        return talks or any(not job.final for job in self.jobs)

    # --- the timer's side
    def tick(self) -> bool:
        """Go on without waiting; True where something changed that a panel shows."""
        return self._carry() | self._talk()

    def _carry(self) -> bool:
        """Go on fetching the first session that is being brought here."""
        job = next((job for job in self.jobs if job.fetch is not None), None)
        if job is None or job.fetch is None:
            return False
        percent = int(100 * job.fetch.fraction)
        if not job.fetch.step():
            return int(100 * job.fetch.fraction) != percent
        fetch, job.fetch = job.fetch, None
        then = self._brought.pop(job.id)
        if fetch.error is not None:
            self.problem = fetch.error
        else:
            job.here = fetch.folder
            then(job)
        return True

    def _talk(self) -> bool:
        if self._air is not None:
            exchange, wish = self._air
            try:
                if not exchange.step():
                    return False
                self._air = None
                wish.then(exchange.result())
                if not wish.quiet:
                    self.problem = None
            except OSError as error:
                self._unreadable(error)
            except AddonError as error:
                self._air = None
                self._failed(error, wish)
            except UNEXPECTED as fault:
                self._failed(unexpected(fault), wish)
                self._next_poll = self._clock() + RETRY_S
            return True
        now = self._clock()
        if self.worker is None:
            return self._connect() if now >= self._next_poll else False
        if self._wishes:
            return self._begin(self._wishes.popleft())
        if now >= self._next_poll:
            return self._begin(_Wish(lambda worker: worker.jobs(), self._listed, quiet=True))
        return False

    def next_tick_s(self) -> float:
        """How soon to come again."""
        if self._air is not None or self._wishes or self._brought:
            return 0.03
        return 0.1 if self.busy else 0.5

    def close(self) -> None:
        if self._air is not None:
            self._air[0].close()
            self._air = None
        for job in self.jobs:
            if job.fetch is not None:
                job.fetch.close()

    def _wish(self, begin: Callable[[Worker], Exchange], then: Callable[[Any], None]) -> None:
        self._wishes.append(_Wish(begin, then))
        if self.worker is None:
            self._poll_soon()

    def _poll_soon(self) -> None:
        self._next_poll = 0.0

    def _begin(self, wish: _Wish) -> bool:
        assert self.worker is not None
        self._air = (wish.begin(self.worker), wish)
        return False

    def _unreadable(self, error: OSError) -> None:
        """A still that is gone meanwhile."""
        self._air = None
        reason = f"{error.filename}: {error.strerror}"
        self.problem = AddonError("still.unreadable", f"The still cannot be read. {reason}.",
                                  f"无法读取静帧。{reason}。")  # fmt: skip

    def _connect(self) -> bool:
        """Shake hands with whoever announced itself."""
        before = (self.link, self.problem)
        self._next_poll = self._clock() + (0.3 if self.link is Link.STARTING else RETRY_S)
        try:
            found = self._find()
        except AddonError as error:
            self.problem, found = error, None
        if found is None:
            if self.link is Link.STARTING and self._clock() > self._starting_until:
                self.link = Link.ABSENT
                self.problem = AddonError(
                    "worker.silent",
                    "The worker was started but did not come up. Its log tells why.",
                    "已启动工作进程，但其未能就绪。原因见其日志。",
                    fix="assetize.worker_log",
                )
            self._evict = False
            return before != (self.link, self.problem)
        if self._evict:
            self._evict = False
            goodbye = _Wish(lambda worker: found.shutdown(), lambda answer: self._lose(None), quiet=True)
            self._air = (found.shutdown(), goodbye)
            self._air[0].step()
            return False

        def greeted(answer: Any) -> None:
            self.version = check_health(answer)
            self.worker, self.link = found, Link.READY
            self.problem = None
            self.ask_engines()
            self._poll_soon()

        wish = _Wish(lambda worker: found.health(), greeted, quiet=True)
        self._air = (found.health(), wish)
        self._air[0].step()
        return False

    def _failed(self, error: AddonError, wish: _Wish) -> None:
        lost = error.code in ("worker.unreachable", "worker.stranger", "worker.version", "service.token")
        if lost and not wish.quiet:
            self._wishes.appendleft(wish)  # goes out again when the worker is back
        if lost:
            was_ready = self.link is Link.READY
            if was_ready and error.code == "worker.unreachable" and any(not job.final for job in self.jobs):
                error = AddonError(
                    "worker.lost",
                    "The worker ended while jobs were under way. Start it again: they go on where they stopped.",
                    "工作进程在任务进行中退出。请重新启动：任务将从中断处继续。",
                    fix="assetize.worker_start",
                )
            self._lose(error if was_ready or error.code != "worker.unreachable" else self.problem)
        else:
            self.problem = error

    def _lose(self, error: AddonError | None) -> None:
        self.worker = None
        if self.link is not Link.STARTING:
            self.link = Link.ABSENT
        self.problem = error
        self._next_poll = self._clock() + (0.3 if self.link is Link.STARTING else RETRY_S)

    def _listed(self, answer: Any) -> None:
        now = self._clock()
        known = {job.id: job for job in self.jobs}
        jobs = []
        for record in answer["jobs"]:
            job = known.get(record["id"]) or Job(record["id"], record["name"], "new")
            was = job.state
            for key in ("state", "fraction", "position", "warnings", "folder", "error"):
                setattr(job, key, record.get(key))
            if not job.final:
                job.here = None  # it may be another folder, or other files, when it is done
            job.stage, job.note = record.get("stage") or "", record.get("note") or ""
            if job.state != "running":
                job.seen.clear()
            elif not job.seen or job.fraction > job.seen[-1][1]:
                job.seen.append((now, job.fraction))
                del job.seen[1:-40]  # the first and the latest
            if job.final and was not in FINAL and (was != "new" or job.id in self.mine):
                self.finished.append(job)
            jobs.append(job)
        for job in known.values():
            if job.fetch is not None and job not in jobs:
                job.fetch.close()
                self._brought.pop(job.id, None)
        self.jobs = jobs
        active = any(not job.final for job in jobs)
        self._next_poll = now + (POLL_BUSY_S if active else POLL_IDLE_S)
