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


SEEDS_DEG = (-36, -24, -12, 0, 12, 24, 36)  # tilts of the camera that the search starts from
NEAR_DEG = 5.0  # surfaces that lean less than this from level or upright count
SAMPLES = 20_000  # normals; more change nothing but the time
LEVEL_SHARE = 0.03  # of all normals; less level ground tells nothing


def gravity_from_normals(normals: F32, weight: F32) -> F64 | None:
    """Unit vector down from a pointmap's normals (h, w, 3): level ground and upright walls; None where too few agree.

    The largest set of normals within a few degrees of one direction, among those that could point up for a camera held
    about level, is the ground. Walls then join: down is most parallel to the ground's normals and most perpendicular to
    theirs (re-weighted least squares, Cauchy). `weight` (h, w) is how much each normal is trusted.
    """
    step = max(1, round((weight.size / SAMPLES) ** 0.5))
    n = normals[::step, ::step].reshape(-1, 3).astype(np.float64)
    w = weight[::step, ::step].reshape(-1).astype(np.float64)
    n, w = n[w > 0], w[w > 0]
    total = w.sum()
    if not total > 0:
        return None
    best, most = None, LEVEL_SHARE * total
    for tilt in np.radians(SEEDS_DEG):
        up = np.array([0.0, -np.cos(tilt), np.sin(tilt)])
        for _ in range(15):
            level = w / (1 + (_degrees_between(n, up) / NEAR_DEG) ** 2) ** 2
            mean = (n * level[:, None]).sum(0)
            up = mean / max(float(np.linalg.norm(mean)), 1e-12)
        support = float(w[_degrees_between(n, up) < NEAR_DEG].sum())
        if support > most and up[1] < -np.cos(np.radians(45)):
            best, most = up, support
    if best is None:
        return None
    for _ in range(15):
        angle = _degrees_between(n, best)
        level = w / (1 + (angle / NEAR_DEG) ** 2) ** 2
        wall = w / (1 + ((angle - 90) / NEAR_DEG) ** 2) ** 2
        _, vectors = np.linalg.eigh((n * (level - wall)[:, None]).T @ n)
        best = vectors[:, -1] * np.sign(vectors[:, -1] @ best or 1.0)
    return -best


def _degrees_between(directions: F64, axis: F64) -> F64:
    return np.degrees(np.arccos(np.clip(directions @ axis, -1, 1)))


LINES_AGREE_DEG = 8.0


def gravity_of(image: U8, intrinsics: F32, normals: F32, weight: F32) -> F64 | None:
    """Down from the picture's upright edges where the pointmap's surfaces do not contradict them, else from those."""
    lines, surfaces = gravity_from_lines(image, intrinsics), gravity_from_normals(normals, weight)
    if lines is None or surfaces is None:
        return surfaces if lines is None else lines
    return lines if float(lines @ surfaces) > np.cos(np.radians(LINES_AGREE_DEG)) else surfaces
