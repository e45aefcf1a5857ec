"""Relight check: test balls and every prop rendered under the probe, beside the still they came from.

A prop's texture holds the still's own light. For the check the light that falls on a surface facing the camera is
divided out first, so the pictures compare how light is distributed, not how bright the probe happens to be.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from worker.arrays import F32, F64, U8
from worker.formats import equirect as sphere
from worker.formats.exr import read_exr
from worker.formats.glb import read_glb
from worker.formats.image import read_grey, read_rgb, write_png
from worker.formats.mesh import TexturedMesh
from worker.formats.pointmap import pixel_rays
from worker.formats.silhouette import rasterise
from worker.formats.srgb import LINEAR_OF_CODE, luminance, srgb8_from_linear
from worker.session.model import PlacedProp, SceneRecord
from worker.stages.base import StageContext, StageResult, StageSpec

SPEC = StageSpec(
    name="relight",
    title_en="Relight check",
    title_zh="重打光检验",
    weight=2.0,
    requires=("lighting",),
    uses=("placement",),
)
NOTICES = {
    "relight.baked_light": (
        "Prop textures hold the light of the still. For the relight check it is divided out only coarsely (by the "
        "light on a surface that faces the camera), so shadows painted into a texture stay.",
        "道具贴图中含有剧照的光照。重打光检验仅按正对相机的表面受光作粗略去除，贴图中的阴影仍会保留。",
    ),
    "relight.off": (
        "“{label}” under the probe is {ratio:.2f} times as bright as in the still; the probe may be wrong there.",
        "“{label}”在光照探针下的亮度为剧照中的 {ratio:.2f} 倍；该处光照可能不准。",
    ),
    "relight.unreadable": (
        "The mesh of “{label}” could not be rendered, so it has no relight check.",
        "无法渲染“{label}”的网格，因此没有重打光检验。",
    ),
}
BALL = 200  # px across
PANEL = 512  # px, the longer side of a prop's picture
BACKDROP = 0.18
GLOSS_BLUR_DEG = 8.0
BRIGHT, DARK = 2.0, 0.5


@dataclass
class Probe:
    """What lights the check: `equirect` linear, its SH, and the turn from camera to level directions."""

    equirect: F32
    sh9: F64
    level: F64
    exposure: float

    def irradiance(self, normal: F64) -> F64:
        """(..., 3) on surfaces with camera-frame unit normals."""
        return sphere.irradiance(self.sh9, normal @ self.level.T)


def run(ctx: StageContext) -> StageResult:
    still = read_rgb(ctx.folder.still)
    scene = ctx.session.scene
    probe = _probe(ctx, scene)
    write_png(ctx.folder.relight_balls, _beside(still, balls(probe)))
    outputs, quality = [ctx.folder.relight_balls], {}
    placed = scene.props if scene is not None and ctx.done("placement") else []
    checked: list[PlacedProp] = []
    for number, prop in enumerate(placed):
        ctx.progress(0.2 + 0.8 * number / len(placed), prop.label)
        figures = _check_prop(ctx, prop, scene, probe, still) if scene is not None else None
        if figures is None:
            ctx.warn("relight.unreadable", label=prop.label)
            checked.append(prop)
            continue
        checked.append(prop.model_copy(update={"quality": prop.quality | figures}))
        outputs.append(ctx.folder.prop_relit(prop.id))
        ratio = figures["relight_luminance_ratio"]
        if ratio is not None and not DARK < ratio < BRIGHT:
            ctx.warn("relight.off", label=prop.label, ratio=round(ratio, 2))
    if len(outputs) > 1:
        ctx.warn("relight.baked_light")
        for name in ("relight_luminance_ratio", "relight_chroma_error"):
            values = [value for prop in checked if (value := prop.quality.get(name)) is not None]
            quality[f"median_{name.removeprefix('relight_')}"] = float(np.median(values)) if values else None
    return StageResult(
        outputs=outputs,
        scene=scene.model_copy(update={"props": checked}) if scene is not None and checked else None,
        quality=quality,
        details={"props_checked": len(outputs) - 1},
    )


def _probe(ctx: StageContext, scene: SceneRecord | None) -> Probe:
    equirect = read_exr(ctx.folder.probe)
    light = scene.light if scene is not None else None
    level = np.asarray(light.level_from_camera) if light else np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    return Probe(equirect, sphere.project_sh9(equirect), level, light.exposure if light else 1.0)


def balls(probe: Probe) -> F32:
    """(BALL, 3 * BALL, 3) linear: 50 % grey, chrome and glossy black, seen from the camera, in the still's exposure."""
    axis = (np.arange(BALL) + 0.5) / BALL * 2.1 - 1.05
    x, y = np.meshgrid(axis, axis)
    inside = x * x + y * y < 1
    normal = np.stack([x, y, -np.sqrt(np.maximum(1 - x * x - y * y, 0))], axis=-1)
    towards = np.array([0.0, 0.0, -1.0])
    facing = normal @ towards
    mirrored = (2 * facing[..., None] * normal - towards) @ probe.level.T
    diffuse = probe.irradiance(normal) / np.pi
    chrome = sphere.lookup(probe.equirect, mirrored)
    # Schlick's Fresnel for a plastic of refractive index 1.5 (4 % head-on).
    fresnel = (0.04 + 0.96 * (1 - np.clip(facing, 0, 1)) ** 5)[..., None]
    gloss = sphere.lookup(sphere.blurred(probe.equirect, GLOSS_BLUR_DEG), mirrored)
    shaded = [0.5 * diffuse, 0.95 * chrome, 0.05 * diffuse + fresnel * gloss]
    strip = np.concatenate([np.where(inside[..., None], ball / probe.exposure, BACKDROP) for ball in shaded], axis=1)
    return strip.astype(np.float32)


