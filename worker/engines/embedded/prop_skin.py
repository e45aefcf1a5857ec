"""What a prop looks like: its texture from the crop, and Gaussians on its surface."""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, F64, U8
from worker.formats.gaussians import GaussianCloud
from worker.formats.mesh import TexturedMesh, face_normals, sample_texture

_MARGIN = 8  # texels around the crop, so that filtering and mipmaps never leave it


def texture_of(crop: U8) -> tuple[U8, float]:
    """(T, T, 3) texture, T 512 or 1024, and its scale: texel = crop pixel * scale + margin.

    The crop's colours are grown beyond the outline: texels there are what filtering at the rim picks up.
    """
    height, width = crop.shape[:2]
    side = 512 if max(height, width) <= 512 else 1024
    scale = (side - 2 * _MARGIN) / max(height, width)
    alpha = crop[..., 3]
    for level in (250, 128, 1):
        sure = (alpha >= level).astype(np.uint8)
        if sure.sum() > 0.5 * (alpha >= 128).sum() and sure.any():
            break
    _, labels = cv2.distanceTransformWithLabels(1 - sure, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colors = np.zeros((labels.max() + 1, 3), np.uint8)
    colors[labels[sure > 0]] = crop[..., :3][sure > 0]
    grown = colors[labels]
    soft = cv2.GaussianBlur(grown, (0, 0), 0.01 * max(height, width) + 0.5)
    grown = np.where(sure[..., None] > 0, grown, soft)
    matrix = np.array([[scale, 0, _MARGIN + 0.5 * scale - 0.5], [0, scale, _MARGIN + 0.5 * scale - 0.5]])
    if scale < 1:
        grown = cv2.GaussianBlur(grown, (0, 0), 0.4 / scale)
    texture = cv2.warpAffine(
        grown, matrix, (side, side), flags=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(texture, np.uint8), scale


def uv_of(pixels: F64, scale: float, side: int) -> F32:
    """Texture coordinates (origin bottom left) of crop pixels."""
    texel = pixels * scale + _MARGIN
    return np.stack([texel[:, 0] / side, 1.0 - texel[:, 1] / side], axis=1).astype(np.float32)


def surface_gaussians(mesh: TexturedMesh, count: int, seed: int) -> GaussianCloud:
    """Flat discs spread evenly over the surface, coloured by the texture. Same seed, same cloud."""
    rng = np.random.default_rng(seed)
    normals = face_normals(mesh.vertices, mesh.faces)
    area = 0.5 * np.linalg.norm(normals, axis=1)
    steps = (np.arange(count) + rng.random()) / count  # stratified over the area
    face = np.searchsorted(np.cumsum(area) / area.sum(), steps, side="right").clip(0, len(area) - 1)
    u, v = rng.random((2, count))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    weights = np.stack([1 - u - v, u, v], axis=1)[..., None]
    position = (mesh.vertices[mesh.faces[face]] * weights).sum(axis=1)
    uv = (mesh.uv[mesh.faces[face]] * weights).sum(axis=1)
    radius = 0.7 * np.sqrt(area.sum() / count)
    scale = np.tile([radius, radius, 0.1 * radius], (count, 1))
    unit = normals[face] / np.maximum(np.linalg.norm(normals[face], axis=1, keepdims=True), 1e-20)
    return GaussianCloud(
        position.astype(np.float32),
        scale.astype(np.float32),
        _rotation_to(unit),
        np.full(count, 0.95, np.float32),
        (sample_texture(mesh.texture, uv) / 255.0).astype(np.float32),
    )


def _rotation_to(normals: F64) -> F32:
    """Shortest rotation from +Z to each unit normal, as quaternions w x y z."""
    x, y, z = normals.T
    quaternion = np.stack([1.0 + z, -y, x, np.zeros_like(x)], axis=1)
    quaternion[z < -1 + 1e-6] = [0.0, 1.0, 0.0, 0.0]
    return (quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)).astype(np.float32)
