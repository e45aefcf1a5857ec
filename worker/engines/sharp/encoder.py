"""SHARP's encoder: one ViT over overlapping tiles at three scales, one over the whole picture, merged to five levels.

The sliding pyramid is Depth Pro's (Bochkovskii et al., "Depth Pro: Sharp Monocular Metric Depth in Less Than a
Second", 2024), which SHARP takes over (Mescheder et al., "Sharp Monocular View Synthesis in Less Than a Second", 2025).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.engines.sharp.config import SharpConfig
from worker.nn.vit import Block, PatchEmbed

Report = Callable[[float], None]


class VisionTransformer(nn.Module):
    """Patch tokens of a square picture after the last norm, (B, dim, n, n); raw outputs of `latents` beside them."""

    def __init__(self, config: SharpConfig, latents: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.latents = latents
        self.patch_embed = PatchEmbed(config.patch, config.dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.tile_tokens**2 + 1, config.dim))
        self.blocks = nn.ModuleList(Block(config.dim, config.heads, layer_scale=True) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)

    def forward(self, image: Tensor) -> list[Tensor]:
        tokens = self.patch_embed(image).to(self.cls_token.dtype)
        x = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.pos_embed
        raw = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.latents:
                raw.append(x)
        return [_as_picture(tokens) for tokens in (self.norm(x), *raw)]


def _as_picture(tokens: Tensor) -> Tensor:
    side = round((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))


def split(image: Tensor, tile: int, count: int) -> Tensor:
    """(1, C, S, S) -> (count * count, C, tile, tile), evenly spread, row by row."""
    stride = (image.shape[-1] - tile) // max(count - 1, 1)
    starts = [stride * index for index in range(count)]
    return torch.cat([image[..., y : y + tile, x : x + tile] for y in starts for x in starts])


def merge(tiles: Tensor, count: int, margin: int) -> Tensor:
    """`split` undone for features, (count * count, C, n, n) -> (1, C, N, N); every inner edge loses `margin`."""
    side = tiles.shape[-1]
    rows = []
    for y in range(count):
        row = []
        for x in range(count):
            top, bottom = margin * (y > 0), side - margin * (y < count - 1)
            left, right = margin * (x > 0), side - margin * (x < count - 1)
            row.append(tiles[y * count + x, :, top:bottom, left:right])
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)[None]


def _upsampling(channels: int, width: int, doublings: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 1, bias=False)]
    layers += [nn.ConvTranspose2d(width, width, 2, stride=2, bias=False) for _ in range(doublings)]
    return nn.Sequential(*layers)


class SlidingPyramid(nn.Module):
    """(1, 3, S, S) in -1..1 -> five levels, finest first, at S/2, S/4, S/8, S/16, S/32."""

    def __init__(self, config: SharpConfig) -> None:
        super().__init__()
        self.config = config
        dim, widths = config.dim, config.widths
        self.patch_encoder = VisionTransformer(config, config.latent_blocks)
        self.image_encoder = VisionTransformer(config)
        self.upsample_latent0 = _upsampling(dim, widths[0], 3)
        self.upsample_latent1 = _upsampling(dim, widths[1], 2)
        self.upsample0 = _upsampling(dim, widths[2], 1)
        self.upsample1 = _upsampling(dim, widths[3], 1)
        self.upsample2 = _upsampling(dim, widths[4], 1)
        self.upsample_lowres = nn.ConvTranspose2d(dim, widths[4], 2, stride=2)
        self.fuse_lowres = nn.Conv2d(2 * widths[4], widths[4], 1)

    def forward(self, image: Tensor, tiles_at_once: int, report: Report) -> list[Tensor]:
        tile, tokens = self.config.tile, self.config.tile_tokens
        half = F.interpolate(image, scale_factor=0.5, mode="bilinear", align_corners=False)
        quarter = F.interpolate(image, scale_factor=0.25, mode="bilinear", align_corners=False)
        pictures = torch.cat([split(image, tile, 5), split(half, tile, 3), quarter])
        parts = []
        for start in range(0, len(pictures), tiles_at_once):
            features, *raw = self.patch_encoder(pictures[start : start + tiles_at_once])
            fine = max(0, min(len(features), 25 - start))  # latents are wanted of the finest scale alone
            parts.append((features, *(latent[:fine] for latent in raw)))
            report(min(start + tiles_at_once, len(pictures)) / (len(pictures) + 1))
        features, latent0, latent1 = (torch.cat(part) for part in zip(*parts, strict=True))
        whole = self.upsample_lowres(self.image_encoder(quarter)[0])
        report(1.0)
        coarse = self.upsample2(features[34:])
        return [
            self.upsample_latent0(merge(latent0, 5, tokens // 8)),
            self.upsample_latent1(merge(latent1, 5, tokens // 8)),
            self.upsample0(merge(features[:25], 5, tokens // 8)),
            self.upsample1(merge(features[25:34], 3, tokens // 4)),
            self.fuse_lowres(torch.cat([coarse, whole], dim=1)),
        ]