def render_prop(mesh: TexturedMesh, pose: F64, intrinsics: F64, size: tuple[int, int], probe: Probe) -> tuple[F32, F32]:
    """The mesh's own colours and the same under the probe, both linear (h, w, 3), NaN where there is no mesh.

    Args:
        pose: 4x4 camera_from_prop.
        size: (height, width).
    """
    vertices = mesh.vertices.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
    raster = rasterise(vertices, mesh.faces, intrinsics, *size)
    hit = raster.face >= 0
    face = mesh.faces[raster.face[hit]]
    point = pixel_rays(size[0], size[1], intrinsics.astype(np.float32))[hit].astype(np.float64)
    point *= raster.depth[hit][:, None]
    weight = _barycentric(point, vertices[face])
    texel = np.zeros((*size, 2), np.float32)
    texel[hit] = np.clip((mesh.uv[face] * weight[..., None]).sum(axis=1), 0, 1)
    texel = (texel * (1, -1) + (0, 1)) * mesh.texture.shape[1::-1] - 0.5  # uv counts from the bottom left
    linear = LINEAR_OF_CODE[mesh.texture]
    map_u, map_v = (np.ascontiguousarray(texel[..., axis], np.float32) for axis in (0, 1))
    texture = cv2.remap(linear, map_u, map_v, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)[hit]
    normal = (_vertex_normals(vertices, mesh.faces)[face] * weight[..., None]).sum(axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    frontal = probe.irradiance(np.array([0.0, 0.0, -1.0]))
    own, relit = np.full((*size, 3), np.nan, np.float32), np.full((*size, 3), np.nan, np.float32)
    own[hit] = texture
    relit[hit] = texture / np.maximum(frontal, 1e-9) * probe.irradiance(normal)
    return own, relit


def _check_prop(
    ctx: StageContext, prop: PlacedProp, scene: SceneRecord | None, probe: Probe, still: U8
) -> dict[str, float | None] | None:
    """Render one prop where it stands and write it beside the still's own pixels; None if it has no usable mesh."""
    mask = read_grey(ctx.folder.root / prop.mask) > 127
    if prop.glb is None or scene is None or not mask.any():
        return None
    try:
        mesh = read_glb(ctx.folder.root / prop.glb)
    except (ValueError, OSError):
        return None
    rows, columns = np.nonzero(mask)
    margin = max(4, round(0.08 * max(np.ptp(rows), np.ptp(columns))))
    top, left = max(0, rows.min() - margin), max(0, columns.min() - margin)
    bottom, right = min(still.shape[0], rows.max() + margin + 1), min(still.shape[1], columns.max() + margin + 1)
    scale = min(1.0, PANEL / max(bottom - top, right - left))
    size = (max(1, round((bottom - top) * scale)), max(1, round((right - left) * scale)))
    intrinsics = np.asarray(scene.intrinsics) - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    intrinsics = np.array([[size[1] / (right - left)], [size[0] / (bottom - top)], [1.0]]) * intrinsics
    _, relit = render_prop(mesh, np.asarray(prop.camera_from_prop), intrinsics, size, probe)

    box = np.s_[top:bottom, left:right]
    original = _resized(LINEAR_OF_CODE[still[box]], size)
    alpha = _resized(mask[box].astype(np.float32), size)[..., None]
    shown = np.asarray(np.isfinite(relit).all(axis=-1))
    both = shown & (alpha[..., 0] > 0.5)
    if not both.any():
        return None
    left_half = original * alpha + BACKDROP * (1 - alpha)
    panel = np.concatenate([left_half, np.where(shown[..., None], relit, BACKDROP)], axis=1)
    write_png(ctx.folder.prop_relit(prop.id), srgb8_from_linear(panel.astype(np.float32)))
    return compare(original[both], relit[both])


def _resized(picture: F32, size: tuple[int, int]) -> F32:
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def compare(original: F32, relit: F32) -> dict[str, float | None]:
    """Two (N, 3) sets of linear pixels: ratio of mean luminance, distance of mean chromaticity, and how well the
    light falls on the same pixels (correlation of log luminance; None where one of them is flat).
    """
    first, second = luminance(original), luminance(relit)
    mean_first, mean_second = original.mean(axis=0), relit.mean(axis=0)
    chroma = mean_second / max(float(mean_second.sum()), 1e-9) - mean_first / max(float(mean_first.sum()), 1e-9)
    logs = np.log(np.maximum(np.stack([first, second]), 1e-4))
    flat = logs.std(axis=1).min() < 1e-6
    return {
        "relight_luminance_ratio": float(second.mean() / max(float(first.mean()), 1e-9)),
        "relight_chroma_error": float(np.abs(chroma).sum()),
        "relight_correlation": None if flat else float(np.corrcoef(logs)[0, 1]),
    }


def _beside(still: U8, strip: F32) -> U8:
    """The still, scaled to the strip's width, above the balls."""
    width = strip.shape[1]
    height = max(1, round(still.shape[0] * width / still.shape[1]))
    # A ribbon of a still would make a tower of a picture.
    height = min(height, 3 * width)
    small = cv2.resize(still, (width, height), interpolation=cv2.INTER_AREA)
    return np.concatenate([small, srgb8_from_linear(strip)]).astype(np.uint8)


def _barycentric(point: F64, corner: F64) -> F64:
    """(N, 3) weights of points (N, 3) in their triangles (N, 3, 3), clipped to the triangle."""
    first, second, to = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0], point - corner[:, 0]
    aa, ab, bb = (first * first).sum(1), (first * second).sum(1), (second * second).sum(1)
    pa, pb = (to * first).sum(1), (to * second).sum(1)
    area = np.maximum(aa * bb - ab * ab, 1e-30)
    v, w = (bb * pa - ab * pb) / area, (aa * pb - ab * pa) / area
    weight = np.clip(np.stack([1 - v - w, v, w], axis=-1), 0, 1)
    return weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)


def _vertex_normals(vertices: F64, faces: np.ndarray) -> F64:
    """Area-weighted, shared by vertices that lie on the same spot: texture seams are no creases."""
    corner = vertices[faces]
    flat = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    span = max(float(np.ptp(vertices, axis=0).max()), 1e-9)
    _, spot = np.unique(np.round(vertices / (1e-6 * span)).astype(np.int64), axis=0, return_inverse=True)
    spot = spot.ravel()
    total = np.zeros((spot.max() + 1, 3))
    for k in range(3):
        np.add.at(total, spot[faces[:, k]], flat)
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)
    return total[spot]
