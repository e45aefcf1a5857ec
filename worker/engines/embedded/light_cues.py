"""What one still tells of its light besides shading: falloff over the floor, shade in the open, and how open it is.

Indoors the light is near, and falls off: floor and walls are brighter on its side. In the open the sun is not near;
what stands on its side throws shade, so there the darker side of the ground is the sun's; and where the sun is ahead,
things turn their shaded side to the camera over bright ground.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from worker.arrays import F32, F64, Bool
from worker.formats.srgb import luminance

_SAMPLES = 160  # columns of the picture that is looked at
_NEAR = 1.3  # median distances
_LEAST = 100  # samples a slope is read from
_ROOM = 15.0  # metres that rooms do not often reach
EVEN_BACKLIT = 0.3  # under an even sky: ground sees all of it, upright things half
_LEVEL, _UPRIGHT = 0.8, 0.4  # |up component| of a floor's normal at least, of a wall's at most


@dataclass
class Falloff:
    """Log luminance per spread of the scene, in the level frame.

    `floor` (2,) its slope to the right and ahead; `wall` its slope to the right over walls that face the camera;
    `backlit`: how much brighter near ground is than near upright things that face the camera (not a slope).
    """

    floor: F64
    wall: float
    backlit: float = EVEN_BACKLIT


def falloff(linear: F32, points: F32, normals: F32, usable: Bool, level: F64) -> Falloff:
    """Robust slopes; zero where too little of a surface is seen."""
    place, normal, light = _samples(linear, points, normals, usable, level)
    if len(place) < _LEAST:
        return Falloff(np.zeros(2), 0.0)
    middle = np.median(place, axis=0)
    spread = 1.5 * float(np.median(np.abs(place - middle)))
    where = np.clip((place - middle) / max(spread, 1e-6), -2, 2)  # farther out, depth is too unsure to be a lever
    ground, facing = normal[:, 2] > _LEVEL, (np.abs(normal[:, 2]) < _UPRIGHT) & (normal[:, 1] < -0.6)
    reach = np.linalg.norm(place[:, :2], axis=1)
    near = reach < _NEAR * np.median(reach)  # haze and depth errors grow with distance
    backlit = EVEN_BACKLIT
    if min((ground & near).sum(), (facing & near).sum()) >= _LEAST // 2:
        backlit = float(np.median(light[ground & near]) - np.median(light[facing & near]))
    wall = _slope(where[:, :1], light, facing)
    return Falloff(_slope(where[:, :2], light, ground), float(wall[0]), backlit)


def _samples(linear: F32, points: F32, normals: F32, usable: Bool, level: F64) -> tuple[F64, F64, F64]:
    """(n, 3) places and normals in the level frame and (n,) log luminance of the usable pixels, shrunk."""
    height, width = usable.shape
    size = (min(width, _SAMPLES), max(1, round(height * min(width, _SAMPLES) / width)))

    def shrunk(values: F32 | Bool, how: int) -> F32:
        return np.asarray(cv2.resize(values.astype(np.float32), size, interpolation=how), np.float32)

    keep = shrunk(usable, cv2.INTER_AREA) > 0.9
    light = np.maximum(luminance(shrunk(linear, cv2.INTER_AREA)), 1e-4)[keep]
    place = shrunk(points, cv2.INTER_NEAREST)[keep] @ level.T
    normal = shrunk(normals, cv2.INTER_AREA)[keep] @ level.T
    return place, normal, np.log(light.astype(np.float64))


def _slope(where: F64, value: F64, use: Bool) -> F64:
    """(k,) least absolute slopes of `value` along the columns of `where`, by re-weighting."""
    if use.sum() < _LEAST:
        return np.zeros(where.shape[1])
    design, value = np.column_stack([np.ones(int(use.sum())), where[use]]), value[use]
    weight = np.ones(len(value))
    solution = np.zeros(design.shape[1])
    for _ in range(15):
        gram = (design * weight[:, None]).T @ design + 1e-6 * len(value) * np.eye(design.shape[1])
        solution = np.linalg.solve(gram, (design * weight[:, None]).T @ value)
        off = np.abs(value - design @ solution)
        weight = 1 / np.maximum(off / (1.5 * max(float(np.median(off)), 0.05)), 1)
    return solution[1:]


def openness(points: F32, normals: F32, usable: Bool, sky: Bool | None, level: F64) -> float:
    """Probability 0..1 that this is in the open: far things seen beside near ones; sky; no ceiling (metres)."""
    if not usable.any():
        return 0.5
    reach = np.linalg.norm((points[usable] @ level.T)[:, :2], axis=1)
    near, far = np.maximum(np.percentile(reach, (5, 95)), 1e-6)
    odds = 3 * np.log(far / _ROOM) + 2 * np.log(far / near / 4.5)
    if sky is not None:
        odds += 10 * min(float(sky.mean()), 0.2)
    odds -= 20 * float(((normals @ level[2].astype(np.float32) < -_LEVEL) & usable).mean())
    return float(1 / (1 + np.exp(-np.clip(odds, -30, 30))))
