"""Finding people without a labelled network, so that they are never cut out as props.

Histogram-of-gradients pedestrian detector (Dalal and Triggs, CVPR 2005) whose coefficients are compiled into OpenCV.
It knows upright whole figures; faces in close-up and seated people need the geometry engine's person class.
"""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import U8

MIN_WEIGHT = 0.6  # below it, posts, trees and bottles are taken for people
LONG_SIDE = 800


def detect_people(image: U8) -> list[tuple[int, int, int, int, float]]:
    """Boxes (x, y, width, height, SVM margin) of upright people in an (H, W, 3) uint8 RGB picture."""
    height, width = image.shape[:2]
    scale = min(1.0, LONG_SIDE / max(height, width))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    if small.shape[0] < 128 or small.shape[1] < 64:  # the detector's own window
        return []
    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector()))
    grey = cv2.cvtColor(np.ascontiguousarray(small), cv2.COLOR_RGB2GRAY)
    boxes, weights = hog.detectMultiScale(grey, winStride=(8, 8), padding=(8, 8), scale=1.08)
    found = []
    for (x, y, w, h), weight in zip(boxes, np.ravel(weights), strict=True):
        if weight < MIN_WEIGHT:
            continue
        # The detector's window has a margin of about an eighth around the figure.
        box = (x + 0.12 * w, y + 0.06 * h, 0.76 * w, 0.88 * h)
        found.append((*(round(v / scale) for v in box), float(weight)))
    return sorted(found, key=lambda item: -item[4])  # type: ignore[return-value,arg-type]
