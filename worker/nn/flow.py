"""Sampling of rectified-flow models by Euler steps, with guidance in an interval of times.

Liu et al., "Flow Straight and Fast" (2023); Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022); Kynkäänniemi
et al., "Applying Guidance in a Limited Interval" (2024).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# (x (B, ...), t (B,) in 0..1000, context (B, T, C)) -> velocity like x
Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]


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


def sample(
    velocity: Velocity,
    noise: Tensor,
    context: Tensor,
    sampling: Sampling,
    *,
    together: bool = True,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Tensor:
    """Noise (1, ...) at time 1 to a sample at time 0, in float32. The unconditional context is zeros.

    `together`: both evaluations of a guided step in one batch, which takes more memory and less time.
    """
    x = noise
    nothing = torch.zeros_like(context)
    both = torch.cat([context, nothing]) if together else None
    times = sampling.times()
    for step, (t, t_next) in enumerate(itertools.pairwise(times)):
        now = torch.full((1,), 1000 * t, dtype=torch.float32, device=x.device)
        if not sampling.guided(t):
            v = velocity(x, now, context)
        else:
            if both is not None:
                with_image, without = velocity(x.expand(2, *x.shape[1:]), now.expand(2), both).split(1)
            else:
                with_image, without = velocity(x, now, context), velocity(x, now, nothing)
            v = (1 + sampling.guidance) * with_image - sampling.guidance * without
        x = x - (t - t_next) * v
        progress((step + 1) / sampling.steps)
    return x
