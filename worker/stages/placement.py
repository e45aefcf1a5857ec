"""Placement: every prop stands where the still shows it.

Whatever engine made a mesh, the same steps follow, each kept only if it improves (or, for contact with the ground and
with each other, costs the silhouette next to nothing): the engine's own pose or a search, refinement by render and
compare, distance from the pointmap, snap onto what it stands on, push apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from worker.arrays import F64, I32, U8, Bool
from worker.formats.glb import read_glb
from worker.formats.image import read_grey, read_rgb
from worker.formats.mesh import TexturedMesh
from worker.formats.pointmap import Pointmap, read_pointmap
from worker.placement import pose as poses
from worker.placement import support as supports
from worker.placement.evidence import Agreement, Evidence, compare
from worker.placement.in_front import Backdrop
from worker.placement.pose import Body, Pose
from worker.session.frames import PROP_FROM_GLB
from worker.session.harvest import HarvestedProp, HarvestManifest
from worker.session.model import Dimensions, Matrix4, PlacedProp, SceneRecord
from worker.stages.base import StageContext, StageResult, StageSpec

SPEC = StageSpec(
    name="placement",
    title_en="Placing props",
    title_zh="放置道具",
    weight=3.0,
    requires=("geometry", "harvest", "props"),
    uses=("scene",),
)
NOTICES = {
    "placement.poor_silhouette": (
        "“{label}” covers its outline in the still only to {percent} %; its pose is doubtful.",
        "“{label}”与剧照轮廓的重合度仅为 {percent} %；其姿态存疑。",
    ),
    "placement.not_grounded": (
        "“{label}” was not set down: nothing fit to carry it was found below; it stays at the depth of the pointmap.",
        "“{label}”未落到支撑面上：其下方未找到合适的支撑。其保持在点图深度处。",
    ),
    "placement.overlap": (
        "“{first}” and “{second}” share {percent} % of the smaller one's volume.",
        "“{first}”与“{second}”重叠了较小者体积的 {percent} %。",
    ),
    "placement.unplaced": (
        "“{label}” ({id}) could not be placed: {reason}.",
        "无法放置“{label}”（{id}）：{reason}。",
    ),
}
GOOD_IOU, POOR_IOU = 0.8, 0.7
IOU_MAY_COST = 0.01  # what contact with the ground or with a neighbour may cost
GAP_SHARE = 0.02  # of the prop's height: nearer than this to its support it stands
DEPTH_MAY_COST = 0.1  # relative; measured depth outweighs a contact that is guessed
OVERLAP_SHARE = 0.03
MOST_PUSH = 0.06  # of the smaller footprint


@dataclass
class Placing:
    """One prop on its way: `steps` is the record of what was tried and kept."""

    prop: HarvestedProp
    mesh: TexturedMesh
    coarse: Evidence
    fine: Evidence
    pose: Pose
    found: Agreement
    support: supports.Support | None = None
    grounded: bool = False
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def vertices(self) -> F64:
        return self.pose.apply(self.mesh.vertices.astype(np.float64))

    def measure(self, pose: Pose) -> Agreement:
        return compare(pose.apply(self.mesh.vertices.astype(np.float64)), self.mesh.faces, self.fine)

    def offer(self, step: str, pose: Pose, cost: float, **facts: Any) -> bool:
        """Take `pose` unless the silhouette falls by more than `cost`; record either way."""
        found = self.measure(pose)
        kept = found.iou >= self.found.iou - cost
        self.steps.append({"step": step, "kept": kept, "iou": round(found.iou, 4), **facts})
        if kept:
            self.pose, self.found = pose, found
        return kept


def run(ctx: StageContext) -> StageResult:
    scene = ctx.session.scene
    assert scene is not None, "geometry is done but wrote no scene"
    manifest = HarvestManifest.model_validate_json(ctx.folder.harvest_manifest.read_text(encoding="utf-8"))
    facts = ctx.session.stages["props"].details.get("props", {})
    pointmap, image = read_pointmap(ctx.folder.pointmap), read_rgb(ctx.folder.still)
    relief = not ctx.session.stages["geometry"].degraded
    up = -np.asarray(scene.gravity, dtype=np.float64)
    masks = {p.id: read_grey(ctx.folder.prop_mask(p.id)) >= 128 for p in manifest.props}
    every = np.any(np.stack(list(masks.values())), axis=0) if masks else np.zeros(image.shape[:2], bool)
    placed = []
    for number, prop in enumerate(p for p in manifest.props if p.id in facts):
        try:
            item = _start(ctx, prop, facts[prop.id], masks[prop.id], pointmap, image, relief, up)
        except (ValueError, OSError) as error:
            ctx.log.exception("placing %s", prop.id)
            ctx.warn("placement.unplaced", degraded=True, label=prop.label, id=prop.id, reason=str(error).rstrip("."))
            continue
        _ground(item, masks[prop.id], every, pointmap, scene, up)
        placed.append(item)
        ctx.progress(0.9 * (number + 1) / max(1, len(facts)), prop.label)
    if ctx.done("scene") and ctx.folder.background.is_file():
        _bring_in_front(placed, Backdrop.read(ctx.folder.background, pointmap.intrinsics.astype(np.float64)), up)
    overlaps = _push_apart(placed, up)
    for first, second, share in overlaps:
        ctx.warn("placement.overlap", first=first, second=second, percent=round(100 * share))
    props = [_record(ctx, item, up) for item in placed]
    return StageResult(
        scene=scene.model_copy(update={"props": props}),
        quality=_quality(props),
        details={"steps": {item.prop.id: item.steps for item in placed}},
    )


# --- pose -----------------------------------------------------------------------------------------------------------
def _start(ctx: StageContext, prop: HarvestedProp, facts: dict[str, Any], mask: Bool, pointmap: Pointmap, image: U8,
           relief: bool, up: F64) -> Placing:  # fmt: skip
    """The engine's own pose, or the best that search and refinement find."""
    if not mask.any():
        raise ValueError("its mask is empty")
    mesh = read_glb(ctx.folder.prop_glb(prop.id))
    intrinsics = pointmap.intrinsics.astype(np.float64)
    rough, coarse, fine = (
        Evidence.around(mask, pointmap.points, pointmap.mask, image, intrinsics, relief, longest)
        for longest in (64, 112, 400)
    )
    given = facts.get("camera_from_prop")
    item = Placing(prop, mesh, coarse, fine, Pose(np.eye(4)), Agreement(-1.0))
    if given is not None:
        item.offer("engine_pose", Pose(np.asarray(given, dtype=np.float64)), 0.0)
    if given is not None and facts.get("metric", False) and item.found.iou >= GOOD_IOU:
        return item
    body = Body.of(mesh)
    candidates = [poses.find(body, rough, coarse, up)]
    if given is not None:
        candidates.append(poses.refine(body, item.pose, coarse, up))
    best, found = max(candidates, key=lambda candidate: candidate[1].score)
    better = found.score > poses.agreement(body, item.pose, coarse).score if given is not None else True
    if better:
        item.offer("search", poses.to_pointmap(best, found)[0], 0.02, score=round(found.score, 4))
    return item


