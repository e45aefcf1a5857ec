"""From the network's own space to the session's camera frame and the session's scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worker.arrays import F32, Bool
from worker.engines.contract import SceneRequest
from worker.engines.sharp.compose import Gaussians
from worker.engines.sharp.ellipsoids import principal_axes, rotations_of
from worker.formats.gaussians import GaussianCloud

FEWEST = 100  # pixels in agreement that a scale may rest on


def camera_from_network(intrinsics: F32, width: int, height: int) -> F32:
    """3x3: the network's (x z, y z, z), x and y in -1..1 over the picture, to camera axes. Diagonal where the
    principal point is the picture's middle: (W / 2 fx, H / 2 fy, 1).
    """
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    rows = [[width / 2 / fx, 0, (width / 2 - cx) / fx], [0, height / 2 / fy, (height / 2 - cy) / fy], [0, 0, 1]]
    return np.array(rows, dtype=np.float32)


@dataclass(frozen=True)
class Agreement:
    """`scale`: session depth by the network's, median over `pixels`; `spread`: median distance from it, as a ratio."""

    scale: float
    spread: float
    pixels: int


def agreement(depth: F32, request: SceneRequest, left_out: Bool | None) -> Agreement | None:
    """Compare the network's visible depth (n, n) with the session's at the same places of the picture.

    `left_out`: where the two do not show the same thing. None where too little trusted depth is left to compare.
    """
    middles = (np.arange(depth.shape[0]) + 0.5) / depth.shape[0]
    rows, columns = ((middles * size).astype(int) for size in request.mask.shape)
    at = np.ix_(rows, columns)
    theirs = request.points[..., 2][at]
    trusted = request.mask[at] & ~request.sky[at] & (theirs > 0) & (depth > 0)
    if left_out is not None:
        trusted &= ~left_out[at]
    confidence = request.confidence[at]
    if trusted.any():
        trusted &= confidence >= np.median(confidence[trusted])
    if trusted.sum() < FEWEST:
        return None
    ratio = np.log(theirs[trusted].astype(np.float64) / depth[trusted])
    middle = float(np.median(ratio))
    spread = float(np.median(np.abs(ratio - middle)))
    return Agreement(float(np.exp(middle)), float(np.expm1(spread)), int(trusted.sum()))


def unprojected(gaussians: Gaussians, camera: F32) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, standard deviations (descending) and unit quaternions in camera axes, at the network's scale."""
    matrix = torch.from_numpy(camera).to(gaussians.position.device)
    shape = matrix @ rotations_of(gaussians.rotation) * gaussians.scale[:, None, :]
    return gaussians.position @ matrix.T, *principal_axes(shape)


def to_cloud(position: Tensor, scale: Tensor, rotation: Tensor, gaussians: Gaussians, factor: float) -> GaussianCloud:
    """Uniform about the camera, so `factor` changes nothing in the picture."""
    arrays = (position * factor, scale * factor, rotation, gaussians.opacity, gaussians.color)
    return GaussianCloud(*(array.cpu().numpy() for array in arrays))
