"""dust3r/pointmap.npz: one 3D point for every pixel of the still."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from worker.arrays import F32, Bool
from worker.formats.npz import write_npz

_OPTIONAL = ("normals", "box_votes")  # float16 in the file
_ROWS = 64  # at a time: double-precision temporaries of whole stills would leave the cache


@dataclass
class Pointmap:
    """Camera frame (OpenCV). `points` (H, W, 3) float32, finite everywhere; `mask` marks trusted depth (not sky).

    `box_votes` (10, h, w): what each place of the still says of its object's box (worker/pointmaps/object_box.py).
    """

    points: F32
    mask: Bool
    confidence: F32
    intrinsics: F32
    sky: Bool
    normals: F32 | None = None
    box_votes: F32 | None = None

    @property
    def depth(self) -> F32:
        return self.points[..., 2]


def write_pointmap(path: Path, pointmap: Pointmap) -> None:
    """Uncompressed: the arrays barely deflate. Equal maps give equal bytes."""
    arrays = {
        "points": pointmap.points.astype(np.float32, copy=False),
        "mask": pointmap.mask.astype(bool, copy=False),
        "confidence": pointmap.confidence.astype(np.float32, copy=False),
        "intrinsics": pointmap.intrinsics.astype(np.float32),
        "sky": pointmap.sky.astype(bool, copy=False),
    }
    for name in _OPTIONAL:
        values = getattr(pointmap, name)
        if values is not None:
            arrays[name] = values.astype(np.float16)
    write_npz(path, arrays)


def read_pointmap(path: Path) -> Pointmap:
    with np.load(path, allow_pickle=False) as data:
        more = {name: data[name].astype(np.float32) for name in _OPTIONAL if name in data}
        return Pointmap(data["points"], data["mask"], data["confidence"], data["intrinsics"], data["sky"], **more)


def pixel_rays(height: int, width: int, intrinsics: F32) -> F32:
    """(H, W, 3) rays with z = 1 through pixel centres (i + 0.5, j + 0.5)."""
    rays = np.empty((height, width, 3), np.float32)
    columns = np.arange(width)
    for top in range(0, height, _ROWS):
        rows = np.arange(top, min(top + _ROWS, height))[:, None]
        rays[top : top + _ROWS] = rays_at(rows, columns, intrinsics)
    return rays


def rays_at(rows: np.ndarray, columns: np.ndarray, intrinsics: F32) -> F32:
    """(..., 3) rays with z = 1 through the centres of pixels; `rows` and `columns` are broadcast together."""
    inverse = np.linalg.inv(np.asarray(intrinsics, dtype=np.float64))
    u, v = columns + 0.5, rows + 0.5
    x, y, z = (row[0] * u + row[1] * v + row[2] for row in inverse)
    rays = np.empty((*x.shape, 3), np.float32)
    rays[..., 0], rays[..., 1], rays[..., 2] = x / z, y / z, 1
    return rays


def intrinsics_from_hfov(width: int, height: int, hfov_deg: float) -> F32:
    """Square pixels, centred principal point. Blender's lens on a 36 mm sensor is fx / width * 36."""
    focal = 0.5 * width / np.tan(np.radians(hfov_deg) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=np.float32)


def normals_of(points: F32) -> F32:
    """(H, W, 3) unit normals facing the camera, from neighbours on either side; zero where there are none."""
    if min(points.shape[:2]) < 2:
        return np.zeros_like(points)
    right, down = np.gradient(points, axis=1), np.gradient(points, axis=0)
    normal = cv2.blur(np.cross(down, right).astype(np.float32), (3, 3))
    normal *= -np.sign((normal * points).sum(axis=-1, keepdims=True))
    return (normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-20)).astype(np.float32)
