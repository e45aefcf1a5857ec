"""Placement: every prop stands where the still shows it. worker/placement does it; this reads and records."""

from __future__ import annotations

import numpy as np

from worker.arrays import F64
from worker.formats.glb import read_glb
from worker.formats.image import read_grey, read_rgb
from worker.formats.pointmap import read_pointmap
from worker.placement.evidence import Agreement
from worker.placement.in_front import Backdrop
from worker.placement.place import Made, Placing, Surroundings, place, push_apart
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
POOR_IOU = 0.7


def run(ctx: StageContext) -> StageResult:
    scene = ctx.session.scene
    assert scene is not None, "geometry is done but wrote no scene"
    around = _surroundings(ctx, scene)
    props, made = _made(ctx)

    def failed(item: Made, error: Exception) -> None:
        _tell_unplaced(ctx, item.id, item.label, error)

    placed = place(made, around, failed, lambda fraction, note: ctx.progress(0.9 * fraction, note))
    for first, second, share in push_apart(placed, around.up):
        ctx.warn("placement.overlap", first=first, second=second, percent=round(100 * share))
    records = [_record(ctx, props[item.made.id], item, around.up) for item in placed]
    return StageResult(
        scene=scene.model_copy(update={"props": records}),
        quality=_quality(records),
        details={"steps": {item.made.id: item.steps for item in placed}},
    )


def _surroundings(ctx: StageContext, scene: SceneRecord) -> Surroundings:
    pointmap = read_pointmap(ctx.folder.pointmap)
    intrinsics = pointmap.intrinsics.astype(np.float64)
    behind = ctx.done("scene") and ctx.folder.background.is_file()
    plane = scene.ground_plane
    return Surroundings(
        points=pointmap.points,
        valid=pointmap.mask,
        image=read_rgb(ctx.folder.still),
        intrinsics=intrinsics,
        up=-np.asarray(scene.gravity, dtype=np.float64),
        ground=None if plane is None else (np.asarray(plane.normal, dtype=np.float64), plane.offset),
        relief=not ctx.session.stages["geometry"].degraded,
        backdrop=Backdrop.read(ctx.folder.background, intrinsics) if behind else None,
    )


def _made(ctx: StageContext) -> tuple[dict[str, HarvestedProp], list[Made]]:
    """What the props stage built, with the engine's own pose where it has one."""
    manifest = HarvestManifest.model_validate_json(ctx.folder.harvest_manifest.read_text(encoding="utf-8"))
    facts = ctx.session.stages["props"].details.get("props", {})
    props = {prop.id: prop for prop in manifest.props if prop.id in facts}
    made = []
    for prop in props.values():
        try:
            mask, mesh = read_grey(ctx.folder.prop_mask(prop.id)) >= 128, read_glb(ctx.folder.prop_glb(prop.id))
        except (OSError, ValueError) as error:
            _tell_unplaced(ctx, prop.id, prop.label, error)
            continue
        pose = facts[prop.id].get("camera_from_prop")
        pose = None if pose is None else np.asarray(pose, dtype=np.float64)
        own = facts[prop.id]
        made.append(Made(prop.id, prop.label, mask, mesh, pose, own.get("metric", False), own.get("below", 0.0)))
    return props, made


def _tell_unplaced(ctx: StageContext, prop: str, label: str, error: Exception) -> None:
    ctx.log.error("placing %s", prop, exc_info=error)
    ctx.warn("placement.unplaced", degraded=True, label=label, id=prop, reason=str(error).rstrip("."))


# --- record ---------------------------------------------------------------------------------------------------------
def _record(ctx: StageContext, prop: HarvestedProp, item: Placing, up: F64) -> PlacedProp:
    found, relative, gap = item.found, ctx.folder.relative, item.gap(up)
    size = np.ptp(item.made.mesh.vertices, axis=0) * item.pose.scale
    mesh_of = item.instance_of or prop.id
    ply = ctx.folder.prop_ply(mesh_of)
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
        glb=relative(ctx.folder.prop_glb(mesh_of)),
        ply=relative(ply) if ply.is_file() else None,
        mask=prop.mask,
        crop=prop.crop,
        camera_from_prop=_matrix(item.pose.matrix),
        camera_from_glb=_matrix(item.pose.matrix @ PROP_FROM_GLB),
        dimensions=Dimensions(width=float(size[0]), depth=float(size[1]), height=float(size[2])),
        silhouette_iou=round(found.iou, 4),
        pose_confidence=round(confidence, 3),
        grounded=item.grounded,
        instance_of=item.instance_of,
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
