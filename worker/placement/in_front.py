"""The still shows every prop unhidden by its background: so the background behind it lies farther, everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from worker.arrays import F32, F64, I32
from worker.formats.silhouette import rasterise

_LONGEST = 480  # working pixels: a prop's depth is smooth
_STRAY = 0.005  # share of the silhouette that may touch: single pixels at depth edges
_CLEAR = 0.99  # and a little air


@dataclass
class Backdrop:
    """Depth of what stands behind the props, at a working resolution; `intrinsics` are those of its pixels."""

    depth: F32
    intrinsics: F64

    @staticmethod
    def read(path: Path, intrinsics: F64) -> Backdrop:
        """From the scene stage's background.npz."""
        with np.load(path, allow_pickle=False) as data:
            depth = data["points"][..., 2]
        height, width = depth.shape
        scale = min(1.0, _LONGEST / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        zoom = np.diag([size[0] / width, size[1] / height, 1.0])
        small = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)
        return Backdrop(np.asarray(small, np.float32), zoom @ np.asarray(intrinsics, np.float64))

    def factor(self, vertices: F64, faces: I32) -> float:
        """By how much to scale a body about the camera so that it clears the backdrop; 1 where it does already."""
        raster = rasterise(vertices, faces, self.intrinsics, *self.depth.shape)
        if not raster.mask.any():
            return 1.0
        room = float(np.quantile(self.depth[raster.mask] / raster.depth[raster.mask], _STRAY))
        return room * _CLEAR if room < 1 else 1.0
