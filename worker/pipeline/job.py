"""What a run is asked to do, what it is known by, and how it ended."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from worker.errors import ExitCode
from worker.formats import door
from worker.formats.refusals import refuse
from worker.session import atomic
from worker.session.model import InputRecord, Session
from worker.session.options import Options

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "assetize.session/1")


@dataclass(frozen=True)
class Job:
    """What to do. `fresh` does every stage anew although this very session stands already."""

    source: Path
    options: Options = field(default_factory=Options)
    output_root: Path = Path("outputs/pipeline_demo")
    name: str | None = None  # the still's name where `source` is an upload with a name of its own
    fresh: bool = False

    @property
    def image_name(self) -> str:
        """Valid Unicode even where the file system's bytes are not: it is written into session.json."""
        return (self.name or self.source.name).encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True)
class Outcome:
    folder: Path
    session: Session

    @property
    def exit_code(self) -> ExitCode:
        return {
            "done": ExitCode.OK,
            "partial": ExitCode.PARTIAL,
            "cancelled": ExitCode.CANCELLED,
        }.get(self.session.state, ExitCode.PARTIAL)


def session_id(sha256: str, options: Options) -> str:
    """UUID5 of the still's bytes and the options: the same run has the same identity on every machine."""
    text = json.dumps(options.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return str(uuid.uuid5(_NAMESPACE, f"{sha256} {text}"))


def look_at(job: Job) -> InputRecord:
    """What can be said of the file without decoding it; the plate stage replaces it. Raises InputError."""
    path = job.source
    door.first_bytes(path)
    try:
        size, sha256 = path.stat().st_size, atomic.sha256_of(path)
    except OSError as fault:
        raise refuse("input.unreadable", path, reason=fault.strerror) from None
    return InputRecord(
        name=job.image_name, sha256=sha256, bytes=size, format="", width=0, height=0, mode="", bit_depth=0,
        color_space="", crop=(0, 0, 0, 0),
    )  # fmt: skip
