"""The dense prediction head of Ranftl et al., "Vision Transformers for Dense Prediction" (DPT, 2021).

Four sets of tokens become maps of 4, 2, 1 and 1/2 times the tokens' grid, and are fused from the coarsest to the
finest. Names are those of DPT's own checkpoints and of the many that follow them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualConvUnit(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class FeatureFusion(nn.Module):
    """Adds a finer map to what came from below and gives twice the size. The lowest never uses its first unit."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        self.resConfUnit1 = ResidualConvUnit(features)
        self.resConfUnit2 = ResidualConvUnit(features)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is not None:
            x = x + self.resConfUnit1(skip)
        x = F.interpolate(self.resConfUnit2(x), scale_factor=2, mode="bilinear", align_corners=True)
        return self.out_conv(x)


class Scratch(nn.Module):
    """The part that DPT trained from scratch on top of its backbone."""

    def __init__(self, channels: Sequence[int], features: int) -> None:
        super().__init__()
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (
            nn.Conv2d(width, features, 3, padding=1, bias=False) for width in channels
        )
        self.refinenet1, self.refinenet2 = FeatureFusion(features), FeatureFusion(features)
        self.refinenet3, self.refinenet4 = FeatureFusion(features), FeatureFusion(features)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps from the finest to the coarsest -> (B, features, H, W) of twice the finest's size."""
        steps = self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn
        first, second, third, fourth = (step(x) for step, x in zip(steps, maps, strict=True))
        # An odd grid is rounded up by the halving convolution; the doubled map has a row or column too many.
        x = self.refinenet4(fourth)[..., : third.shape[-2], : third.shape[-1]]
        x = self.refinenet2(self.refinenet3(x, third), second)
        out: Tensor = self.refinenet1(x, first)
        return out


class DPTHead(nn.Module):
    """Four (B, rows * columns, dims[i]) token sets -> (B, out, 16 rows, 16 columns)."""

    def __init__(self, dims: Sequence[int], channels: Sequence[int], features: int, out: int) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels
        self.scratch = Scratch(channels, features)
        self.head = nn.Sequential(
            nn.Conv2d(features, features // 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(features // 2, features // 2, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(features // 2, out, 1),
        )
        self.act_postprocess = nn.ModuleList(
            (
                nn.Sequential(nn.Conv2d(dims[0], c1, 1), nn.ConvTranspose2d(c1, c1, 4, stride=4)),
                nn.Sequential(nn.Conv2d(dims[1], c2, 1), nn.ConvTranspose2d(c2, c2, 2, stride=2)),
                nn.Sequential(nn.Conv2d(dims[2], c3, 1)),
                nn.Sequential(nn.Conv2d(dims[3], c4, 1), nn.Conv2d(c4, c4, 3, stride=2, padding=1)),
            )
        )

    def forward(self, tokens: Sequence[Tensor], rows: int, columns: int) -> Tensor:
        maps = [step(t.mT.unflatten(-1, (rows, columns))) for step, t in zip(self.act_postprocess, tokens, strict=True)]
        out: Tensor = self.head(self.scratch(maps))
        return out
