"""Coloured point clouds as binary PLY: x y z float, red green blue uchar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement

from worker.arrays import F32, U8
from worker.session.atomic import replacing

VERTEX = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")])


def write_points(path: Path, positions: F32, colors: U8, comment: str) -> None:
    """`positions` (N, 3), `colors` (N, 3) sRGB. `comment` is ASCII: plyfile and others refuse anything else."""
    vertices = np.empty(len(positions), dtype=VERTEX)
    for axis, name in enumerate("xyz"):
        vertices[name] = positions[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = colors[:, channel]
    ply = PlyData([PlyElement.describe(vertices, "vertex")], byte_order="<", comments=[comment])
    with replacing(path) as part:
        ply.write(str(part))


def read_points(path: Path) -> tuple[F32, U8]:
    vertices = PlyData.read(str(path))["vertex"].data
    positions = np.stack([vertices[name] for name in "xyz"], axis=-1).astype(np.float32)
    return positions, np.stack([vertices[name] for name in ("red", "green", "blue")], axis=-1)
