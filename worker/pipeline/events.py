"""What a run tells while it goes on: one flat JSON object an event, the same for the CLI's --json and for HTTP.

job.started     session_id, name, stages [{name, title_en, title_zh, weight}], kept [names]
session         folder: where the session stands (told once the still was read)
stage.started   stage, attempt, engine, tier
progress        stage, stage_fraction, fraction (of the whole job), note
warning         stage, notice {code, en, zh, params}
stage.finished  stage, state, seconds, error (notice or null)
job.finished    state, folder, exit_code, error ({code, en, zh, fix} or null), seconds
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Event = dict[str, Any]
Listener = Callable[[Event], None]


class JobProgress:
    """The fraction of a whole job by its stages' expected seconds. Never goes back, is 1 only when all ended."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = dict(weights)
        self._total = sum(self._weights.values())
        self._ended = 0.0
        self.fraction = 0.0

    def within(self, stage: str, fraction: float) -> float:
        if self._total:
            self.fraction = max(self.fraction, (self._ended + self._weights.get(stage, 0.0) * fraction) / self._total)
        return self.fraction

    def end(self, stage: str) -> float:
        self._ended += self._weights.pop(stage, 0.0)
        if not self._weights:
            self.fraction = 1.0
        return self.within(stage, 0.0)
