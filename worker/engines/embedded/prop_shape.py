"""How deep is it? Front and back of a prop behind every pixel of its silhouette.

Without a learned shape prior the body is guessed from what a silhouette and gravity do tell (prop_slices.py). Where the
pointmap shows real relief, it replaces the guessed front, and the unseen back is the front turned about the upright
axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.arrays import F32, F64, Bool
from worker.engines.embedded.prop_slices import core_of, local_thickness, stack_of_slices

_GRID = 168  # longest side of the working grid: depth is smooth, the outline is not taken from here
_CRISP = 0.68  # share of a depth step that lies close to the outline: true depth of twenty props has 0.70 to 0.98
_MOST_RELIEF = 0.85  # of the width: the same props show 0.25 to 0.78; a network's smeared depth shows more
_LEAN = 0.12  # of the local thickness: how far a smeared depth may bend the guessed front
_STEEP = np.radians(60.0)  # beyond, rows no longer are slices: the prop is seen from straight above or below


@dataclass
class Thickness:
    """Horizontal offsets from the prop's upright middle plane, in pixels at its depth, towards the camera positive.

    `front` > `back` everywhere; both (h, w) in crop pixels, filled smoothly beyond the silhouette.
    """

    front: F32
    back: F32
    measured: bool = False  # the front is measured depth, not a guess


def sliced(solid: Bool, pitch: float, roll: float) -> Thickness:
    """Guess the body from its silhouette.

    Args:
        solid: (h, w) silhouette.
        pitch: radians that the camera looks down on the prop (negative: up).
        roll: radians that gravity is turned from the picture's downward direction, clockwise positive.
    """
    small, scale = _reduced(solid)
    level = _Level(small.shape, roll)
    turned = level.mask(small)
    soft = cv2.resize(solid.astype(np.float32), small.shape[::-1], interpolation=cv2.INTER_AREA)
    cover = level.field(np.asarray(soft, np.float32))
    local = local_thickness(turned)
    if abs(pitch) > _STEEP:
        front, back = _pillow(turned, local)
    else:
        flip = pitch < 0  # looking up: the same with heights reversed
        order = slice(None, None, -1 if flip else 1)
        fields = stack_of_slices(turned[order], cover[order], local[order], abs(float(np.sin(pitch))))
        front, back = (field[order] for field in fields)
    front, back = (level.back(_filled(field, turned)) for field in (front, back))
    sigma = 0.012 * max(small.shape)
    front, back = (_blurred(field, small, sigma) for field in (front, back))
    least = 0.02 * float(local.max()) + 0.25
    middle = 0.5 * (front + back)
    half = np.maximum(0.5 * (front - back), least)
    front, back = (_resized(field, solid.shape) / scale for field in (middle + half, middle - half))
    return Thickness(front, back)


def flattened(guess: Thickness, solid: Bool, share: float = 0.06) -> Thickness:
    """The same body at most `share` of its smaller extent deep: a picture or a sign on its wall."""
    rows, columns = np.nonzero(solid)
    extent = min(np.ptp(rows), np.ptp(columns)) + 1
    factor = min(1.0, share * extent / max(float((guess.front - guess.back)[solid].max()), 1e-6))
    return Thickness(guess.front * factor, guess.back * factor)


def with_relief(
    guess: Thickness, solid: Bool, offset: F32, valid: Bool, pitch: float, roll: float, share: float = 0.08
) -> Thickness | None:
    """Take the front from measured depth where that has relief of its own; None where it is a flat card.

    The unseen back is the front turned by half a turn about the body's upright axis: what most made things look like.

    Args:
        offset: (h, w) measured horizontal offset from the prop's middle plane, same units as `guess`.
        valid: where it was measured.
        pitch, roll: as for `sliced`.
        share: relief (robust range) below this share of the prop's width counts as flat.
    """
    margin = max(1, round(0.01 * max(solid.shape)))
    inside = cv2.erode((solid & valid).astype(np.uint8), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) > 0
    if inside.sum() < 0.3 * solid.sum():
        inside = solid & valid  # all thin parts: nothing would be left
    if inside.sum() < 0.3 * solid.sum():
        return None
    rows, columns = np.nonzero(solid)
    extent = min(np.ptp(rows), np.ptp(columns)) + 1
    low, high = np.percentile((offset - _plane(offset, inside))[inside], [3, 97])
    if high - low < share * extent:
        return None
    far, near = np.percentile(offset[inside], [3, 97])
    if near - far > _MOST_RELIEF * np.ptp(columns) or not _crisp(offset, solid, valid):
        return _leaning(guess, solid, offset, inside)
    reach = float(np.percentile(guess.front[solid] - guess.back[solid], 95))
    inside &= np.abs(offset - np.median(offset[inside])) < 1.5 * reach
    inside &= ~_fringe(offset, solid, inside, 0.25 * extent)
    smooth = cv2.medianBlur(_filled(offset, inside), 5)
    gap = 2 * max(1, round(0.012 * max(solid.shape))) + 1  # narrow dips are background seen through or beside it
    smooth = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, gap)))
    front = _blurred(np.asarray(smooth, np.float32), solid, 0.004 * max(solid.shape))
    thick = guess.front - guess.back
    shift = float(np.median((front - guess.front)[solid]))
    back = guess.back + shift
    if abs(pitch) <= _STEEP:
        back = _half_turn(front, thick, shift, solid, pitch, roll)
    return Thickness(front, np.minimum(back, front - 0.05 * thick).astype(np.float32), True)


def _fringe(offset: F32, solid: Bool, inside: Bool, most: float) -> Bool:
    """Rim pixels farther by `most` than the body just inside them: background, not body. Thin parts have none."""
    width = max(2, round(0.04 * max(solid.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    deep = cv2.erode(solid.astype(np.uint8), kernel)
    rim = (cv2.dilate(deep, kernel) > 0) & (deep == 0)
    return rim & (offset < _filled(offset, inside & (deep > 0)) - most)


def _crisp(offset: F32, solid: Bool, valid: Bool) -> bool:
    """Whether depth steps at the outline, as it does in the world, or runs smoothly across it, as networks have it.

    Compares the range of depth close to the outline with that in a wider band, where the wider one has a step at all.
    """
    size = max(solid.shape)
    edge = cv2.morphologyEx(solid.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    close, wide = (2 * round(share * size) + 1 for share in (0.008, 0.05))
    ranges = []
    for window in (max(5, close), max(15, wide)):
        kernel = np.ones((window, window), np.uint8)
        ranges.append(cv2.dilate(offset, kernel) - cv2.erode(offset, kernel))
    near, far = ranges[0][edge & valid], ranges[1][edge & valid]
    stepped = far > 0.15 * size
    return stepped.sum() < 16 or float(np.median(near[stepped] / far[stepped])) > _CRISP


def _leaning(guess: Thickness, solid: Bool, offset: F32, inside: Bool) -> Thickness:
    """The guessed body with its front bent towards a depth that is smeared at the outline: by at most a part of the
    local thickness, and not at all at the rim.
    """
    thick = guess.front - guess.back
    difference = _filled((offset - guess.front).astype(np.float32), inside)
    difference -= np.float32(np.median(difference[solid]))
    away = cv2.distanceTransform(solid.astype(np.uint8), cv2.DIST_L2, 5)
    trust = np.clip(away / max(0.25 * float(away.max()), 1.0), 0, 1)
    bend = np.clip(difference, -_LEAN * thick, _LEAN * thick) * trust
    bend = _blurred(bend.astype(np.float32), solid, 0.03 * max(solid.shape))
    return Thickness((guess.front + bend).astype(np.float32), guess.back)


def _half_turn(
    front: F32, thick: F32, guessed_axis: float, solid: Bool, pitch: float, roll: float
) -> F32:
    """The back, as the front turned by 180 degrees about the upright axis; parts that stick out stay thin.

    A front without bend (a box face on) does not tell its axis; then the guessed body's stands.
    """
    small, scale = _reduced(solid)
    level = _Level(small.shape, roll)
    mask = level.mask(small)
    size = (small.shape[1], small.shape[0])
    near, depth = (
        level.field(np.asarray(cv2.resize(field, size, interpolation=cv2.INTER_AREA), np.float32) * scale)
        for field in (front, thick)
    )
    local = local_thickness(mask)
    core = core_of(mask, local)
    rest = near - np.minimum(depth, 1.5 * local)
    rows = np.flatnonzero(core.any(axis=1))
    left = np.argmax(core[rows], axis=1)
    right = core.shape[1] - 1 - np.argmax(core[rows, ::-1], axis=1)
    axis = _axis(near, rows, left, right, guessed_axis * scale)
    centre = np.zeros(core.shape[0])
    centre[rows] = cv2.GaussianBlur((0.5 * (left + right))[:, None], (0, 0), 2.0)[:, 0]
    row, column = np.nonzero(core)
    offset = 2 * axis - near[row, column]
    # A point farther away is seen higher up by a camera that looks down.
    target_row = np.round(row - 2 * (near[row, column] - axis) * np.sin(pitch)).astype(int)
    target_column = np.round(2 * centre[row] - column).astype(int)
    hit = (target_row >= 0) & (target_row < mask.shape[0]) & (target_column >= 0) & (target_column < mask.shape[1])
    target = np.full(mask.shape, np.inf, np.float32)
    np.minimum.at(target, (target_row[hit], target_column[hit]), offset[hit].astype(np.float32))
    known = np.isfinite(target) & core
    back = np.where(core & known.any(), _filled(np.where(known, target, np.nan).astype(np.float32), known), rest)
    back = np.minimum(back, near - 0.25 * np.minimum(depth, 3 * local))
    back = np.asarray(cv2.medianBlur(back.astype(np.float32), 5), np.float32)
    return _resized(_blurred(level.back(_filled(back, mask)), small, 0.012 * max(small.shape)), solid.shape) / scale


def _axis(front: F32, rows: NDArray[Any], left: NDArray[Any], right: NDArray[Any], guessed: float) -> float:
    """Offset of the upright axis; `rows` from above. Left and right rim of a slice are opposite points, it is between.

    Depth at the very rim is never measured well, so it is extrapolated from 30, 60 and 85 % of the half width: as a
    circle where the slice bends like one, along a line where it runs straight like the corner of a box.
    """
    keep = right - left >= min(12, int((right - left).max()))
    share = np.cumsum(keep) / keep.sum()
    keep &= (share > 0.45) & (share <= 0.9) if keep.sum() >= 8 else True  # above may be a lid, below the foot's bend
    rows, left, right = rows[keep], left[keep], right[keep]
    centre, half = 0.5 * (left + right), 0.5 * (right - left)
    at30, at60, at85 = (
        0.5 * sum(front[rows, np.round(centre + side * x * half).astype(int)] for side in (-1, 1))
        for x in (0.3, 0.6, 0.85)
    )
    fall = at60 - at85
    circle = at85 - np.sqrt(1 - 0.85**2) * fall / (np.sqrt(1 - 0.6**2) - np.sqrt(1 - 0.85**2))
    line = at85 - 0.6 * fall
    straight = np.clip(((at30 - at60) / np.where(np.abs(fall) > 1e-6, fall, 1e-6) - 0.56) / 0.64, 0, 1)
    bent = float(np.clip(np.median(fall / half) / 0.15, 0, 1))
    seen = float(np.median(circle + straight * (line - circle)))
    boxy = float(np.median(straight))  # of round things the guessed body is right; the rim's blur may only hide depth
    return bent * (boxy * seen + (1 - boxy) * min(seen, guessed)) + (1 - bent) * guessed


def _reduced(solid: Bool) -> tuple[Bool, float]:
    """The silhouette on the working grid, and grid pixels per crop pixel."""
    height, width = solid.shape
    scale = min(1.0, _GRID / max(height, width))
    size = (max(4, round(width * scale)), max(4, round(height * scale)))
    small = cv2.resize(solid.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    if small.sum() < 4:
        small = cv2.resize(solid.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return small, scale


def _plane(field: F32, where: Bool) -> F64:
    rows, columns = np.nonzero(where)
    basis = np.stack([columns, rows, np.ones(len(rows))], axis=1).astype(np.float64)
    solution = np.linalg.lstsq(basis, field[where].astype(np.float64), rcond=None)[0]
    v, u = np.mgrid[: field.shape[0], : field.shape[1]]
    return solution[0] * u + solution[1] * v + solution[2]


class _Level:
    """Turns pictures so that gravity points down their columns, and back."""

    def __init__(self, shape: tuple[int, ...], roll: float) -> None:
        self.height, self.width = shape[:2]
        self.side = int(np.ceil(np.hypot(self.height, self.width))) + 2
        self.needed = abs(roll) >= np.radians(2.0)
        middle = (self.width / 2, self.height / 2)
        self.matrix = cv2.getRotationMatrix2D(middle, float(np.degrees(roll)), 1.0)
        self.matrix[:, 2] += np.array([self.side / 2 - middle[0], self.side / 2 - middle[1]])

    def mask(self, mask: Bool) -> Bool:
        if not self.needed:
            return mask
        return cv2.warpAffine(mask.astype(np.float32), self.matrix, (self.side, self.side)) >= 0.5

    def field(self, field: F32) -> F32:
        if not self.needed:
            return field
        size = (self.side, self.side)
        return np.asarray(cv2.warpAffine(field, self.matrix, size, borderMode=cv2.BORDER_REPLICATE), np.float32)

    def back(self, field: F32) -> F32:
        if not self.needed:
            return np.ascontiguousarray(field, dtype=np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        level = cv2.warpAffine(
            np.ascontiguousarray(field, dtype=np.float32), self.matrix, (self.width, self.height),
            flags=flags, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return np.asarray(level, np.float32)


def _pillow(mask: Bool, local: F32) -> tuple[F32, F32]:
    """Seen along gravity there are no rows to slice: a rounded body, half as deep as it is thick."""
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    rise = 0.5 * np.sqrt(np.maximum(0.0, local**2 - np.maximum(0.0, local - distance) ** 2))
    return rise.astype(np.float32), -rise.astype(np.float32)


def _filled(field: F32, where: Bool) -> F32:
    """Nearest known value everywhere (known: inside `where` and finite)."""
    known = where & np.isfinite(field)
    if not known.any():
        return np.zeros(field.shape, np.float32)
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.zeros(labels.max() + 1, np.float32)
    values[labels[known]] = field[known]
    return values[labels]


def _blurred(field: F32, where: Bool, sigma: float) -> F32:
    """Gaussian smoothing that does not look across the silhouette; nearest smoothed value beyond it."""
    weight = cv2.GaussianBlur(where.astype(np.float32), (0, 0), max(sigma, 0.3))
    mean = cv2.GaussianBlur(np.where(where, field, 0).astype(np.float32), (0, 0), max(sigma, 0.3))
    return _filled(np.where(where, mean / np.maximum(weight, 1e-6), np.nan).astype(np.float32), where)


def _resized(field: F32, shape: tuple[int, ...]) -> F32:
    return np.asarray(cv2.resize(field.astype(np.float32), (shape[1], shape[0])), np.float32)
