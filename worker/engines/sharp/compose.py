"""From depth and offsets to Gaussians: each starts as a plain dot on its pixel's ray and is then moved, shaped, tinted.

All of it in float32, elementwise, with the bounds that keep every logarithm finite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engines.sharp.config import STRIDE

FARTHEST = 100.0  # depth is cut at this multiple of the nearest
_MAX_SCALE = 10.0  # of a Gaussian, as a multiple of its beginning; 1 where the offset is 0
_SCALE_SLOPE, _SCALE_BIAS = 10 / 9, math.log(0.1 / 0.9)


@dataclass
class Base:
    """`features` (1, 5, S, S) feed the Gaussian decoder. The rest is (layers, n, n) or as said, in units of the
    nearest depth, which is `unit` of the network's metres.
    """

    features: Tensor
    disparity: Tensor
    color: Tensor  # (3, n, n) sRGB-encoded, the same for both layers
    unit: Tensor


@dataclass
class Gaussians:
    """N Gaussians, layer by layer, row by row. Their axes are not yet unprojected; see session_frame."""

    position: Tensor  # (N, 3)
    scale: Tensor  # (N, 3) standard deviations along the rotated axes
    rotation: Tensor  # (N, 4) quaternion w x y z, of any length
    color: Tensor  # (N, 3) sRGB-encoded
    opacity: Tensor  # (N,)


def initialise(image: Tensor, depth: Tensor) -> Base:
    """Args: image (1, 3, S, S) in 0..1; depth (1, layers, S, S) in metres, all positive."""
    unit = depth.amin() + 1e-6
    disparity = (depth / unit).clamp(max=FARTHEST).reciprocal()
    return Base(
        features=2 * torch.cat([image, disparity], dim=1) - 1,
        disparity=F.max_pool2d(disparity, STRIDE)[0],  # the nearest surface that the dot stands for
        color=F.avg_pool2d(image, STRIDE)[0],
        unit=unit,
    )


def compose(base: Base, offsets: Tensor) -> Gaussians:
    """Args: offsets (1, 14, layers, n, n)."""
    move, grow, turn, tint, fade = offsets[0].float().split([3, 3, 4, 3, 1])
    grid = base.disparity.shape[-1]
    center = (2 * torch.arange(grid, device=move.device) + 1) / grid - 1
    x = center + 0.001 * move[0]
    y = center[:, None] + 0.001 * move[1]
    # softplus keeps 1/z positive whatever the offset; its inverse starts it at the base's own value.
    before = base.disparity + torch.log(-torch.expm1(-base.disparity.clamp(min=1e-6)))
    z = 1 / (F.softplus(before + 0.001 * move[2]) + 1e-3)
    scale = 2 / grid * z * _MAX_SCALE * torch.sigmoid(_SCALE_SLOPE * grow + _SCALE_BIAS)
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0], device=turn.device)
    start = torch.logit(base.color.clamp(0.01, 0.99))[:, None]
    return Gaussians(
        position=_rows(torch.stack([z * x, z * y, z]) * base.unit),
        scale=_rows(scale * base.unit),
        rotation=_rows(turn + identity[:, None, None, None]),
        color=_rows(torch.sigmoid(start + 0.1 * tint)),
        opacity=torch.sigmoid(fade[0]).flatten(),
    )


def _rows(values: Tensor) -> Tensor:
    """(C, layers, n, n) -> (layers * n * n, C)."""
    return values.flatten(1).T.contiguous()
