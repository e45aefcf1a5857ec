"""The level ground in a pointmap, and the scale it gives where nothing was measured."""

from __future__ import annotations

import numpy as np

from worker.arrays import F32, F64, Bool

CAMERA_HEIGHT = 1.6  # a person's eyes
TABLE_DISTANCE = 0.5  # the camera over a table top, where that is all the ground in view
NO_FLOOR_MEDIAN = 4.0  # median depth where no floor gives a scale

Ground = tuple[F32, float, float]  # unit up normal (3,), the camera's height over it, confidence


def scale_by_floor(
    points: F64, normals: F32, gravity: F64, stuff: Bool, objects: Bool | None = None
) -> tuple[float, str, Ground | None]:
    """What to multiply a pointmap of median depth 1 with, one sentence why, and the ground in the new scale.

    The camera stands at eye height over the floor it sees (`stuff`), or at arm's length over a table top (`objects`).
    """
    floor, above = fit_floor(points, normals, gravity, stuff), CAMERA_HEIGHT
    if floor is None and objects is not None:  # a still life: the level thing in view is a table top
        floor, above = fit_floor(points, normals, gravity, objects), TABLE_DISTANCE
    if floor is None:
        basis = f"assumed: no level ground in view, median depth set to {NO_FLOOR_MEDIAN}; the shape is estimated"
        return NO_FLOOR_MEDIAN, basis, None
    basis = f"assumed: the camera is {above} above the level ground it sees; the shape is estimated, not measured"
    return above / floor[1], basis, (floor[0].astype(np.float32), above, floor[2])


def step_of(stuff: Bool) -> int:
    return max(1, round(max(stuff.shape) / 320))


def fit_floor(points: F64, normals: F32, gravity: F64, stuff: Bool) -> tuple[F64, float, float] | None:
    """Unit up normal, the camera's height over it and a confidence; None where no floor is seen.

    The floor is the lowest level, seen from above, that holds a fair part of the level surfaces in view; the plane is
    then fitted by re-weighted least squares to what lies near it. Of `points` only those of every `step_of(stuff)`-th
    row and column are looked at; they may be given alone.
    """
    step = step_of(stuff)
    if points.shape[:2] == stuff.shape:
        points = points[::step, ::step]
    level = (normals @ gravity.astype(np.float32) < -0.85) & stuff
    seen = points[level[::step, ::step]]
    drop = seen @ gravity
    seen, drop = seen[drop > 0.02], drop[drop > 0.02]
    if len(seen) < 0.01 * (stuff.size / step**2):
        return None
    edges = np.arange(np.log(drop.min()) - 0.1, np.log(drop.max()) + 0.2, 0.1)
    count, _ = np.histogram(np.log(drop), edges)
    wide = count[:-1] + count[1:] if len(count) > 1 else count
    lowest = int(np.nonzero(wide >= 0.25 * wide.max())[0].max())
    height = float(np.exp(edges[min(lowest + 1, len(edges) - 1)]))
    normal = -gravity
    for _ in range(12):
        off = (seen @ normal + height) / height
        weight = 1 / (1 + (off / 0.04) ** 2) * (np.abs(off) < 0.25)
        if weight.sum() < 8:
            return None
        middle = (seen * weight[:, None]).sum(0) / weight.sum()
        _, axes = np.linalg.eigh(((seen - middle) * weight[:, None]).T @ (seen - middle))
        fitted = axes[:, 0] * np.sign(axes[:, 0] @ -gravity or 1.0)
        # A floor is level; a fit that leans more than a ramp has caught something else.
        normal = fitted if fitted @ -gravity > np.cos(np.radians(10)) else -gravity
        height = float(-(middle @ normal))
    share = float(weight.sum() / (stuff.size / step**2))
    if height <= 1e-3 or share < 0.005:
        return None
    return normal, height, float(np.clip(share * 6, 0.1, 0.9))
