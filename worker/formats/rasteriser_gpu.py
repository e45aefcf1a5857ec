"""The reference rasteriser's twin for a GPU, in plain torch: the same projection, footprints and order.

Worth having because a million splats that are several pixels wide make hundreds of millions of (pixel, splat) pairs:
a minute on a processor, a blink here. Sums are taken in whole numbers, so the same scene gives the same bytes.
Import it only where torch is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from worker.arrays import F32, F64
from worker.formats.gaussians import GaussianCloud
from worker.formats.rasteriser import MAX_RADIUS, MIN_ALPHA, NEAREST, Render

_PAIRS = 6_000_000  # (pixel, splat) pairs at a time: about 0.6 GB of working memory
_FIXED = float(1 << 32)  # sums of up to 2^23 numbers below 2^7 fit into 63 bits


def render(
    cloud: GaussianCloud,
    camera_from_world: F64,
    intrinsics: F32,
    size: tuple[int, int],
    dilation: float = 0.3,
    device: str = "cuda",
) -> Render:
    """As `worker.formats.rasteriser.render`, equal but for rounding."""
    with torch.inference_mode():
        splats = _project(cloud, camera_from_world, intrinsics, size, dilation, torch.device(device))
        out = torch.zeros(size[0] * size[1], 5, dtype=torch.float64, device=device)
        for top, bottom in _bands(splats, size):
            _composite(splats, top, bottom, size[1], out[top * size[1] : bottom * size[1]])
        picture = out.view(*size, 5)
        alpha = picture[..., 4]
        depth = picture[..., 3] * splats["farthest"] / alpha.clamp(min=1e-12)
        parts = (picture[..., :3], alpha, depth)
        return Render(*(part.float().cpu().numpy() for part in parts))


def _project(
    cloud: GaussianCloud, pose: F64, K: F32, size: tuple[int, int], dilation: float, device: torch.device
) -> dict[str, Tensor]:
    """Splats that touch the picture, nearest first; float64 until the result."""

    def put(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device).double()

    position = put(cloud.position) @ put(pose[:3, :3]).T + put(pose[:3, 3])
    z, order = position[:, 2].sort(stable=True)
    away = z.abs().sort().values
    middle = (away[(len(z) - 1) // 2] + away[len(z) // 2]) / 2 if len(z) else 0.0
    near = NEAREST * max(float(middle), 1e-12)
    order, z = order[z > near], z[z > near]
    x, y = position[order, 0], position[order, 1]
    w, i, j, k = put(cloud.rotation)[order].T
    rows = (
        (1 - 2 * (j * j + k * k), 2 * (i * j - w * k), 2 * (i * k + w * j)),
        (2 * (i * j + w * k), 1 - 2 * (i * i + k * k), 2 * (j * k - w * i)),
        (2 * (i * k - w * j), 2 * (j * k + w * i), 1 - 2 * (i * i + j * j)),
    )
    axes = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    axes = put(pose[:3, :3]) @ axes * put(cloud.scale)[order][:, None, :]
    fx, fy, cx, cy = (float(K[r, c]) for r, c in ((0, 0), (1, 1), (0, 2), (1, 2)))
    limit_x, limit_y = 1.3 * 0.5 * size[1] / fx, 1.3 * 0.5 * size[0] / fy
    row_u = (fx / z)[:, None] * (axes[:, 0] - (x / z).clamp(-limit_x, limit_x)[:, None] * axes[:, 2])
    row_v = (fy / z)[:, None] * (axes[:, 1] - (y / z).clamp(-limit_y, limit_y)[:, None] * axes[:, 2])
    uu = row_u.square().sum(1) + dilation
    vv = row_v.square().sum(1) + dilation
    uv = (row_u * row_v).sum(1)
    determinant = (uu * vv - uv * uv).clamp(min=1e-12)
    largest = 0.5 * (uu + vv) + (0.25 * (uu - vv).square() + uv * uv).clamp(min=0).sqrt()
    opacity = put(cloud.opacity)[order]
    reach = (2 * (opacity / MIN_ALPHA).clamp(min=1).log()).sqrt()
    radius = (reach * largest.sqrt()).clamp(max=MAX_RADIUS)
    u, v = fx * x / z + cx, fy * y / z + cy
    seen = (opacity > MIN_ALPHA) & (u > -radius) & (u < size[1] + radius) & (v > -radius) & (v < size[0] + radius)
    radius = radius.float()
    farthest = z[seen].max() if seen.any() else torch.ones((), dtype=torch.float64, device=device)
    payload = torch.cat([put(cloud.color)[order], (z / farthest)[:, None]], dim=1)
    found = {
        "center": torch.stack([u, v], dim=-1),
        "conic": torch.stack([vv, -uv, uu], dim=-1) / determinant[:, None],
        "radius": torch.where(radius < 6, (radius * 4).ceil() / 4, radius.ceil()),
        "opacity": opacity,
        "payload": payload,
    }
    splats = {name: values[seen].float() for name, values in found.items()}
    reach_px = (splats["radius"] + 0.5).floor()
    corner = splats["center"].floor()
    first, last = (corner - reach_px[:, None]).int(), (corner + reach_px[:, None]).int()
    limit = torch.tensor([size[1] - 1, size[0] - 1], dtype=torch.int32, device=device)
    splats["first"], splats["last"] = first.clamp(min=0), torch.minimum(last, limit)
    splats["farthest"] = farthest
    return splats


def _bands(splats: dict[str, Tensor], size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Rows of the picture in runs that hold about _PAIRS pairs, at least one row each."""
    first, last = splats["first"].long(), splats["last"].long()
    wide = (last[:, 0] - first[:, 0] + 1).clamp(min=0) * (last[:, 1] >= first[:, 1])
    change = torch.zeros(size[0] + 1, dtype=torch.int64, device=wide.device)
    change.index_add_(0, first[:, 1].clamp(max=size[0]), wide)
    change.index_add_(0, (last[:, 1] + 1).clamp(min=0), -wide)
    pairs = change.cumsum(0)[:-1].tolist()
    top, total = 0, 0
    for row, count in enumerate(pairs):
        if total and total + count > _PAIRS:
            yield top, row
            top, total = row, 0
        total += count
    yield top, size[0]


