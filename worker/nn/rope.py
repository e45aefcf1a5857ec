"""Rotary position embedding for tokens on a grid.

Su et al., "RoFormer" (2021), one axis a half of the head's channels: the first half turns with the row, the second with
the column. Inside a half, channel k pairs with channel k + half its length (the "rotate half" habit).
"""

from __future__ import annotations

import torch
from torch import Tensor


def grid_positions(rows: int, columns: int) -> Tensor:
    """(rows * columns, 2) integer (row, column) of each token, row by row."""
    return torch.cartesian_prod(torch.arange(rows), torch.arange(columns))


def tables(positions: Tensor, head_dim: int, base: float = 100.0) -> tuple[Tensor, Tensor]:
    """cos and sin (N, 2, head_dim / 4) of each token's angles: position over base^(4 i / head_dim), axis by axis."""
    frequencies = base ** (-torch.arange(head_dim // 4, dtype=torch.float64) * 4 / head_dim)
    angles = positions.double()[:, :, None] * frequencies
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (..., N, head_dim), its channel pairs turned by the tables' angles."""
    u, v = x.unflatten(-1, (2, 2, x.shape[-1] // 4)).unbind(-2)
    return torch.stack((u * cos - v * sin, v * cos + u * sin), -2).flatten(-3)


class GridRope:
    """Turns queries and keys of one grid; `place` says which before the network runs.

    Shared by all layers, part of no state dict: its tables follow from the grid alone.
    """

    def __init__(self, head_dim: int, base: float = 100.0) -> None:
        if head_dim % 4:
            raise ValueError(f"two axes of channel pairs need a multiple of four channels a head, not {head_dim}")
        self.head_dim, self.base = head_dim, base
        self._known: dict[tuple[int, int, torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def place(self, rows: int, columns: int, device: torch.device, dtype: torch.dtype) -> None:
        key = rows, columns, device, dtype
        if key not in self._known:  # kept for good: a captured CUDA graph reads them where they lie
            cos, sin = tables(grid_positions(rows, columns), self.head_dim, self.base)
            self._known[key] = cos.to(device, dtype), sin.to(device, dtype)
        self._cos, self._sin = self._known[key]

    def __call__(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return rotate(q, self._cos, self._sin), rotate(k, self._cos, self._sin)
