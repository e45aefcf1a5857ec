"""Geometry: one 3D point for every pixel, the lens, which way is down, and the floor.

The engine guesses or measures; this stage decides the lens, refuses a pointmap that does not project to its own pixels,
and writes what every later stage and Blender read.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from worker.arrays import F32, U8, Bool
from worker.engines.contract import GeometryRequest, GeometryResult
from worker.formats.image import read_rgb, write_png
from worker.formats.pointmap import Pointmap, write_pointmap
from worker.formats.points import write_points
from worker.metadata.labels import ply_comments
from worker.pointmaps.object_box import CHANNELS as VOTE_CHANNELS
from worker.session.atomic import replacing
from worker.session.model import GroundPlane, InputRecord, SceneRecord
from worker.stages.base import StageContext, StageResult, StageSpec
from worker.stages.files import Files

SPEC = StageSpec(
    name="geometry",
    title_en="Depth, lens and floor",
    title_zh="深度、镜头与地面",
    weight=3.0,
    engine="geometry",
    requires=("plate",),
)
NOTICES = {
    "geometry.layout_preview": (
        "The depth is a layout preview: floor, upright surfaces and sky guessed from the picture, not measured depth. "
        "Distances and sizes are only plausible.",
        "深度仅为布局预览：地面、直立面与天空由画面推测，并非测量深度。距离与尺寸仅供参考。",
    ),
    "geometry.small_network": (
        "Depth, lens, floor and classes are estimated from one picture by a small network; the scale is assumed. "
        "Expect depth errors of a tenth or more, and give --fov if you know the lens.",
        "深度、镜头、地面与类别由小型网络从单幅画面估计，尺度为假定值。"
        "深度误差可达一成或以上；如已知镜头请给出 --fov。",
    ),
    "geometry.single_image": (
        "Depth comes from a network made for pairs of pictures, given one still twice; it was not trained for that, "
        "nor with people in the picture. Give --fov if you know the lens.",
        "深度由双图网络根据同一剧照重复输入得到；该网络并非为此训练，训练数据中也没有人物。如已知镜头请给出 --fov。",
    ),
    "geometry.unusual_shape": (
        "The network was trained on pictures from 4:3 to 3.2:1; depth of this shape is less certain.",
        "该网络的训练画幅介于 4:3 与 3.2:1 之间；此画幅的深度较不确定。",
    ),
    "geometry.tiles_refused": (
        "{refused} of {tiles} tiles told another depth than the whole picture and were left out.",
        "{tiles} 个分块中有 {refused} 个与整幅画面的深度不符，未采用。",
    ),
    "geometry.not_tiled": (
        "--geometry_tiles changed nothing: this engine does not look through tiles, or the still is too small.",
        "--geometry_tiles 未起作用：此引擎不支持分块，或剧照尺寸过小。",
    ),
    "geometry.network_unsure": (
        "The geometry network is not sure of this picture; the layout preview was used instead.",
        "几何网络对此画面没有把握；已改用布局预览。",
    ),
    "geometry.assumed_lens": (
        "Neither you nor the file named the lens; a horizontal field of view of {hfov_deg:.1f}° was assumed. "
        "Give --fov or --lens_mm if you know it.",
        "您和文件均未说明镜头；已假定水平视角为 {hfov_deg:.1f}°。如已知请使用 --fov 或 --lens_mm。",
    ),
    "geometry.off_rays": (
        "The geometry engine returned points up to {pixels:.2f} pixels off their own pixels; they cannot be used.",
        "几何引擎返回的点偏离其像素最多 {pixels:.2f} 像素，无法使用。",
    ),
    "geometry.not_finite": (
        "The geometry engine returned points that are not finite numbers, or lie behind the camera.",
        "几何引擎返回了非有限数值或位于相机后方的点。",
    ),
    "geometry.wrong_shape": (
        "The geometry engine returned a map of another size than the still.",
        "几何引擎返回的图与剧照尺寸不符。",
    ),
    "geometry.no_depth": (
        "No depth could be trusted anywhere in this still; the scene is a far backdrop only.",
        "此剧照中没有可信的深度；场景仅为远景幕布。",
    ),
}
HfovSource = Literal["user", "exif"]
RAY_TOLERANCE_PX = 0.5
_ROWS = 64  # checked at a time: double-precision temporaries of whole stills would leave the cache
MAX_POINTS = 1_000_000
MAX_POINTS_TILED = 3_000_000


def run(ctx: StageContext) -> StageResult:
    image = read_rgb(ctx.folder.still)
    hfov_deg, source = requested_hfov(ctx.session.input)
    request = GeometryRequest(image, hfov_deg, ctx.options.seed, ctx.options.geometry_tiles)
    result: GeometryResult = ctx.run_engine(request, 0.0, 0.7)
    if source is not None:
        result.hfov_source = source
    deviation = _check(ctx, result, image)

    height, width = image.shape[:2]
    actual_hfov = math.degrees(2 * math.atan(width / 2 / float(result.intrinsics[0, 0])))
    if result.hfov_source == "assumed":
        ctx.warn("geometry.assumed_lens", hfov_deg=round(actual_hfov, 2))
    if request.tiled and not result.tiles:
        ctx.warn("geometry.not_tiled")
    if not result.mask.any():
        ctx.warn("geometry.no_depth", degraded=True)
    trusted = result.mask if result.mask.any() else np.ones_like(result.mask)
    depth = result.points[..., 2]
    ctx.progress(0.75, "")

    pointmap = Pointmap(
        result.points, result.mask, result.confidence, result.intrinsics, result.sky, result.normals, result.box_votes
    )
    with Files() as files:
        files.put(ctx.folder.pointmap, write_pointmap, pointmap)
        files.put(ctx.folder.depth_preview, write_png, depth_preview(depth, trusted))
        if result.instances is not None or result.classes is not None:
            files.put(ctx.folder.segmentation, _write_segmentation, result)
        positions, colors = _thinned(result, image, MAX_POINTS_TILED if result.tiles else MAX_POINTS)
        label = ply_comments(ctx.session, ctx.folder, ctx.card, ctx.folder.points)
        files.put(ctx.folder.points, write_points, positions, colors, [*label, _frame_comment(result)])
        scene = SceneRecord(
            width=width,
            height=height,
            intrinsics=result.intrinsics.astype(float).tolist(),
            hfov_deg=actual_hfov,
            hfov_source=result.hfov_source,
            unit=result.unit,
            median_depth=float(np.median(depth[trusted])),
            scale_basis=result.scale_basis,
            gravity=result.gravity.astype(float).tolist(),
            gravity_source=result.gravity_source,
            ground_plane=_ground(result),
        )
    return StageResult(
        outputs=files.outputs,
        sha256=files.sha256,
        scene=scene,
        quality={
            "reprojection_px": deviation,
            "trusted_share": float(result.mask.mean()),
            "mean_confidence": float(result.confidence[trusted].mean()),
            **result.quality,
        },
        details={"points": len(positions), "tiles": result.tiles},
    )


def requested_hfov(source: InputRecord) -> tuple[float | None, HfovSource | None]:
    """Horizontal field of view of the still in degrees and who named it; the plate stage weighed user against file."""
    lens = source.lens
    if lens.hfov_deg is None or lens.source == "none":
        return None, None
    return lens.hfov_deg, lens.source


def _check(ctx: StageContext, result: GeometryResult, image: U8) -> float:
    """Largest distance in pixels between a point's projection and its own pixel centre; raises on unusable maps."""
    height, width = image.shape[:2]
    votes, readings = result.box_votes, result.instance_readings
    if (
        result.points.shape != (height, width, 3)
        or result.mask.shape != (height, width)
        or (votes is not None and (votes.ndim != 3 or len(votes) != VOTE_CHANNELS))
        or (readings is not None and readings.ndim != 3)
    ):
        raise ctx.fail("geometry.wrong_shape")
    columns, squared = np.arange(width) + 0.5, 0.0
    (fx, skew, cx), (tilt, fy, cy) = result.intrinsics[:2].astype(float)
    for top in range(0, height, _ROWS):
        points = result.points[top : top + _ROWS]
        depth = points[..., 2]
        if not np.isfinite(points).all() or not (depth > 0).all():
            raise ctx.fail("geometry.not_finite")
        x, y = (points[..., 0] / depth).astype(np.float64), (points[..., 1] / depth).astype(np.float64)
        across = fx * x + skew * y + (cx - columns)
        down = tilt * x + fy * y + (cy - 0.5 - np.arange(top, top + len(points)))[:, None]
        squared = max(squared, float((across * across + down * down).max()))
    pixels = math.sqrt(squared)
    if pixels > RAY_TOLERANCE_PX:
        raise ctx.fail("geometry.off_rays", pixels=pixels)
    return pixels


