"""Axes and lengths of ellipsoids given by a matrix, a million at a time.

A Gaussian that a linear map M has made of the unit sphere has covariance M M^T. Its axes are M's left singular vectors.
One-sided Jacobi (Hestenes 1958; Demmel and Veselic 1992) turns M's columns against each other until they are
orthogonal. It never forms M M^T, so a needle's thin side keeps its digits even in float32, and it needs nothing but
elementwise arithmetic: the same code runs on CUDA, Apple's GPUs, and the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SWEEPS = 6  # quadratic convergence: four suffice for float32, two are in hand
_TINY = 1e-30


def principal_axes(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 3, 3) float32 -> lengths (N, 3), descending, and unit quaternions (N, 4), w x y z, w not negative.

    Column k of the rotation is the axis of length k. Equal lengths leave their axes' choice open.
    """
    # The largest entry becomes 1, so that squares neither vanish nor overflow.
    size = matrices.abs().amax(dim=(1, 2)).clamp(min=_TINY)
    columns = [(matrices[..., k] / size[:, None]).T.contiguous() for k in range(3)]  # each (3, N)
    for _ in range(_SWEEPS):
        for p, q in ((0, 1), (0, 2), (1, 2)):
            columns[p], columns[q] = _orthogonalised(columns[p], columns[q])
    lengths = [column.square().sum(0).sqrt() for column in columns]
    for p, q in ((0, 1), (1, 2), (0, 1)):  # longest first
        swap = lengths[p] < lengths[q]
        columns[p], columns[q] = torch.where(swap, columns[q], columns[p]), torch.where(swap, columns[p], columns[q])
        lengths[p], lengths[q] = torch.maximum(lengths[p], lengths[q]), torch.minimum(lengths[p], lengths[q])
    first = torch.where(lengths[0] > 0, columns[0] / lengths[0].clamp(min=_TINY), _unit(columns[0], 0))
    second = _second_axis(first, columns[1], lengths[1])
    rotation = torch.stack([first, second, torch.linalg.cross(first, second, dim=0)], dim=1)  # [row, column, N]
    return (torch.stack(lengths) * size).T.contiguous(), _quaternions(rotation)


def _orthogonalised(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Turn two columns in their own plane until they are orthogonal."""
    aa, bb, ab = a.square().sum(0), b.square().sum(0), (a * b).sum(0)
    # tan of the smaller of the two angles that do it: t^2 + 2 zeta t - 1 = 0.
    zeta = (bb - aa) / (2 * torch.where(ab == 0, torch.full_like(ab, _TINY), ab))
    tangent = torch.where(zeta < 0, -1.0, 1.0) / (zeta.abs() + (1 + zeta.square()).sqrt())
    tangent = torch.where(ab == 0, torch.zeros_like(tangent), tangent)
    cosine = (1 + tangent.square()).rsqrt()
    sine = cosine * tangent
    return cosine * a - sine * b, sine * a + cosine * b


def _second_axis(first: Tensor, column: Tensor, length: Tensor) -> Tensor:
    """Unit, exactly across `first`; any such direction where the ellipsoid has no second extent."""
    column = torch.where(length > _TINY, column / length.clamp(min=_TINY), _unit(first, first.abs().argmin(dim=0)))
    across = column - (column * first).sum(0) * first
    return across / across.square().sum(0).sqrt().clamp(min=_TINY)


def _unit(like: Tensor, axis: Tensor | int) -> Tensor:
    """(3, N) unit vectors along a coordinate axis each."""
    return (torch.arange(3, device=like.device)[:, None] == axis).to(like.dtype).expand_as(like)


def _quaternions(rotation: Tensor) -> Tensor:
    """Shepperd's method: divide by the largest component, never by a small one. `rotation` [row, column, N]."""
    r = rotation
    trace = r[0, 0] + r[1, 1] + r[2, 2]
    diagonal = torch.stack([trace, r[0, 0], r[1, 1], r[2, 2]])
    xy, xz, yz = r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1]
    wx, wy, wz = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    candidates = torch.stack(
        [
            torch.stack([1 + trace, wx, wy, wz]),
            torch.stack([wx, 1 + 2 * r[0, 0] - trace, xy, xz]),
            torch.stack([wy, xy, 1 + 2 * r[1, 1] - trace, yz]),
            torch.stack([wz, xz, yz, 1 + 2 * r[2, 2] - trace]),
        ]
    )
    best = diagonal.argmax(dim=0)
    quaternion = candidates.gather(0, best[None, None].expand(1, 4, -1))[0]
    quaternion = quaternion * torch.where(quaternion[0] < 0, -1.0, 1.0)
    return (quaternion / quaternion.square().sum(0).sqrt()).T.contiguous()


def rotations_of(quaternions: Tensor) -> Tensor:
    """(N, 4) w x y z of any length but zero -> (N, 3, 3)."""
    w, x, y, z = (quaternions / quaternions.norm(dim=1, keepdim=True).clamp(min=_TINY)).T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
