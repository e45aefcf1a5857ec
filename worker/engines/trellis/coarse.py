"""A mesh for where there is none: the voxels' own outline, coloured by their Gaussians.

A 64^3 grid filled and smoothed: blocky where the fine mesh is crisp, but closed, outward and of the right size.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from worker.engines.trellis.decoders import RawGaussians
from worker.nn.flexicubes import CORNERS, extract
from worker.nn.sparse import Voxels

_SMOOTH = 0.8  # voxels: takes the steps off
_INSIDE = 0.6  # what a filled voxel counts at least, so that smoothing cannot lose a thin part
_EMPTY = 2  # layers around, so that the surface closes within the grid


def coarse_mesh(voxels: Voxels, gaussians: RawGaussians) -> tuple[Tensor, Tensor, Tensor]:
    """vertices (V, 3) in the unit cube around the origin, faces (F, 3), attributes (V, 6) as the fine mesh has them.

    The surface runs between the voxels' centres, which are the corners of the cubes it is extracted from.
    """
    side = voxels.size + 2 * _EMPTY
    coords = voxels.coords.cpu().numpy() + _EMPTY
    solid = np.zeros((side,) * 3, dtype=bool)
    solid[tuple(coords.T)] = True
    solid = ndimage.binary_fill_holes(solid)
    density = np.maximum(ndimage.gaussian_filter(solid.astype(np.float32), _SMOOTH), _INSIDE * solid)
    near = ndimage.binary_dilation(solid, np.ones((3, 3, 3)), iterations=2)[:-1, :-1, :-1]
    cubes = np.argwhere(near)
    corners = tuple((cubes[:, None] + np.array(CORNERS)).reshape(-1, 3).T)
    colour = np.clip(_colours(coords, gaussians, side)[corners], 1e-3, 1 - 1e-3).reshape(-1, 8, 3)
    attributes = np.zeros((len(cubes), 8, 6), dtype=np.float32)
    attributes[..., :3] = np.log(colour / (1 - colour))
    distance = torch.from_numpy((0.5 - density[corners]).reshape(-1, 8).astype(np.float32))
    vertices, faces, attrs = extract(
        torch.from_numpy(cubes),
        distance + 1 / (side - 1),  # `extract` takes the trained bias off again
        torch.zeros(len(cubes), 8, 3),
        torch.zeros(len(cubes), 21),
        torch.from_numpy(attributes),
        resolution=side - 1,
    )
    places = (vertices + 0.5) * (side - 1) + 0.5 - _EMPTY  # in voxels
    return places / voxels.size - 0.5, faces, attrs


def _colours(coords: np.ndarray, gaussians: RawGaussians, side: int) -> np.ndarray:
    """(side, side, side, 3): each voxel's mean colour by opacity, each other cell that of the nearest voxel."""
    share = len(gaussians.opacity) // len(coords)
    opacity = gaussians.opacity.reshape(len(coords), share, 1).float().cpu().numpy()
    color = gaussians.color.reshape(len(coords), share, 3).float().cpu().numpy()
    mean = (color * opacity).sum(1) / np.maximum(opacity.sum(1), 1e-6)
    grid = np.zeros((side, side, side, 3), dtype=np.float32)
    grid[tuple(coords.T)] = np.clip(mean, 0, 1)
    empty = np.ones((side,) * 3, dtype=bool)
    empty[tuple(coords.T)] = False
    nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    return grid[tuple(nearest)]
