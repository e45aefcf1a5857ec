"""Norms of diffusion transformers as single Triton kernels, which read and write each number once.

The plain way in `worker.nn.dit` is what they are compared with on the device before they are used, and what runs
elsewhere. Both compute in 32 bits.
"""

from __future__ import annotations

import logging
from functools import cache

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # not on every system, and nothing is lost but speed
    triton = None

log = logging.getLogger("assetize.triton")
_TOLERANCE = 1e-2  # absolute, of numbers around one: rounding to 16 bits
_TINY = 1e-20  # only keeps a vector of zeros from dividing by zero
_VECTORS = 32  # of heads, in one program

if triton is not None:

    @triton.jit
    def _modulate_kernel(
        x, scale, shift, out, rows_per_batch, stride, eps,
        WIDTH: tl.constexpr, PADDED: tl.constexpr, PLUS_ONE: tl.constexpr,
    ):  # fmt: skip
        """One row: layer norm, then times (1 +) scale, plus shift. `stride` is 0 where all batches share those."""
        row = tl.program_id(0).to(tl.int64)
        column = tl.arange(0, PADDED)
        inside = column < WIDTH
        value = tl.load(x + row * WIDTH + column, mask=inside, other=0.0).to(tl.float32)
        mean = tl.sum(value, axis=0) / WIDTH
        centred = tl.where(inside, value - mean, 0.0)
        value = centred * (1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / WIDTH + eps))
        batch = row // rows_per_batch * stride
        gain = tl.load(scale + batch + column, mask=inside, other=0.0).to(tl.float32)
        if PLUS_ONE:
            gain += 1.0
        value = value * gain + tl.load(shift + batch + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + row * WIDTH + column, value.to(out.dtype.element_ty), mask=inside)

    @triton.jit
    def _heads_kernel(
        packed, gamma, out, count, tiny,
        HEADS2: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, VECTORS: tl.constexpr,
    ):  # fmt: skip
        """RMS norm of the queries' and keys' heads in packed (tokens, 3, heads, WIDTH); HEADS2 is twice the heads."""
        vector = tl.program_id(0) * VECTORS + tl.arange(0, VECTORS)
        column = tl.arange(0, PADDED)
        inside = (vector < count)[:, None] & (column < WIDTH)[None, :]
        head = vector % HEADS2
        start = (vector // HEADS2).to(tl.int64) * (HEADS2 // 2 * 3 * WIDTH) + head * WIDTH
        value = tl.load(packed + start[:, None] + column[None, :], mask=inside, other=0.0).to(tl.float32)
        size = tl.sum(value * value, axis=1) / WIDTH
        value = value * (1.0 / tl.sqrt(size + tiny))[:, None]
        gain = tl.load(gamma + head[:, None] * WIDTH + column[None, :], mask=inside, other=0.0).to(tl.float32)
        place = out + vector.to(tl.int64)[:, None] * WIDTH + column[None, :]
        tl.store(place, (value * gain).to(out.dtype.element_ty), mask=inside)


def modulate(x: Tensor, scale: Tensor, shift: Tensor, eps: float, plus_one: bool) -> Tensor:
    """Layer norm of (B, L, C), times scale (plus one), plus shift; both (B, 1, C) or (C,), or views of one tensor."""
    x = x.contiguous()
    if scale.stride() != shift.stride() or scale.stride(-1) != 1:
        scale, shift = scale.contiguous(), shift.contiguous()
    width = x.shape[-1]
    out = torch.empty_like(x)
    stride = scale.stride(0) if scale.numel() > width else 0
    _modulate_kernel[(x.numel() // width,)](
        x, scale, shift, out, x.shape[-2], stride, eps,
        WIDTH=width, PADDED=triton.next_power_of_2(width), PLUS_ONE=plus_one,
    )  # fmt: skip
    return out


def normalise_heads(packed: Tensor, gamma: Tensor) -> Tensor:
    """(B, L, 3, H, D) packed queries, keys, values; gamma (2, H, D) -> (B, L, 2, H, D) queries and keys."""
    packed, gamma = packed.contiguous(), gamma.contiguous()
    batch, tokens, _, heads, width = packed.shape
    out = packed.new_empty(batch, tokens, 2, heads, width)
    count = batch * tokens * 2 * heads
    _heads_kernel[(triton.cdiv(count, _VECTORS),)](
        packed, gamma, out, count, _TINY,
        HEADS2=2 * heads, WIDTH=width, PADDED=triton.next_power_of_2(width), VECTORS=_VECTORS,
    )  # fmt: skip
    return out


def usable(x: Tensor) -> bool:
    return triton is not None and x.is_cuda and x.dtype in (torch.float16, torch.bfloat16) and _works_on(x.device)


@cache
def _works_on(device: torch.device) -> bool:
    try:
        return agrees(device)
    except Exception:  # whatever the compiler or the driver finds
        log.warning("Triton does not work on %s; norms go the plain way", device, exc_info=True)
        return False


def agrees(device: torch.device, dtype: torch.dtype = torch.float16) -> bool:
    """Both ways on a few tokens, with widths that are no powers of two."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random).to(device, dtype)

    x, (scale, shift) = 3 + draw(2, 5, 48), draw(2, 1, 96).chunk(2, dim=-1)
    plain = torch.nn.functional.layer_norm(x.float(), (48,), eps=1e-6)
    packed, gamma = draw(2, 7, 3, 3, 24), draw(2, 3, 24).float()
    heads = torch.nn.functional.rms_norm(packed[:, :, :2].float(), (24,), eps=_TINY) * gamma
    pairs = (
        (modulate(x, scale, shift, 1e-6, True), plain * (1 + scale.float()) + shift.float()),
        (modulate(x, scale[0, 0].float(), shift[0, 0].float(), 1e-6, False), plain * scale[0, 0] + shift[0, 0]),
        (normalise_heads(packed, gamma), heads),
    )
    return all(
        bool(((found.float() - wanted).abs() < _TOLERANCE * (1 + wanted.abs())).all()) for found, wanted in pairs
    )
