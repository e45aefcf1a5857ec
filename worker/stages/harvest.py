"""Harvest: several props out of one still, each with a clean cut-out; what is left out is told with its reason.

The engine proposes masks and knows nothing of rules; the hero rules (worker/harvest/rules.py) decide; the alpha is made
here at full resolution. A user's box is never refused: what speaks against it becomes a remark.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from worker.arrays import U8, Bool
from worker.engines.contract import HarvestRequest, HarvestResult, SurfaceClass
from worker.formats.image import read_rgb, write_png
from worker.formats.pointmap import Pointmap, read_pointmap
from worker.harvest import matting, naming, rules
from worker.session.atomic import write_json
from worker.session.harvest import Box, Candidate, HarvestedProp, HarvestManifest, Outline
from worker.session.model import Notice
from worker.stages.base import StageContext, StageResult, StageSpec

SPEC = StageSpec(
    name="harvest",
    title_en="Finding props",
    title_zh="寻找道具",
    weight=6.0,
    engine="harvest",
    requires=("plate",),
    uses=("geometry",),
)
NOTICES = {
    "harvest.nothing_salient": (
        "Nothing in this still stands out enough to be a prop; draw a box (--roi x,y,w,h) around what you want.",
        "画面中没有足够突出的道具；请用 --roi x,y,w,h 框选所需物体。",
    ),
    "harvest.none_kept": (
        "{count} things were looked at and none passed the rules for props; the report says why for each. "
        "Draw a box (--roi x,y,w,h) to insist.",
        "共检视 {count} 个物体，均未通过道具规则，报告中列明原因。如需保留，请用 --roi x,y,w,h 框选。",
    ),
    "harvest.no_depth_rules": (
        "Occlusion and flatness were not checked, because no trustworthy depth was there.",
        "由于没有可信的深度，未检查遮挡与平面性。",
    ),
    "harvest.roi_outside": (
        "Box {number} ({box}) lies outside the picture area and was left out.",
        "第 {number} 个框（{box}）位于画面区域之外，已忽略。",
    ),
    "harvest.roi_forced": (
        "Box {number} was taken as asked, although the rules speak against it: {why}",
        "已按要求保留第 {number} 个框，尽管不符合规则：{why}",
    ),
    "harvest.people_left_out": (
        "{count} people were seen and left out; people are never cut out as props.",
        "检测到 {count} 个人物并已排除；人物不会被作为道具。",
    ),
    "harvest.more_than_asked": (
        "{count} more good props were left out, because at most {limit} were asked for (--max_props).",
        "另有 {count} 个合格道具被略去，因为上限为 {limit} 个（--max_props）。",
    ),
    # reasons in the manifest
    "harvest.person": ("It is a person.", "这是人物。"),
    "harvest.too_small": ("It covers {percent} % of the frame; {limit:.1f} % is the least that can be rebuilt.",
                          "仅占画面 {percent} %，至少需 {limit:.1f} % 才能重建。"),
    "harvest.too_large": ("It covers {percent} % of the frame, more than {limit:.0f} %: a set, not a prop.",
                          "占画面 {percent} %，超过 {limit:.0f} %：属于布景而非道具。"),
    "harvest.too_few_pixels": ("Its longest side is {side} pixels; {limit} is the least that can be rebuilt.",
                               "最长边仅 {side} 像素，至少需 {limit} 像素才能重建。"),
    "harvest.coarse": ("Its longest side is only {side} pixels: expect a coarse model.",
                       "最长边仅 {side} 像素，模型会较粗糙。"),
    "harvest.truncated": ("The frame's edge cuts it: {percent} % of its outline lies there.",
                          "被画面边缘截断：{percent} % 的轮廓位于边缘。"),
    "harvest.slightly_truncated": ("The frame's edge touches it ({percent} % of its outline).",
                                   "轻微触及画面边缘（{percent} % 的轮廓）。"),
    "harvest.fragments": ("It fell into {count} pieces, the largest {percent} % of it.",
                          "分裂为 {count} 块，最大一块占 {percent} %。"),
    "harvest.holes": ("One can look through it: {percent} % of its area are holes.",
                      "存在镂空：孔洞面积为 {percent} %。"),
    "harvest.occluded": ("Something nearer hides part of it along {percent} % of its outline.",
                         "{percent} % 的轮廓被更近的物体遮挡。"),
    "harvest.slightly_occluded": ("Something nearer touches {percent} % of its outline.",
                                  "{percent} % 的轮廓与更近的物体相接。"),
    "harvest.flat": ("It lies flat in its surroundings ({percent} % of its points on one plane, no depth step around "
                     "it): a surface or a picture on it.",
                     "与周围共面（{percent} % 的点在同一平面，周围无深度变化）：属于表面或其上的图案。"),
    "harvest.sky": ("It is sky.", "这是天空。"),
    "harvest.duplicate": ("It is the same thing as one already taken.", "与已选道具为同一物体。"),
    "harvest.overlap": ("It shares much of its area with a clearer prop already taken.",
                        "与已选的更清晰道具大面积重叠。"),
    "harvest.part": ("It is a part of a prop already taken.", "是已选道具的一部分。"),
    "harvest.group": ("It joins several things; what stands out clearly inside it ({count}) was taken by itself.",
                      "它连接了多个物体；其中较清晰的（{count} 个）已单独选取。"),
    "harvest.over_limit": ("Better props filled the limit of {limit}.", "已被更优道具占满 {limit} 个名额。"),
}


def run(ctx: StageContext) -> StageResult:
    image = read_rgb(ctx.folder.still)
    height, width = image.shape[:2]
    depth = _trusted_depth(ctx)
    boxes = _roi_boxes(ctx)
    request = HarvestRequest(image, [box for _, box in boxes], ctx.options.max_props, ctx.options.seed)
    if depth is not None:
        request.points, request.mask, request.sky = depth.points, depth.mask, depth.sky
        request.confidence, request.intrinsics = depth.confidence, depth.intrinsics
        _add_segmentation(ctx, request)
    result: HarvestResult = ctx.run_engine(request, 0.02, 0.75)

    items = _judged(result, [number for number, _ in boxes])
    for item in items:
        rules.judge(item, image, depth)
        if request.sky is not None and (item.mask & request.sky).sum() > 0.5 * item.mask.sum():
            item.fatal.append(("harvest.sky", {}))
    rules.drop_duplicates(items)
    chosen = _choose(ctx, items)
    ctx.progress(0.8, "")

    manifest = HarvestManifest(width=width, height=height, depth_used=depth is not None)
    outputs = []
    for number, item in enumerate(chosen, 1):
        prop = _write_prop(ctx, f"prop_{number:02d}", item, image)
        manifest.props.append(prop)
        outputs += [ctx.folder.prop_crop(prop.id), ctx.folder.prop_mask(prop.id)]
        ctx.progress(0.8 + 0.2 * number / len(chosen), prop.label)
    rejected = [i for i in items if not any(i is c for c in chosen)]
    for item in sorted(rejected, key=lambda i: -i.score):
        manifest.rejected.append(Candidate(**_facts(ctx, item, image), reasons=_reasons(ctx, item.fatal)))
    write_json(ctx.folder.harvest_manifest, manifest.model_dump(mode="json", by_alias=True))
    _tell(ctx, items, chosen, depth)
    return StageResult(
        outputs=[ctx.folder.harvest_manifest, *outputs],
        quality={"props": float(len(chosen)), "rejected": float(len(rejected))},
        details={"props": [p.id for p in manifest.props]},
    )


# --- what goes in ---------------------------------------------------------------------------------------------------
def _trusted_depth(ctx: StageContext) -> Pointmap | None:
    """A pointmap the rules may rely on; a degraded one (a guessed layout) would reject at random."""
    if not ctx.done("geometry") or ctx.session.stages["geometry"].degraded:
        return None
    return read_pointmap(ctx.folder.pointmap)


def _add_segmentation(ctx: StageContext, request: HarvestRequest) -> None:
    scene = ctx.session.scene
    if scene is not None:
        request.gravity = np.asarray(scene.gravity, dtype=np.float32)
        if scene.ground_plane is not None:
            plane = scene.ground_plane
            request.ground_plane = np.asarray(plane.normal, dtype=np.float32), plane.offset, plane.confidence
    if ctx.folder.segmentation.is_file():
        with np.load(ctx.folder.segmentation, allow_pickle=False) as data:
            request.instances, request.classes = data["instances"], data["classes"]
            request.instance_readings = data.get("instance_readings")
            request.sky = data["classes"] == SurfaceClass.SKY


def _roi_boxes(ctx: StageContext) -> list[tuple[int, Box]]:
    """The user's boxes as (index, box in still pixels), those outside the picture area told and left out."""
    boxes = []
    for number, roi in enumerate(ctx.options.rois):
        box = ctx.session.input.to_still_box(roi)
        if box is None:
            ctx.warn("harvest.roi_outside", number=number + 1, box=",".join(map(str, roi)))
        else:
            boxes.append((number, box))
    return boxes


