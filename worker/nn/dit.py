"""Parts of diffusion transformers that TRELLIS and its kin share, under their checkpoints' names.

Peebles and Xie, "Scalable Diffusion Models with Transformers" (2023), with cross-attention to an image's tokens and
normalised queries and keys. Tokens are (B, L, C). Matrices may be 16-bit; norms and the time's embedding are 32-bit.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.nn import fused_triton
from worker.nn.sparse import SparseConv3d

MATRICES = (nn.Linear, nn.Conv3d, SparseConv3d)


def cast_matrices(module: nn.Module, dtype: torch.dtype) -> None:
    """Set the precision of weights and biases of all linear layers and convolutions; norms stay as they are."""
    for part in module.modules():
        if isinstance(part, MATRICES):
            part.to(dtype)


def precision_of(module: nn.Module) -> torch.dtype:
    """What `cast_matrices` set."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv3d):
            return part.weight.dtype
    return torch.float32


def position_embedding(places: Tensor, channels: int) -> Tensor:
    """(N, 3) positions -> (N, channels) float32: for each axis sines, then cosines, of channels // 6 frequencies; zeros
    at the end where 6 does not divide the channels.
    """
    count = channels // 6
    frequency = 1.0 / 10000 ** (torch.arange(count, dtype=torch.float32, device=places.device) / count)
    angle = places.float()[..., None] * frequency
    found = torch.cat([angle.sin(), angle.cos()], dim=-1).flatten(1)
    return F.pad(found, (0, channels - found.shape[1]))


class TimestepEmbedder(nn.Module):
    """(B,) times -> (B, width): cosines and sines of 128 frequencies through two layers."""

    def __init__(self, width: int, frequencies: int = 256) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.frequencies = frequencies // 2

    def forward(self, t: Tensor) -> Tensor:
        step = torch.arange(self.frequencies, dtype=torch.float32, device=t.device)
        angle = t.float()[:, None] * torch.exp(-math.log(10000) * step / self.frequencies)
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1))


class LayerNorm32(nn.LayerNorm):
    """Computed in 32 bits, given back in the input's precision."""

    def __init__(self, width: int, affine: bool = False, eps: float = 1e-6) -> None:
        super().__init__(width, eps=eps, elementwise_affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is None:  # the kernel itself computes 16-bit inputs in 32 bits
            return F.layer_norm(x, self.normalized_shape, eps=self.eps)
        if fused_triton.usable(x):
            return fused_triton.modulate(x, self.weight, self.bias, self.eps, plus_one=False)
        return super().forward(x.float()).to(x.dtype)

    def modulated(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Normalised (B, L, C), times 1 + scale, plus shift; both (B, 1, C). Of a norm without its own gain."""
        if fused_triton.usable(x):
            return fused_triton.modulate(x, scale, shift, self.eps, plus_one=True)
        return torch.addcmul(shift, self(x), 1 + scale)


class HeadNorm(nn.Module):
    """RMS norm of each head's vector, with a gain for each head and channel."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(heads, width))


class SelfAttention(nn.Module):
    def __init__(self, channels: int, heads: int, head_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(channels, 3 * channels)
        if head_norm:
            self.q_rms_norm = HeadNorm(heads, channels // heads)
            self.k_rms_norm = HeadNorm(heads, channels // heads)
        self.head_norm = head_norm
        self.to_out = nn.Linear(channels, channels)

    def qkv(self, x: Tensor) -> Tensor:
        """(..., L, C) -> (..., L, 3, heads, C / heads)."""
        return self.to_qkv(x).unflatten(-1, (3, self.heads, -1))

    def forward(self, x: Tensor) -> Tensor:
        packed = self.qkv(x)
        (q, k), v = packed[:, :, :2].unbind(2), packed[:, :, 2]
        if self.head_norm:
            q, k = self._normalised(packed).unbind(2)
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return self.to_out(mixed.transpose(1, 2).flatten(2))

    def _normalised(self, packed: Tensor) -> Tensor:
        """(B, L, 2, heads, width): queries and keys."""
        gamma = torch.stack([self.q_rms_norm.gamma, self.k_rms_norm.gamma])
        if fused_triton.usable(packed):
            return fused_triton.normalise_heads(packed, gamma)
        # 1e-20: only keeps a vector of zeros from dividing by zero
        return (F.rms_norm(packed[:, :, :2].float(), gamma.shape[-1:], eps=1e-20) * gamma).to(packed.dtype)


class CrossAttention(nn.Module):
    """Attention to a context that stays the same from step to step, so its keys and values are made once."""

    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels)
        self.to_kv = nn.Linear(context, 2 * channels)
        self.to_out = nn.Linear(channels, channels)

    def prepare(self, context: Tensor) -> Tensor:
        """(B, T, context channels) -> (2, B, heads, T, width) keys and values."""
        return self.to_kv(context).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def forward(self, x: Tensor, prepared: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)."""
        q = self.to_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self.to_out(F.scaled_dot_product_attention(q, *prepared).transpose(1, 2).flatten(2))

    def of_nothing(self) -> Tensor:
        """(C,) the answer to a context of zeros: its values all equal the bias, so attention cannot tell them apart."""
        return self.to_out(self.to_kv.bias.chunk(2)[1])


class FeedForward(nn.Module):
    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU("tanh"), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)


class CrossBlock(nn.Module):
    """Self-attention and feed-forward modulated by time, cross-attention between them that is not."""

    def __init__(self, channels: int, context: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm32(channels)
        self.norm2 = LayerNorm32(channels, affine=True)
        self.norm3 = LayerNorm32(channels)
        self.self_attn = SelfAttention(channels, heads, head_norm=True)
        self.cross_attn = CrossAttention(channels, context, heads)
        self.mlp = FeedForward(channels, mlp_ratio)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(channels, 6 * channels))

    def forward(self, x: Tensor, time: Tensor, prepared: Tensor | None) -> Tensor:
        """x (B, L, C), time (B, C). `prepared`: `cross_attn.prepare` for the first of the batch; the others, and all
        where it is None, have a context of zeros.
        """
        parts = self.adaLN_modulation(time)[:, None].chunk(6, dim=-1)
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = parts
        x = torch.addcmul(x, self.self_attn(self.norm1.modulated(x, scale_attn, shift_attn)), gate_attn)
        seeing = 0 if prepared is None else prepared.shape[1]
        if prepared is not None:
            x[:seeing] += self.cross_attn(self.norm2(x[:seeing]), prepared)
        if seeing < len(x):
            x[seeing:] += self.cross_attn.of_nothing()
        return torch.addcmul(x, self.mlp(self.norm3.modulated(x, scale_mlp, shift_mlp)), gate_mlp)


def prepare(blocks: nn.ModuleList, context: Tensor) -> list[Tensor]:
    """The context's keys and values for every block."""
    context = context.to(precision_of(blocks))
    return [block.cross_attn.prepare(context) for block in blocks]  # type: ignore[operator,union-attr]
