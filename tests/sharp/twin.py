"""A small SHARP with random weights in the official file's form: same code, same names, far less of everything."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.random_weights import draw
from worker.engines.sharp.cards import CARDS, NAME, WEIGHTS
from worker.engines.sharp.config import SharpConfig
from worker.engines.sharp.engine import Sharp
from worker.engines.sharp.manifest import tensors

TINY = SharpConfig(
    tile_tokens=8, dim=32, depth=12, heads=2, widths=(16, 16, 24, 32, 32), depth_width=16, depth_head=8,
    gaussian_width=16, gaussian_head=8, classes=10,
)  # fmt: skip
CARD = replace(CARDS[0], entry="tests.sharp.twin:TinySharp", memory_mb={"cpu": 600}, tier_devices={}, devices=("cpu",))
DISPARITY_BIAS = "monodepth_model.monodepth_predictor.head.4.bias"


def random_state(config: SharpConfig = TINY, seed: int = 0) -> dict[str, Any]:
    """Every tensor of the file. The last bias makes disparities positive, else half the depths would be the limit."""
    import torch

    state = {name: torch.from_numpy(draw(name, spec.shape, seed)) for name, spec in tensors(config).items()}
    state[DISPARITY_BIAS] += 0.5
    return state


def write_weights(root: Path, **changes: float) -> Path:
    """Put the twin's weights into a store at `root`; `changes` fill whole tensors (dots written as __)."""
    import torch

    state = random_state()
    for name, value in changes.items():
        state[name.replace("__", ".")].fill_(value)
    path = root / NAME / WEIGHTS.name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


class TinySharp(Sharp):
    """SHARP_TWIN_DIES names a file that is there once, and kills the process."""

    config = TINY

    def run(self, request, progress):
        die = Path(os.environ.get("SHARP_TWIN_DIES", "nowhere"))
        if die.is_file():
            die.unlink()
            os.abort()
        return super().run(request, progress)
