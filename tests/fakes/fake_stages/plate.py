from __future__ import annotations

from fake_stages.acting import NOTICES, act
from worker.stages.base import StageContext, StageResult, StageSpec

SPEC = StageSpec(
    name="plate",
    title_en="Fake plate",
    title_zh="假plate",
    weight=1.0,
    timeout_s=6.0,
)
__all__ = ["NOTICES", "SPEC", "run"]


def run(ctx: StageContext) -> StageResult:
    result = act(ctx, "plate")
    result.input = ctx.session.input.model_copy(update={"format": "FAKE", "width": 4, "height": 3})
    return result
