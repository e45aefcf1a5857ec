"""Sampling of rectified-flow models by Euler steps, with guidance in an interval of times.

Liu et al., "Flow Straight and Fast" (2023); Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022); Kynkäänniemi
et al., "Applying Guidance in a Limited Interval" (2024).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from worker.nn.sizes import Sampling

# (x (B, ...), t (B,) in 0..1000, seeing) -> velocity like x. The first `seeing` of the batch are given the context, the
# others nothing.
Velocity = Callable[[Tensor, Tensor, int], Tensor]
Step = Callable[[Tensor, Tensor], Tensor]  # (x (1, ...), t (1,)) -> velocity like x


def sample(
    velocity: Velocity,
    noise: Tensor,
    sampling: Sampling,
    *,
    together: bool = True,
    progress: Callable[[float], None] = lambda fraction: None,
    faster: Callable[[Step], Step] = lambda step: step,
) -> Tensor:
    """Noise (1, ...) at time 1 to a sample at time 0, in float32.

    `together`: both evaluations of a guided step in one batch, which takes more memory and less time.
    `faster`: wraps the two kinds of step; what the wrapped ones give is used before the next is asked for.
    """

    def plain(x: Tensor, now: Tensor) -> Tensor:
        return velocity(x, now, 1)

    def guided(x: Tensor, now: Tensor) -> Tensor:
        if together:
            with_image, without = velocity(x.expand(2, *x.shape[1:]), now.expand(2), 1).split(1)
        else:
            with_image, without = velocity(x, now, 1), velocity(x, now, 0)
        return (1 + sampling.guidance) * with_image - sampling.guidance * without

    step_plain, step_guided = faster(plain), faster(guided)
    x = noise
    times = sampling.times()
    for step, (t, t_next) in enumerate(itertools.pairwise(times)):
        now = torch.full((1,), 1000 * t, dtype=torch.float32, device=x.device)
        v = (step_guided if sampling.guided(t) else step_plain)(x, now)
        x = x - (t - t_next) * v
        progress((step + 1) / sampling.steps)
    return x
