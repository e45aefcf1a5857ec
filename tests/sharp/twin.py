"""A small SHARP with random weights in the official file's form: same code, same names, 40 times less of everything."""

from __future__ import annotations

from pathlib import Path

from bench.random_weights import draw
from worker.engines.sharp.config import SharpConfig
from worker.engines.sharp.engine import Sharp
from worker.engines.sharp.manifest import tensors

TINY = SharpConfig(
    tile_tokens=8, dim=32, depth=12, heads=2, widths=(16, 16, 24, 32, 32), depth_width=16, depth_head=8,
    gaussian_width=16, gaussian_head=8, classes=10,
)  # fmt: skip
DISPARITY_BIAS = "monodepth_model.monodepth_predictor.head.4.bias"


def random_state(config: SharpConfig = TINY, seed: int = 0) -> dict:
    """Every tensor of the file. The last bias makes disparities positive, else half the depths would be the limit."""
    import torch

    state = {name: torch.from_numpy(draw(name, spec.shape, seed)) for name, spec in tensors(config).items()}
    state[DISPARITY_BIAS] += 0.5
    return state


def write_weights(path: Path, config: SharpConfig = TINY) -> None:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(random_state(config), path)


class TinySharp(Sharp):
    config = TINY


class BrokenSharp(TinySharp):
    """Gives numbers that are none, as half precision does when it overflows."""

    def run(self, request, progress):
        result = super().run(request, progress)
        result.gaussians.position[7] = float("nan")
        return result
