"""Sky without a network: where a picture is plain, bright or blue, and at the top."""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import I32, U8, Bool

WORK_WIDTH = 480


def shrunk(image: U8, width: int = WORK_WIDTH) -> U8:
    if image.shape[1] <= width:
        return image
    size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def colour_regions(image: U8) -> I32:
    """Regions of like colour (Felzenszwalb and Huttenlocher 2004), numbered from 0."""
    cut = cv2.ximgproc.segmentation.createGraphSegmentation(0.8, 300.0, max(20, image.shape[0] * image.shape[1] // 600))
    return np.asarray(cut.processImage(np.ascontiguousarray(image)), np.int32)


def plain_sky(image: U8, regions: I32, below_horizon: Bool) -> Bool:
    """(h, w): regions on the top edge, above the horizon, smooth, and blue or burnt-out white. Ceilings are rarely
    either.
    """
    value = image.astype(np.float32)
    rough = np.abs(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    sky = np.zeros(regions.shape, dtype=bool)
    for label in np.unique(regions[0]):
        region = regions == label
        red, _, blue = value[region].mean(axis=0)
        bluish = blue > 1.12 * red and blue > 55
        burnt = value[region].mean() > 252
        if (bluish or burnt) and rough[region].mean() < 6 and below_horizon[region].mean() < 0.05:
            sky |= region
    return sky
