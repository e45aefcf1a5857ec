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

    def weight(p: F64, q: F64) -> F64:
        p, q = p[which], q[which]
        return ((q[:, 0] - p[:, 0]) * (y - p[:, 1]) - (q[:, 1] - p[:, 1]) * (x - p[:, 0])) * scale[which]

    weights = np.stack([weight(b, c), weight(c, a), weight(a, b)], axis=1)
    inside = (weights >= -1e-9).all(axis=1)  # NaN of a face seen edge-on compares False
    which, row, column = which[inside], row[inside], column[inside]
    depth = 1.0 / np.einsum("ij,ij->i", weights[inside], inverse_z[which])
    pixel = row * width + column
    order = np.lexsort((which, depth, pixel))
    first = order[np.concatenate([[True], np.diff(pixel[order]) > 0])] if len(order) else order
    raster = Raster(np.full(height * width, np.inf, np.float32), np.full(height * width, -1, np.int32))
    raster.depth[pixel[first]] = depth[first]
    raster.face[pixel[first]] = index[which[first]]
    return Raster(raster.depth.reshape(height, width), raster.face.reshape(height, width))


def iou(first: Bool, second: Bool) -> float:
    """Intersection over union; 0 where both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0
