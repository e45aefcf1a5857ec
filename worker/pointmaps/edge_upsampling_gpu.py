"""edge_upsampling.py on the GPU: the same rule, for engines that have torch anyway.

A depth map full of edges costs seconds there at film size; here it costs milliseconds. The rule's constants are shared,
and tests hold the two to each other.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worker.arrays import F32, U8
from worker.pointmaps.edge_upsampling import COLOUR_SIGMA, EDGE, MIXED, REACH, SAME_SIDE

CHUNK = 200_000  # edge pixels at a time, to bound memory


def upsample(values: F32, small: U8, image: U8, device: str) -> F32:
    """`values` (h, w) and its picture `small` (h, w, 3) -> (H, W) on the grid of `image` (H, W, 3)."""
    if values.shape == image.shape[:2]:
        return values
    with torch.inference_mode():
        value = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)
        colour, target = (torch.from_numpy(np.array(part)).to(device) for part in (small, image))
        return _upsampled(value, colour.float(), target).cpu().numpy()


def _upsampled(value: Tensor, colour: Tensor, target: Tensor) -> Tensor:
    size = tuple(target.shape[:2])
    grid = value[None, None]
    full = F.interpolate(grid, size, mode="bilinear", align_corners=False)[0, 0]
    low, high = -F.max_pool2d(-grid, 5, 1, 2), F.max_pool2d(grid, 5, 1, 2)
    mixed = (torch.minimum(grid - low, high - grid) / (high - low).clamp(min=EDGE))[0, 0]
    at_edge = F.interpolate(((high - low) > EDGE).float(), size, mode="nearest")[0, 0] > 0
    rows, columns = at_edge.nonzero(as_tuple=True)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        full[rows[part], columns[part]] = _choose_side(value, mixed, colour, target, rows[part], columns[part])
    return full


def _choose_side(value: Tensor, mixed: Tensor, colour: Tensor, target: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    height, width = value.shape
    y = (rows + 0.5) * (height / target.shape[0]) - 0.5
    x = (columns + 0.5) * (width / target.shape[1]) - 0.5
    steps = torch.arange(-2, 3, device=value.device)
    v = (y.round().long() + steps.repeat_interleave(5)[:, None]).clamp(0, height - 1)  # (25, N)
    u = (x.round().long() + steps.repeat(5)[:, None]).clamp(0, width - 1)
    wanted = target[rows, columns].float()
    apart = sum((colour[..., i][v, u] - wanted[:, i]) ** 2 for i in range(3)) / (3 * 2 * COLOUR_SIGMA**2)
    far = ((v - y) ** 2 + (u - x) ** 2) / (2 * REACH**2)
    weight = torch.exp(-apart - far - (mixed[v, u] / MIXED) ** 2) + 1e-12
    candidates = value[v, u]
    winner = candidates.gather(0, weight.argmax(0, keepdim=True))
    weight = torch.where((candidates - winner).abs() < SAME_SIDE, weight, 0.0)
    return (candidates * weight).sum(0) / weight.sum(0)
