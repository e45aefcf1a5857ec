"""Instances from centre votes: every object pixel points at its object's centre; where many point is one thing.

As in Panoptic-DeepLab (Cheng et al., CVPR 2020), with the votes themselves as the heat map.
"""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, I32, Bool

MIN_EDGE = 0.8  # mean boundary probability around a thing; pieces of a table top or a wall lie under 0.75
MIN_SHARE = 0.0015  # of the picture; smaller things are not props


def instances_from_votes(offset: F32, objects: Bool, boundary: F32) -> I32:
    """`offset` (2, h, w): x and y to the centre in pixels; `objects`, `boundary` (h, w). Returns (h, w), 0 = none."""
    height, width = objects.shape
    rows, columns = np.nonzero(objects)
    if not len(rows):
        return np.zeros((height, width), np.int32)
    x = np.clip(columns + offset[0, rows, columns], 0, width - 1)
    y = np.clip(rows + offset[1, rows, columns], 0, height - 1)
    heat = np.zeros((height, width), np.float32)
    np.add.at(heat, (np.rint(y).astype(int), np.rint(x).astype(int)), 1.0 - 0.8 * boundary[rows, columns])
    heat = np.asarray(cv2.GaussianBlur(heat, (0, 0), max(1.0, 0.012 * max(height, width))), np.float32)
    reach = 2 * max(2, round(0.03 * max(height, width))) + 1
    peaks = (heat == cv2.dilate(heat, np.ones((reach, reach), np.uint8))) & (heat > 0.12)
    py, px = np.nonzero(peaks)
    if not len(py):
        return np.zeros((height, width), np.int32)
    apart = (x[:, None] - px) ** 2 + (y[:, None] - py) ** 2
    nearest = apart.argmin(1)
    close = apart[np.arange(len(x)), nearest] < (0.08 * max(height, width)) ** 2
    out = np.zeros((height, width), np.int32)
    out[rows, columns] = np.where(close, nearest + 1, 0)
    cross = np.ones((3, 3), np.uint8)
    edges = cv2.dilate(boundary, cross)
    number = 0
    result = np.zeros_like(out)
    for label in range(1, len(py) + 1):
        count, parts, stats, _ = cv2.connectedComponentsWithStats((out == label).astype(np.uint8), connectivity=4)
        for part in range(1, count):  # one vote centre, several pieces: keep those that could be a thing by themselves
            if stats[part, cv2.CC_STAT_AREA] < MIN_SHARE * out.size:
                continue
            mask = (parts == part).astype(np.uint8)
            if edges[cv2.dilate(mask, cross) != cv2.erode(mask, cross)].mean() >= MIN_EDGE:
                number += 1
                result[parts == part] = number
    return result
