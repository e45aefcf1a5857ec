"""The second stage: a latent vector for every voxel (the structured latent, "SLAT"); TRELLIS paper, section 3.3."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.engines.trellis.config import LatentFlowConfig
from worker.nn.dit import (
    CrossBlock,
    LayerNorm32,
    TimestepEmbedder,
    cast_matrices,
    position_embedding,
    precision_of,
    prepare,
)
from worker.nn.sparse import SparseConv3d, Voxels


class SparseResidual(nn.Module):
    """Two sparse convolutions, the second modulated by time. Any change of resolution happens before."""

    def __init__(self, cin: int, cout: int, time: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm32(cin, affine=True)
        self.norm2 = LayerNorm32(cout)
        self.conv1 = SparseConv3d(cin, cout)
        self.conv2 = SparseConv3d(cout, cout)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * cout))
        self.skip_connection = nn.Linear(cin, cout) if cin != cout else nn.Identity()

    def forward(self, x: Tensor, voxels: Voxels, time: Tensor, source: Tensor | None = None) -> Tensor:
        """x (B, P, cin), time (B, C) -> (B, N, cout). `source`: as SparseConv3d has it."""
        scale, shift = self.emb_layers(time)[:, None].chunk(2, dim=-1)
        h = self.conv1(F.silu(self.norm1(x)), voxels, source)
        h = self.conv2(F.silu(self.norm2.modulated(h, scale, shift)), voxels)
        skip = self.skip_connection(x)
        return h + (skip if source is None else skip[:, source])


class LatentFlow(nn.Module):
    """Velocity of the latents (B, N, latent) of N voxels, in float32."""

    def __init__(self, config: LatentFlowConfig, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.config = config
        edge, full = config.edge_channels, config.channels
        self.t_embedder = TimestepEmbedder(full)
        self.input_layer = nn.Linear(config.latent, edge)
        self.input_blocks = nn.ModuleList([SparseResidual(edge, edge, full), SparseResidual(edge, full, full)])
        self.blocks = nn.ModuleList(
            CrossBlock(full, config.context, config.heads, config.mlp_ratio) for _ in range(config.blocks)
        )
        self.out_blocks = nn.ModuleList([SparseResidual(2 * full, edge, full), SparseResidual(2 * edge, edge, full)])
        self.out_layer = nn.Linear(edge, config.latent)
        self.set_precision(dtype)

    def set_precision(self, dtype: torch.dtype) -> None:
        for part in (self.input_blocks, self.blocks, self.out_blocks):
            cast_matrices(part, dtype)

    def prepare(self, context: Tensor) -> list[Tensor]:
        """What `forward` needs of a context (B, T, C)."""
        return prepare(self.blocks, context)

    def forward(self, x: Tensor, voxels: Voxels, t: Tensor, prepared: list[Tensor] | None) -> Tensor:
        """x (B, N, latent), t (B,) in 0..1000; `prepared` as CrossBlock has it -> (B, N, latent)."""
        dtype = precision_of(self.blocks)
        time = self.t_embedder(t).to(dtype)
        half = voxels.coarser
        fine = self.input_blocks[0](self.input_layer(x).to(dtype), voxels, time)
        coarse = self.input_blocks[1](half.pool(fine), half.voxels, time)
        h = coarse + position_embedding(half.voxels.coords, self.config.channels).to(dtype)
        for number, block in enumerate(self.blocks):
            h = block(h, time, None if prepared is None else prepared[number])
        h = self.out_blocks[0](torch.cat([h, coarse], dim=-1), voxels, time, half.parent)
        h = self.out_blocks[1](torch.cat([h, fine], dim=-1), voxels, time)
        return self.out_layer(F.layer_norm(h, h.shape[-1:]).to(x.dtype))