# --- contact --------------------------------------------------------------------------------------------------------
def _ground(item: Placing, mask: Bool, every: Bool, pointmap: Pointmap, scene: SceneRecord, up: F64) -> None:
    """Snap onto the surface below: along the rays (no change of silhouette), else straight up or down."""
    vertices = item.vertices
    height = vertices @ up
    foot = vertices[np.argmin(height)]
    plane = scene.ground_plane
    item.support = supports.find_support(
        mask, pointmap.points, pointmap.mask, every & ~mask, up,
        None if plane is None else (np.asarray(plane.normal, dtype=np.float64), plane.offset), foot,
    )  # fmt: skip
    if item.support is None:
        return
    facts = {"support": item.support.source, "gap": round(float(height.min()) - item.support.height, 5)}
    factor = supports.snap_factor(foot, up, item.support)
    depth_cost = abs(factor - 1) if factor is not None and item.fine.relief else 0.0
    if factor is not None and depth_cost <= DEPTH_MAY_COST:
        item.offer("snap_along_rays", item.pose.along_rays(factor), IOU_MAY_COST, factor=round(factor, 5), **facts)
    lift = item.support.height - float((item.vertices @ up).min())
    tall = float(np.ptp(height))
    if GAP_SHARE * tall < abs(lift) <= 5 * GAP_SHARE * tall:
        item.offer("snap_upright", item.pose.moved(up * lift), IOU_MAY_COST, lift=round(lift, 5), **facts)
    item.grounded = abs(float((item.vertices @ up).min()) - item.support.height) <= GAP_SHARE * tall


def _bring_in_front(placed: list[Placing], backdrop: Backdrop, up: F64) -> None:
    """What reaches into the background comes nearer along the rays, growing smaller: the picture stays the same."""
    for item in placed:
        factor = backdrop.factor(item.vertices, item.mesh.faces)
        if factor < 1 and not item.grounded:
            item.offer("in_front", item.pose.along_rays(factor), IOU_MAY_COST, factor=round(factor, 5))
            if item.support is not None:
                gap = abs(float((item.vertices @ up).min()) - item.support.height)
                item.grounded = gap <= GAP_SHARE * float(np.ptp(item.vertices @ up))


