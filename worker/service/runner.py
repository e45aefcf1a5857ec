"""Takes jobs from the queue and runs them, one after the other, with hosts that stay warm."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any

from worker.errors import AssetizeError, Cancelled, ExitCode
from worker.host.pool import HostPool
from worker.pipeline.conductor import Conductor
from worker.pipeline.events import Event
from worker.pipeline.job import Job
from worker.pipeline.plan import Plan
from worker.service.models import Error, JobState
from worker.service.store import JobStore, Ticket

HOSTS_IDLE_S = 600.0
_PROGRESS_S = 0.25
_log = logging.getLogger("assetize.service")


class Runner:
    """`workers` threads, each with hosts of its own. `stop()` puts what is running back into the queue."""

    def __init__(self, store: JobStore, plan: Plan, workers: int = 1) -> None:
        self._store, self._plan = store, plan
        self._cancels: dict[str, threading.Event] = {}
        self._unwanted: set[str] = set()  # cancelled by their user, not by the service's end
        self._wake = threading.Condition()
        self._stopping = False
        shares = [(number, workers) for number in range(workers)]
        self._threads = [threading.Thread(target=self._work, args=share, name=f"runner-{share[0]}") for share in shares]

    @property
    def stopping(self) -> bool:
        return self._stopping

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        with self._wake:
            self._wake.notify_all()

    def stop(self) -> None:
        """End within about a second; running jobs are queued again and go on at the next start."""
        with self._wake:
            self._stopping = True
            for cancel in self._cancels.values():
                cancel.set()
            self._wake.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10.0)

    def cancel(self, job_id: str) -> None:
        """Stop a running job, or take a queued one out of the queue. A job that has ended stays as it is."""
        with self._wake:
            if self._store.change(job_id, [JobState.QUEUED], JobState.CANCELLED):
                self._store.tell(job_id, "job.finished", _finished("cancelled", ExitCode.CANCELLED, Cancelled()))
            elif job_id in self._cancels:
                self._unwanted.add(job_id)
                self._cancels[job_id].set()

    def _next(self) -> tuple[Ticket, threading.Event] | None:
        with self._wake:
            if self._stopping:
                return None
            ticket = self._store.take_next()
            if ticket is None:
                self._wake.wait(timeout=5.0)
                return None
            cancel = self._cancels[ticket.id] = threading.Event()
            return ticket, cancel

    def _work(self, number: int, of: int) -> None:
        with HostPool(share=(number, of)) as pool:
            while not self._stopping:
                if (work := self._next()) is None:
                    pool.retire_idle(HOSTS_IDLE_S)
                    continue
                ticket, cancel = work
                try:
                    self._run(ticket, pool, cancel)
                finally:
                    with self._wake:
                        del self._cancels[ticket.id]
                        self._unwanted.discard(ticket.id)

    def _run(self, ticket: Ticket, pool: HostPool, cancel: threading.Event) -> None:
        listener = _Listener(self._store, ticket.id)
        job = Job(ticket.source, ticket.options, ticket.output_root, ticket.name, ticket.fresh)
        state, code, folder, error = JobState.FAILED, ExitCode.INTERNAL, None, None
        try:
            outcome = Conductor(job, pool, listener, cancel, plan=self._plan).run()
            state, code, folder = JobState(outcome.session.state), outcome.exit_code, str(outcome.folder)
        except Cancelled as cancelled:
            state, code, error = JobState.CANCELLED, cancelled.exit_code, Error.model_validate(cancelled.as_dict())
        except AssetizeError as failure:
            code, error = failure.exit_code, Error.model_validate(failure.as_dict())
        except Exception as fault:  # a fault of ours fails this job, not the service
            _log.exception("job %s", ticket.id)
            text = f"An unexpected fault of the program ({type(fault).__name__}); its log has the details."
            internal = AssetizeError("job.fault", text, f"程序内部错误（{type(fault).__name__}），详情见日志。")
            error = Error.model_validate(internal.as_dict())
            listener({"event": "job.finished", **_finished("failed", code, internal)})
        if state is JobState.CANCELLED and self._stopping and ticket.id not in self._unwanted:
            return  # still RUNNING in the store, which puts it back at the next start
        self._store.finish(ticket.id, state, int(code), folder, error)
        listener.flush()


def _finished(state: str, code: ExitCode, error: AssetizeError) -> dict[str, Any]:
    return {"state": state, "folder": None, "exit_code": int(code), "error": error.as_dict(), "seconds": 0.0}


class _Listener:
    """Writes a run's events into the store; progress at most four times a second."""

    def __init__(self, store: JobStore, job_id: str) -> None:
        self._store, self._job_id = store, job_id
        self._last_progress = 0.0
        self._last_event: Event | None = None

    def __call__(self, event: Event) -> None:
        kind = event["event"]
        if kind == "job.finished":
            self._last_event = event  # told when the job's record is final as well
            return
        if kind == "progress":
            moment = time.monotonic()
            if moment - self._last_progress < _PROGRESS_S:
                return
            self._last_progress = moment
            columns = {"fraction": event["fraction"], "stage": event["stage"]}
            if event["note"]:
                columns["note"] = event["note"]
            self._store.update(self._job_id, **columns)
        elif kind == "stage.started":
            self._store.update(self._job_id, stage=event["stage"], note="")
        elif kind == "warning":
            record = self._store.get(self._job_id)
            self._store.update(self._job_id, warnings=record.warnings + 1 if record else 1)
        elif kind == "session":
            self._store.update(self._job_id, folder=event["folder"])
        self._tell(event)

    def flush(self) -> None:
        if self._last_event is not None:
            with contextlib.suppress(KeyError):
                if self._last_event["state"] in ("done", "partial"):
                    self._store.update(self._job_id, fraction=1.0)
            self._tell(self._last_event)

    def _tell(self, event: Event) -> None:
        self._store.tell(self._job_id, event["event"], {k: v for k, v in event.items() if k != "event"})
