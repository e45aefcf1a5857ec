"""TRELLIS' tiny twin: its sizes, and checkpoints drawn by tensor name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.random_weights import draw
from worker.engines.trellis import manifest
from worker.engines.trellis.config import (
    DecoderConfig,
    LatentFlowConfig,
    StructureDecoderConfig,
    StructureFlowConfig,
    TrellisConfig,
)
from worker.nn.checkpoint import TensorSpec
from worker.nn.dinov2 import DinoConfig
from worker.nn.flow import Sampling

TINY = TrellisConfig(
    resolution=8,
    image=DinoConfig(image=518, patch=74, dim=32, depth=1, heads=2),
    structure_flow=StructureFlowConfig(grid=2, channels=48, context=32, blocks=1, heads=2),
    structure_decoder=StructureDecoderConfig(channels=(16, 8, 8), blocks=1),
    latent_flow=LatentFlowConfig(edge_channels=8, channels=48, context=32, blocks=1, heads=2),
    decoder=DecoderConfig(channels=32, blocks=2, heads=2),
    structure_sampling=Sampling(steps=3),
    latent_sampling=Sampling(steps=3),
)


class DrawnCheckpoint:
    """Random numbers under a manifest's names."""

    def __init__(self, name: str, specs: Mapping[str, TensorSpec], seed: int = 0) -> None:
        self.name, self._specs, self._seed = name, specs, seed

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def tensor(self, name: str) -> Any:
        import torch

        spec = self._specs[name]
        return torch.from_numpy(draw(name, spec.shape, self._seed)).to(getattr(torch, spec.dtype))


def twin_checkpoint(part: str) -> DrawnCheckpoint:
    return DrawnCheckpoint(part, getattr(manifest, part)(TINY))
