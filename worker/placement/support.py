"""What a prop stands on.

Two witnesses: the points just below and beside its lower outline, and the ground plane that the whole picture agreed
on. Where they agree within a few times the depth's own noise the plane is believed (it averages that out); else the
prop stands on something else, a table, a kerb, a shelf, and the points are believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worker.arrays import F32, F64, Bool

MOST_SNAP = 0.35  # a larger change of distance means that the surface found is not what the prop stands on
LEAST_NOISE = 0.01  # relative: rugs and thresholds
MOST_NOISE = 0.2
SMEARED = 5.0  # noises: so far off may points at and before a foot be and yet lie on the ground: depth smears there
DRIFT = 12.0  # noises: farther than this from the ground no floor drifts
STEEPEST = 0.4  # slope of a floor that is ill measured; edges of furniture are steeper
_HORIZON = 0.03  # sine of the angle below which a foot is too near the horizon


@dataclass
class Support:
    """`height` along up (camera at 0) of the surface under a prop; `source` says where it is known from."""

    height: float
    source: str  # "points" or "ground_plane"
    spread: float  # robust deviation of the heights
    sure: bool = False  # both witnesses say so: it outweighs the depth measured on the prop itself


@dataclass
class Ground:
    """`normal` . x + `offset` = 0; `noise`: robust relative deviation of the floor's points from it."""

    normal: F64
    offset: float
    noise: float

    @staticmethod
    def of(plane: tuple[F64, float], points: F32, valid: Bool, props: Bool) -> Ground:
        """Measure how well the points that could be floor lie on it: how far the depth itself is to be believed."""
        normal, offset = np.asarray(plane[0], dtype=np.float64), float(plane[1])
        step = max(1, round(max(valid.shape) / 320))
        seen = points[::step, ::step][(valid & ~props)[::step, ::step]].astype(np.float64)
        ratio = -(seen @ normal) / offset
        off = np.abs(np.log(ratio[(ratio > 1 / (1 + MOST_NOISE)) & (ratio < 1 + MOST_NOISE)]))
        return Ground(normal, offset, 1.4826 * float(np.median(off)) if len(off) > 100 else 0.5 * MOST_NOISE)

    def below(self, foot: F64, up: F64) -> float | None:
        """Height along up where the ray through `foot` meets the ground; None where it does not."""
        fall = float(self.normal @ foot)
        if fall > -_HORIZON * np.linalg.norm(foot) or self.offset <= 0:
            return None
        return float(foot @ up) * self.offset / -fall


def find_support(mask: Bool, points: F32, valid: Bool, up: F64, ground: Ground | None, foot: F64) -> Support | None:
    """The surface that carries a prop.

    Args:
        mask, points, valid: full-size silhouette, pointmap and where it may be trusted. Other props count: one of them
            may carry this one.
        foot: the lowest point of the prop as placed, camera frame.
    """
    local, steep = _below(mask, points, valid, up)
    level = None if ground is None else ground.below(foot, up)
    if ground is None or level is None:
        return local
    if local is None:
        return Support(level, "ground_plane", 0.0) if not steep or ground.noise < MOST_NOISE else None
    limit = float(np.clip(SMEARED * ground.noise, LEAST_NOISE, MOST_NOISE))
    off = abs(np.log(local.height / level)) if local.height * level > 0 else np.inf
    if off < limit or (off < DRIFT * ground.noise and _leads_to(ground, limit, mask, points, valid, up)):
        return Support(level, "ground_plane", local.spread, True)
    return local


def _leads_to(ground: Ground, limit: float, mask: Bool, points: F32, valid: Bool, up: F64) -> bool:
    """Whether the surface below the foot runs on to the ground without a step: then it is the ground, ill measured.

    The edge of a table or a kerb is a step, even where depth is smeared.
    """
    reached = []
    columns = np.flatnonzero(mask.any(axis=0))
    lowest = mask.shape[0] - 1 - np.argmax(mask[::-1, columns], axis=0)
    standing = lowest >= lowest.max() - max(2, round(0.12 * np.ptp(np.nonzero(mask)[0])))
    stride = max(2, round(mask.shape[0] / 90))
    for column, row in list(zip(columns[standing], lowest[standing], strict=True))[:: max(1, standing.sum() // 12)]:
        rows = np.arange(row + 3, mask.shape[0], stride)
        rows = rows[valid[rows, column] & ~mask[rows, column]]
        walk = points[rows, column].astype(np.float64)
        on = np.flatnonzero(np.abs(np.log(np.maximum(-(walk @ ground.normal) / ground.offset, 1e-6))) < limit)
        if not len(on):
            reached.append(False)
            continue
        step = np.diff(walk[: on[0] + 1], axis=0)
        rise = step @ up
        along = np.linalg.norm(step - rise[:, None] * up, axis=1)
        reached.append(not (np.abs(rise) > STEEPEST * along).any())
    return bool(reached) and float(np.mean(reached)) > 0.5


def _below(mask: Bool, points: F32, valid: Bool, up: F64) -> tuple[Support | None, bool]:
    """Height of the points just below the lower outline, and whether what lies there is too steep to carry anything."""
    rows = np.nonzero(mask.any(axis=1))[0]
    tall = rows[-1] - rows[0] + 1
    gap, band = 2, max(4, round(0.05 * tall))
    columns = np.nonzero(mask.any(axis=0))[0]
    lowest = mask.shape[0] - 1 - np.argmax(mask[::-1, columns], axis=0)
    standing = lowest >= rows[-1] - max(2, round(0.12 * tall))  # columns whose lower end is part of the foot
    heights, climbs = [], []
    for column, row in zip(columns[standing], lowest[standing], strict=True):
        cut = np.s_[row + 1 + gap : row + 1 + gap + band, column]
        usable = valid[cut] & ~mask[cut]
        heights.append(points[cut][usable] @ up)
        cut = np.s_[row + 1 + gap + band : row + 1 + gap + 4 * band, column]  # clear of depth smeared at the foot
        below = points[cut][valid[cut] & ~mask[cut]].astype(np.float64)
        if len(below) > 1:
            step = below[-1] - below[0]
            climbs.append(abs(step @ up) - np.linalg.norm(step - up * (step @ up)))
    found = np.concatenate(heights) if heights else np.zeros(0)
    if climbs and float(np.median(climbs)) > 0:
        return None, True  # steeper than 45 degrees: a wall behind the prop, not a floor under it
    if len(found) < 8:
        return None, False
    middle = float(np.median(found))
    return Support(middle, "points", float(1.4826 * np.median(np.abs(found - middle)))), False


def snap_factor(lowest: F64, up: F64, support: Support) -> float | None:
    """Factor along the rays that puts a body with the lowest point `lowest` onto the support; None: it cannot.

    Scaling about the camera keeps the silhouette. Near the horizon heights say nothing of distance.
    """
    height = float(lowest @ up)
    if abs(height) < _HORIZON * np.linalg.norm(lowest) or height * support.height <= 0:
        return None
    return support.height / height
