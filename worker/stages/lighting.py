"""Lighting: an equirectangular probe of the light the still was shot in, its spherical harmonics and its key light."""

from __future__ import annotations

from typing import Any

import numpy as np

from worker.arrays import F32, F64
from worker.engines.contract import LightingRequest, LightingResult
from worker.formats import equirect as sphere
from worker.formats.exr import read_exr, write_exr
from worker.formats.image import write_png
from worker.formats.pointmap import intrinsics_from_hfov, normals_of, read_pointmap
from worker.formats.srgb import luminance, srgb8_from_linear
from worker.session.atomic import write_json
from worker.session.frames import level_from_camera
from worker.session.layout import SessionFolder
from worker.session.model import KeyLight, LightRecord
from worker.stages.base import StageContext, StageResult, StageSpec
from worker.stages.geometry import requested_hfov

SPEC = StageSpec(
    name="lighting",
    title_en="Light probe",
    title_zh="光照探针",
    weight=2.0,
    engine="lighting",
    requires=("plate",),
    uses=("geometry",),
)
NOTICES = {
    "lighting.mostly_unseen": (
        "The frame saw {percent} % of the sphere around the camera; the rest of the light probe is continued from the "
        "picture's own tones, not seen.",
        "画面仅覆盖相机周围球面的 {percent} %；光照探针的其余部分由画面色调推延而来，并非实拍。",
    ),
    "lighting.no_key": (
        "No main light could be told with any confidence; the probe alone lights the scene.",
        "无法可靠判断主光方向；场景仅由光照探针照明。",
    ),
    "lighting.no_geometry": (
        "There is no pointmap: a level camera with {hfov_deg:.1f}° was assumed, and shading could not be read for the "
        "direction of light.",
        "没有点图：已假定相机水平、视角 {hfov_deg:.1f}°，且无法由明暗推断光线方向。",
    ),
    "lighting.black": (
        "The still is black, so the probe is too.",
        "剧照为全黑，因此光照探针也是黑的。",
    ),
    "lighting.not_finite": (
        "The lighting engine returned light that is not a finite, positive number; it cannot be used.",
        "光照引擎返回了非有限或负的光值，无法使用。",
    ),
}
ASSUMED_HFOV_DEG = 60.0
SCHEMA = "assetize.lighting/1"


def run(ctx: StageContext) -> StageResult:
    linear = read_exr(ctx.folder.linear) * np.float32(ctx.session.input.view_exposure)  # as bright as the still shows
    request = _request(ctx, linear)
    result: LightingResult = ctx.run_engine(request, 0.05, 0.9)
    if not np.isfinite(result.equirect).all() or result.equirect.min() < 0 or not np.isfinite(result.sh9).all():
        raise ctx.fail("lighting.not_finite")
    if not linear.any():
        ctx.warn("lighting.black", degraded=True)

    level = level_from_camera(request.gravity)
    key = _key(result)
    write_exr(ctx.folder.probe, result.equirect, half=False)
    write_png(ctx.folder.probe_preview, srgb8_from_linear(result.equirect / result.exposure))
    write_json(ctx.folder.lighting, document(ctx.folder, result, level, key))
    light = LightRecord(
        probe=ctx.folder.relative(ctx.folder.probe),
        level_from_camera=level.tolist(),
        key=key,
        coverage=result.coverage,
        exposure=result.exposure,
    )
    scene = ctx.session.scene
    return StageResult(
        outputs=[ctx.folder.probe, ctx.folder.lighting, ctx.folder.probe_preview],
        scene=None if scene is None else scene.model_copy(update={"light": light}),
        quality={"coverage": result.coverage, "key_confidence": result.key_confidence},
        details={"geometry": request.points is not None},
    )


def _request(ctx: StageContext, linear: F32) -> LightingRequest:
    height, width = linear.shape[:2]
    clipped_at = float("inf") if ctx.session.input.hdr else 1.0
    scene = ctx.session.scene
    if scene is None or not ctx.done("geometry"):
        hfov_deg, _ = requested_hfov(ctx.session.input)
        hfov_deg = hfov_deg or ASSUMED_HFOV_DEG
        ctx.warn("lighting.no_geometry", hfov_deg=round(hfov_deg, 2))
        down = np.array([0, 1, 0], np.float32)
        return LightingRequest(
            linear, intrinsics_from_hfov(width, height, hfov_deg), down, clipped_at, seed=ctx.options.seed
        )
    pointmap = read_pointmap(ctx.folder.pointmap)
    return LightingRequest(
        linear=linear,
        intrinsics=pointmap.intrinsics,
        gravity=np.asarray(scene.gravity, np.float32),
        clipped_at=clipped_at,
        points=pointmap.points,
        normals=pointmap.normals if pointmap.normals is not None else normals_of(pointmap.points),
        mask=pointmap.mask,
        sky=pointmap.sky,
        seed=ctx.options.seed,
    )


def _key(result: LightingResult) -> KeyLight | None:
    if result.key_direction is None or result.key_color is None:
        return None
    return KeyLight(
        direction=result.key_direction.astype(float).tolist(),
        color=result.key_color.astype(float).tolist(),
        intensity=float(result.key_intensity),
        angular_size_deg=float(result.key_angular_size_deg),
        confidence=float(result.key_confidence),
    )


def document(folder: SessionFolder, result: LightingResult, level: F64, key: KeyLight | None) -> dict[str, Any]:
    """lighting_probe.json: everything another program needs to use the probe without guessing a convention."""
    height, width = result.equirect.shape[:2]
    card = sphere.irradiance(result.sh9.astype(np.float64), level @ np.array([0.0, 0.0, -1.0])) / np.pi
    return {
        "schema": SCHEMA,
        "probe": {
            "file": folder.relative(folder.probe),
            "preview": folder.relative(folder.probe_preview),
            "width": width,
            "height": height,
            "encoding": "scene-linear Rec.709, float32, equirectangular",
            "orientation": "top row zenith, middle column ahead, columns to the right turn right",
        },
        "frame": "level: x right, y ahead, z up; same origin as the camera",
        "level_from_camera": level.tolist(),
        "sh9": {
            "of": "radiance",
            "basis": "real spherical harmonics, level frame; irradiance: multiply by pi, 2 pi / 3 (x3), pi / 4 (x5)",
            "order": list(sphere.SH_ORDER),
            "coefficients": result.sh9.astype(float).tolist(),
        },
        "key": None
        if key is None
        else {
            "direction_camera": list(key.direction),
            "direction_level": (level @ np.asarray(key.direction)).tolist(),
            "color": list(key.color),
            "irradiance": key.intensity,
            "angular_size_deg": key.angular_size_deg,
            "confidence": key.confidence,
            "in_probe": True,  # a separate lamp and the probe together would count this light twice
        },
        "coverage": {
            "share": result.coverage,
            "confidence_weighted": float(
                (result.coverage_map * sphere.solid_angles(height, width)).sum() / (4 * np.pi)
            ),
        },
        "exposure": {
            "factor": result.exposure,
            "meaning": "probe = still's linear light x factor; a white card facing the camera then shows the still's "
            "median luminance",
            "white_card_luminance": float(luminance(card.astype(np.float32))),
        },
    }
