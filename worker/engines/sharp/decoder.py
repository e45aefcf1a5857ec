"""SHARP's convolutional parts: the multi-resolution decoder, used twice, and the heads' residual block."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.engines.sharp.config import SharpConfig


class Residual(nn.Module):
    """x + (ReLU, conv, ReLU, conv)(x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x).add_(x)


class GroupNorm(nn.GroupNorm):
    """Group normalisation that takes half-precision pictures as they are.

    torch's own turns them to float32 and to another layout and back, which costs four times the memory and most of the
    Gaussian decoder's time. Here the groups' statistics, in float32, go into an inference-mode batch norm.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32:
            return super().forward(x)
        if len(x) != 1:
            raise ValueError("one picture at a time: groups of different pictures must not mix")
        pixels = x.shape[-2] * x.shape[-1]
        mean = x.sum(dim=(0, 2, 3), dtype=torch.float32) / pixels
        power = torch.linalg.vector_norm(x, dim=(0, 2, 3), dtype=torch.float32).square() / pixels
        mean, power = (part.view(self.num_groups, -1).mean(dim=1) for part in (mean, power))
        variance = (power - mean.square()).clamp(min=0)
        each = x.shape[1] // self.num_groups
        mean, variance = (part.repeat_interleave(each) for part in (mean, variance))
        return F.batch_norm(x, mean, variance, self.weight, self.bias, training=False, eps=self.eps)


class NormedResidual(nn.Module):
    """x + (norm, ReLU, conv to half the width, norm, ReLU, conv back)(x)."""

    def __init__(self, width: int, groups: int = 8) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            GroupNorm(groups, width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width // 2, 3, padding=1),
            GroupNorm(groups, width // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(width // 2, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x).add_(x)


class Fusion(nn.Module):
    """Take in a finer level's features, refine, and double the size where `doubling`."""

    def __init__(self, width: int, doubling: bool) -> None:
        super().__init__()
        self.resnet1 = Residual(width)
        self.resnet2 = Residual(width)
        self.deconv = nn.ConvTranspose2d(width, width, 2, stride=2, bias=False) if doubling else nn.Identity()
        self.out_conv = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is not None:
            x = self.resnet1(skip).add_(x)
        return self.out_conv(self.deconv(self.resnet2(x)))


class MultiresDecoder(nn.Module):
    """The encoder's five levels, coarse to fine, into one map of `width` channels at the finest level's size."""

    def __init__(self, config: SharpConfig, width: int) -> None:
        super().__init__()
        first, *rest = config.widths
        finest = nn.Identity() if first == width else nn.Conv2d(first, width, 1, bias=False)
        self.convs = nn.ModuleList([finest, *(nn.Conv2d(c, width, 3, padding=1, bias=False) for c in rest)])
        self.fusions = nn.ModuleList(Fusion(width, doubling=level > 0) for level in range(len(config.widths)))

    def forward(self, levels: list[Tensor]) -> Tensor:
        x = self.fusions[-1](self.convs[-1](levels[-1]))
        for level in range(len(levels) - 2, -1, -1):
            x = self.fusions[level](x, self.convs[level](levels[level]))
        return x


def in_stripes(head: Callable[[Tensor], Tensor], x: Tensor, stripes: int) -> Tensor:
    """`head`, a stack of two 3x3 convolutions with a doubling between, in horizontal stripes to save memory.

    Two extra rows on either side are enough for the result to be that of the whole picture.
    """
    height, halo = x.shape[-2], 2
    edges = [round(height * index / stripes) for index in range(stripes + 1)]
    parts = []
    for top, bottom in pairwise(edges):
        first, last = max(0, top - halo), min(height, bottom + halo)
        part = head(x[..., first:last, :])
        parts.append(part[..., 2 * (top - first) : 2 * (bottom - first), :])
    return torch.cat(parts, dim=-2)
