"""DINOv2's image encoder with register tokens (Oquab et al., 2023; Darcet et al., "Vision Transformers Need Registers",
2024), under the official checkpoint's names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from worker.nn.sizes import DinoConfig
from worker.nn.vit import Block, PatchEmbed

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class DinoV2(nn.Module):
    """Picture to tokens: class, registers, patches row by row; as they leave the last block, before the final norm."""

    def __init__(self, config: DinoConfig) -> None:
        super().__init__()
        self.config = config
        patches = (config.image // config.patch) ** 2
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + patches, config.dim))
        self.register_tokens = nn.Parameter(torch.empty(1, config.registers, config.dim))
        self.mask_token = nn.Parameter(torch.empty(1, config.dim))  # training only; the checkpoint has it
        self.patch_embed = PatchEmbed(config.patch, config.dim)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, layer_scale=True, eps=1e-6) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)  # the tokens wanted here do not pass it; the checkpoint has it

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, image, image) RGB in 0..1 -> (B, tokens, dim)."""
        if image.shape[-2:] != (self.config.image, self.config.image):
            raise ValueError(f"the picture must be {self.config.image} pixels square: its positions are learnt")
        mean = image.new_tensor(IMAGENET_MEAN).view(3, 1, 1)
        std = image.new_tensor(IMAGENET_STD).view(3, 1, 1)
        x = self.patch_embed((image - mean) / std)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        x = torch.cat([x[:, :1], self.register_tokens.expand(len(x), -1, -1), x[:, 1:]], dim=1)
        for block in self.blocks:
            x = block(x)
        return x
