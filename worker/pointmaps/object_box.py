"""The upright box around an object, from what every place of the still says of it.

A geometry engine may give votes (10, h, w) that cover the whole still. Each place speaks in its own frame, so that the
same thing is described alike wherever it stands in the picture: `forward` is the horizontal part of its ray, `up` the
world's, `right` = forward x up; lengths are shares of `distance`, the length from the camera to the pointmap's point
there, so that votes hold in any unit and move with the depth.

- 0-2: from that point to the box's centre (forward, right, up), in shares of the box's diagonal;
- 3: log(height / distance);
- 4-6: the footprint as the logarithm of a symmetric matrix, R diag(log(a / distance), log(b / distance)) R^T with R the
  turn of the first side in (forward, right): entries (f, f), (f, r), (r, r);
- 7-8: cosine and sine of four times that turn, short where it is not known: round things have none;
- 9: log of the expected error of the other nine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.arrays import F32, F64, Bool

CHANNELS = 10
LEAST_VOTES = 6  # places on the object; fewer tell nothing
LEAST_AGREEING = 0.5  # share of the votes that put the centre where most do
AGREEING = 0.25  # of the diagonal
LEAST_HEADING = 0.25  # length of the mean heading vector, 0..1
LONG = 0.35  # log ratio of the sides from which the longer one alone tells the heading
STEEPEST = 0.2  # horizontal share of a ray below which it has no heading: seen from straight above
TYPICAL_ERROR = 0.25  # expected error at which confidence has fallen to a third
LOST_FEET = 0.08  # of the box's height


@dataclass(frozen=True)
class ObjectBox:
    """An upright box, camera frame. `axes` (3, 3): columns are the first side, the second and up, right-handed.

    `sides` are the whole lengths along them. Where `heading_known` is False the thing is round or nobody could tell;
    the second side then points away from the camera.
    """

    centre: F64
    axes: F64
    sides: F64
    heading_known: bool
    confidence: float  # 0..1
    below: float = 0.0  # how much further down it may reach, if its mask lost its feet

    @property
    def corners(self) -> F64:
        """(8, 3), camera frame."""
        signs = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
        return self.centre + (signs * self.sides) @ self.axes.T

    @property
    def expected_error(self) -> float:
        """Of the logarithms of its sides, as its votes put it."""
        return -TYPICAL_ERROR * float(np.log(np.clip(self.confidence, 1e-6, 1)))

    @property
    def underside(self) -> F64:
        """(3,) the middle of its lower face."""
        return self.centre - 0.5 * self.sides[2] * self.axes[:, 2]

    def reaches_below(self, vertices: F64) -> float:
        """How far it may reach below a body (camera frame) if its mask lost its feet; 0 where that is little."""
        height = vertices @ self.axes[:, 2]
        below = float(height.min() - self.underside @ self.axes[:, 2]) + self.below
        return below if below > LOST_FEET * self.sides[2] else 0.0

    def crossed(self, rays: F64) -> tuple[F64, F64]:
        """Where rays from the camera enter and leave, in multiples of each ray (..., 3); both NaN where they miss."""
        half = 0.5 * self.sides
        way, start = rays @ self.axes, -self.centre @ self.axes
        with np.errstate(all="ignore"):
            ends = np.stack([(-half - start) / way, (half - start) / way])
        enter, leave = ends.min(axis=0).max(axis=-1), ends.max(axis=0).min(axis=-1)
        missed = ~(leave > np.maximum(enter, 0))
        return np.where(missed, np.nan, np.maximum(enter, 0)), np.where(missed, np.nan, leave)

    def projected(self, intrinsics: F32 | F64) -> F64:
        """(4,) left, top, right, bottom of its projection, pixels; what lies behind the camera counts as very near."""
        seen = self.corners @ np.asarray(intrinsics, np.float64).T
        seen = seen[:, :2] / np.maximum(seen[:, 2:], 1e-3 * float(np.linalg.norm(self.sides)))
        return np.concatenate([seen.min(axis=0), seen.max(axis=0)])

    def fit(self, mask: Bool, intrinsics: F32 | F64) -> float:
        """IoU of the rectangles around its projection and around a mask of the whole still, 0..1."""
        if not mask.any():
            return 0.0
        edges = self.projected(intrinsics)
        size = np.array(mask.shape[::-1], float)
        low, high = (np.clip(edge, 0, size) for edge in (edges[:2], edges[2:]))
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        own_low, own_high = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1
        both = float(np.prod(np.maximum(np.minimum(high, own_high) - np.maximum(low, own_low), 0)))
        return both / float(np.prod(high - low) + np.prod(own_high - own_low) - both)


def box_of(votes: F32, mask: Bool, points: F32, valid: Bool, up: F64) -> ObjectBox | None:
    """The box of the thing under `mask`; None where too few places speak or they disagree.

    Args:
        votes: see the module. mask, points, valid: of the whole still, at full size. up: unit, camera frame.
    """
    cell, row, column, share = _places(mask & valid, votes.shape[1:])
    said = votes.reshape(CHANNELS, -1)[:, cell].astype(np.float64)
    point = points[row, column].astype(np.float64)
    distance = np.linalg.norm(point, axis=1)
    level = point - (point @ up)[:, None] * up
    usable = np.linalg.norm(level, axis=1) > STEEPEST * distance
    if usable.sum() < LEAST_VOTES:
        return None
    said, point, distance, level, share = said[:, usable], point[usable], distance[usable], level[usable], share[usable]
    error = np.exp(np.clip(said[9], -4, 2))
    weight = share / error

    def middle(values: F64) -> float:
        return _weighted_median(values, weight)

    forward, right = _level_frame(level, up)
    azimuth = np.arctan2(level @ right, level @ forward)
    c, s = np.cos(azimuth), np.sin(azimuth)
    far = np.log(distance)
    height = float(np.exp(middle(said[3] + far)))
    ff, fr, rr = said[4], said[5], said[6]
    footprint = np.array(
        [
            middle(ff * c * c - 2 * fr * c * s + rr * s * s + far),
            middle((ff - rr) * c * s + fr * (c * c - s * s)),
            middle(ff * s * s + 2 * fr * c * s + rr * c * c + far),
        ]
    )
    turn = _heading(said[7:9], azimuth, footprint, weight)
    known = turn is not None
    # Where no heading is known the first side lies across the line of sight: that is a quarter turn from forward.
    middle_azimuth = float(np.angle(np.sum(weight * np.exp(1j * azimuth))))
    turn = middle_azimuth + np.pi / 2 if turn is None else turn
    a, b = (np.exp(_along(footprint, turn + quarter)) for quarter in (0.0, np.pi / 2))
    diagonal = float(np.sqrt(a * a + b * b + height * height))
    offset = said[:3] * diagonal
    there = point + (
        np.outer(offset[0] * c - offset[1] * s, forward)
        + np.outer(offset[0] * s + offset[1] * c, right)
        + np.outer(offset[2], up)
    )
    centre = np.array([middle(there[:, k]) for k in range(3)])
    agree = np.linalg.norm(there - centre, axis=1) < AGREEING * diagonal
    agreeing = float(weight[agree].sum() / weight.sum())
    if agreeing < LEAST_AGREEING:
        return None
    first = np.cos(turn) * forward + np.sin(turn) * right
    axes = np.stack([first, np.cross(up, first), up], axis=1)
    confidence = agreeing * float(np.exp(-middle(error) / TYPICAL_ERROR))
    return ObjectBox(centre, axes, np.array([a, b, height]), known, confidence)


def _places(mask: Bool, shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], F64]:
    """For every place of the votes' grid that the mask touches: its flat index, the row and column of the mask's pixel
    nearest to its middle, and the share of it that the mask covers.
    """
    rows, columns = np.nonzero(mask)
    tall, wide = mask.shape[0] / shape[0], mask.shape[1] / shape[1]
    y, x = (rows + 0.5) / tall, (columns + 0.5) / wide
    cell = np.minimum(y.astype(int), shape[0] - 1) * shape[1] + np.minimum(x.astype(int), shape[1] - 1)
    off = (y % 1 - 0.5) ** 2 + (x % 1 - 0.5) ** 2
    order = np.lexsort((off, cell))
    found, first, count = np.unique(cell[order], return_index=True, return_counts=True)
    nearest = order[first]
    return found, rows[nearest], columns[nearest], np.minimum(count / (tall * wide), 1.0)


def _level_frame(level: F64, up: F64) -> tuple[F64, F64]:
    """One (forward, right) for all votes of an object: forward is the mean of theirs."""
    forward = (level / np.linalg.norm(level, axis=1, keepdims=True)).sum(axis=0)
    forward /= np.linalg.norm(forward)
    return forward, np.cross(forward, up)


def _heading(vectors: F64, azimuth: F64, footprint: F64, weight: F64) -> float | None:
    """Turn of a side in the common (forward, right), radians modulo a quarter; None where nobody can tell.

    The mean vector tells; where it is short but the footprint is long, its long side does.
    """
    each = vectors[0] + 1j * vectors[1]
    each /= np.maximum(np.abs(each), 1.0)
    mean = np.sum(weight * each * np.exp(4j * azimuth)) / weight.sum()
    if abs(mean) >= LEAST_HEADING:
        return float(np.angle(mean) / 4)
    ff, fr, rr = footprint
    if np.hypot(ff - rr, 2 * fr) >= LONG:
        return float(0.5 * np.arctan2(2 * fr, ff - rr))
    return None


def _along(footprint: F64, turn: float) -> float:
    """Entry of the footprint's logarithm along a direction."""
    c, s = np.cos(turn), np.sin(turn)
    return float(footprint[0] * c * c + 2 * footprint[1] * c * s + footprint[2] * s * s)


def _weighted_median(values: F64, weight: F64) -> float:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order[np.searchsorted(total, 0.5 * total[-1])]])
