# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a session here from a worker on another machine: one request at a time, in a thread, because the disks at
either end of it may stall."""

from __future__ import annotations

import hashlib
import json
import re
import time
from pathlib import Path, PurePosixPath
from typing import Any

from .client import Worker
from .errors import UNEXPECTED, AddonError, unexpected
from .exchange import Exchange
from .far_disk import SILENT_S, Errand, silent, within
from .session import wanted_files

MANIFEST = "session.json"


class _LeftAlone(Exception):
    """Nobody wants this fetch any more."""


class Fetch:
    """`step()` until it is True; then `folder` is the session on this machine, or `error` says why there is none.

    Files that an earlier fetch brought are kept where the session's hashes say that they are the same. `there` is the
    session's folder on the worker's machine: where a shared disk shows that very session here, nothing is copied.
    """

    def __init__(self, worker: Worker, job_id: str, there: str, place: Path) -> None:
        self._worker, self._job_id, self._there, self._place = worker, job_id, there, place
        self._errand: Errand[Path] | None = None
        self._moved = 0.0
        self.received = self.total = 0
        self.done = False
        self.folder: Path | None = None
        self.error: AddonError | None = None

    @property
    def fraction(self) -> float:
        return self.received / self.total if self.total else 0.0

    def step(self) -> bool:
        """Look how it goes, without waiting; returns `done`."""
        if self._errand is None:
            self._moved = time.monotonic()
            self._errand = Errand(self._bring)
        if not self.done and self._errand.done:
            self._end(self._errand)
        elif not self.done and time.monotonic() - self._moved > SILENT_S:
            self.error = silent(self._place)
            self.close()
        return self.done

    def _end(self, errand: Errand[Path]) -> None:
        try:
            self.folder = errand.result()
        except AddonError as error:
            self.error = error
        except OSError as error:
            reason = f"{error.filename or self._place}: {error.strerror or error}"
            self.error = AddonError("fetch.disk", f"The session cannot be written here. {reason}.",
                                    f"无法在本机写入会话。{reason}。", fix="assetize.preferences")  # fmt: skip
        except UNEXPECTED as fault:
            self.error = unexpected(fault)
        self.close()

    def close(self) -> None:
        """What is under way ends at its next step."""
        self.done = True

    # --- in the thread
    def _still_wanted(self) -> None:
        if self.done:
            raise _LeftAlone
        self._moved = time.monotonic()

    def _answer(self, exchange: Exchange) -> Any:
        try:
            while not exchange.step():
                self._still_wanted()
                exchange.wait()
            self._still_wanted()
            return exchange.result()
        finally:
            exchange.close()

    def _bring(self) -> Path:
        document = self._answer(self._worker.file(self._job_id, MANIFEST))
        session_id = str(document.get("session_id", ""))
        shared = self._look_there()
        if session_id and (shared.get("session_id"), shared.get("updated")) == (session_id, document.get("updated")):
            return Path(self._there)
        listed = self._answer(self._worker.files(self._job_id))
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
                self._one(name, target, hashes.get(name))
            self._still_wanted()
        part = folder / f".part-{MANIFEST}"
        part.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
        part.replace(folder / MANIFEST)  # last: what has it, is whole
        return folder

    def _look_there(self) -> dict[str, Any]:
        """The session's manifest where the worker has it; a share that is off is no reason to wait for it."""
        try:
            return within(self._there, lambda: _manifest(Path(self._there)))
        except AddonError:
            return {}

    def _one(self, name: str, target: Path, sha256: str | None) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        part, digest = target.with_name(f".part-{target.name}"), hashlib.sha256()
        try:
            with part.open("wb") as stream:

                def take(data: bytes) -> None:
                    self._still_wanted()
                    stream.write(data)
                    digest.update(data)
                    self.received += len(data)

                self._answer(self._worker.file(self._job_id, name, take))
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
