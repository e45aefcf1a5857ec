"""The first stage: an image's tokens to the set of voxels at the object's surface.

Xiang et al., "Structured 3D Latents for Scalable and Versatile 3D Generation" (TRELLIS, 2024), section 3.3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.engines.trellis.config import StructureDecoderConfig, StructureFlowConfig
from worker.nn.dit import CrossBlock, LayerNorm32, TimestepEmbedder, cast_matrices, precision_of, prepare


class StructureFlow(nn.Module):
    """Velocity of the latent grid (B, latent, grid, grid, grid), axes x, y, z."""

    def __init__(self, config: StructureFlowConfig, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.config = config
        self.t_embedder = TimestepEmbedder(config.channels)
        self.register_buffer("pos_emb", torch.empty(config.grid**3, config.channels))
        self.input_layer = nn.Linear(config.latent, config.channels)
        self.blocks = nn.ModuleList(
            CrossBlock(config.channels, config.context, config.heads, config.mlp_ratio) for _ in range(config.blocks)
        )
        self.out_layer = nn.Linear(config.channels, config.latent)
        self.set_precision(dtype)

    def set_precision(self, dtype: torch.dtype) -> None:
        cast_matrices(self.blocks, dtype)

    def prepare(self, context: Tensor) -> list[Tensor]:
        """What `forward` needs of a context (B, T, C)."""
        return prepare(self.blocks, context)

    def forward(self, x: Tensor, t: Tensor, prepared: list[Tensor] | None) -> Tensor:
        """x as above in float32, t (B,) in 0..1000; `prepared` as CrossBlock has it -> float32 like x."""
        dtype = precision_of(self.blocks)
        h = (self.input_layer(x.flatten(2).transpose(1, 2)) + self.pos_emb).to(dtype)
        time = self.t_embedder(t).to(dtype)
        for number, block in enumerate(self.blocks):
            h = block(h, time, None if prepared is None else prepared[number])
        out = self.out_layer(F.layer_norm(h.to(x.dtype), h.shape[-1:]))
        return out.transpose(1, 2).reshape(x.shape)


class ChannelNorm(LayerNorm32):
    """Layer norm over the channels of (B, C, x, y, z)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1).contiguous()


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.norm2 = ChannelNorm(channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Doubling(nn.Module):
    """Convolution to eight times the channels, laid out as twice the resolution."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(cin, 8 * cout, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).unflatten(1, (-1, 2, 2, 2))  # B, C, i, j, k, x, y, z
        x = x.permute(0, 1, 5, 2, 6, 3, 7, 4)
        return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)


class StructureDecoder(nn.Module):
    """Latent grid to the logits of occupancy, (B, latent, 16^3) -> (B, 1, 64^3): above zero is occupied."""

    def __init__(self, config: StructureDecoderConfig, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        first, *rest = config.channels
        self.input_layer = nn.Conv3d(config.latent, first, 3, padding=1)
        self.middle_block = nn.Sequential(*(Residual(first) for _ in range(config.blocks)))
        parts: list[nn.Module] = [Residual(first) for _ in range(config.blocks)]
        for cin, cout in zip(config.channels, rest, strict=False):
            parts += [Doubling(cin, cout), *(Residual(cout) for _ in range(config.blocks))]
        self.blocks = nn.ModuleList(parts)
        self.out_layer = nn.Sequential(
            ChannelNorm(config.channels[-1]), nn.SiLU(), nn.Conv3d(config.channels[-1], 1, 3, padding=1)
        )
        self.set_precision(dtype)

    def set_precision(self, dtype: torch.dtype) -> None:
        cast_matrices(self.middle_block, dtype)
        cast_matrices(self.blocks, dtype)

    def forward(self, x: Tensor) -> Tensor:
        h = self.middle_block(self.input_layer(x).to(precision_of(self.blocks)))
        for block in self.blocks:
            h = block(h)
        return self.out_layer(h.to(x.dtype))
