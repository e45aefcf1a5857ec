"""Props: every harvested crop becomes a closed, textured mesh and a cloud of Gaussians.

One prop that cannot be built is told and left out; the others go on.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from worker.arrays import F32, U8
from worker.engines.contract import PropRequest, PropResult
from worker.engines.meter import MemoryMeter
from worker.errors import StageError
from worker.formats.gaussians import write_gaussians
from worker.formats.glb import write_glb
from worker.formats.image import read_rgb
from worker.formats.pointmap import Pointmap, intrinsics_from_hfov, read_pointmap
from worker.pointmaps.box_to_mask import believed_box
from worker.pointmaps.object_box import ObjectBox
from worker.session.harvest import HarvestedProp, HarvestManifest
from worker.stages.base import StageContext, StageResult, StageSpec

SPEC = StageSpec(
    name="props",
    title_en="Building props",
    title_zh="构建道具",
    weight=4.0,
    engine="props",
    requires=("harvest",),
    uses=("geometry",),
)
NOTICES = {
    "props.guessed_depth": (
        "The depth of this still is a guess, so the props' shapes are guessed from their outlines: "
        "true from the camera, plausible from elsewhere.",
        "此剧照的深度为推测，因此道具的形状由轮廓推断：从摄影机看准确，从其他角度仅为合理推测。",
    ),
    "props.flat_depth": (
        "The measured depth of “{label}” is flat; its shape was guessed from its outline.",
        "“{label}”的测量深度是平的；其形状由轮廓推断。",
    ),
    "props.not_built": (
        "“{label}” ({id}) could not be built: {reason}. The other props are not affected.",
        "无法构建“{label}”（{id}）：{reason_zh}。其他道具不受影响。",
    ),
    "props.open_mesh": (
        "The surface of “{label}” is not closed; it may look hollow from some sides.",
        "“{label}”的表面未闭合；从某些角度看可能是空心的。",
    ),
    "props.patchwork": (
        "“{label}” is too jagged to be unwrapped in charts: its texture lies triangle by triangle and is hard to paint "
        "on.",
        "“{label}”表面过于破碎，无法按图块展开：其贴图按三角形逐个排列，难以手绘修改。",
    ),
    "props.uneven_scale": (
        "The engine gave “{label}” a different scale along each axis; their mean was taken.",
        "引擎为“{label}”的各轴给出了不同的缩放；已取其平均值。",
    ),
    "props.shattered": (
        "The mesh of “{label}” falls into {pieces} pieces, so the generator has failed on it; another seed may help.",
        "“{label}”的网格碎成 {pieces} 块，生成已失败；更换随机种子可能有效。",
    ),
    "props.over_budget": (
        "“{label}” has {triangles} triangles, more than the {budget} asked for.",
        "“{label}”有 {triangles} 个三角形，超过要求的 {budget} 个。",
    ),
    "props.none_built": (
        "None of the {count} props could be built; the first failed because {reason}.",
        "{count} 个道具均无法构建；首个失败原因：{reason_zh}。",
    ),
    "props.coarse_mesh": (
        "There was only memory for the Gaussians of “{label}”; its mesh is a coarse outline of them.",
        "内存仅够生成“{label}”的高斯；其网格仅为粗略轮廓。",
    ),
    "props.too_many_voxels": (
        "“{label}” fills {voxels} voxels, too many for a fine mesh in this machine's memory; its mesh is a coarse "
        "outline. Its Gaussians are complete.",
        "“{label}”占用 {voxels} 个体素，本机内存不足以生成精细网格；其网格仅为粗略轮廓。高斯是完整的。",
    ),
    "props.wider_numbers": (
        "The generator left the range of 16-bit numbers, so part of it was computed again in wider ones.",
        "生成器超出 16 位数值范围，部分已用更宽的数值重新计算。",
    ),
    "props.small_crop": (
        "“{label}” is only {side} pixels large in the still; its mesh will be coarse.",
        "“{label}”在剧照中仅 {side} 像素大；其网格会较粗糙。",
    ),
    "props.truncated": (
        "“{label}” is cut by the frame; what lies outside is made up or missing.",
        "“{label}”被画面边缘截断；画面外的部分为推测或缺失。",
    ),
    "props.occluded": (
        "“{label}” is partly hidden in the still; the hidden part is made up or missing.",
        "“{label}”在剧照中被部分遮挡；被遮挡的部分为推测或缺失。",
    ),
}
TRIANGLE_BUDGET = 20_000
ASSUMED_HFOV_DEG = 50.0  # a normal lens; only where no geometry stage found one, and then nothing is placed


def run(ctx: StageContext) -> StageResult:
    manifest = HarvestManifest.model_validate_json(ctx.folder.harvest_manifest.read_text(encoding="utf-8"))
    pointmap = read_pointmap(ctx.folder.pointmap) if ctx.done("geometry") else None
    relief = pointmap is not None and not ctx.session.stages["geometry"].degraded
    if manifest.props and not relief:
        ctx.warn("props.guessed_depth")
    still = read_rgb(ctx.folder.still) if manifest.props and ctx.folder.still.is_file() else None
    built: dict[str, Any] = {}
    failed: dict[str, tuple[str, str]] = {}
    outputs = []
    count = len(manifest.props)
    for number, prop in enumerate(manifest.props):
        started = time.perf_counter()
        try:
            request, box_facts = _request(ctx, manifest, prop, still, pointmap, relief)
            with MemoryMeter() as meter:
                result: PropResult = ctx.run_engine(request, number / count, (number + 0.8) / count)
            _stand_on_origin(result)
            glb, ply = ctx.folder.prop_glb(prop.id), ctx.folder.prop_ply(prop.id)
            write_glb(glb, result.mesh, prop.id, {"label": prop.label, "id": prop.id})
            outputs.append(glb)
            if result.gaussians is not None:
                write_gaussians(ply, result.gaussians)
                outputs.append(ply)
        except (StageError, ValueError, ArithmeticError, np.linalg.LinAlgError, OSError) as error:
            ctx.log.exception("prop %s", prop.id)
            en, zh = failed[prop.id] = _sentence(error)
            ctx.warn("props.not_built", degraded=True, label=prop.label, id=prop.id, reason=en, reason_zh=zh)
            continue
        built[prop.id] = _facts(result, time.perf_counter() - started, meter) | {
            "box": box_facts,
            "below": _below(result, request.object_box),
        }
        if len(result.mesh.faces) > request.triangle_budget:
            ctx.warn("props.over_budget", label=prop.label, triangles=len(result.mesh.faces),
                     budget=request.triangle_budget)
        ctx.progress((number + 1) / count, prop.label)
    if failed and not built:
        en, zh = next(iter(failed.values()))
        raise ctx.fail("props.none_built", count=count, reason=en, reason_zh=zh)
    return StageResult(
        outputs=outputs,
        quality={"built": float(len(built)), "failed": float(len(failed))},
        details={"props": built, "failed": {prop_id: en for prop_id, (en, _) in failed.items()}},
    )


def _request(
    ctx: StageContext,
    manifest: HarvestManifest,
    prop: HarvestedProp,
    still: U8 | None,
    pointmap: Pointmap | None,
    relief: bool,
) -> tuple[PropRequest, dict[str, Any]]:
    """What the engine gets, and what became of the thing's box."""
    x, y, width, height = prop.crop_box
    with Image.open(ctx.folder.prop_crop(prop.id)) as image:
        crop = np.asarray(image.convert("RGBA"))
    if crop.shape[:2] != (height, width):
        raise ValueError(f"its crop is {crop.shape[1]}x{crop.shape[0]} pixels, the manifest says {width}x{height}")
    scene = ctx.session.scene
    plane = None
    if scene is not None and scene.ground_plane is not None:
        plane = _f32(scene.ground_plane.normal), scene.ground_plane.offset, scene.ground_plane.confidence
    window = np.s_[y : y + height, x : x + width]
    gravity = _f32(scene.gravity if scene is not None else (0.0, 1.0, 0.0))
    object_box, facts = _object_box(crop, window, pointmap if relief else None, gravity)
    request = PropRequest(
        crop=crop,
        box=(x, y, width, height),
        points=None if pointmap is None else pointmap.points[window],
        mask=None if pointmap is None else pointmap.mask[window],
        intrinsics=(
            _f32(scene.intrinsics)
            if scene is not None
            else intrinsics_from_hfov(manifest.width, manifest.height, ASSUMED_HFOV_DEG)
        ),
        gravity=gravity,
        ground_plane=plane,
        label=prop.label,
        relief=relief,
        triangle_budget=TRIANGLE_BUDGET,
        seed=ctx.options.seed,
        truncated=prop.truncated,
        occluded=prop.occluded,
        object_box=object_box,
        still=still,
        still_points=None if pointmap is None else pointmap.points,
        still_mask=None if pointmap is None else pointmap.mask,
    )
    return request, facts


