"""The released pipeline.json: how to sample, and how latents were normalised in training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from worker.engines.trellis.config import TrellisConfig
from worker.errors import WeightsError
from worker.nn.sizes import Sampling


def read_settings(path: Path, config: TrellisConfig) -> TrellisConfig:
    """`config` with what the file says. Raises WeightsError where the file is not such a one."""
    try:
        args = json.loads(path.read_text("utf-8"))["args"]
        normalisation = args["slat_normalization"]
        mean, std = (tuple(float(value) for value in normalisation[key]) for key in ("mean", "std"))
        if not len(mean) == len(std) == config.latent_flow.latent:
            raise ValueError(f"{len(mean)} means and {len(std)} deviations")
        return replace(
            config,
            structure_sampling=_sampling(args["sparse_structure_sampler"], config.structure_sampling),
            latent_sampling=_sampling(args["slat_sampler"], config.latent_sampling),
            mean=mean,
            std=std,
        )
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise WeightsError(
            "weights.settings",
            f"{path} is not TRELLIS' pipeline.json ({type(fault).__name__}: {fault}). Install the engine again with "
            "“assetize engines install trellis”.",
            f"{path} 不是 TRELLIS 的 pipeline.json（{type(fault).__name__}: {fault}）。"
            "请用“assetize engines install trellis”重新安装该引擎。",
            fix="assetize engines install trellis",
        ) from None


def _sampling(part: dict[str, Any], known: Sampling) -> Sampling:
    if part["name"] != "FlowEulerGuidanceIntervalSampler":
        raise ValueError(f"an unknown sampler, {part['name']}")
    said = part["params"]
    low, high = said.get("cfg_interval", known.interval)
    return Sampling(
        steps=int(said.get("steps", known.steps)),
        guidance=float(said.get("cfg_strength", known.guidance)),
        interval=(float(low), float(high)),
        rescale_t=float(said.get("rescale_t", known.rescale_t)),
    )
