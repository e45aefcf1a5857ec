"""Fills unknown pixels with the smoothest surface through the known ones."""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, Bool

_NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4


def membrane(values: F32, known: Bool, sweeps: int = 8) -> F32:
    """Laplace's equation with `values` (H, W) or (H, W, C <= 4) fixed where `known`; all zeros if nothing is known.

    Coarse to fine: half-size averages of the known pixels are filled first and then relaxed, which makes a handful of
    Jacobi sweeps enough at any size.
    """
    values = np.ascontiguousarray(values, dtype=np.float32)
    height, width = known.shape
    if known.all():
        return values
    if not known.any():
        return np.zeros_like(values)
    channels = values.reshape(height, width, -1)
    if min(height, width) <= 2:
        return np.where(known[..., None], channels, channels[known].mean(axis=0)).reshape(values.shape)
    odd = ((0, height % 2), (0, width % 2))
    weight = np.pad(known.astype(np.float32), odd)[..., None]
    total = np.pad(channels, (*odd, (0, 0))) * weight

    def halved(a: F32) -> F32:
        return a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2]

    count = halved(weight)
    known_below: Bool = count[..., 0] > 0
    coarse = membrane((halved(total) / np.maximum(count, 1)).astype(np.float32), known_below, sweeps)
    fine = cv2.resize(coarse, (width + odd[1][1], height + odd[0][1]), interpolation=cv2.INTER_LINEAR)
    fine = fine.reshape(height + odd[0][1], width + odd[1][1], -1)[:height, :width]
    filled = np.where(known[..., None], channels, fine)
    for _ in range(sweeps):
        relaxed = cv2.filter2D(filled, -1, _NEIGHBOURS, borderType=cv2.BORDER_REPLICATE).reshape(filled.shape)
        filled = np.where(known[..., None], channels, relaxed)
    return filled.reshape(values.shape)
