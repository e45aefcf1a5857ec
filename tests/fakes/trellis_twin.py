"""TRELLIS' tiny twin: its sizes, and checkpoints drawn by tensor name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.random_weights import draw
from worker.engines.card import EngineCard, Licence, WeightFile
from worker.engines.contract import Progress, PropRequest, PropResult
from worker.engines.trellis import manifest
from worker.engines.trellis.cards import SETTINGS
from worker.engines.trellis.config import (
    DecoderConfig,
    LatentFlowConfig,
    StructureDecoderConfig,
    StructureFlowConfig,
    TrellisConfig,
)
from worker.engines.trellis.engine import Trellis
from worker.engines.trellis.networks import PARTS
from worker.nn.checkpoint import TensorSpec
from worker.nn.sizes import DinoConfig, Sampling

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

FILES = tuple(WeightFile(f"{part}.safetensors", 1, None, "https://example.org", bytes_exact=False) for part in PARTS)


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


def save_twin(folder: Path) -> None:
    """The twin's files as an installation has them. All cells but the outermost are occupied and inside: a cube."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for part, file in zip(PARTS, FILES, strict=True):
        checkpoint = twin_checkpoint(part)
        tensors = {name: checkpoint.tensor(name) for name in checkpoint.specs()}
        if part == "structure_decoder":
            tensors["out_layer.0.weight"].zero_()
            tensors["out_layer.0.bias"].fill_(1.0)  # so the last convolution counts the cells around
            tensors["out_layer.2.weight"].fill_(1.0)
            tensors["out_layer.2.bias"].fill_(-26.0 * TINY.structure_decoder.channels[-1] * 0.7310586)  # SiLU of 1
        if part == "mesh_decoder":
            tensors["out_layer.weight"][:8] = 0.0
            tensors["out_layer.bias"][:8] = -0.5
        save_file(tensors, folder / file.name)
    sampler = {
        "name": "FlowEulerGuidanceIntervalSampler",
        "args": {"sigma_min": 1e-5},
        "params": {"steps": 3, "cfg_strength": 5.0, "cfg_interval": [0.5, 1.0], "rescale_t": 3.0},
    }
    args = {
        "sparse_structure_sampler": sampler, "slat_sampler": sampler,
        "slat_normalization": {"mean": list(TINY.mean), "std": list(TINY.std)},
    }  # fmt: skip
    (folder / SETTINGS.name).write_text(json.dumps({"name": "TrellisImageTo3DPipeline", "args": args}), "utf-8")


class Twin(Trellis):
    """The engine as it is, with small networks."""

    name = "twin"
    config = TINY
    files = FILES


class Fragile(Twin):
    """Dies in its best tier as native code does: no exception, no traceback."""

    def load(self, device: str, tier: str) -> None:
        super().load(device, tier)
        self._dies = tier == "cpu"

    def run(self, request: PropRequest, progress: Progress) -> PropResult:
        if self._dies:
            os.abort()
        return super().run(request, progress)


CARD = EngineCard(
    name="twin", stage="props", version="0", title="TRELLIS' twin",
    licence=Licence(code="MIT", weights=None, commercial="yes", output="Yours."),
    entry="trellis_twin:Twin", weights=(*FILES, SETTINGS), memory_mb={"cpu": 300, "gaussians": 200},
    needs=("torch", "safetensors"),
)  # fmt: skip
