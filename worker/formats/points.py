"""Coloured point clouds as binary PLY: x y z float, red green blue uchar."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from plyfile import PlyData

from worker.arrays import F32, U8
from worker.session.atomic import replacing

VERTEX = np.dtype([("position", "<f4", 3), ("color", "u1", 3)])
_CHUNK = 1 << 16  # points at a time: a megabyte stays in the cache


def write_points(path: Path, positions: F32, colors: U8, comments: Sequence[str]) -> str:
    """`positions` (N, 3), `colors` (N, 3) sRGB. `comments` are lines of ASCII: readers refuse others.

    Returns the file's sha256, taken while it was written.
    """
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {comment}" for comment in comments)]
    header += [f"element vertex {len(positions)}", *(f"property float {axis}" for axis in "xyz")]
    header += [*(f"property uchar {color}" for color in ("red", "green", "blue")), "end_header", ""]
    head = "\n".join(header).encode("ascii")
    digest = hashlib.sha256(head)
    vertices = np.empty(min(len(positions), _CHUNK), dtype=VERTEX)
    with replacing(path) as part, part.open("wb") as stream:
        stream.write(head)
        for start in range(0, len(positions), _CHUNK):
            rows = vertices[: len(positions) - start]
            rows["position"], rows["color"] = positions[start : start + _CHUNK], colors[start : start + _CHUNK]
            digest.update(rows.data)
            stream.write(rows.data)
    return digest.hexdigest()


def read_points(path: Path) -> tuple[F32, U8]:
    vertices = PlyData.read(str(path))["vertex"].data
    positions = np.stack([vertices[name] for name in "xyz"], axis=-1).astype(np.float32)
    return positions, np.stack([vertices[name] for name in ("red", "green", "blue")], axis=-1)
