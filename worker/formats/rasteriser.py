"""A small reference rasteriser for 3D Gaussians: exact ordering, no tiles' worth of tricks, one core, no GPU.

The projection is EWA splatting (Zwicker et al. 2001) as 3DGS uses it (Kerbl et al. 2023): a Gaussian's covariance is
pushed through the perspective map's Jacobian, `dilation` px^2 is added, and splats are composited front to back in the
file's own sRGB-encoded colours. It exists to check scenes, so it follows what viewers do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np

from worker.arrays import F32, F64
from worker.formats.gaussians import GaussianCloud

NEAREST = 1e-3  # splats nearer than this share of the median depth, or behind the camera, are not drawn
MIN_ALPHA = 1 / 255  # as in 3DGS
MAX_RADIUS = 128  # px; a splat larger than this is cut to it
_BAND_PIXELS = 1 << 16  # pixel index, rank and alpha of one (pixel, splat) pair share 16 + 24 + 24 bits
_SPLATS, _CHUNK = 1 << 13, 1 << 16  # splats and splat-pixels at a time: the temporaries stay in the cache


@dataclass
class Render:
    """`color` (H, W, 3) over black, `alpha` (H, W) coverage, `depth` (H, W) mean z seen, 0 where nothing is."""

    color: F32
    alpha: F32
    depth: F32


@dataclass
class _Splats:
    """Projected splats, nearest first: pixel centres, conic (a, b, c), radius in px."""

    center: F32
    conic: F32
    radius: F32
    opacity: F32
    payload: F32  # (N, 4) colour and z


def render(
    cloud: GaussianCloud, camera_from_world: F64, intrinsics: F32, size: tuple[int, int], dilation: float = 0.3
) -> Render:
    """Render `cloud` to `size` = (height, width).

    Args:
        camera_from_world: 4x4, to OpenCV camera axes.
        intrinsics: 3x3; pixel (i, j) has its centre at (i + 0.5, j + 0.5).
        dilation: px^2 added to every splat's image covariance; 0.3 is what 3DGS viewers do, 0 is exact.
    """
    height, width = size
    flat = np.zeros((height * width, 5))
    rows = max(1, _BAND_PIXELS // width)
    if width > _BAND_PIXELS:
        raise ValueError(f"pictures wider than {_BAND_PIXELS} pixels cannot be rendered")

    def draw(top: int) -> None:
        bottom = min(top + rows, height)
        touching = (splats.center[:, 1] + splats.radius >= top) & (splats.center[:, 1] - splats.radius <= bottom)
        band = np.nonzero(touching)[0]
        if len(band):
            flat[top * width : bottom * width] = _composite(splats, band, top, bottom, width)

    # Splats and bands share nothing, and numpy lets go of the interpreter while it computes.
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        pose, K = np.asarray(camera_from_world, float), np.asarray(intrinsics, float)
        splats = _project(cloud, pose, K, size, dilation, pool)
        list(pool.map(draw, range(0, height, rows)))
    out = flat.reshape(height, width, 5)
    alpha = out[..., 4]
    depth = out[..., 3] / np.maximum(alpha, 1e-12)
    return Render(out[..., :3].astype(np.float32), alpha.astype(np.float32), depth.astype(np.float32))


def _project(
    cloud: GaussianCloud, pose: F64, K: F64, size: tuple[int, int], dilation: float, pool: ThreadPoolExecutor
) -> _Splats:
    position = cloud.position.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
    z = position[:, 2]
    order = np.argsort(z, kind="stable")
    order = order[z[order] > NEAREST * max(float(np.median(np.abs(z))), 1e-12)] if len(z) else order
    pieces = [order[start : start + _SPLATS] for start in range(0, len(order), _SPLATS)] or [order]
    parts = list(pool.map(lambda piece: _footprints(cloud, position, piece, pose, K, size, dilation), pieces))
    return _Splats(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(_Splats)))


def _footprints(
    cloud: GaussianCloud, position: F64, which: np.ndarray, pose: F64, K: F64, size: tuple[int, int], dilation: float
) -> _Splats:
    """Those of the Gaussians `which` that touch the picture. `position` (N, 3) is in camera axes."""
    x, y, z = position[which].T
    w, i, j, k = cloud.rotation[which].astype(np.float64).T
    rotation = (
        (1 - 2 * (j * j + k * k), 2 * (i * j - w * k), 2 * (i * k + w * j)),
        (2 * (i * j + w * k), 1 - 2 * (i * i + k * k), 2 * (j * k - w * i)),
        (2 * (i * k - w * j), 2 * (j * k + w * i), 1 - 2 * (i * i + j * j)),
    )
    scale = cloud.scale[which].astype(np.float64).T
    # Far outside the frame the linearisation explodes; 3DGS clamps the ray to 1.3 times the frustum there.
    limit_x, limit_y = 1.3 * 0.5 * size[1] / K[0, 0], 1.3 * 0.5 * size[0] / K[1, 1]
    ray_x, ray_y = np.clip(x / z, -limit_x, limit_x), np.clip(y / z, -limit_y, limit_y)
    # M = J R diag(scale): image covariance is M M^T. Only the two rows of J are ever needed.
    uu, vv, uv = (np.zeros(len(which)) for _ in range(3))
    for column in range(3):
        turned = [sum(pose[row, n] * rotation[n][column] for n in range(3)) * scale[column] for row in range(3)]
        row_u = K[0, 0] / z * (turned[0] - ray_x * turned[2])
        row_v = K[1, 1] / z * (turned[1] - ray_y * turned[2])
        uu += row_u * row_u
        vv += row_v * row_v
        uv += row_u * row_v
    uu += dilation
    vv += dilation
    determinant = np.maximum(uu * vv - uv * uv, 1e-12)
    largest = 0.5 * (uu + vv) + np.sqrt(np.maximum(0.25 * (uu - vv) ** 2 + uv * uv, 0))
    opacity = cloud.opacity[which]
    # Beyond this Mahalanobis distance alpha falls under MIN_ALPHA: no pair is made that would be dropped.
    reach = np.sqrt(2 * np.log(np.maximum(opacity / MIN_ALPHA, 1.0)))
    radius = np.minimum(reach * np.sqrt(largest), MAX_RADIUS)
    u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    seen = (opacity > MIN_ALPHA) & (u > -radius) & (u < size[1] + radius) & (v > -radius) & (v < size[0] + radius)
    return _Splats(
        center=np.stack([u, v], axis=-1)[seen].astype(np.float32),
        conic=(np.stack([vv, -uv, uu], axis=-1) / determinant[:, None])[seen].astype(np.float32),
        radius=radius[seen].astype(np.float32),
        opacity=opacity[seen].astype(np.float32),
        payload=np.column_stack([cloud.color[which], z])[seen].astype(np.float32),
    )


def _pairs(splats: _Splats, band: np.ndarray, top: int, bottom: int, width: int) -> Iterator[np.ndarray]:
    """Every (pixel, splat) pair of the band with its alpha, packed so that sorting sorts by pixel, then depth."""
    # Quarter pixels for the small ones, which are nearly all: a 5x5 footprint instead of 7x7 halves the work.
    radius = splats.radius[band]
    radius = np.where(radius < 6, np.ceil(radius * 4) / 4, np.ceil(radius))
    for size in np.unique(radius):
        ranks = np.nonzero(radius == size)[0]
        offsets = np.arange(-int(size + 0.5), int(size + 0.5) + 1)
        dv, du = np.meshgrid(offsets, offsets, indexing="ij")
        # A splat's centre lies anywhere in its own pixel, so half a pixel of distance may be missing on each axis.
        near = np.hypot(np.maximum(np.abs(du) - 0.5, 0), np.maximum(np.abs(dv) - 0.5, 0)) <= size
        dv, du = dv[near][None], du[near][None]
        step = max(1, _CHUNK // du.size)
        for start in range(0, len(ranks), step):
            rank = ranks[start : start + step]
            which = band[rank]
            corner = np.floor(splats.center[which]).astype(np.int32)
            column, row = corner[:, :1] + du, corner[:, 1:] + dv
            x = column + np.float32(0.5) - splats.center[which, :1]
            y = row + np.float32(0.5) - splats.center[which, 1:]
            a, b, c = (splats.conic[which, index][:, None] for index in range(3))
            power = np.float32(-0.5) * (a * x * x + c * y * y) - b * x * y
            alpha = np.minimum(splats.opacity[which][:, None] * np.exp(power), np.float32(0.99))
            inside = (alpha >= MIN_ALPHA) & (column >= 0) & (column < width) & (row >= top) & (row < bottom)
            pixel = ((row - top) * width + column)[inside].astype(np.uint64)
            packed = (pixel << np.uint64(48)) | (alpha[inside] * np.float32(1 << 24)).astype(np.uint64)
            yield packed | (np.broadcast_to(rank[:, None], inside.shape)[inside].astype(np.uint64) << np.uint64(24))


def _composite(splats: _Splats, band: np.ndarray, top: int, bottom: int, width: int) -> F64:
    """(pixels of the band, 5): premultiplied colour, z and coverage, composited front to back."""
    if len(band) >= 1 << 24:
        raise ValueError("more than 16.7 million splats in one band of the picture")
    packed = np.concatenate(list(_pairs(splats, band, top, bottom, width)))
    out = np.zeros(((bottom - top) * width, 5))
    if not len(packed):
        return out
    packed.sort()
    pixel = (packed >> np.uint64(48)).astype(np.int32)
    rank = ((packed >> np.uint64(24)) & np.uint64(0xFFFFFF)).astype(np.int32)
    alpha = (packed & np.uint64(0xFFFFFF)).astype(np.float32) / np.float32(1 << 24)
    # Transmittance before each splat: a running sum of log(1 - alpha), started anew at each pixel.
    log_pass = np.log1p(-alpha.astype(np.float64))
    before = np.cumsum(log_pass) - log_pass
    starts = np.nonzero(np.diff(pixel, prepend=-1))[0]
    lengths = np.diff(starts, append=len(pixel))
    weight = alpha * np.exp(before - np.repeat(before[starts], lengths))
    payload = splats.payload[band[rank]]
    out[pixel[starts], :4] = np.add.reduceat(payload * weight[:, None], starts, axis=0)
    out[pixel[starts], 4] = np.add.reduceat(weight, starts)
    return out


def psnr_db(image: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal to noise ratio of two sRGB-encoded pictures with values 0..1, in dB; at most 99."""
    error = float(np.mean((np.clip(image, 0, 1).astype(np.float64) - reference) ** 2))
    return min(99.0, -10 * np.log10(max(error, 1e-12)))
