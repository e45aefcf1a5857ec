"""What goes over HTTP. Errors are AssetizeError.as_dict()."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from worker.session.model import Model
from worker.session.options import Options

SERVICE_NAME = "assetize"
API_VERSION = 1


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


class Move(StrEnum):
    """Where a waiting job goes among the waiting: one place, or to an end."""

    UP = "up"
    DOWN = "down"
    FIRST = "first"
    LAST = "last"


class Error(Model):
    """`code` is stable; `en` and `zh` are for people; `fix` is a command that mends it, where there is one."""

    code: str
    en: str
    zh: str
    fix: str | None = None


class Health(Model):
    """`name`, `version` and `api` are told to everybody who may connect; the rest only to who has the token."""

    name: str
    version: str
    api: int
    pid: int | None = None
    queued: int | None = None
    running: int | None = None


class LocalJob(Model):
    """A job on a file that the service can read. `path` and `output_root` must lie in a folder that was allowed when
    the service was started (--allow)."""

    path: str = Field(min_length=1, max_length=4096)
    output_root: str | None = Field(default=None, min_length=1, max_length=4096)
    options: Options = Options()
    fresh: bool = False


class UploadedJob(Model):
    """The fields of a multipart upload. `still` is the picture, `options` an Options object as JSON text."""

    still: str = Field(json_schema_extra={"format": "binary"})
    options: str = "{}"
    output_root: str | None = Field(default=None, min_length=1, max_length=4096)
    fresh: bool = False


class JobRecord(Model):
    """`fraction` is of the whole job, by the stages' weights. `folder` is the session on the service's machine."""

    id: str
    name: str
    state: JobState
    created: str
    started: str | None = None
    finished: str | None = None
    position: int | None = None  # jobs that run before it, where it is queued
    fraction: float = 0.0
    stage: str | None = None
    note: str = ""
    warnings: int = 0
    folder: str | None = None
    exit_code: int | None = None
    error: Error | None = None
    options: Options = Options()
    fresh: bool = False


class JobList(Model):
    jobs: list[JobRecord]


class JobEvent(Model):
    """`seq` grows with each event of a job; `event` is one of docs/service.md's, its fields are in `data`."""

    seq: int
    event: str
    data: dict[str, Any]


class EventList(Model):
    """`next` goes into the next call's `since`. `final`: the job has ended and nothing will follow."""

    events: list[JobEvent]
    next: int
    final: bool


class Engine(Model):
    name: str
    stage: str
    title: str
    version: str
    installed: bool
    fits: bool
    device: str | None
    tier: str | None
    memory_mb: dict[str, int]
    heeds: list[str]
    licence_code: str
    licence_weights: str | None
    commercial_use: str
    gated: bool
    licence_accepted: bool
    licence_output: str
    licence_url: str | None
    licence_note: str
    weights_bytes: int
    download_bytes: int
    ready: bool
    why_not: Error | None


class EngineList(Model):
    engines: list[Engine]


class SessionFile(Model):
    """`path` within the session, with `/`."""

    path: str
    bytes: int


class FileList(Model):
    files: list[SessionFile]


class MoveJob(Model):
    to: Move


class Shutdown(Model):
    """`pid` as the announce file tells it, so that nobody ends a service that he did not mean."""

    pid: int


class Accepted(Model):
    ok: bool = True