def _object_box(
    crop: U8, window: tuple[slice, slice], pointmap: Pointmap | None, gravity: F32
) -> tuple[ObjectBox | None, dict[str, Any]]:
    if pointmap is None:
        return None, {"state": "none"}
    mask = np.zeros_like(pointmap.mask)
    mask[window] = crop[..., 3] >= 128
    up = -gravity.astype(np.float64)
    return believed_box(pointmap.box_votes, mask, pointmap.points, pointmap.mask, up, pointmap.intrinsics)


def _below(result: PropResult, box: ObjectBox | None) -> float:
    """How far under a placed body its box reaches: feet that the mask lost (scene units, the mesh's own)."""
    if box is None or result.camera_from_prop is None or not result.metric:
        return 0.0
    pose = result.camera_from_prop.astype(np.float64)
    return round(box.reaches_below(result.mesh.vertices @ pose[:3, :3].T + pose[:3, 3]), 5)


def _stand_on_origin(result: PropResult) -> None:
    """A mesh without a pose of its own is moved so that its origin is under it, at its lowest point, like the others'.

    One with a pose keeps its frame: the pose speaks of it.
    """
    if result.camera_from_prop is not None:
        return
    low, high = result.mesh.vertices.min(axis=0), result.mesh.vertices.max(axis=0)
    origin = np.array([0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1]), low[2]], dtype=np.float32)
    result.mesh = replace(result.mesh, vertices=result.mesh.vertices - origin)
    if result.gaussians is not None:
        result.gaussians = replace(result.gaussians, position=result.gaussians.position - origin)


