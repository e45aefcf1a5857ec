"""Clean plate: the still without its props and the shadows at their feet. Every other pixel stays as it was."""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import U8, Bool
from worker.engines.contract import CleanPlateRequest, CleanPlateResult
from worker.formats.image import read_grey, read_rgb, write_png
from worker.harvest.shadow import contact_shadow
from worker.session.harvest import HarvestManifest
from worker.stages.base import StageContext, StageResult, StageSpec

SPEC = StageSpec(
    name="clean_plate",
    title_en="Clean plate",
    title_zh="净景底图",
    weight=4.0,
    engine="clean_plate",
    requires=("plate", "harvest"),
)
NOTICES = {
    "clean_plate.nothing_removed": (
        "No props were taken, so the clean plate is the still itself.",
        "没有提取道具，净景底图与剧照相同。",
    ),
    "clean_plate.large": (
        "{percent} % of the frame was painted anew; what really stood behind is not known.",
        "画面的 {percent} % 为重新绘制，其后真实内容未知。",
    ),
    "clean_plate.smooth": (
        "{count} places had too little picture around them to copy from and were filled with smooth colour.",
        "有 {count} 处周围可参考的画面过少，仅以平滑颜色填充。",
    ),
    "clean_plate.touched_outside": (
        "The inpainting engine changed pixels outside the hole; they were put back.",
        "修补引擎改动了空洞以外的像素，已恢复原样。",
    ),
}
GROW = 0.006  # of the frame's diagonal: soft edges and halos go with the prop


def run(ctx: StageContext) -> StageResult:
    still = read_rgb(ctx.folder.still)
    manifest = HarvestManifest.model_validate_json(ctx.folder.harvest_manifest.read_text("utf-8"))
    alphas = [read_grey(ctx.folder.root / prop.mask) for prop in manifest.props]
    hole, shadow = removal(still, alphas)
    ctx.progress(0.1, "")
    clean = still
    if hole.any():
        result: CleanPlateResult = ctx.run_engine(CleanPlateRequest(still, hole, ctx.options.seed), 0.1, 0.95)
        clean = result.image
        if not np.array_equal(clean[~hole], still[~hole]):
            ctx.warn("clean_plate.touched_outside", degraded=True)
            clean = np.where(hole[..., None], clean, still)
    else:
        ctx.warn("clean_plate.nothing_removed")
    write_png(ctx.folder.clean, clean)
    write_png(ctx.folder.removed_mask, hole)
    return StageResult(
        outputs=[ctx.folder.clean, ctx.folder.removed_mask],
        quality={"painted_share": float(hole.mean()), "shadow_share": float(shadow.mean())},
    )


def removal(still: U8, alphas: list[U8]) -> tuple[Bool, Bool]:
    """What to paint anew: the props, their contact shadows (also alone, second), both grown past soft edges.

    Args:
        alphas: one (H, W) uint8 alpha a prop.
    """
    props = [alpha > 12 for alpha in alphas]
    everything = np.zeros(still.shape[:2], dtype=bool)
    for prop in props:
        everything |= prop
    shadow = np.zeros_like(everything)
    for prop in props:
        shadow |= contact_shadow(still, prop, everything & ~prop)
    reach = max(2, round(GROW * float(np.linalg.norm(everything.shape))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    grown = cv2.dilate((everything | shadow).astype(np.uint8), kernel).astype(bool)
    return grown, shadow
