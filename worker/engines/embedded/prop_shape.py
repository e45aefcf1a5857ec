"""How deep is it? Front and back of a prop behind every pixel of its silhouette.

Without a learned shape prior the body is guessed from what a silhouette and gravity do tell: cut into horizontal
slices, each slice is an ellipse as wide as the silhouette's row and at most as deep as the part is thick (the largest
circle that fits into the outline there). Seen from the camera's pitch the stack of slices covers the silhouette, and
the first and the last slice that a pixel meets are its front and its back. Upright things turned on a lathe come out
right, with a flat top and bottom; thin parts (handles, legs) come out thin; plates seen from above come out flat.
Where the pointmap shows real relief, it replaces the guessed front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.arrays import F32, F64, Bool

_GRID = 144  # longest side of the working grid: depth is smooth, the outline is not taken from here
_STEEP = np.radians(60.0)  # beyond, rows no longer are slices: the prop is seen from straight above or below


@dataclass
class Thickness:
    """Horizontal offsets from the prop's upright middle plane, in pixels at its depth, towards the camera positive.

    `front` > `back` everywhere; both (h, w) in crop pixels, filled smoothly beyond the silhouette.
    """

    front: F32
    back: F32


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
    local = _local_thickness(turned)
    if abs(pitch) > _STEEP:
        front, back = _pillow(turned, local)
    else:
        flip = pitch < 0  # looking up: the same with heights reversed
        stack = turned[::-1] if flip else turned
        front, back = _stack(stack, local[::-1] if flip else local, abs(float(np.sin(pitch))))
        if flip:
            front, back = front[::-1], back[::-1]
    front, back = (level.back(_filled(field, turned)) for field in (front, back))
    sigma = 0.012 * max(small.shape)
    front, back = (_blurred(field, small, sigma) for field in (front, back))
    least = 0.02 * float(local.max()) + 0.25
    middle = 0.5 * (front + back)
    half = np.maximum(0.5 * (front - back), least)
    return Thickness(*(_resized(field, solid.shape) / scale for field in (middle + half, middle - half)))


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
    reach = float(np.percentile(guess.front[solid] - guess.back[solid], 95))
    inside &= np.abs(offset - np.median(offset[inside])) < 1.5 * reach
    smooth = cv2.medianBlur(_filled(offset, inside), 5)
    gap = 2 * max(1, round(0.012 * max(solid.shape))) + 1  # narrow dips are background seen through or beside it
    smooth = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, gap)))
    front = _blurred(np.asarray(smooth, np.float32), solid, 0.004 * max(solid.shape))
    thick = guess.front - guess.back
    shift = float(np.median((front - guess.front)[solid]))
    back = guess.back + shift
    if abs(pitch) <= _STEEP:
        back = _half_turn(front, front - thick, shift, solid, pitch, roll)
    return Thickness(front, np.minimum(back, front - 0.25 * thick).astype(np.float32))


def _half_turn(
    front: F32, otherwise: F32, guessed_axis: float, solid: Bool, pitch: float, roll: float
) -> F32:
    """The back, as the front turned by 180 degrees about the upright axis; `otherwise` for parts that stick out.

    A front without bend (a box face on) does not tell its axis; then the guessed body's stands.
    """
    small, scale = _reduced(solid)
    level = _Level(small.shape, roll)
    mask = level.mask(small)
    size = (small.shape[1], small.shape[0])
    near, rest = (
        level.field(np.asarray(cv2.resize(field, size, interpolation=cv2.INTER_AREA), np.float32) * scale)
        for field in (front, otherwise)
    )
    core = _core(mask, _local_thickness(mask))
    rows = np.flatnonzero(core.any(axis=1))
    left = np.argmax(core[rows], axis=1)
    right = core.shape[1] - 1 - np.argmax(core[rows, ::-1], axis=1)
    axis = min(_axis(near, rows, left, right), guessed_axis * scale)
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
    back = np.asarray(cv2.medianBlur(back.astype(np.float32), 5), np.float32)
    return _resized(_blurred(level.back(_filled(back, mask)), small, 0.012 * max(small.shape)), solid.shape) / scale


def _axis(front: F32, rows: NDArray[Any], left: NDArray[Any], right: NDArray[Any]) -> float:
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
    return float(np.median(circle + straight * (line - circle)))


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


def _local_thickness(mask: Bool) -> F32:
    """Radius of the largest circle inside the mask that covers each pixel (Hildebrand & Rüegsegger 1997)."""
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
    peaks = (distance > 0) & (distance >= cv2.dilate(distance, np.ones((3, 3), np.uint8)) - 1e-3)
    rows, columns = np.nonzero(peaks)
    result = distance.copy()
    for index in np.argsort(distance[rows, columns], kind="stable"):
        row, column = int(rows[index]), int(columns[index])
        radius = float(distance[row, column])
        cv2.circle(result, (column, row), max(0, round(radius - 0.5)), radius, -1)
    result[padded == 0] = 0
    return np.asarray(result[1:-1, 1:-1], np.float32)


def _stack(mask: Bool, local: F32, sine: float) -> tuple[F32, F32]:
    """Front and back of the stack of slices; NaN where no slice covers a pixel. Camera looks down by asin(sine)."""
    front = np.full(mask.shape, -np.inf, np.float32)
    back = np.full(mask.shape, np.inf, np.float32)
    core = _core(mask, local)
    for part in (core, mask & ~core):
        part_front, part_back = _stack_part(part, local, sine)
        front = np.fmax(front, part_front)
        back = np.fmin(back, part_back)
    missing = ~np.isfinite(front)
    front[missing] = back[missing] = np.nan
    return front, back


def _core(mask: Bool, local: F32) -> Bool:
    """The body without what is thin and sticks out (handles, legs, necks); mere corners of the body stay with it."""
    radius = float(local.max())
    core = mask & (local >= 0.45 * radius)
    away = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, 5)
    count, labels = cv2.connectedComponents((mask & ~core).astype(np.uint8), connectivity=4)
    for label in range(1, count):
        part = labels == label
        if away[part].max() < 0.45 * radius:
            core |= part
    return core


def _stack_part(mask: Bool, local: F32, sine: float) -> tuple[F32, F32]:
    height, width = mask.shape
    front = np.full(mask.shape, np.nan, np.float32)
    back = np.full(mask.shape, np.nan, np.float32)
    up, down = _run_lengths(mask), _run_lengths(mask[::-1])[::-1]
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    reach = int(0.7 * local[mask].max()) if mask.any() else 0
    column = np.ones((2 * reach + 1, 1), np.uint8)
    local = np.asarray(cv2.dilate(np.where(mask, local, 0), column), np.float32)  # corners are no thin parts
    ends: dict[int, list[int]] = {}
    round_depth = {label: _roundness(labels == label, sine) for label in range(1, count)}
    # A part lower in the picture than its width would show is flat: no slice may be deeper than the part is tall.
    deepest = np.full(count, np.inf)
    room = np.minimum(up, down)
    for label in range(1, count):
        deepest[label] = float(room[labels == label].max()) / max(sine, 1e-6)
    for row in range(height):
        for start, end in _runs(mask[row]):
            centre, half = 0.5 * (start + end), 0.5 * (end - start)
            middle = min(int(centre), width - 1)
            label = int(labels[row, middle]) or int(labels[row, start])
            thick = max(float(local[row, start:end].max()), round_depth[label] * half)
            deep = min(half, thick, deepest[label])
            fit = min(1.0, float(room[row, middle]) / max(deep * sine, 1e-6))
            if fit < 0.8:
                continue  # the slice would stick out above or below: the body has ended
            ends.setdefault(label, []).append(row)
            columns = np.arange(start, end)
            profile = fit * deep * np.sqrt(np.maximum(0.0, 1 - ((columns + 0.5 - centre) / (half * fit)) ** 2))
            reach = int(np.ceil(deep * sine))
            top, bottom = max(0, row - reach), min(height, row + reach + 1)
            step = (np.arange(top, bottom) - row)[:, None]
            covered = (np.abs(step) <= sine * profile) & mask[top:bottom, start:end] & (profile > 0)
            slope = max(sine, 1e-6)
            near = np.minimum(profile, (step + 1) / slope)
            far = np.maximum(-profile, (step - 1) / slope)
            view_front, view_back = front[top:bottom, start:end], back[top:bottom, start:end]
            fresh = covered & np.isnan(view_front)
            view_front[fresh] = near[fresh]
            view_back[covered] = far[covered]
    _cap(front, back, mask, labels, ends, sine)
    return front, back


def _cap(front: F32, back: F32, mask: Bool, labels: NDArray[Any], ends: dict[int, list[int]], sine: float) -> None:
    """What sticks out above the highest slice or below the lowest lies in that slice's plane (corners of boxes)."""
    if sine < 0.1:
        return
    rows = np.arange(mask.shape[0])[:, None] + np.zeros(mask.shape[1])
    for label, kept in ends.items():
        bare = (labels == label) & np.isnan(front)
        deepest = 1.3 * float(np.nanmax(front, where=labels == label, initial=0.0))
        for outside, end in ((rows < min(kept), min(kept)), (rows > max(kept), max(kept))):
            corner = bare & outside
            front[corner] = back[corner] = np.clip((rows[corner] - end) / sine, -deepest, deepest)


