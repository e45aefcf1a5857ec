# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a session here from a worker on another machine: one request at a time, none of which waits."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Generator
from pathlib import Path, PurePosixPath
from typing import Any

from .client import Worker
from .errors import UNEXPECTED, AddonError, unexpected
from .exchange import STEP_S, Exchange
from .session import wanted_files

MANIFEST = "session.json"


class Fetch:
    """`step()` until it is True; then `folder` is the session on this machine, or `error` says why there is none.

    Files that an earlier fetch brought are kept where the session's hashes say that they are the same. `there` is the
    session's folder on the worker's machine: where a shared disk shows that very session here, nothing is copied.
    """

    def __init__(self, worker: Worker, job_id: str, there: str, place: Path) -> None:
        self._worker, self._job_id, self._there, self._place = worker, job_id, there, place
        self._work = self._bring()
        self._air: Exchange | None = None
        self.received = self.total = 0
        self.done = False
        self.folder: Path | None = None
        self.error: AddonError | None = None

    @property
    def fraction(self) -> float:
        return self.received / self.total if self.total else 0.0

    def step(self) -> bool:
        """Go on without waiting; returns `done`."""
        end = time.monotonic() + STEP_S
        try:
            while not self.done and (self._air is None or self._air.step()):
                self._air = self._work.send(None if self._air is None else self._air.result())
                if time.monotonic() > end:
                    break
        except StopIteration as finished:
            self.folder = finished.value
            self.close()
        except AddonError as error:
            self.error = error
            self.close()
        except OSError as error:
            reason = f"{error.filename or self._place}: {error.strerror or error}"
            self.error = AddonError("fetch.disk", f"The session cannot be written here. {reason}.",
                                    f"无法在本机写入会话。{reason}。", fix="assetize.preferences")  # fmt: skip
            self.close()
        except UNEXPECTED as fault:
            self.error = unexpected(fault)
            self.close()
        return self.done

    def close(self) -> None:
        self.done = True
        if self._air is not None:
            self._air.close()
        self._work.close()

    def _bring(self) -> Generator[Exchange, Any, Path]:
        document = yield self._worker.file(self._job_id, MANIFEST)
        session_id = str(document.get("session_id", ""))
        shared = _manifest(Path(self._there))
        if session_id and (shared.get("session_id"), shared.get("updated")) == (session_id, document.get("updated")):
            return Path(self._there)
        listed = yield self._worker.files(self._job_id)
        sizes = {str(file["path"]): int(file["bytes"]) for file in listed["files"]}
        hashes = _hashes(document)
        folder = self._folder(session_id)
        held = _hashes(_manifest(folder))
        wanted = [name for name in wanted_files(document, sizes.keys()) if _is_plain(name)]
        self.total = sum(sizes[name] for name in wanted)
        for name in wanted:
            target = folder / name
            if held.get(name) == hashes.get(name, "") and target.is_file() and target.stat().st_size == sizes[name]:
                self.received += sizes[name]
            else:
                yield from self._one(name, target, hashes.get(name))
        part = folder / f".part-{MANIFEST}"
        part.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
        part.replace(folder / MANIFEST)  # last: what has it, is whole
        return folder

    def _one(self, name: str, target: Path, sha256: str | None) -> Generator[Exchange, Any, None]:
        target.parent.mkdir(parents=True, exist_ok=True)
        part, digest = target.with_name(f".part-{target.name}"), hashlib.sha256()
        try:
            with part.open("wb") as stream:

                def take(data: bytes) -> None:
                    stream.write(data)
                    digest.update(data)
                    self.received += len(data)

                yield self._worker.file(self._job_id, name, take)
            if sha256 and digest.hexdigest() != sha256:
                raise AddonError(
                    "fetch.changed",
                    f"{name} changed while it was fetched. Fetch the session once more.",
                    f"{name} 在获取过程中发生了变化。请重新获取该会话。",
                )
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _folder(self, session_id: str) -> Path:
        """`place`/<the session's name>; with a number where another session has that name."""
        name = re.split(r"[\\/]", self._there.rstrip("\\/"))[-1].lstrip(".") or "session"
        name = re.sub(r'[<>:"|?*\0-\x1f]', "_", name)
        for number in range(1, 10_000):
            folder = self._place / (name if number == 1 else f"{name}-{number}")
            if _manifest(folder).get("session_id", session_id) == session_id:
                folder.mkdir(parents=True, exist_ok=True)
                return folder
        raise FileExistsError(17, "too many sessions of this name", str(self._place))


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _hashes(document: dict[str, Any]) -> dict[str, str]:
    stages = document.get("stages") or {}
    return {name: str(sha) for stage in stages.values() for name, sha in (stage.get("outputs") or {}).items()}


def _is_plain(name: str) -> bool:
    """Whether a name from afar stays inside the folder, on any system."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and not any(
        part in ("", ".", "..") or "\\" in part or ":" in part for part in parts
    )  # fmt: skip
