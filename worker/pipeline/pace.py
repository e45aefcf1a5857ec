"""How long each stage takes on this machine, learned from the runs it made: what makes a progress bar honest."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

import platformdirs

from worker.session import atomic
from worker.stages.base import StageSpec

_NEW = 0.4  # weight of the newest run in the moving average


def default_path() -> Path:
    return platformdirs.user_state_path("assetize", appauthor=False) / "pace.json"


class Pace:
    """Seconds by "stage/engine". A file that is missing or broken means that nothing was learned yet."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or default_path()
        self._seconds: dict[str, float] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for key, value in json.loads(self._path.read_text("utf-8")).items():
                if isinstance(value, int | float) and math.isfinite(value) and value > 0:
                    self._seconds[key] = float(value)

    def of(self, spec: StageSpec, engine: str | None) -> float:
        """Expected seconds: learned, else the SPEC's own estimate."""
        return self._seconds.get(_key(spec, engine), max(spec.weight, 0.01))

    def learn(self, spec: StageSpec, engine: str | None, seconds: float) -> None:
        key, seconds = _key(spec, engine), max(seconds, 0.01)
        old = self._seconds.get(key, seconds)
        self._seconds[key] = round((1 - _NEW) * old + _NEW * seconds, 3)

    def keep(self) -> None:
        """Write what was learned; that it cannot be written is no reason to fail."""
        with contextlib.suppress(OSError):
            atomic.write_json(self._path, dict(sorted(self._seconds.items())))


def _key(spec: StageSpec, engine: str | None) -> str:
    return f"{spec.name}/{engine or '-'}"
