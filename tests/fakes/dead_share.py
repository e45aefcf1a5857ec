"""A network drive whose server is off."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest


class DeadShare:
    """Whatever is asked of a path below `root` waits until `answer` is set, as for a server that is off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.root, self.answer, self.asked = root, threading.Event(), 0
        for name in ("stat", "open", "mkdir"):
            monkeypatch.setattr(Path, name, self._slow(getattr(Path, name)))

    def _slow(self, real: Any) -> Any:
        def slow(path: Path, *rest: Any, **more: Any) -> Any:
            if path.is_relative_to(self.root) and not self.answer.is_set():
                self.asked += 1
                assert threading.current_thread() is not threading.main_thread(), "Blender would stand still"
                self.answer.wait(10)
            return real(path, *rest, **more)

        return slow
