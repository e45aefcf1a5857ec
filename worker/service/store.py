"""The job queue on disk: SQLite, one connection behind a lock. It outlives the service."""

from __future__ import annotations

import datetime
import json
import sqlite3
import threading
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.service.models import Error, JobEvent, JobRecord, JobState, Move
from worker.session.options import Options

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    output_root TEXT NOT NULL,
    options TEXT NOT NULL,
    fresh INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    state TEXT NOT NULL,
    created TEXT NOT NULL,
    started TEXT,
    finished TEXT,
    fraction REAL NOT NULL DEFAULT 0,
    stage TEXT,
    note TEXT NOT NULL DEFAULT '',
    warnings INTEGER NOT NULL DEFAULT 0,
    folder TEXT,
    exit_code INTEGER,
    error TEXT
);
CREATE TABLE IF NOT EXISTS events (
    job TEXT NOT NULL,
    seq INTEGER NOT NULL,
    event TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Ticket:
    """What a runner needs to know of a job."""

    id: str
    name: str
    source: Path
    output_root: Path
    options: Options
    fresh: bool


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JobStore:
    """Every method may be called from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        self._put_back()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _run(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    # --- jobs -------------------------------------------------------------------------------------------------------
    def add(self, name: str, source: Path, output_root: Path, options: Options, fresh: bool, job_id: str = "") -> str:
        job_id = job_id or uuid.uuid4().hex
        self._run(
            "INSERT INTO jobs (id, name, source, output_root, options, fresh, turn, state, created)"
            " VALUES (?, ?, ?, ?, ?, ?, (SELECT COALESCE(MAX(turn), 0) + 1 FROM jobs), ?, ?)",
            job_id, name, str(source), str(output_root), options.model_dump_json(), fresh, JobState.QUEUED, now(),
        )  # fmt: skip
        return job_id

    def get(self, job_id: str) -> JobRecord | None:
        rows = self._run("SELECT * FROM jobs WHERE id = ?", job_id)
        return self._record(rows[0]) if rows else None

    def all(self, ended: int = -1) -> list[JobRecord]:
        """Newest first; of those that have ended the newest `ended` only (-1: all)."""
        rows = self._run(
            "SELECT * FROM jobs WHERE state IN (?, ?) OR number IN"
            " (SELECT number FROM jobs WHERE state NOT IN (?, ?) ORDER BY number DESC LIMIT ?) ORDER BY number DESC",
            *(2 * (JobState.QUEUED, JobState.RUNNING)), ended,
        )  # fmt: skip
        return [self._record(row) for row in rows]

    def count(self, state: JobState) -> int:
        return int(self._run("SELECT COUNT(*) FROM jobs WHERE state = ?", state)[0][0])

    def ticket(self, job_id: str) -> Ticket | None:
        rows = self._run("SELECT * FROM jobs WHERE id = ?", job_id)
        if not rows:
            return None
        row = rows[0]
        return Ticket(
            row["id"], row["name"], Path(row["source"]), Path(row["output_root"]),
            Options.model_validate_json(row["options"]), bool(row["fresh"]),
        )  # fmt: skip

    def take_next(self) -> Ticket | None:
        """The queued job whose turn it is, now running; None where the queue is empty."""
        with self._lock:
            rows = self._run("SELECT id FROM jobs WHERE state = ? ORDER BY turn LIMIT 1", JobState.QUEUED)
            if not rows:
                return None
            job_id = rows[0]["id"]
            self._run("UPDATE jobs SET state = ?, started = ? WHERE id = ?", JobState.RUNNING, now(), job_id)
            return self.ticket(job_id)

    def change(self, job_id: str, before: Iterable[JobState], state: JobState) -> bool:
        """Change the state where it is one of `before`; tells whether it was."""
        with self._lock:
            record = self.get(job_id)
            if record is None or record.state not in tuple(before):
                return False
            self._run("UPDATE jobs SET state = ? WHERE id = ?", state, job_id)
            if state is JobState.QUEUED:  # again, at the end of the queue
                self._run(
                    "UPDATE jobs SET turn = (SELECT MAX(turn) + 1 FROM jobs), started = NULL, finished = NULL,"
                    " fraction = 0, stage = NULL, note = '', warnings = 0, exit_code = NULL, error = NULL"
                    " WHERE id = ?", job_id,
                )  # fmt: skip
            elif state.final:
                self._run("UPDATE jobs SET finished = ? WHERE id = ?", now(), job_id)
            return True

    def move(self, job_id: str, to: Move) -> bool:
        """Give a queued job another turn among the queued; False where it does not wait (any more)."""
        with self._lock:
            rows = self._run("SELECT id, turn FROM jobs WHERE state = ? ORDER BY turn", JobState.QUEUED)
            order = [row["id"] for row in rows]
            if job_id not in order:
                return False
            at, last = order.index(job_id), len(order) - 1
            target = {Move.UP: max(at - 1, 0), Move.DOWN: min(at + 1, last), Move.FIRST: 0, Move.LAST: last}[to]
            order.insert(target, order.pop(at))
            self._run("BEGIN IMMEDIATE")
            for row, each in zip(rows, order, strict=True):
                self._run("UPDATE jobs SET turn = ? WHERE id = ?", row["turn"], each)
            self._run("COMMIT")
            return True

    def _put_back(self) -> None:
        """What runs was interrupted by the service's end: it keeps its turn, which comes first."""
        self._run("UPDATE jobs SET state = ? WHERE state = ?", JobState.QUEUED, JobState.RUNNING)

    def finish(self, job_id: str, state: JobState, exit_code: int, folder: str | None, error: Error | None) -> None:
        self._run(
            "UPDATE jobs SET state = ?, exit_code = ?, folder = COALESCE(?, folder), error = ?, finished = ?,"
            " stage = NULL, note = '' WHERE id = ?",
            state, exit_code, folder, error and error.model_dump_json(), now(), job_id,
        )  # fmt: skip

    def update(self, job_id: str, **columns: Any) -> None:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._run(f"UPDATE jobs SET {assignments} WHERE id = ?", *columns.values(), job_id)

    def delete(self, job_id: str) -> None:
        with self._lock:
            self._run("DELETE FROM events WHERE job = ?", job_id)
            self._run("DELETE FROM jobs WHERE id = ?", job_id)

    def _record(self, row: sqlite3.Row) -> JobRecord:
        values = {name: row[name] for name in JobRecord.model_fields if name in row.keys()}  # noqa: SIM118
        values["options"] = Options.model_validate_json(row["options"])
        values["error"] = row["error"] and Error.model_validate_json(row["error"])
        if row["state"] == JobState.QUEUED:
            ahead = self._run(
                "SELECT COUNT(*) FROM jobs WHERE state = ? OR (state = ? AND turn < ?)",
                JobState.RUNNING, JobState.QUEUED, row["turn"],
            )  # fmt: skip
            values["position"] = int(ahead[0][0])
        return JobRecord.model_validate(values)

    # --- events -----------------------------------------------------------------------------------------------------
    def tell(self, job_id: str, event: str, data: dict[str, Any]) -> None:
        self._run(
            "INSERT INTO events SELECT ?, COALESCE(MAX(seq), 0) + 1, ?, ? FROM events WHERE job = ?",
            job_id, event, json.dumps(data), job_id,
        )  # fmt: skip

    def events(self, job_id: str, since: int) -> list[JobEvent]:
        """At most 1,000 events after `since`, oldest first."""
        rows = self._run("SELECT * FROM events WHERE job = ? AND seq > ? ORDER BY seq LIMIT 1000", job_id, since)
        return [JobEvent(seq=row["seq"], event=row["event"], data=json.loads(row["data"])) for row in rows]
