from __future__ import annotations

from fake_stages.acting import NOTICES, act
from worker.stages.base import StageContext, StageResult, StageSpec

SPEC = StageSpec(
    name="report",
    title_en="Fake report",
    title_zh="假report",
    weight=1.0,
    requires=("plate",),
    uses=("geometry", "scene", "lighting"),
    timeout_s=6.0,
)
__all__ = ["NOTICES", "SPEC", "run"]


def run(ctx: StageContext) -> StageResult:
    return act(ctx, "report")
