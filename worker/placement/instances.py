"""Props of one kind: near-identical things in the still share one mesh, each with a pose of its own."""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import U8, Bool

ALIKE = 0.85  # correlation of colour histograms
_SHAPE = 1.5  # most by which the boxes' aspects may differ: the same chair seen from the side is narrower


def alike(image: U8, first: Bool, second: Bool) -> bool:
    """Whether two masks show things of like colours and build. A trial of one's mesh in the other's place decides."""
    histograms, aspects = [], []
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    for mask in (first, second):
        rows, columns = np.nonzero(mask)
        aspects.append((np.ptp(columns) + 1) / (np.ptp(rows) + 1))
        histogram = cv2.calcHist([lab], [0, 1, 2], mask.astype(np.uint8), [6, 16, 16], [0, 256] * 3)
        histograms.append(cv2.GaussianBlur(histogram.reshape(6, 256), (0, 0), 0.8).ravel())
    if not 1 / _SHAPE < aspects[0] / aspects[1] < _SHAPE:
        return False
    return float(np.asarray(np.corrcoef(histograms))[0, 1]) > ALIKE
