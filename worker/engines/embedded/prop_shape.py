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
    height, width = solid.shape
    scale = min(1.0, _GRID / max(height, width))
    size = (max(4, round(width * scale)), max(4, round(height * scale)))
    small = cv2.resize(solid.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    if small.sum() < 4:
        small = cv2.resize(solid.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    turned, back_turn = _level(small, roll)
    local = _local_thickness(turned)
    if abs(pitch) > _STEEP:
        front, back = _pillow(turned, local)
    else:
        flip = pitch < 0  # looking up: the same with heights reversed
        stack = turned[::-1] if flip else turned
        front, back = _stack(stack, local[::-1] if flip else local, abs(float(np.sin(pitch))))
        if flip:
            front, back = front[::-1], back[::-1]
    front, back = (back_turn(_filled(field, turned)) for field in (front, back))
    sigma = 0.012 * max(size)
    front, back = (_blurred(field, small, sigma) for field in (front, back))
    least = 0.02 * float(local.max()) + 0.25
    middle = 0.5 * (front + back)
    half = np.maximum(0.5 * (front - back), least)
    return Thickness(
        *(_resized(field, width, height) / scale for field in ((middle + half), (middle - half)))  # type: ignore[arg-type]
    )


def with_relief(guess: Thickness, solid: Bool, offset: F32, valid: Bool, share: float = 0.08) -> Thickness | None:
    """Take the front from measured depth where that has relief of its own; None where it is a flat card.

    Args:
        offset: (h, w) measured horizontal offset from the prop's middle plane, same units as `guess`.
        valid: where it was measured.
        share: relief (robust range) below this share of the prop's width counts as flat.
    """
    margin = max(1, round(0.01 * max(solid.shape)))
    inside = cv2.erode((solid & valid).astype(np.uint8), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) > 0
    if inside.sum() < 0.3 * solid.sum():
        return None
    rows, columns = np.nonzero(solid)
    extent = min(np.ptp(rows), np.ptp(columns)) + 1
    low, high = np.percentile((offset - _plane(offset, inside))[inside], [3, 97])
    if high - low < share * extent:
        return None
    reach = float(np.percentile(guess.front[solid] - guess.back[solid], 95))
    inside &= np.abs(offset - np.median(offset[inside])) < 1.5 * reach
    smooth = np.asarray(cv2.medianBlur(np.where(inside, offset, guess.front).astype(np.float32), 5), np.float32)
    front = _blurred(_filled(smooth, inside), solid, 0.006 * max(solid.shape))
    shift = float(np.median((front - guess.front)[solid]))
    least = 0.1 * np.percentile(guess.front[solid] - guess.back[solid], 50)
    return Thickness(front, np.minimum(guess.back + shift, front - least).astype(np.float32))


def _plane(field: F32, where: Bool) -> F64:
    rows, columns = np.nonzero(where)
    basis = np.stack([columns, rows, np.ones(len(rows))], axis=1).astype(np.float64)
    solution = np.linalg.lstsq(basis, field[where].astype(np.float64), rcond=None)[0]
    v, u = np.mgrid[: field.shape[0], : field.shape[1]]
    return solution[0] * u + solution[1] * v + solution[2]


def _level(mask: Bool, roll: float):  # type: ignore[no-untyped-def]
    """The mask turned so that gravity points down its columns, and the way back for fields."""
    if abs(roll) < np.radians(2.0):
        return mask, lambda field: np.ascontiguousarray(field, dtype=np.float32)
    height, width = mask.shape
    side = int(np.ceil(np.hypot(height, width))) + 2
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), np.degrees(roll), 1.0)
    matrix[:, 2] += [side / 2 - width / 2, side / 2 - height / 2]
    turned = cv2.warpAffine(mask.astype(np.float32), matrix, (side, side), flags=cv2.INTER_LINEAR) >= 0.5

    def back(field: F32) -> F32:
        level = cv2.warpAffine(
            np.ascontiguousarray(field, dtype=np.float32),
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(level, np.float32)

    return turned, back


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
    # A part lower in the picture than its width would show is flat: no slice may be deeper than the part is tall.
    deepest = np.full(count, np.inf)
    room = np.minimum(up, down)
    for label in range(1, count):
        deepest[label] = float(room[labels == label].max()) / max(sine, 1e-6)
    for row in range(height):
        for start, end in _runs(mask[row]):
            centre, half = 0.5 * (start + end), 0.5 * (end - start)
            middle = min(int(centre), width - 1)
            thick = float(np.percentile(local[row, start:end], 80))
            deep = min(half, thick, deepest[labels[row, middle]])
            fit = min(1.0, float(room[row, middle]) / max(deep * sine, 1e-6))
            if fit < 0.8:
                continue  # the slice would stick out above or below: the body has ended
            ends.setdefault(int(labels[row, middle]), []).append(row)
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


def _resized(field: F32, width: int, height: int) -> F32:
    return np.asarray(cv2.resize(field.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
