"""Bring a small depth map to the still's size without inventing depths between a thing and what stands behind it.

Away from depth edges the map is smooth and bilinear interpolation is right. At an edge each pixel takes the side whose
colour is its own: joint bilateral upsampling (Kopf et al., SIGGRAPH 2007) with the winner's side averaged alone.
"""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, U8, Bool

EDGE = 0.06  # difference of log depth across a small-map neighbourhood that counts as an edge
SAME_SIDE = 0.05
COLOUR_SIGMA = 12.0  # of 0..255
REACH = 1.2  # of the small map's pixels: how much nearness counts (standard deviation)
MIXED = 0.2  # a value this far between its two sides counts little
CHUNK = 8_000  # edge pixels at a time: their 25 candidates stay in the cache


def upsample(values: F32, small: U8, image: U8) -> F32:
    """`values` (h, w) and its picture `small` (h, w, 3) -> (H, W) on the grid of `image` (H, W, 3)."""
    height, width = image.shape[:2]
    if values.shape == (height, width):
        return values
    full = np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    kernel = np.ones((5, 5), np.uint8)
    low, high = cv2.erode(values, kernel), cv2.dilate(values, kernel)
    # Values half-way across an edge belong to neither side: they are the network's blur.
    mixed = np.minimum(values - low, high - values) / np.maximum(high - low, EDGE)
    at_edge = cv2.resize(((high - low) > EDGE).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    rows, columns = np.nonzero(at_edge)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        full[rows[part], columns[part]] = _choose_side(values, mixed, small, image, rows[part], columns[part])
    return full


def _choose_side(values: F32, mixed: F32, small: U8, image: U8, rows: np.ndarray, columns: np.ndarray) -> F32:
    height, width = values.shape
    y = (rows + 0.5) * (height / image.shape[0]) - 0.5
    x = (columns + 0.5) * (width / image.shape[1]) - 0.5
    colour = image[rows, columns].astype(np.float32)
    nearest_v, nearest_u = np.rint(y).astype(int), np.rint(x).astype(int)
    value, weight = np.empty((25, len(rows)), np.float32), np.empty((25, len(rows)))
    for number in range(25):
        v = np.clip(nearest_v + (number // 5 - 2), 0, height - 1)
        u = np.clip(nearest_u + (number % 5 - 2), 0, width - 1)
        place = v * width + u
        difference = small.reshape(-1, 3)[place].astype(np.float32) - colour
        difference *= difference
        apart = (difference[:, 0] + difference[:, 1] + difference[:, 2]) / np.float32(3)
        apart /= 2 * COLOUR_SIGMA**2
        far = ((v - y) ** 2 + (u - x) ** 2) / (2 * REACH**2)
        value[number] = values.ravel()[place]
        weight[number] = np.exp(-apart - far - (mixed.ravel()[place] / MIXED) ** 2) + 1e-12
    winner = np.take_along_axis(value, weight.argmax(0)[None], 0)
    weight = np.where(np.abs(value - winner) < SAME_SIDE, weight, 0)
    return np.asarray((value * weight).sum(0) / weight.sum(0), np.float32)


def upsample_probability(values: F32, image: U8) -> F32:
    """A soft mask (h, w) in 0..1 -> (H, W), its border drawn to the picture's edges (guided filter, He et al. 2010)."""
    size = (image.shape[1], image.shape[0])
    full = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)
    radius = max(2, round(max(size) / 160))
    return np.clip(cv2.ximgproc.guidedFilter(image, full, radius, 40.0), 0, 1).astype(np.float32)


def without_specks(mask: Bool, share: float) -> Bool:
    """The mask less its connected parts smaller than `share` of the picture."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= share * mask.size
    keep[0] = False
    return np.asarray(keep[labels], bool) if count > 1 else np.zeros_like(mask)