def _composite(splats: dict[str, Tensor], top: int, bottom: int, width: int, out: Tensor) -> None:
    """Fill `out` (pixels of the band, 5): premultiplied colour, z by the farthest, and coverage."""
    first, last = splats["first"].long(), splats["last"].long()
    upper, lower = first[:, 1].clamp(min=top), last[:, 1].clamp(max=bottom - 1)
    columns = (last[:, 0] - first[:, 0] + 1).clamp(min=0)
    counts = columns * (lower - upper + 1).clamp(min=0)
    touching = counts.nonzero()[:, 0]
    if not len(touching):
        return
    counts = counts[touching]
    starts = counts.cumsum(0) - counts
    which = torch.repeat_interleave(touching, counts)  # nearest first, as the splats are
    local = torch.arange(len(which), device=which.device) - torch.repeat_interleave(starts, counts)
    column = first[which, 0] + local % columns[which]
    row = upper[which] + local // columns[which]
    del local
    center, conic = splats["center"][which], splats["conic"][which]
    down, right = (row - center[:, 1].floor()).abs() - 0.5, (column - center[:, 0].floor()).abs() - 0.5
    near = torch.hypot(right.clamp(min=0), down.clamp(min=0)) <= splats["radius"][which]
    x, y = column + 0.5 - center[:, 0], row + 0.5 - center[:, 1]
    power = -0.5 * (conic[:, 0] * x * x + conic[:, 2] * y * y) - conic[:, 1] * x * y
    alpha = (splats["opacity"][which] * power.exp()).clamp(max=0.99)
    kept = near & (alpha >= MIN_ALPHA)
    pixel = ((row - top) * width + column)[kept].int()
    pixel, order = pixel.sort(stable=True)
    which, alpha = which[kept][order], alpha[kept][order]
    if not len(pixel):
        return
    passing = (torch.log1p(-alpha.double()) * _FIXED).round().long()
    before = passing.cumsum(0) - passing
    places, lengths = torch.unique_consecutive(pixel, return_counts=True)
    ends = lengths.cumsum(0)
    offset = torch.repeat_interleave(before[ends - lengths], lengths)
    weight = alpha * ((before - offset).double() / _FIXED).exp()
    for channel in range(5):
        values = weight * splats["payload"][which, channel] if channel < 4 else weight
        running = (values.double() * _FIXED).round().long().cumsum(0)
        sums = running[ends - 1]
        out[places.long(), channel] = torch.diff(sums, prepend=sums.new_zeros(1)).double() / _FIXED
