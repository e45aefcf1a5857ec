# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that may not answer: a share whose server is off, a drive letter of yesterday.

Such a call blocks for half a minute and more, and nothing can interrupt it. So it is made in a thread of its own, and
whoever wants its answer, Blender's main thread above all, waits for a bounded time or not at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from .errors import AddonError

PATIENCE_S = 2.0  # at a click; a disk that sleeps goes on waking up meanwhile, so a second click succeeds
SILENT_S = 20.0  # without any movement, where nobody has to wait

T = TypeVar("T")


class Errand(Generic[T]):
    """`work()` beside everything else. Left alone it ends with the process: the thread is a daemon."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._ended = threading.Event()
        self._answer: Any = None
        self._fault: Exception | None = None
        threading.Thread(target=self._run, name="assetize-disk", daemon=True).start()

    def _run(self) -> None:
        try:
            self._answer = self._work()
        except Exception as fault:  # it is raised to whoever asks for the result
            self._fault = fault
        self._ended.set()

    @property
    def done(self) -> bool:
        return self._ended.is_set()

    def wait(self, seconds: float) -> bool:
        return self._ended.wait(seconds)

    def result(self) -> T:
        """Of an errand that is done: what `work` returned. Raises what it raised."""
        if self._fault is not None:
            raise self._fault
        answer: T = self._answer
        return answer


def within(path: Path | str, work: Callable[[], T], seconds: float | None = None) -> T:
    """`work()`, which touches `path`. Raises AddonError where that gives no answer in PATIENCE_S."""
    errand = Errand(work)
    if not errand.wait(PATIENCE_S if seconds is None else seconds):
        raise silent(path)
    return errand.result()


def exists(path: Path) -> bool:
    """False also where the system gives another reason than "no such file". Raises AddonError as `within` does."""

    def look() -> bool:
        try:
            return path.exists()
        except OSError:  # a share that was taken away, a drive without a disk
            return False

    return within(path, look)


def silent(path: Path | str) -> AddonError:
    return AddonError(
        "disk.silent",
        f"The disk of {path} does not answer. If it is a network drive or a share, connect it again or choose another "
        "place; then try once more.",
        f"{path} 所在的磁盘没有响应。若为网络驱动器或共享文件夹，请重新连接或另选位置，然后重试。",
    )
