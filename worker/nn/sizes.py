"""Sizes and settings of shared networks, without torch: manifests and cards are read where there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DinoConfig:
    """ViT-L/14 with four registers, for pictures of 518 pixels."""

    image: int = 518
    patch: int = 14
    dim: int = 1024
    depth: int = 24
    heads: int = 16
    registers: int = 4

    @property
    def tokens(self) -> int:
        return 1 + self.registers + (self.image // self.patch) ** 2


@dataclass(frozen=True)
class Sampling:
    """TRELLIS' released values, for both of its stages. `interval`: times at which guidance acts, ends included."""

    steps: int = 25
    guidance: float = 5.0
    interval: tuple[float, float] = (0.5, 1.0)
    rescale_t: float = 3.0

    def times(self) -> list[float]:
        """steps + 1 times from 1 to 0; `rescale_t` above 1 spends more steps near 1."""
        t = np.linspace(1, 0, self.steps + 1)
        return (self.rescale_t * t / (1 + (self.rescale_t - 1) * t)).tolist()

    def guided(self, t: float) -> bool:
        return self.interval[0] <= t <= self.interval[1]

    @property
    def evaluations(self) -> int:
        return sum(1 + self.guided(t) for t in self.times()[:-1])