def _facts(result: PropResult, seconds: float, meter: MemoryMeter) -> dict[str, Any]:
    """What placement, report and panel need to know of a built prop; `camera_from_prop` is the engine's own pose, if
    any, `measured` its own figures. An engine in another process tells `gpu_mb` itself.
    """
    pose = result.camera_from_prop
    measured = {name: round(float(value), 4) for name, value in result.measured.items()}
    gpu_mb = measured.pop("gpu_mb", meter.gpu_mb)
    return {
        "triangles": len(result.mesh.faces),
        "vertices": len(result.mesh.vertices),
        "texture": int(result.mesh.texture.shape[0]),
        "gaussians": 0 if result.gaussians is None else len(result.gaussians),
        "metric": result.metric,
        "camera_from_prop": None if pose is None else pose.astype(float).tolist(),
        "seconds": round(seconds, 3),
        "memory_mb": round(meter.memory_mb, 1),
        "gpu_mb": None if gpu_mb is None else round(gpu_mb, 1),
        "measured": measured,
    }


def _sentence(error: Exception) -> tuple[str, str]:
    """English and Chinese, to stand inside another sentence."""
    if isinstance(error, StageError):
        return error.en.rstrip("."), error.zh.rstrip("。")
    text = str(error).rstrip(".") or type(error).__name__
    return text, text


def _f32(values: object) -> F32:
    return np.asarray(values, dtype=np.float32)
