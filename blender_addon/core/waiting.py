# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs sent from here whose scenes are still to come, and what they were sent from. Kept on disk: a restart of
Blender forgets none."""

from __future__ import annotations

import contextlib
import json
from collections import UserDict
from pathlib import Path

KEPT = 200


class Waiting(UserDict[str, dict[str, str]]):
    """job id -> {"file": this run's mark of the open file, "blend": its path or ""}. Every change is written."""

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self._path = path
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if path is not None:
                found = json.loads(path.read_text(encoding="utf-8"))
                self.data = {str(key): {k: str(v) for k, v in value.items()} for key, value in found.items()}

    def __setitem__(self, job_id: str, origin: dict[str, str]) -> None:
        self.data.pop(job_id, None)
        self.data[job_id] = origin
        while len(self.data) > KEPT:
            del self.data[next(iter(self.data))]
        self._write()

    def __delitem__(self, job_id: str) -> None:
        del self.data[job_id]
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        with contextlib.suppress(OSError):  # a full disk must not stop a job; what is lost is one automatic import
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_name(f".part-{self._path.name}")
            part.write_text(json.dumps(self.data), encoding="utf-8")
            part.replace(self._path)
