from __future__ import annotations

from fake_stages.acting import NOTICES, act
from worker.stages.base import StageContext, StageResult, StageSpec

SPEC = StageSpec(
    name="lighting",
    title_en="Fake lighting",
    title_zh="假lighting",
    weight=1.0,
    requires=("plate",),
    timeout_s=6.0,
)
__all__ = ["NOTICES", "SPEC", "run"]


def run(ctx: StageContext) -> StageResult:
    return act(ctx, "lighting")
