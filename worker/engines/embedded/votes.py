"""Instances from centre votes: every object pixel points at its object's centre; where many point is one thing.

As in Panoptic-DeepLab (Cheng et al., CVPR 2020), with the votes themselves as the heat map. The same picture read at
several sizes gives several answers: large things come out whole at a small size, small ones apart at a large size. The
votes tell which to believe: those of a whole thing meet in its middle, those of a part or a heap do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from worker.arrays import F32, I32, Bool

MIN_EDGE = 0.6  # mean boundary probability around a thing
MAX_SCATTER = 0.6  # mean distance of the votes from the mask's middle, over the root of its area
MIN_SHARE = 0.0015  # of the picture; smaller things are not props
TAKEN = 0.5  # share of a thing that better ones may cover already


@dataclass(frozen=True)
class View:
    """The network's answer at one size: `offset` (2, h, w), x and y to the centre in pixels; the others (h, w)."""

    offset: F32
    objects: Bool
    boundary: F32


def instances_from_votes(views: Sequence[View]) -> tuple[I32, I32]:
    """One map (h, w) at the size of the largest view, 0 = none, in which of things that overlap the surer one wins;
    and what each view says by itself (k, h, w)."""
    height, width = max((view.objects.shape for view in views), key=lambda shape: shape[0] * shape[1])
    result = np.zeros((height, width), np.int32)
    readings = np.zeros((len(views), height, width), np.int32)
    things = []
    for view, reading in zip(views, readings, strict=True):
        for scatter, mask in _things(view):
            full = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
            things.append((scatter, full))
            reading[full] = len(things)
    number = 0
    for _, full in sorted(things, key=lambda thing: thing[0]):
        free = full & (result == 0)
        if free.sum() >= max(TAKEN * full.sum(), MIN_SHARE * free.size):
            number += 1
            result[free] = number
    return result, readings


def _things(view: View) -> Iterator[tuple[float, Bool]]:
    """(scatter, mask): connected pixels whose votes go to one peak, with an edge around them and votes that meet."""
    height, width = view.objects.shape
    rows, columns = np.nonzero(view.objects)
    if not len(rows):
        return
    vote_x, vote_y = columns + view.offset[0, rows, columns], rows + view.offset[1, rows, columns]
    x, y = np.clip(vote_x, 0, width - 1), np.clip(vote_y, 0, height - 1)
    heat = np.zeros((height, width), np.float32)
    np.add.at(heat, (np.rint(y).astype(int), np.rint(x).astype(int)), 1.0 - 0.8 * view.boundary[rows, columns])
    heat = np.asarray(cv2.GaussianBlur(heat, (0, 0), max(1.0, 0.012 * max(height, width))), np.float32)
    reach = 2 * max(2, round(0.03 * max(height, width))) + 1
    py, px = np.nonzero((heat == cv2.dilate(heat, np.ones((reach, reach), np.uint8))) & (heat > 0.12))
    if not len(py):
        return
    apart = (x[:, None] - px) ** 2 + (y[:, None] - py) ** 2
    nearest = apart.argmin(1)
    close = apart[np.arange(len(x)), nearest] < (0.08 * max(height, width)) ** 2
    peak = np.zeros((height, width), np.int32)
    peak[rows, columns] = np.where(close, nearest + 1, 0)
    cross = np.ones((3, 3), np.uint8)
    edges = cv2.dilate(view.boundary, cross)
    for label in range(1, len(py) + 1):
        count, parts, stats, _ = cv2.connectedComponentsWithStats((peak == label).astype(np.uint8), connectivity=4)
        for part in range(1, count):  # one vote centre, several pieces: keep those that could be a thing by themselves
            area = stats[part, cv2.CC_STAT_AREA]
            if area < MIN_SHARE * peak.size:
                continue
            mask = parts == part
            grid = mask.astype(np.uint8)
            inside = mask[rows, columns]
            middle_x, middle_y = columns[inside].mean(), rows[inside].mean()
            scatter = np.hypot(vote_x[inside] - middle_x, vote_y[inside] - middle_y).mean() / np.sqrt(area)
            if scatter <= MAX_SCATTER and edges[cv2.dilate(grid, cross) != cv2.erode(grid, cross)].mean() >= MIN_EDGE:
                yield float(scatter), mask