def _judged(result: HarvestResult, roi_numbers: list[int]) -> list[rules.Judged]:
    """Proposals as the rules want them; the engine answers boxes first and in their order."""
    items, rois = [], iter(roi_numbers)
    for proposal in result.proposals:
        roi = next(rois, None) if proposal.source == "roi" else None
        mask = rules.tidy(proposal.mask)
        if mask.any():
            items.append(rules.Judged(mask, proposal.score, proposal.source, proposal.is_person, roi))
    return items


# --- what comes out -------------------------------------------------------------------------------------------------
def _choose(ctx: StageContext, items: list[rules.Judged]) -> list[rules.Judged]:
    """The props, best first, at most max_props; boxes come before anything found unasked."""
    limit = ctx.options.max_props
    good = sorted((i for i in items if i.roi is not None or not i.fatal), key=lambda i: (i.roi is None, -i.score))
    for item in good[limit:]:
        item.fatal.append(("harvest.over_limit", {"limit": limit}))
    if len(good) > limit:
        ctx.warn("harvest.more_than_asked", count=len(good) - limit, limit=limit)
    return sorted(good[:limit], key=lambda i: -i.score)


def _write_prop(ctx: StageContext, prop_id: str, item: rules.Judged, image: U8) -> HarvestedProp:
    x, y, w, h = item.box
    margin = 4 * matting.band_width(item.mask)
    x0, y0 = max(0, x - margin), max(0, y - margin)
    x1, y1 = min(image.shape[1], x + w + margin), min(image.shape[0], y + h + margin)
    crop, mask = image[y0:y1, x0:x1], item.mask[y0:y1, x0:x1]
    alpha = matting.soft_alpha(crop, mask)
    levels = np.round(alpha * 255).astype(np.uint8)
    write_png(ctx.folder.prop_crop(prop_id), np.dstack([matting.foreground_colors(crop, alpha), levels]))
    full = np.zeros(image.shape[:2], dtype=np.uint8)
    full[y0:y1, x0:x1] = levels
    write_png(ctx.folder.prop_mask(prop_id), full)
    return HarvestedProp(
        **_facts(ctx, item, image),
        reasons=_reasons(ctx, item.remarks + (item.fatal if item.roi is not None else [])),
        id=prop_id,
        mask=ctx.folder.relative(ctx.folder.prop_mask(prop_id)),
        crop=ctx.folder.relative(ctx.folder.prop_crop(prop_id)),
        crop_box=(x0, y0, x1 - x0, y1 - y0),
        truncated=item.truncated,
        occluded=item.occluded,
        roi=item.roi,
    )


