"""Which way is down, from what the picture or the pointmap shows."""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, F64, U8
from worker.pointmaps.sky import shrunk


def gravity_from_lines(image: U8, intrinsics: F32) -> F64 | None:
    """Unit vector down in the camera frame from the picture's near-vertical segments; None where too few agree.

    The plane through the camera and the image of a vertical edge contains the vertical direction, so `down` is the
    vector most nearly perpendicular to all such planes' normals: re-weighted least squares (Cauchy, 1 degree).
    """
    grey = cv2.cvtColor(shrunk(image, 960), cv2.COLOR_RGB2GRAY)
    found = cv2.createLineSegmentDetector().detect(grey)[0]
    if found is None:
        return None
    ends = found.reshape(-1, 2, 2) * (image.shape[1] / grey.shape[1])
    along = ends[:, 1] - ends[:, 0]
    length = np.linalg.norm(along, axis=1)
    upright = (length > 0.04 * image.shape[0]) & (np.abs(along[:, 0]) < np.tan(np.radians(20)) * np.abs(along[:, 1]))
    if upright.sum() < 6:
        return None
    ends, length = ends[upright], length[upright]
    rays = np.concatenate([ends, np.ones((len(ends), 2, 1))], axis=-1) @ np.linalg.inv(intrinsics.astype(float)).T
    planes = np.cross(rays[:, 0], rays[:, 1])
    planes /= np.linalg.norm(planes, axis=1, keepdims=True)
    down = np.array([0.0, 1.0, 0.0])
    for _ in range(20):
        weight = length / (1 + (np.degrees(np.arcsin(np.clip(planes @ down, -1, 1))) / 1.0) ** 2)
        _, vectors = np.linalg.eigh((planes * weight[:, None]).T @ planes)
        down = vectors[:, 0] * np.sign(vectors[1, 0] or 1.0)
    agreeing = np.abs(planes @ down) < np.sin(np.radians(1.5))
    tilt = np.degrees(np.arccos(np.clip(down[1], -1, 1)))
    if agreeing.sum() < 6 or length[agreeing].sum() < image.shape[0] or tilt > 30:
        return None
    return down
