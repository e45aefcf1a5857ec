# SPDX-License-Identifier: GPL-3.0-or-later
"""The background as two grids on the still's pixel rays: the set (torn at depth edges) and a dome for what is far.

Every vertex lies on the ray of its own picture position. So from the still's camera the two grids tile the frame
without a gap, whatever their depth: a cell that spans a depth edge is drawn at the far side's depth, not stretched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


@dataclass
class Grid:
    """Quads in the camera frame, normals towards the camera. `uv`: picture position, origin bottom left."""

    vertices: F32  # (V, 3)
    quads: I32  # (Q, 4)
    uv: F32  # (V, 2)


def background_grids(
    depth: ArrayLike,
    mask: ArrayLike,
    intrinsics: ArrayLike,
    max_vertices: int = 250_000,
    baseline: float = 0.1,
    tear_pixels: float = 2.5,
) -> tuple[Grid, Grid]:
    """(set, dome) from z-depth (H, W) and its trust mask.

    A cell is torn where its corners would part by more than `tear_pixels` pixels a grid step when the camera moves
    sideways by `baseline` of the median depth: that is what an artist's small camera move would show as stretching,
    while floors and walls seen at a slant stay whole.
    """
    z_full = np.asarray(depth, dtype=np.float64)
    trusted = np.asarray(mask, dtype=bool) & np.isfinite(z_full) & (z_full > 1e-6)
    K = np.asarray(intrinsics, dtype=np.float64)
    height, width = z_full.shape
    stride = max(1, int(np.ceil(np.sqrt(height * width / max_vertices))))
    u, columns = _samples(width, stride)
    v, rows = _samples(height, stride)
    z = z_full[np.ix_(rows, columns)]
    valid = trusted[np.ix_(rows, columns)]
    rays = np.stack(
        np.broadcast_arrays((u[None, :] - K[0, 2]) / K[0, 0], (v[:, None] - K[1, 2]) / K[1, 1], 1.0), axis=-1
    )
    uv = np.stack(np.broadcast_arrays(u[None, :] / width, 1 - v[:, None] / height), axis=-1)

    median = float(np.median(z_full[trusted])) if trusted.any() else 1.0
    near_far = _corners(np.where(valid, 1 / np.where(valid, z, 1), 0))
    parallax = K[0, 0] * baseline * median * (near_far.max(-1) - near_far.min(-1))
    whole = _corners(valid).all(-1)
    torn = whole & (parallax > tear_pixels * stride)
    surface = _grid(rays * np.where(valid, z, 1.0)[..., None], uv, whole & ~torn)
    surface = _join(surface, _far_cells(rays, z, uv, torn))

    # the dome: spherical, behind everything that has a depth; mixed cells belong to it whole
    reach = np.linalg.norm(rays, axis=-1)
    radius = 1.5 * float((reach * z)[valid].max()) if valid.any() else 10.0
    dome = _grid(rays / reach[..., None] * radius, uv, ~whole)
    return surface, dome


def _samples(size: int, stride: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Picture positions of grid lines and the pixel whose depth each takes.

    The outer lines stand half a pixel outside the frame, so that filters at its border find picture.
    """
    cells = int(np.ceil(size / stride))
    position = np.linspace(0.0, size, cells + 1)
    pixel = np.clip(np.floor(position), 0, size - 1).astype(np.int64)
    position[0] -= 0.5
    position[-1] += 0.5
    return position, pixel


def _corners(grid: NDArray[np.generic]) -> NDArray[np.generic]:
    """(R, C) -> (R-1, C-1, 4): each cell's corners, counter-clockwise seen from the camera."""
    return np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], axis=-1)


def _grid(points: NDArray[np.float64], uv: NDArray[np.float64], cells: NDArray[np.bool_]) -> Grid:
    """The chosen cells, unused vertices left out."""
    index = np.arange(points.shape[0] * points.shape[1]).reshape(points.shape[:2])
    quads = _corners(index)[cells]
    used, compact = np.unique(quads, return_inverse=True)
    return Grid(
        points.reshape(-1, 3)[used].astype(np.float32),
        compact.reshape(-1, 4).astype(np.int32),
        uv.reshape(-1, 2)[used].astype(np.float32),
    )


def _far_cells(
    rays: NDArray[np.float64], z: NDArray[np.float64], uv: NDArray[np.float64], torn: NDArray[np.bool_]
) -> Grid:
    """Torn cells, each on its own: corners of the near side are pushed back to the cell's far depth."""
    corner_z = _corners(z)[torn]
    if not len(corner_z):
        return Grid(np.zeros((0, 3), np.float32), np.zeros((0, 4), np.int32), np.zeros((0, 2), np.float32))
    far, near = corner_z.max(-1, keepdims=True), corner_z.min(-1, keepdims=True)
    middle = 2 / (1 / far + 1 / near)
    depth = np.where(corner_z < middle, far, corner_z)
    corner_rays = np.stack([_corners(rays[..., axis])[torn] for axis in range(3)], axis=-1)
    corner_uv = np.stack([_corners(uv[..., axis])[torn] for axis in range(2)], axis=-1)
    count = len(depth)
    return Grid(
        (corner_rays * depth[..., None]).reshape(-1, 3).astype(np.float32),
        np.arange(4 * count, dtype=np.int32).reshape(-1, 4),
        corner_uv.reshape(-1, 2).astype(np.float32),
    )


def _join(first: Grid, second: Grid) -> Grid:
    return Grid(
        np.concatenate([first.vertices, second.vertices]),
        np.concatenate([first.quads, second.quads + len(first.vertices)]),
        np.concatenate([first.uv, second.uv]),
    )
