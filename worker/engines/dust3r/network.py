"""DUSt3R's network for one still, written from its paper and from measured facts; no line of upstream's code.

Wang et al., "DUSt3R: Geometric 3D Vision Made Easy" (2024, arXiv 2312.14132) on CroCo v2 (arXiv 2211.10408). Two views
go through one encoder and two decoders that look at each other; a head makes a pointmap of view 1. One still is given
as both views, so it is encoded once, and whatever only view 2's pointmap would need is dropped after loading.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.engines.dust3r.config import PATCH, Dust3rConfig
from worker.nn.dpt import DPTHead
from worker.nn.rope import GridRope
from worker.nn.vit import Attention, Block, Mlp, PatchEmbed, Rope

CHANNELS = 4  # x, y, z and confidence, before activation


class CrossAttention(nn.Module):
    """Queries of one view, keys and values of the other."""

    def __init__(self, dim: int, heads: int, rope: Rope) -> None:
        super().__init__()
        self.heads, self.rope = heads, rope
        self.projq = nn.Linear(dim, dim)
        self.projk = nn.Linear(dim, dim)
        self.projv = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.projq(x), self.projk(y), self.projv(y))
        )
        q, k = self.rope(q, k)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class DecoderBlock(nn.Module):
    """Looks at its own view, then at the other view as that one was before this layer."""

    def __init__(self, dim: int, heads: int, rope: Rope) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, rope)
        self.norm_y = nn.LayerNorm(dim, eps=1e-6)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.cross_attn = CrossAttention(dim, heads, rope)
        self.norm3 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        x = x + self.cross_attn(self.norm2(x), self.norm_y(y))
        return x + self.mlp(self.norm3(x))


class LinearHead(nn.Module):
    """One linear map of the last tokens to all channels of their patch's pixels."""

    def __init__(self, config: Dust3rConfig) -> None:
        super().__init__()
        self.proj = nn.Linear(config.dec_dim, CHANNELS * PATCH**2)

    def forward(self, tokens: list[Tensor], rows: int, columns: int) -> Tensor:
        return F.pixel_shuffle(self.proj(tokens[-1]).mT.unflatten(-1, (rows, columns)), PATCH)


class DenseHead(nn.Module):
    """DPT's head on four of the layers' tokens; `dpt` is the extra name that the checkpoints have around it."""

    def __init__(self, config: Dust3rConfig) -> None:
        super().__init__()
        self.hooks = config.hooks
        dims = (config.enc_dim, *(config.dec_dim,) * 3)
        self.dpt = DPTHead(dims, config.head_channels, config.head_features, CHANNELS)

    def forward(self, tokens: list[Tensor], rows: int, columns: int) -> Tensor:
        out: Tensor = self.dpt([tokens[i] for i in self.hooks], rows, columns)
        return out


def _head(config: Dust3rConfig) -> DenseHead | LinearHead:
    return DenseHead(config) if config.head == "dpt" else LinearHead(config)


def _decoder(config: Dust3rConfig, rope: Rope) -> nn.ModuleList:
    return nn.ModuleList(DecoderBlock(config.dec_dim, config.dec_heads, rope) for _ in range(config.dec_depth))


class Dust3r(nn.Module):
    """All tensors of the official checkpoint until `keep_first_view` drops what one still does not need."""

    def __init__(self, config: Dust3rConfig) -> None:
        super().__init__()
        self.config = config
        if config.enc_dim // config.enc_heads != config.dec_dim // config.dec_heads:
            raise ValueError("encoder and decoder share one rotary embedding, so their heads must be equally wide")
        self._rope = rope = GridRope(config.enc_dim // config.enc_heads, config.rope_base)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.dec_dim))  # of the pretraining; never used here
        self.patch_embed = PatchEmbed(PATCH, config.enc_dim)
        self.enc_blocks = nn.ModuleList(
            Block(config.enc_dim, config.enc_heads, rope=rope) for _ in range(config.enc_depth)
        )
        self.enc_norm = nn.LayerNorm(config.enc_dim, eps=1e-6)
        self.decoder_embed = nn.Linear(config.enc_dim, config.dec_dim)
        self.dec_blocks, self.dec_blocks2 = _decoder(config, rope), _decoder(config, rope)
        self.dec_norm = nn.LayerNorm(config.dec_dim, eps=1e-6)
        self.downstream_head1, self.downstream_head2 = _head(config), _head(config)

    def keep_first_view(self) -> None:
        """Free what only view 2's pointmap needs, and what inference never touches."""
        del self.downstream_head2, self.dec_blocks2[-1], self.mask_token
        if isinstance(self.downstream_head1, DenseHead):
            del self.downstream_head1.dpt.scratch.refinenet4.resConfUnit1

    def trunk_to(self, dtype: torch.dtype) -> None:
        """Encoder's and decoders' matrices to `dtype`; norms and the head, where small numbers matter, stay fp32."""
        for name, part in self.named_children():
            if not name.startswith("downstream"):
                for layer in part.modules():
                    if isinstance(layer, nn.Linear | nn.Conv2d):
                        layer.to(dtype)

    @property
    def trunk_dtype(self) -> torch.dtype:
        return self.decoder_embed.weight.dtype

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Points and confidence of the view when it is looked at together with itself.

        Args:
            image: (1, 3, H, W) in -1..1, sides multiples of 16.
        Returns (1, H, W, 3) in the camera's OpenCV frame up to scale (DUSt3R) or in metres (MASt3R), and (1, H, W)
        confidence above 1. Both float32.
        """
        rows, columns = image.shape[-2] // PATCH, image.shape[-1] // PATCH
        kind = self.trunk_dtype
        # Matrices in half precision, the residual stream and norms in fp32 (autocast's own rules).
        half = torch.autocast(image.device.type, kind, enabled=kind != torch.float32, cache_enabled=False)
        with half:
            self._rope.place(rows, columns, image.device, kind)
            tokens = self._trunk(image)
        raw = self.downstream_head1([token.float() for token in tokens], rows, columns)
        return activated(raw.movedim(1, -1))

    def _trunk(self, image: Tensor) -> list[Tensor]:
        """[encoder's tokens, view 1 after each decoder layer], the last one normed."""
        x = self.patch_embed(image).float()
        for block in self.enc_blocks:
            x = block(x)
        tokens = [self.enc_norm(x)]
        first = second = self.decoder_embed(tokens[0]).float()
        for mine, other in zip(self.dec_blocks[:-1], self.dec_blocks2, strict=False):
            first, second = mine(first, second), other(second, first)
            tokens.append(first)
        return [*tokens, self.dec_norm(self.dec_blocks[-1](first, second))]


def activated(raw: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 4) head output -> points, their distance expm1 of the raw vector's length, and confidence 1 + exp."""
    xyz, conf = raw[..., :3], raw[..., 3]
    length = xyz.norm(dim=-1, keepdim=True)
    return xyz / length.clamp(min=1e-8) * length.expm1(), 1 + conf.exp()
