"""A tiny DUSt3R with the product's own code: random weights from a file, run by a real host."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.random_weights import draw
from worker.engines.dust3r import manifest
from worker.engines.dust3r.cards import DUST3R
from worker.engines.dust3r.config import Dust3rConfig
from worker.engines.dust3r.engine import Dust3rEngine

TINY = Dust3rConfig(
    enc_dim=16, enc_depth=2, enc_heads=2, dec_dim=16, dec_depth=4, dec_heads=2, head_channels=(4, 4, 4, 4),
    head_features=8,
)  # fmt: skip
CARD = replace(DUST3R, entry="tests.dust3r.twin:Tiny", memory_mb={"fp32": 600}, tier_devices={}, devices=("cpu",))


class Tiny(Dust3rEngine):
    """The file's first byte after load may say to die: DUST3R_TWIN_DIES names a file that is there once."""

    card = CARD
    config = TINY

    def run(self, request, progress):
        die = Path(os.environ.get("DUST3R_TWIN_DIES", "nowhere"))
        if die.is_file():
            die.unlink()
            os.abort()
        return super().run(request, progress)


def write_weights(root: Path, depth_bias: float) -> Path:
    """`depth_bias` is the raw z of every point, about which the random rest scatters; NaN makes a broken network."""
    from safetensors.numpy import save_file

    state = {name: draw(name, spec.shape) for name, spec in manifest.dust3r(TINY).items()}
    state["downstream_head1.dpt.head.4.bias"] = np.array([0, 0, depth_bias, 0.5], np.float32)
    path = root / "dust3r" / "model.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)
    return path
