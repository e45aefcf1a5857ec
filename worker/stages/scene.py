"""Scene: the still's background as 3D Gaussians, checked by rendering them from where the camera stood."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from worker.arrays import F32, F64, U8, Bool
from worker.engines.contract import SceneRequest, SceneResult
from worker.formats.gaussians import GaussianCloud, write_gaussians
from worker.formats.image import read_grey, read_rgb, write_png
from worker.formats.npz import write_npz
from worker.formats.pointmap import read_pointmap
from worker.formats.rasteriser import Render, psnr_db, render
from worker.metadata.labels import ply_comments
from worker.session.model import SceneRecord
from worker.stages.base import StageContext, StageResult, StageSpec
from worker.stages.files import Files

SPEC = StageSpec(
    name="scene",
    title_en="Gaussian scene",
    title_zh="高斯场景",
    weight=9.0,
    engine="scene",
    requires=("plate", "geometry"),
    uses=("clean_plate",),
)
NOTICES = {
    "scene.flat": (
        "There is no trusted depth to lift, so the scene is one far backdrop, right only from the still's camera.",
        "没有可信的深度可用，场景只是一块远景幕布：仅从剧照机位看是正确的。",
    ),
    "scene.low_fidelity": (
        "Seen from the still's camera the Gaussians reach {psnr_db:.1f} dB against the picture; "
        "{floor:.0f} dB is expected.",
        "从剧照机位渲染的高斯与画面相比为 {psnr_db:.1f} dB，低于预期的 {floor:.0f} dB。",
    ),
    "scene.props_left_in": (
        "There is no clean plate, so everything in the still, props too, is part of the Gaussian scene.",
        "没有净化底图，因此剧照中的所有内容（包括道具）都留在高斯场景中。",
    ),
    "scene.scaled": (
        "The scene engine judged depth at {ratio:.2f} times the session's (median of {pixels} trusted places); "
        "its Gaussians were brought to the session's scale.",
        "场景引擎估计的深度为会话深度的 {ratio:.2f} 倍（{pixels} 处可信位置的中位数），高斯已统一到会话的尺度。",
    ),
    "scene.own_scale": (
        "There is no trusted depth to compare with, so the Gaussians keep the scene engine's own scale: "
        "props and background may not meet.",
        "没有可信的深度可供比较，高斯保留场景引擎自身的尺度，道具与背景可能对不上。",
    ),
    "scene.depth_disagrees": (
        "Even at one scale, the scene engine's depth and the session's differ by {percent:.0f} % (median): "
        "props may stand off the background. Another geometry engine may agree better.",
        "统一尺度后，场景引擎与会话的深度仍相差 {percent:.0f}%（中位数），道具可能与背景脱离。可尝试其他几何引擎。",
    ),
    "scene.coarser_numbers": (
        "The network's numbers were too large for half precision on this picture, so it was run again in bfloat16: "
        "depth is a little noisier.",
        "该画面的网络数值超出半精度范围，已改用 bfloat16 重新计算，深度噪声略大。",
    ),
    "scene.empty": ("The scene engine returned no Gaussians.", "场景引擎未返回任何高斯。"),
}
EXPECTED_DB = 27.0
CHECK_PIXELS = 1_000_000  # larger stills are checked at this size: the check costs seconds, not minutes


def run(ctx: StageContext) -> StageResult:
    scene = ctx.session.scene
    assert scene is not None, "the geometry stage leaves a scene"
    with ThreadPoolExecutor(2) as readers:
        pending_still, pending_clean = readers.submit(read_rgb, ctx.folder.still), readers.submit(_clean_plate, ctx)
        pointmap = read_pointmap(ctx.folder.pointmap)
        still, (clean, removed) = pending_still.result(), pending_clean.result()
    keep_props = ctx.options.keep_props or clean is None
    reference = still if keep_props or clean is None else clean
    request = SceneRequest(
        still=still,
        clean=clean,
        removed=removed,
        points=pointmap.points,
        mask=pointmap.mask,
        confidence=pointmap.confidence,
        sky=pointmap.sky,
        intrinsics=pointmap.intrinsics,
        gravity=np.asarray(scene.gravity, np.float32),
        normals=pointmap.normals,
        ground_plane=_ground(scene),
        keep_props=keep_props,
        seed=ctx.options.seed,
    )
    ctx.progress(0.05, "")
    with ThreadPoolExecutor(1) as beside:
        pending_target = beside.submit(_target, reference)
        result: SceneResult = ctx.run_engine(request, 0.05, 0.5)
    target, cloud, trusted, intrinsics = pending_target.result(), result.gaussians, pointmap.mask, pointmap.intrinsics
    del request, pointmap  # tens of megabytes that the check can use
    if not len(cloud):
        raise ctx.fail("scene.empty")
    with Files() as files:  # a hundred megabytes, while the check is drawn
        label = ply_comments(ctx.session, ctx.folder, ctx.card, ctx.folder.scene_ply)
        files.put(ctx.folder.scene_ply, write_gaussians, cloud, [*label, *_comments(scene, result.layers)])
        if result.background_points is not None:
            files.put(ctx.folder.background, _write_background, result.background_points, trusted, removed)
        ctx.progress(0.6, "")
        picture, device = _from_the_camera(cloud, intrinsics, reference.shape[:2], target.shape[:2])
        preview = np.round(np.clip(picture.color, 0, 1) * 255).astype(np.uint8)
        files.put(ctx.folder.scene_preview, write_png, preview)
        quality = psnr_db(picture.color, target)

    if quality < EXPECTED_DB:
        ctx.warn("scene.low_fidelity", degraded=True, psnr_db=round(quality, 2), floor=EXPECTED_DB)
    return StageResult(
        outputs=files.outputs,
        sha256=files.sha256,
        quality={"psnr_db": quality, "holes_share": float((picture.alpha < 0.95).mean())},
        details={
            "gaussians": len(cloud),
            "layers": list(result.layers),
            "compared_with": ctx.folder.relative(ctx.folder.still if reference is still else ctx.folder.clean),
            "checked_at": list(picture.alpha.shape[::-1]),
            "checked_on": device,
            **result.details,
        },
    )


def _clean_plate(ctx: StageContext) -> tuple[U8 | None, Bool | None]:
    if not (ctx.done("clean_plate") and ctx.folder.clean.exists() and ctx.folder.removed_mask.exists()):
        if not ctx.options.keep_props:
            ctx.warn("scene.props_left_in")
        return None, None
    return read_rgb(ctx.folder.clean), read_grey(ctx.folder.removed_mask) > 127


def _ground(scene: SceneRecord) -> tuple[F32, float, float] | None:
    plane = scene.ground_plane
    return None if plane is None else (np.asarray(plane.normal, np.float32), plane.offset, plane.confidence)


def _write_background(path: Path, points: F32, trusted: Bool, removed: Bool | None) -> None:
    """The mask keeps what was trusted; where a prop was taken away, whatever came to light that is not sky."""
    mask = trusted
    if removed is not None and removed.any():
        surface = np.ones_like(trusted)
        if not trusted.all():
            distance = np.linalg.norm(points, axis=-1)
            surface = distance < 0.999 * distance.max()
        mask = np.where(removed, surface, trusted)
    write_npz(path, {"points": points.astype(np.float32, copy=False), "mask": mask})


def _target(reference: U8) -> F32:
    """What the scene should show, 0..1, at most CHECK_PIXELS large."""
    height, width = reference.shape[:2]
    scale = min(1.0, (CHECK_PIXELS / (height * width)) ** 0.5)
    target: F32 = reference.astype(np.float32)
    target /= np.float32(255)
    if scale == 1:
        return target
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(target, size, interpolation=cv2.INTER_AREA), np.float32)


def _from_the_camera(
    cloud: GaussianCloud, intrinsics: F32, still: tuple[int, int], size: tuple[int, int]
) -> tuple[Render, str]:
    """The scene rendered to `size`, with the `intrinsics` of the `still`'s; where it was rendered."""
    ratio = np.array([[size[1] / still[1]], [size[0] / still[0]], [1.0]], np.float32)
    draw, device = _renderer()
    return draw(cloud, np.eye(4), (intrinsics * ratio).astype(np.float32), size), device


def _renderer() -> tuple[Callable[[GaussianCloud, F64, F32, tuple[int, int]], Render], str]:
    """On the GPU where the engine has brought torch and one: the check must not take longer than the work."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return render, "cpu"
    from worker.formats import rasteriser_gpu

    return rasteriser_gpu.render, "cuda"


def _comments(scene: SceneRecord, layers: tuple[int, ...]) -> tuple[str, ...]:
    frame = f"frame: still camera, OpenCV axes (x right, y down, z forward); unit: {scene.unit}; color: sRGB"
    return (frame, f"layers: {' '.join(map(str, layers))}") if layers else (frame,)
