"""Props that run into each other: bodies as upright columns over a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worker.arrays import F64, I32
from worker.formats.silhouette import rasterise

_CELLS = 48


@dataclass
class Columns:
    """A body as upright columns over a horizontal grid: `low` and `high` ends, NaN where there is none."""

    low: F64
    high: F64


def columns_of(vertices: F64, faces: I32, origin: F64, cell: float) -> Columns:
    """Bodies in a Z-up frame with the same `origin` and `cell` can be compared cell by cell."""
    far = 1e4 * cell * _CELLS  # so far above that the rays are parallel
    intrinsics = np.array([[far / cell, 0, 0], [0, far / cell, 0], [0, 0, 1.0]])
    ends = []
    for sign in (1.0, -1.0):
        seen = np.stack(
            [vertices[:, 0] - origin[0], vertices[:, 1] - origin[1], far - sign * vertices[:, 2]], axis=1
        )
        depth = rasterise(seen, faces, intrinsics, _CELLS, _CELLS).depth.astype(np.float64)
        ends.append(sign * (far - np.where(np.isfinite(depth), depth, np.nan)))
    return Columns(ends[1], ends[0])


def shared_volume(first: tuple[F64, I32], second: tuple[F64, I32]) -> float:
    """Volume that two Z-up bodies share, over the smaller one's own; hollows inside a column count as filled."""
    (a, a_faces), (b, b_faces) = first, second
    low = np.maximum(a.min(axis=0), b.min(axis=0))
    high = np.minimum(a.max(axis=0), b.max(axis=0))
    if (high <= low).any():
        return 0.0
    every = np.concatenate([a, b])
    origin = every.min(axis=0)
    cell = float(np.ptp(every[:, :2], axis=0).max()) / (_CELLS - 1)
    one, two = columns_of(a, a_faces, origin, cell), columns_of(b, b_faces, origin, cell)
    overlap = np.minimum(one.high, two.high) - np.maximum(one.low, two.low)
    least = min(np.nansum(one.high - one.low), np.nansum(two.high - two.low))
    return float(np.nansum(np.maximum(overlap, 0)) / least) if least > 0 else 0.0
