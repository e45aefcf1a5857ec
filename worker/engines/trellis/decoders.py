"""Latents to Gaussians and to the raw numbers of a mesh; TRELLIS paper, section 3.2 and its appendix A."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.engines.trellis.config import DecoderConfig, GaussianConfig
from worker.nn.dit import FeedForward, LayerNorm32, SelfAttention, cast_matrices, position_embedding, precision_of
from worker.nn.sparse import SparseConv3d, SparseGroupNormSilu, Voxels
from worker.nn.windows import Bucket, partition, window_attention

_ROWS = 1 << 17  # of the finest voxels, worked on at once in 32 bits


class WindowBlock(nn.Module):
    """Attention within windows, then feed-forward. (N, C)."""

    def __init__(self, channels: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm32(channels)
        self.norm2 = LayerNorm32(channels)
        self.attn = SelfAttention(channels, heads, head_norm=False)
        self.mlp = FeedForward(channels, mlp_ratio)

    def forward(self, x: Tensor, buckets: list[Bucket]) -> Tensor:
        mixed = window_attention(self.attn.qkv(self.norm1(x)), buckets)
        x = x + self.attn.to_out(mixed.flatten(1))
        return x + self.mlp(self.norm2(x))


class WindowTransformer(nn.Module):
    """What both decoders begin with: (N, latent) float32 -> (N, channels) in the blocks' precision."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.input_layer = nn.Linear(config.latent, config.channels)
        self.blocks = nn.ModuleList(
            WindowBlock(config.channels, config.heads, config.mlp_ratio) for _ in range(config.blocks)
        )

    def set_precision(self, dtype: torch.dtype) -> None:
        cast_matrices(self.blocks, dtype)

    def transform(self, x: Tensor, voxels: Voxels) -> Tensor:
        side = self.config.window
        buckets = [voxels.windows(side, shift, partition) for shift in (0, side // 2)]
        h = self.input_layer(x) + position_embedding(voxels.coords, self.config.channels)
        h = h.to(precision_of(self.blocks))
        for number, block in enumerate(self.blocks):
            h = block(h, buckets[number % 2])
        return h


@dataclass(frozen=True)
class RawGaussians:
    """M Gaussians in the unit cube around the origin, Z up. `color` is 0.5 + 0.28209479 * f_dc, not clipped."""

    position: Tensor  # (M, 3) in -0.5..0.5
    scale: Tensor  # (M, 3) standard deviations
    rotation: Tensor  # (M, 4) unit quaternions w x y z
    opacity: Tensor  # (M,) 0..1
    color: Tensor  # (M, 3)


class GaussianDecoder(WindowTransformer):
    """32 Gaussians for every voxel."""

    def __init__(
        self, config: DecoderConfig, gaussians: GaussianConfig, dtype: torch.dtype = torch.float16
    ) -> None:
        super().__init__(config)
        self.gaussians = gaussians
        self.out_layer = nn.Linear(config.channels, gaussians.channels)
        self.register_buffer("offset_perturbation", torch.empty(gaussians.count, 3))
        self.set_precision(dtype)

    def forward(self, x: Tensor, voxels: Voxels) -> Tensor:
        """(N, latent) -> (N, 448) raw, read by `gaussians_of`."""
        h = self.transform(x, voxels).to(x.dtype)
        return self.out_layer(F.layer_norm(h, h.shape[-1:]))

    def gaussians_of(self, raw: Tensor, voxels: Voxels) -> RawGaussians:
        """In each voxel's channels stand, for all its Gaussians: offsets, colours, scales, rotations, opacities."""
        read, count = self.gaussians, self.gaussians.count
        parts = raw.float().split([count * width for width in (3, 3, 3, 4, 1)], dim=1)
        offset, colour, scale, rotation, opacity = (part.unflatten(1, (count, -1)) for part in parts)
        centre = (voxels.coords.float()[:, None] + 0.5) / voxels.size - 0.5
        offset = torch.tanh(offset + self.offset_perturbation) * (0.5 * read.reach / voxels.size)
        scale_bias = read.scale_bias + math.log(-math.expm1(-read.scale_bias))  # softplus, undone
        opacity_bias = math.log(read.opacity_bias / (1 - read.opacity_bias))
        identity = raw.new_tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float32)
        return RawGaussians(
            position=(centre + offset).flatten(0, 1),
            scale=(F.softplus(scale + scale_bias).square() + read.smallest**2).sqrt().flatten(0, 1),
            rotation=F.normalize(rotation * read.rotation_gain + identity, dim=-1).flatten(0, 1),
            opacity=torch.sigmoid(opacity + opacity_bias).flatten(),
            color=(0.5 + 0.28209479177387814 * colour).flatten(0, 1),
        )


class Subdivision(nn.Module):
    """Eight voxels in the place of each, with fewer channels."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        groups = math.gcd(32, cout)
        self.act_layers = nn.ModuleList([SparseGroupNormSilu(math.gcd(32, cin), cin)])
        # under the checkpoint's numbers: convolution, norm, (SiLU), convolution
        self.out_layers = nn.ModuleDict(
            {"0": SparseConv3d(cin, cout), "1": SparseGroupNormSilu(groups, cout), "3": SparseConv3d(cout, cout)}
        )
        self.skip_connection = SparseConv3d(cin, cout, kernel=1)

    def forward(self, x: Tensor, finer: Voxels) -> Tensor:
        """(N, cin) -> (8 N, cout) at `finer`. The subdivided input is never copied out."""
        parent = torch.arange(len(x), device=x.device).repeat_interleave(8)
        h = self.out_layers["0"](self.act_layers[0](x), finer, parent)
        h = self.out_layers["3"](self.out_layers["1"](h), finer)
        h.unflatten(0, (len(x), 8)).add_(self.skip_connection(x, finer)[:, None])
        return h


@dataclass(frozen=True)
class RawMesh:
    """What FlexiCubes makes a surface of: for each of N voxels, numbers at its corners and for itself."""

    voxels: Voxels
    sdf: Tensor  # (N, 8)
    deform: Tensor  # (N, 8, 3)
    weights: Tensor  # (N, 21)
    colour: Tensor  # (N, 8, 6)

    @property
    def finite(self) -> bool:
        return all(bool(part.isfinite().all()) for part in (self.sdf, self.deform, self.weights, self.colour))


class MeshDecoder(WindowTransformer):
    """101 numbers for each of the 64 voxels, at four times the resolution, in every voxel."""

    CHANNELS = (8, 8 * 3, 21, 8 * 6)

    def __init__(self, config: DecoderConfig, dtype: torch.dtype = torch.float16) -> None:
        super().__init__(config)
        full = config.channels
        self.upsample = nn.ModuleList([Subdivision(full, full // 4), Subdivision(full // 4, full // 8)])
        self.out_layer = nn.Linear(full // 8, sum(self.CHANNELS))
        self.set_precision(dtype)

    def set_precision(self, dtype: torch.dtype) -> None:
        super().set_precision(dtype)
        if hasattr(self, "upsample"):
            cast_matrices(self.upsample, dtype)

    def forward(self, x: Tensor, voxels: Voxels, keep_on: str | torch.device | None = None) -> RawMesh:
        """(N, latent) -> the 64 N voxels' numbers in float32, on `keep_on` where the device has no room for them."""
        h = self.transform(x, voxels)
        for block in self.upsample:
            voxels = voxels.subdivide()
            h = block(h, voxels)
        out = torch.empty(len(h), self.out_layer.out_features, device=keep_on or h.device)
        for rows, place in zip(h.split(_ROWS), out.split(_ROWS), strict=True):
            place.copy_(self.out_layer(rows.to(x.dtype)))
        sdf, deform, weights, colour = out.split(self.CHANNELS, dim=1)
        return RawMesh(voxels, sdf, deform.unflatten(1, (8, 3)), weights, colour.unflatten(1, (8, 6)))
