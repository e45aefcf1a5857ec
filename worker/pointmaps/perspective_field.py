"""Which way is up, from a perspective field: each pixel's elevation over the horizon and the way up as seen there.

A network reads such a field from what lies under each pixel; the camera's up has two numbers. Fitting the two to
thousands of readings averages the readings' errors out (Jin et al., Perspective Fields, CVPR 2023; fitted by robust
least squares as in Veicht et al., GeoCalib, ECCV 2024).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from worker.arrays import F32, F64

ELEVATION_ERROR = 0.04  # typical, of the sine of the elevation
DIRECTION_ERROR = 0.06  # typical, radians in the picture
MOST_READINGS = 1500


def fit_up(elevation: F32, seen_up: F32, width: int, height: int, log_focal: float, start: F64) -> F64:
    """Unit up direction in camera axes (x right, y down, z forward).

    `elevation` (h, w): sine of the ray's angle over the horizon; `seen_up` (2, h, w): the way up in the picture (x, y),
    any length; both cover the whole picture of `width` x `height` pixels, principal point in its middle. `log_focal`:
    log(focal length / diagonal); `start` (3,): where the search begins, within 60 degrees of the truth or so.
    """
    rows, columns = elevation.shape
    step = max(1, int(np.sqrt(rows * columns / MOST_READINGS)))
    grid = np.s_[step // 2 :: step, step // 2 :: step]
    focal = float(np.exp(log_focal) * np.hypot(width, height))
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float64)
    x = (((x + 0.5) / columns - 0.5) * width / focal)[grid].ravel()
    y = (((y + 0.5) / rows - 0.5) * height / focal)[grid].ravel()
    length = np.sqrt(x * x + y * y + 1)
    sine = elevation[grid].ravel().astype(np.float64)
    seen = seen_up[(slice(None), *grid)].reshape(2, -1).astype(np.float64)
    seen /= np.maximum(np.linalg.norm(seen, axis=0), 1e-6)
    middle = np.asarray(start, np.float64) / np.linalg.norm(start)
    side = np.cross(middle, [0.0, 0.0, 1.0] if abs(middle[2]) < 0.9 else [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    across = np.cross(middle, side)

    def turned(q: F64) -> F64:
        up = middle + q[0] * side + q[1] * across
        return np.asarray(up / np.linalg.norm(up), np.float64)

    def misfit(q: F64) -> F64:
        up = turned(q)
        climb = (up[0] * x + up[1] * y + up[2]) / length
        way = np.stack([up[0] - up[2] * x, up[1] - up[2] * y])
        way /= np.maximum(np.linalg.norm(way, axis=0), 1e-6)
        turn = way[0] * seen[1] - way[1] * seen[0]
        return np.concatenate([(climb - sine) / ELEVATION_ERROR, turn / DIRECTION_ERROR])

    # Cauchy's loss: a part of the picture that is read all wrong is left.
    return turned(least_squares(misfit, np.zeros(2), loss="cauchy", max_nfev=60).x)
