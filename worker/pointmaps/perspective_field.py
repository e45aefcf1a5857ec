"""Lens and gravity from a perspective field: for every pixel its ray's elevation and the way up as it is seen there.

A network reads such a field from what lies under each pixel; a camera has three numbers (focal length, pitch, roll).
Fitting the three to thousands of readings averages the readings' errors out (Jin et al., Perspective Fields, CVPR 2023;
fitted by robust least squares as in Veicht et al., GeoCalib, ECCV 2024).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from worker.arrays import F32, F64

ELEVATION_ERROR = 0.04  # typical, of the sine of the elevation
DIRECTION_ERROR = 0.06  # typical, radians in the picture
MOST_READINGS = 1500
READINGS_AS_ONE = 100  # neighbours err alike: so many readings weigh as one independent


def fit_camera(
    elevation: F32, seen_up: F32, width: int, height: int, log_focal: float, up: F64, *, focal_known: bool = False,
    trust: float = 0.1,
) -> tuple[float, F64]:  # fmt: skip
    """log(focal length / diagonal) and the unit up direction in camera axes (x right, y down, z forward).

    `elevation` (h, w): sine of the ray's angle over the horizon; `seen_up` (2, h, w): the way up in the picture (x, y),
    any length; both cover the whole picture of `width` x `height` pixels, principal point in its middle. `log_focal`
    and `up` are where the search starts; the focal length is held to its start by `trust` (its typical error, in
    logarithms) and kept altogether where `focal_known`.
    """
    rows, columns = elevation.shape
    step = max(1, int(np.sqrt(rows * columns / MOST_READINGS)))
    grid = np.s_[step // 2 :: step, step // 2 :: step]
    diagonal = float(np.hypot(width, height))
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float64)
    x = (((x + 0.5) / columns - 0.5) * width / diagonal)[grid].ravel()
    y = (((y + 0.5) / rows - 0.5) * height / diagonal)[grid].ravel()
    sine = elevation[grid].ravel().astype(np.float64)
    seen = seen_up[(slice(None), *grid)].reshape(2, -1).astype(np.float64)
    seen /= np.maximum(np.linalg.norm(seen, axis=0), 1e-6)
    start = np.asarray(up, np.float64) / np.linalg.norm(up)
    side = np.cross(start, [0.0, 0.0, 1.0] if abs(start[2]) < 0.9 else [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    across = np.cross(start, side)

    def camera(q: F64) -> tuple[float, F64]:
        turned = start + q[0] * side + q[1] * across
        return (log_focal if focal_known else float(q[2])), turned / np.linalg.norm(turned)

    def misfit(q: F64) -> F64:
        log_f, u = camera(q)
        focal = np.exp(np.clip(log_f, -3, 3))
        rx, ry = x / focal, y / focal
        climb = (u[0] * rx + u[1] * ry + u[2]) / np.sqrt(rx * rx + ry * ry + 1)
        way = np.stack([u[0] - u[2] * rx, u[1] - u[2] * ry])
        way /= np.maximum(np.linalg.norm(way, axis=0), 1e-6)
        turn = way[0] * seen[1] - way[1] * seen[0]
        readings = np.concatenate([(climb - sine) / ELEVATION_ERROR, turn / DIRECTION_ERROR])
        # Cauchy's loss for the readings alone: a part of the picture that is read all wrong is left, the start is not.
        return np.append(np.sqrt(np.log1p(readings**2)), held * (log_f - log_focal) / trust)

    held = np.sqrt(len(x) / READINGS_AS_ONE)
    found = least_squares(misfit, np.array([0.0, 0.0, log_focal]), max_nfev=60)
    log_f, fitted = camera(found.x)
    return log_f, fitted
