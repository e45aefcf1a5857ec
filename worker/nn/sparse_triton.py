"""Submanifold convolution as one Triton kernel: gathers while it multiplies, so nothing is written but the result.

Pays on CUDA with 16-bit features. It is used only after `works_on` has compared it with the plain way on that device.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor

from worker.nn.sparse import Voxels, gather_convolve, neighbour_rows

try:
    import triton
    import triton.language as tl
except ImportError:  # not on every system, and nothing is lost but speed
    triton = None

log = logging.getLogger("assetize.triton")
_ROWS = 1 << 19  # of a neighbour table looked up at once, 54 MB
_DENSE = 768 * 768  # an H100 takes 0.43 ms gathering for 1024 x 1024 channels and 0.67 ms here; narrower, the reverse
_TOLERANCE = 2e-2  # of the result's root mean square: what 16-bit rounding explains, and no wrong neighbour does

if triton is not None:

    @triton.jit
    def _kernel(
        x, rows, weight, bias, out, count, absent,
        CIN: tl.constexpr, COUT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    ):  # fmt: skip
        """One tile of BM voxels by BN output channels; `rows` (count, 27), `absent` marks no neighbour."""
        voxel = tl.program_id(0) * BM + tl.arange(0, BM)
        column = tl.program_id(1) * BN + tl.arange(0, BN)
        inside = voxel < count
        wanted = column < COUT
        total = tl.zeros((BM, BN), dtype=tl.float32)
        for offset in range(27):
            row = tl.load(rows + voxel * 27 + offset, mask=inside, other=absent)
            there = row < absent
            if tl.max(there.to(tl.int32), axis=0) > 0:
                first = x + row.to(tl.int64)[:, None] * CIN
                kernel = weight + column.to(tl.int64)[None, :] * (27 * CIN) + offset * CIN
                for start in range(0, CIN, BK):
                    channel = start + tl.arange(0, BK)
                    known = channel < CIN
                    a = tl.load(first + channel[None, :], mask=there[:, None] & known[None, :], other=0.0)
                    b = tl.load(kernel + channel[:, None], mask=known[:, None] & wanted[None, :], other=0.0)
                    total = tl.dot(a, b, total)
        total += tl.load(bias + column, mask=wanted, other=0.0).to(tl.float32)[None, :]
        place = out + voxel.to(tl.int64)[:, None] * COUT + column[None, :]
        tl.store(place, total.to(out.dtype.element_ty), mask=inside[:, None] & wanted[None, :])


def triton_convolve(x: Tensor, voxels: Voxels, weight: Tensor, bias: Tensor, source: Tensor | None) -> Tensor:
    """As `worker.nn.sparse.gather_convolve`; 32-bit features go that way."""
    dense = x.shape[1] * len(weight) >= _DENSE  # so much arithmetic a row that gathering costs little beside it
    if dense or x.dtype not in (torch.float16, torch.bfloat16) or triton is None:
        return gather_convolve(x, voxels, weight, bias, source)
    x, weight = x.contiguous(), weight.contiguous()
    cout, cin = len(weight), weight.shape[-1]
    out = x.new_empty(len(voxels), cout)
    for start in range(0, len(voxels), _ROWS):
        stop = min(start + _ROWS, len(voxels))
        rows = neighbour_rows(voxels, start, stop, x, source).contiguous()
        tile = _tile(stop - start, cin, cout)
        grid = (triton.cdiv(stop - start, tile["BM"]), triton.cdiv(cout, tile["BN"]))
        _kernel[grid](x, rows, weight, bias, out[start:stop], stop - start, len(x), CIN=cin, COUT=cout, **tile)
    return out


def _tile(rows: int, cin: int, cout: int) -> dict[str, Any]:
    """Large tiles where there are rows enough to give every processor several, small ones else."""
    wide = 128 if cout % 128 == 0 else 64
    many = triton.cdiv(rows, 128) * triton.cdiv(cout, wide) >= 512
    deep = 64 if cin % 64 == 0 else 32
    return {"BM": 128 if many else 64, "BN": wide, "BK": deep, "num_warps": 8 if many and wide == 128 else 4,
            "num_stages": 3}  # fmt: skip


@cache
def works_on(device: str) -> bool:
    """Whether the kernel compiles on this device and gives what the plain way gives."""
    if triton is None or not device.startswith("cuda"):
        return False
    try:
        return agrees(torch.device(device))
    except Exception:  # whatever the compiler or the driver finds
        log.warning("Triton does not work on %s; convolutions go the plain way", device, exc_info=True)
        return False


def agrees(device: torch.device, dtype: torch.dtype = torch.float16) -> bool:
    """Both ways on a few hundred voxels, with tiles cut off at every edge and rows in common."""
    random = torch.Generator().manual_seed(0)
    places = torch.randperm(12**3, generator=random)[:500]
    coords = torch.stack([places // 144, places // 12 % 12, places % 12], dim=1).to(device)
    voxels = Voxels(coords, 12)
    source = torch.randint(0, 90, (500,), generator=random).to(device)
    for cin, cout, shared in ((64, 128, None), (48, 96, source)):
        x = torch.randn(500 if shared is None else 90, cin, generator=random).to(device, dtype)
        weight = (torch.randn(cout, 3, 3, 3, cin, generator=random) / cin**0.5).to(device, dtype)
        bias = torch.randn(cout, generator=random).to(device, dtype)
        expected = gather_convolve(x, voxels, weight, bias, shared).float()
        found = triton_convolve(x, voxels, weight, bias, shared).float()
        gap = (found - expected).abs().max() / expected.square().mean().sqrt()
        if not bool(gap < _TOLERANCE):  # a NaN is not below it either
            log.warning("Triton's convolution is off by %.3g on %s; convolutions go the plain way", float(gap), device)
            return False
    return True