def _roundness(part: Bool, sine: float) -> float:
    """0..1: how deep a part is for its width, from its lower outline. Seen from above a round foot bends, a wall's not.

    The foot of a disc of radius a bends by a * sin(pitch) * (1 - sqrt(1 - 0.7^2)) at 0.7 a beside its middle.
    """
    columns = np.flatnonzero(part.any(axis=0))
    half = 0.5 * len(columns)
    bend = half * sine * (1 - np.sqrt(1 - 0.7**2))
    if bend < 4.0:
        return 0.0  # less than the grid can tell
    low = part.shape[0] - 1 - np.argmax(part[::-1, columns], axis=0)
    place = (np.arange(len(columns)) + 0.5) / half - 1
    middle = float(np.median(low[np.abs(place) < 0.15]))
    sides = [float(np.median(low[np.abs(place - side) < 0.1])) for side in (-0.7, 0.7)]
    return float(np.clip((middle - max(sides)) / bend, 0.0, 1.0))


def _run_lengths(mask: Bool) -> F32:
    """Number of mask pixels from each pixel upwards without a gap, itself included."""
    lengths = np.zeros(mask.shape, np.float32)
    running = np.zeros(mask.shape[1], np.float32)
    for row in range(mask.shape[0]):
        running = np.where(mask[row], running + 1, 0)
        lengths[row] = running
    return lengths


def _runs(line: Bool) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


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
