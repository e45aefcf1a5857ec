"""A body from a silhouette: a stack of horizontal slices.

Each slice is an ellipse as wide as the silhouette's row and at most as deep as the part is thick (the largest circle
that fits into the outline there). Seen from the camera's pitch the stack covers the silhouette, and the first and the
last slice that a pixel meets are its front and its back. Upright things turned on a lathe come out right, with a flat
top and bottom; thin parts (handles, legs) come out thin; plates seen from above come out flat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.arrays import F32, Bool

_THIN = 0.45  # of the body's radius: parts thinner than this stand on their own
_FITS = 0.8  # a slice that must shrink below this to stay inside the outline lies beyond the body's end
_WIDE = 1.3  # of the height: deeper than this are few things
_MOST_DEEPER = 3.0
_FITS_DOME = 0.45  # the same where the body already narrows towards its end


@dataclass
class _Slice:
    row: int
    start: int
    end: int
    label: int
    centre: float
    half: float
    deep: float
    fit: float


def local_thickness(mask: Bool) -> F32:
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


def core_of(mask: Bool, local: F32) -> Bool:
    """The body without what is thin and sticks out (handles, legs, necks); mere corners of the body stay with it."""
    radius = float(local.max())
    core = mask & (local >= _THIN * radius)
    away = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, 5)
    count, labels = cv2.connectedComponents((mask & ~core).astype(np.uint8), connectivity=4)
    for label in range(1, count):
        part = labels == label
        if away[part].max() < _THIN * radius:
            core |= part
    return core


def _with_wings(core: Bool, mask: Bool) -> Bool:
    """What sticks out alike on both sides (the rim of a bowl, a saucer) is part of the same round body."""
    core = core.copy()
    for row in np.flatnonzero(core.any(axis=1)):
        for start, end in _runs(mask[row]):
            inside = np.flatnonzero(core[row, start:end])
            if len(inside):
                wing = min(inside[0], end - start - 1 - inside[-1])
                core[row, start + inside[0] - wing : start + inside[-1] + 1 + wing] = True
    return core & mask


def stack_of_slices(mask: Bool, cover: F32, local: F32, sine: float) -> tuple[F32, F32]:
    """Front and back offsets (pixels, towards the camera positive); NaN where no slice covers a pixel.

    Args:
        mask: the silhouette, gravity down its columns. cover: its soft coverage 0..1, for widths below one pixel.
        local: `local_thickness` of it. sine: of the angle by which the camera looks down, not negative.
    """
    front = np.full(mask.shape, -np.inf, np.float32)
    back = np.full(mask.shape, np.inf, np.float32)
    core = _with_wings(core_of(mask, local), mask)
    depth = 0.0
    if core.any():
        depth = likely_depth(core, mask, sine)
        front, back = _deepened(*_stack(core, mask, cover, local, sine), local, depth)
        front, back = np.where(core, front, -np.inf), np.where(core, back, np.inf)
    rest = mask & ~core
    if rest.any():
        shift = _legs(rest, core, mask, 0.5 * depth, sine)
        part_front, part_back = _stack(rest, mask, cover, local, sine)
        front = np.fmax(front, part_front + shift)
        back = np.fmin(back, part_back + shift)
    missing = ~np.isfinite(front)
    front[missing] = back[missing] = np.nan
    return front.astype(np.float32), back.astype(np.float32)


def likely_depth(core: Bool, mask: Bool, sine: float) -> float:
    """Pixels from front to back: as deep as wide, but no deeper than tall things are or than the picture has room for.

    Of 80 rendered props turned at random the depth along the line of sight is 0.98 times the width in the median, and
    within 9 % of that for half of them; what is much wider than tall (sofas, benches) is shallower.
    """
    wide = np.ptp(np.flatnonzero(core.any(axis=0))) + 1
    tall = np.ptp(np.flatnonzero(mask.any(axis=1))) + 1
    return float(min(wide, _WIDE * tall, 0.9 * tall / max(sine, 1e-6)))


def _deepened(front: F32, back: F32, local: F32, depth: float) -> tuple[F32, F32]:
    """The body stretched along the line of sight to at least `depth`; its thin parts less."""
    known = np.isfinite(front)
    if not known.any():
        return front, back
    now = float(np.percentile(front[known], 98) - np.percentile(back[known], 2))
    factor = min(max(depth / max(now, 1e-6), 1.0), _MOST_DEEPER)
    share = np.minimum(local / max(float(np.percentile(local[known], 90)), 1e-6), 1.0)
    factors = 1 + (factor - 1) * share
    return np.asarray(front * factors, np.float32), np.asarray(back * factors, np.float32)


def _legs(rest: Bool, core: Bool, mask: Bool, reach: float, sine: float) -> F32:
    """How far forward each thin part stands: what stands on the floor is the nearer, the lower it ends.

    The lowest leg stands at the front, `reach` before the middle; one stem alone under the middle stays there.
    """
    shift = np.zeros(mask.shape, np.float32)
    columns, rows = np.flatnonzero(core.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns) or reach <= 0:
        return shift
    end = np.flatnonzero(core.any(axis=1))[-1]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(rest.astype(np.uint8), connectivity=4)
    bottom = stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT] - 1
    legs = [k for k in range(1, count) if bottom[k] > end + 0.04 * len(rows)]
    if len(legs) == 1:
        low = np.flatnonzero((labels == legs[0])[bottom[legs[0]] - max(1, len(rows) // 20) :].any(axis=0))
        if abs(low.mean() - columns.mean()) < 0.25 * len(columns):
            return shift
    for k in legs:
        forward = reach - (rows[-1] - bottom[k]) / max(sine, 1e-6)
        shift[labels == k] = np.clip(forward, -reach, reach)
    return shift


def _stack(part: Bool, whole: Bool, cover: F32, local: F32, sine: float) -> tuple[F32, F32]:
    front = np.full(part.shape, np.nan, np.float32)
    back = np.full(part.shape, np.nan, np.float32)
    _, labels = cv2.connectedComponents(part.astype(np.uint8), connectivity=4)
    slices = _slices(part, whole, labels, cover, local, sine)
    least = _end_fits(slices)
    ends: dict[int, list[int]] = {}
    for item in slices:
        if item.fit < least.get((item.label, item.row), _FITS):
            continue  # the slice would stick out above or below: the body has ended
        ends.setdefault(item.label, []).append(item.row)
        columns = np.arange(item.start, item.end)
        across = (columns + 0.5 - item.centre) / (item.half * item.fit)
        profile = item.fit * item.deep * np.sqrt(np.maximum(0.0, 1 - across**2))
        reach = int(np.ceil(item.deep * sine))
        top, bottom = max(0, item.row - reach), min(part.shape[0], item.row + reach + 1)
        step = (np.arange(top, bottom) - item.row)[:, None]
        view = np.s_[top:bottom, item.start : item.end]
        covered = (np.abs(step) <= sine * profile) & part[view] & (profile > 0)
        slope = max(sine, 1e-6)
        fresh = covered & np.isnan(front[view])
        front[view][fresh] = np.minimum(profile, (step + 1) / slope)[fresh]
        back[view][covered] = np.maximum(-profile, (step - 1) / slope)[covered]
    _cap(front, back, labels, ends, sine)
    return front, back


def _slices(part: Bool, whole: Bool, labels: NDArray[Any], cover: F32, local: F32, sine: float) -> list[_Slice]:
    """One for every run of every row, top down, with its depth and how well it fits between above and below."""
    room = np.minimum(_run_lengths(whole), _run_lengths(whole[::-1])[::-1])
    reach = int(0.7 * local[part].max())
    column = np.ones((2 * reach + 1, 1), np.uint8)
    thick = np.asarray(cv2.dilate(np.where(part, local, 0), column), np.float32)  # corners are no thin parts
    count = int(labels.max()) + 1
    roundness = [_roundness(labels == label, sine) for label in range(count)]
    # A part lower in the picture than its width would show is flat: no slice may be deeper than the part is tall.
    deepest = [float(room[labels == label].max()) / max(sine, 1e-6) for label in range(count)]
    result = []
    for row in range(part.shape[0]):
        for start, end in _runs(part[row]):
            left = start + 1 - cover[row, start]
            right = end - 1 + cover[row, end - 1]
            if start > 0 and not whole[row, start - 1]:
                left -= cover[row, start - 1]
            if end < part.shape[1] and not whole[row, end]:
                right += cover[row, end]
            half = max(0.5 * float(right - left), 0.5)
            label = int(labels[row, start])
            deep = max(float(thick[row, start:end].max()), roundness[label] * half)
            deep = min(half, deep, deepest[label])
            fit = float(room[row, (start + end - 1) // 2]) / max(deep * sine, 1e-6)
            centre = 0.5 * float(left + right)
            result.append(_Slice(row, start, end, label, centre, half, deep, min(1.0, fit)))
    return result


def _end_fits(slices: list[_Slice]) -> dict[tuple[int, int], float]:
    """The least fit for the slices above each part's first full one: a lid ends at once, a dome runs on."""
    widest: dict[int, dict[int, _Slice]] = {}
    for item in slices:
        rows = widest.setdefault(item.label, {})
        if item.row not in rows or rows[item.row].half < item.half:
            rows[item.row] = item
    result = {}
    for label, rows in widest.items():
        full = [row for row, item in rows.items() if item.fit >= 0.98]
        if not full:
            continue
        first = min(full)
        further = first + max(2, round(0.15 * rows[first].half))
        if further not in rows:
            continue
        slope = (rows[further].half - rows[first].half) / (further - first)
        least = _FITS + (_FITS_DOME - _FITS) * min(1.0, max(0.0, slope))
        result.update({(label, row): least for row in rows if row < first})
    return result


def _cap(front: F32, back: F32, labels: NDArray[Any], ends: dict[int, list[int]], sine: float) -> None:
    """What sticks out above the highest slice or below the lowest lies in that slice's plane (corners of boxes)."""
    if sine < 0.1:
        return
    rows = np.arange(labels.shape[0])[:, None] + np.zeros(labels.shape[1])
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