def _thinned(result: GeometryResult, image: U8, most: int) -> tuple[F32, U8]:
    """Trusted points and colours, rows and columns left out evenly so that about `most` at most are left."""
    step = math.sqrt(max(1.0, float(result.mask.sum()) / most))
    rows, columns = (np.arange(0, length, step).astype(int) for length in result.mask.shape)
    thin = (rows[:, None] * result.mask.shape[1] + columns)[result.mask[np.ix_(rows, columns)]]
    return np.take(result.points.reshape(-1, 3), thin, axis=0), np.take(image.reshape(-1, 3), thin, axis=0)


def _write_segmentation(path: Path, result: GeometryResult) -> None:
    nothing = np.zeros(result.mask.shape, np.uint8)
    instances: np.ndarray = result.instances if result.instances is not None else nothing
    classes: np.ndarray = result.classes if result.classes is not None else nothing
    arrays: dict[str, Any] = {
        "instances": instances.astype(np.int32, copy=False),
        "classes": classes.astype(np.uint8, copy=False),
    }
    if result.instance_readings is not None:
        arrays["instance_readings"] = result.instance_readings.astype(np.int32, copy=False)
    with replacing(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def depth_preview(depth: F32, mask: Bool) -> U8:
    """Disparity in false colour (near is warm), black where depth is not trusted. (H, W, 3) sRGB."""
    disparity = 1 / np.maximum(depth, 1e-6)
    low, high = np.percentile(disparity[mask], (2, 98), overwrite_input=True)
    grey = disparity - low
    grey /= max(high - low, 1e-9)
    np.clip(grey, 0, 1, out=grey)
    grey *= 255
    colors = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    colored: U8 = colors.astype(np.uint8)[grey.astype(np.uint8)]
    colored[~mask] = 0
    return colored


def _ground(result: GeometryResult) -> GroundPlane | None:
    if result.ground_plane is None:
        return None
    normal, offset, confidence = result.ground_plane
    return GroundPlane(normal=np.asarray(normal, float).tolist(), offset=float(offset), confidence=float(confidence))


def _frame_comment(result: GeometryResult) -> str:
    return f"frame: still camera, OpenCV axes (x right, y down, z forward); unit: {result.unit}"
