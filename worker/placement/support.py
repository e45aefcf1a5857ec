"""What a prop stands on, and props that run into each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worker.arrays import F32, F64, I32, Bool
from worker.formats.silhouette import rasterise

MOST_SNAP = 0.35  # a larger change of distance means that the surface found is not what the prop stands on
_CELLS = 48
_HORIZON = 0.03  # sine of the angle below which a foot is too near the horizon


@dataclass
class Support:
    """`height` along up (camera at 0) of the surface under a prop; `source` says where it is known from."""

    height: float
    source: str  # "points" or "ground_plane"
    spread: float  # robust deviation of the heights


def find_support(mask: Bool, points: F32, valid: Bool, others: Bool, up: F64, ground: tuple[F64, float] | None,
                 foot: F64) -> Support | None:  # fmt: skip
    """The surface just below the prop's lower outline.

    Args:
        mask, points, valid: full-size silhouette, pointmap and where it may be trusted.
        others: pixels of other props, which are no support to judge by.
        ground: normal and offset of the ground plane; used where no points tell.
        foot: the lowest point of the prop as placed, camera frame.
    """
    rows = np.nonzero(mask.any(axis=1))[0]
    tall = rows[-1] - rows[0] + 1
    gap, band = 2, max(4, round(0.05 * tall))
    columns = np.nonzero(mask.any(axis=0))[0]
    lowest = mask.shape[0] - 1 - np.argmax(mask[::-1, columns], axis=0)
    standing = lowest >= rows[-1] - max(2, round(0.12 * tall))  # columns whose lower end is part of the foot
    heights, climbs = [], []
    for column, row in zip(columns[standing], lowest[standing], strict=True):
        cut = np.s_[row + 1 + gap : row + 1 + gap + band, column]
        usable = valid[cut] & ~others[cut] & ~mask[cut]
        heights.append(points[cut][usable] @ up)
        cut = np.s_[row + 1 + gap + band : row + 1 + gap + 4 * band, column]  # clear of depth smeared at the foot
        below = points[cut][valid[cut] & ~others[cut] & ~mask[cut]].astype(np.float64)
        if len(below) > 1:
            step = below[-1] - below[0]
            climbs.append(abs(step @ up) - np.linalg.norm(step - up * (step @ up)))
    found = np.concatenate(heights) if heights else np.zeros(0)
    if climbs and float(np.median(climbs)) > 0:
        return None  # steeper than 45 degrees: a wall behind the prop, not a floor under it
    if len(found) >= 8:
        middle = float(np.median(found))
        return Support(middle, "points", float(1.4826 * np.median(np.abs(found - middle))))
    if ground is not None:
        normal, offset = ground
        fall = float(normal @ up)
        if fall > 0.5:
            return Support(float(foot @ up) - (float(normal @ foot) + offset) / fall, "ground_plane", 0.0)
    return None


def snap_factor(lowest: F64, up: F64, support: Support) -> float | None:
    """Factor along the rays that puts a body with the lowest point `lowest` onto the support; None: not its support.

    Scaling about the camera keeps the silhouette. Near the horizon heights say nothing of distance.
    """
    height = float(lowest @ up)
    if abs(height) < _HORIZON * np.linalg.norm(lowest) or height * support.height <= 0:
        return None
    factor = support.height / height
    return factor if abs(np.log(factor)) <= np.log(1 + MOST_SNAP) else None


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
