"""A small depth-buffer rasteriser: which face of a mesh does each pixel see, and how far away?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worker.arrays import F32, F64, I32, Bool

_NEAR = 1e-6


@dataclass
class Raster:
    """`depth` (h, w) z of the nearest face, inf where none; `face` its index, -1 where none."""

    depth: F32
    face: I32

    @property
    def mask(self) -> Bool:
        return self.face >= 0


def project(points: F64, intrinsics: F64) -> F64:
    """(N, 3) camera-frame points to (N, 2) pixels; pixel (i, j) has its centre at (i + 0.5, j + 0.5)."""
    image = points @ np.asarray(intrinsics, dtype=np.float64).T
    return image[:, :2] / image[:, 2:3]


def rasterise(vertices: F64, faces: I32, intrinsics: F64, height: int, width: int) -> Raster:
    """Sample the mesh at pixel centres.

    Args:
        vertices: (V, 3) camera frame, OpenCV axes. Faces that reach behind the camera are left out.
        faces: (F, 3), either winding.
    """
    vertices = np.asarray(vertices, dtype=np.float64)
    index = np.flatnonzero((vertices[:, 2] > _NEAR)[faces].all(axis=1))
    safe = vertices.copy()
    safe[:, 2] = np.maximum(safe[:, 2], _NEAR)
    corners = project(safe, intrinsics)[faces[index]]  # (F, 3, 2)
    inverse_z = 1.0 / safe[:, 2][faces[index]]
    low = np.clip(np.ceil(corners.min(axis=1) - 0.5), 0, [width, height]).astype(np.int64)
    high = np.clip(np.floor(corners.max(axis=1) - 0.5) + 1, 0, [width, height]).astype(np.int64)
    span = np.maximum(high - low, 0)
    count = span[:, 0] * span[:, 1]
    which = np.repeat(np.arange(len(index)), count)
    place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    column = low[which, 0] + place % np.maximum(span[which, 0], 1)
    row = low[which, 1] + place // np.maximum(span[which, 0], 1)

    a, b, c = (corners[:, i] for i in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(np.abs(area) > 1e-12, 1.0 / area, np.nan)
    x, y = column + 0.5, row + 0.5

    def edge(p: F64, q: F64) -> F64:
        """Per face the weight of the corner opposite to p-q as a linear function: (F, 3) factors of x, y and 1."""
        along = (q - p) * scale[:, None]
        return np.stack([-along[:, 1], along[:, 0], along[:, 1] * p[:, 0] - along[:, 0] * p[:, 1]], axis=1)

    first, second = edge(b, c), edge(c, a)
    u, v = (f[which, 0] * x + f[which, 1] * y + f[which, 2] for f in (first, second))
    inside = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9)  # NaN of a face seen edge-on compares False
    which, row, column, u, v = which[inside], row[inside], column[inside], u[inside], v[inside]
    near = inverse_z[which]
    depth = 1.0 / (u * near[:, 0] + v * near[:, 1] + (1 - u - v) * near[:, 2])
    pixel = row * width + column
    order = np.lexsort((depth, pixel))  # stable, and `which` ascends: of equal depths the first face is seen
    front = order[np.concatenate([[True], np.diff(pixel[order]) > 0])] if len(order) else order
    raster = Raster(np.full(height * width, np.inf, np.float32), np.full(height * width, -1, np.int32))
    raster.depth[pixel[front]] = depth[front]
    raster.face[pixel[front]] = index[which[front]]
    return Raster(raster.depth.reshape(height, width), raster.face.reshape(height, width))


def iou(first: Bool, second: Bool) -> float:
    """Intersection over union; 0 where both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0
