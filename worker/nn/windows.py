"""Attention within cubic windows of a sparse tensor (Liu et al., "Swin Transformer", 2021, in three dimensions).

A window holds from one to side^3 voxels. Windows of like fill are computed together, padded to a common length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_SHORTEST = 16
_TOKENS = 1 << 16  # padded tokens at a time


@dataclass(frozen=True)
class Bucket:
    """Windows padded to one length: `rows` (W, L) voxels, 0 in the padding; `filled` (W, L), None where all are."""

    rows: Tensor
    filled: Tensor | None
    slots: Tensor  # (T,) places of the voxels in the flattened (W, L)
    tokens: Tensor  # (T,) which voxels those are


def partition(coords: Tensor, side: int, shift: int) -> list[Bucket]:
    """Groups (N, 3) voxels by (coords + shift) // side."""
    cell = (coords.long() + shift) // side
    across = int(cell.max()) + 1
    _, window, length = ((cell[:, 0] * across + cell[:, 1]) * across + cell[:, 2]).unique(
        return_inverse=True, return_counts=True
    )
    order = window.argsort(stable=True)
    first = length.cumsum(0) - length
    buckets = []
    capacity = _SHORTEST
    shorter = 0
    while shorter < int(length.max()):
        inside = ((length > shorter) & (length <= capacity)).nonzero()[:, 0]
        for some in inside.split(max(1, _TOKENS // capacity)):
            buckets.append(_bucket(order, first[some], length[some], capacity))
        shorter, capacity = capacity, capacity * 2
    return [bucket for bucket in buckets if len(bucket.rows)]


def _bucket(order: Tensor, first: Tensor, length: Tensor, capacity: int) -> Bucket:
    slot = torch.arange(capacity, device=order.device)
    filled = slot < length[:, None]
    rows = order[torch.where(filled, first[:, None] + slot, 0)]
    slots = filled.flatten().nonzero()[:, 0]
    return Bucket(rows, None if len(slots) == filled.numel() else filled, slots, rows.flatten()[slots])


def window_attention(qkv: Tensor, buckets: list[Bucket]) -> Tensor:
    """(N, 3, H, D) packed queries, keys, values -> (N, H, D)."""
    out = torch.empty_like(qkv[:, 0])
    for bucket in buckets:
        q, k, v = qkv[bucket.rows].permute(2, 0, 3, 1, 4)  # each (W, H, L, D)
        mask = None if bucket.filled is None else bucket.filled[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out[bucket.tokens] = mixed.transpose(1, 2).flatten(0, 1)[bucket.slots]
    return out
