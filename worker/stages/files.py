"""A stage's files, written and hashed beside its other work.

Encoding, hashing and the disk let go of the interpreter nearly all of their time, so files written on threads cost the
stage next to no waiting. They still belong to it: leaving the `with` block waits for every file, and what one of them
raised is raised there, in the stage. Each file comes into place whole (see worker.session.atomic) or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from worker.session.atomic import sha256_of

_THREADS = 2  # more would hold more memory at once: a thread keeps what it took for the next file


class Files:
    """`with Files() as files: files.put(path, write_png, pixels)`; then `outputs` and `sha256` of all."""

    def __init__(self) -> None:
        self.sha256: dict[Path, str] = {}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="files")
        self._tasks: dict[Path, Future[str]] = {}

    @property
    def outputs(self) -> list[Path]:
        return list(self._tasks)

    def put(self, path: Path, write: Callable[..., str | None], *content: Any) -> None:
        """Call `write(path, *content)` on a thread. `content` must not change until the block ends.

        A writer that returns the sha256 of what it wrote saves reading the file again.
        """
        self._tasks[path] = self._pool.submit(lambda: write(path, *content) or sha256_of(path))

    def __enter__(self) -> Files:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        """After a fault of the stage itself, files not begun are left; those begun come to their end first."""
        self._pool.shutdown(wait=True, cancel_futures=fault is not None)
        if fault is None:
            self.sha256 = {path: task.result() for path, task in self._tasks.items()}
