from __future__ import annotations

from fake_stages.acting import NOTICES, act
from worker.stages.base import StageContext, StageResult, StageSpec

SPEC = StageSpec(
    name="scene",
    title_en="Fake scene",
    title_zh="假scene",
    weight=1.0,
    engine="scene",
    requires=("plate", "geometry"),
    timeout_s=6.0,
)
__all__ = ["NOTICES", "SPEC", "run"]


def run(ctx: StageContext) -> StageResult:
    return act(ctx, "scene")