def _push_apart(placed: list[Placing], up: F64) -> list[tuple[str, str, float]]:
    """Move intersecting pairs apart along the ground a little; tells what is left. Stacked things are left alone."""
    if len(placed) < 2:
        return []
    level = _level(up)
    left = []
    for a, b in combinations(placed, 2):
        share = supports.shared_volume(*(_upright(item, level) for item in (a, b)))
        if share <= OVERLAP_SHARE:
            continue
        between = (b.vertices.mean(axis=0) - a.vertices.mean(axis=0)) @ level.T
        between[2] = 0
        if np.linalg.norm(between) > 1e-9:
            direction = (between / np.linalg.norm(between)) @ level
            room = MOST_PUSH * min(float(np.ptp(i.vertices @ level[:2].T, axis=0).max()) for i in (a, b))
            for _ in range(2):
                for item, sign in ((a, -0.5), (b, 0.5)):
                    item.offer("push_apart", item.pose.moved(sign * room * direction), IOU_MAY_COST)
                share = supports.shared_volume(*(_upright(item, level) for item in (a, b)))
                if share <= OVERLAP_SHARE:
                    break
        if share > OVERLAP_SHARE:
            left.append((a.prop.label, b.prop.label, share))
    return left


def _level(up: F64) -> F64:
    """Rows: two horizontal axes and up, camera frame."""
    side = np.cross(up, [0.0, 0.0, 1.0])
    side = np.array([1.0, 0.0, 0.0]) if np.linalg.norm(side) < 1e-6 else side / np.linalg.norm(side)
    return np.stack([side, np.cross(up, side), up])


def _upright(item: Placing, level: F64) -> tuple[F64, I32]:
    return item.vertices @ level.T, item.mesh.faces


# --- record ---------------------------------------------------------------------------------------------------------
def _record(ctx: StageContext, item: Placing, up: F64) -> PlacedProp:
    prop, found, relative = item.prop, item.found, ctx.folder.relative
    size = np.ptp(item.mesh.vertices, axis=0) * item.pose.scale
    ply = ctx.folder.prop_ply(prop.id)
    gap = None if item.support is None else float((item.vertices @ up).min()) - item.support.height
    confidence = pose_confidence(found, item.fine.relief, item.grounded)
    warnings = []
    if found.iou < POOR_IOU:
        warnings.append(ctx.notice("placement.poor_silhouette", label=prop.label, percent=round(100 * found.iou)))
    if not item.grounded:
        warnings.append(ctx.notice("placement.not_grounded", label=prop.label))
    ctx.warnings.extend(warnings)
    return PlacedProp(
        id=prop.id,
        label=prop.label,
        glb=relative(ctx.folder.prop_glb(prop.id)),
        ply=relative(ply) if ply.is_file() else None,
        mask=prop.mask,
        crop=prop.crop,
        camera_from_prop=_matrix(item.pose.matrix),
        camera_from_glb=_matrix(item.pose.matrix @ PROP_FROM_GLB),
        dimensions=Dimensions(width=float(size[0]), depth=float(size[1]), height=float(size[2])),
        silhouette_iou=round(found.iou, 4),
        pose_confidence=round(confidence, 3),
        grounded=item.grounded,
        quality={
            "depth_error": None if found.depth_ratio is None else round(abs(found.depth_ratio - 1), 4),
            "relief_error": None if found.relief_error is None else round(found.relief_error, 4),
            "ground_gap": None if gap is None else round(gap, 5),
            "scale": round(item.pose.scale, 6),
        },
        warnings=warnings,
    )


def pose_confidence(found: Agreement, relief: bool, grounded: bool) -> float:
    """0..1: the silhouette's IoU, lowered where measured depth disagrees, depth was guessed or nothing carries it."""
    depth = 0.0 if found.depth_ratio is None or not relief else min(abs(found.depth_ratio - 1) / 0.2, 1.0)
    confidence = max(0.0, found.iou) * (1 - 0.5 * depth)
    return confidence * (1.0 if relief else 0.7) * (1.0 if grounded else 0.85)


def _quality(props: list[PlacedProp]) -> dict[str, float | None]:
    ious = [p.silhouette_iou for p in props if p.silhouette_iou is not None]
    return {
        "props": float(len(props)),
        "silhouette_iou_mean": float(np.mean(ious)) if ious else None,
        "silhouette_iou_min": min(ious, default=None),
        "grounded": float(sum(p.grounded for p in props)),
    }


def _matrix(matrix: F64) -> Matrix4:
    rows = [tuple(float(v) for v in row) for row in matrix]
    return (rows[0], rows[1], rows[2], rows[3])  # type: ignore[return-value]