def _facts(ctx: StageContext, item: rules.Judged, image: U8) -> dict[str, Any]:
    label, label_zh = naming.describe(image, item.mask)
    return {
        "label": label,
        "label_zh": label_zh,
        "source": item.source,
        "score": item.score,
        "bbox": item.box,
        "area": round(float(item.mask.mean()), 6),
        "outline": outline(item.mask),
    }


def outline(mask: Bool) -> Outline:
    """Polygons of the mask's outer edges, simplified to about a thousandth of the frame: enough to draw, little to
    store."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    tolerance = 0.001 * max(mask.shape)
    polygons = [cv2.approxPolyDP(c, tolerance, True)[:, 0] for c in contours]
    return [[(int(x), int(y)) for x, y in p] for p in polygons if len(p) >= 3]


def _reasons(ctx: StageContext, reasons: list[rules.Reason]) -> list[Notice]:
    return [ctx.notice(code, **params) for code, params in reasons]


def _tell(ctx: StageContext, items: list[rules.Judged], chosen: list[rules.Judged], depth: Pointmap | None) -> None:
    if depth is None:
        ctx.warn("harvest.no_depth_rules")
    if items and not chosen and ctx.options.max_props > 0:
        ctx.warn("harvest.none_kept", count=len(items))
    people = sum(1 for i in items if i.is_person and i.roi is None)
    if people:
        ctx.warn("harvest.people_left_out", count=people)
    for item in chosen:
        if item.roi is not None and item.fatal:
            notes = _reasons(ctx, item.fatal)
            note = ctx.notice("harvest.roi_forced", number=item.roi + 1, why=" ".join(n.en for n in notes))
            note.zh = NOTICES["harvest.roi_forced"][1].format(number=item.roi + 1, why="".join(n.zh for n in notes))
            ctx.warnings.append(note)
