"""Picture to latents to Gaussians and raw mesh: the released pipeline's order, seeds and parameters."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worker.arrays import U8
from worker.engines.contract import EngineNotice
from worker.engines.faults import is_out_of_memory
from worker.engines.trellis import networks as parts
from worker.engines.trellis.decoders import RawGaussians, RawMesh
from worker.engines.trellis.networks import Networks
from worker.errors import StageError
from worker.nn.cuda_graph import Replayed
from worker.nn.flow import sample
from worker.nn.sizes import Sampling
from worker.nn.sparse import Convolve, Voxels

log = logging.getLogger("assetize.trellis")
Progress = Callable[[float], None]
FINE_ROW_BYTES = 500  # of a mesh voxel's raw numbers; beyond `Limits.raw_bytes` they go to main memory


@dataclass(frozen=True)
class Limits:
    """What a tier allows. `together`: both evaluations of a guided step at once. `graphs`: CUDA graphs of the flows."""

    together: bool = True
    graphs: bool = False
    mesh: bool = True
    mesh_voxels: int = 1 << 18  # more voxels than this get the coarse mesh: their fine one would not fit
    raw_bytes: int = 4 << 30


def too_many_voxels(label: str, voxels: Voxels) -> EngineNotice:
    return EngineNotice("props.too_many_voxels", {"label": label, "voxels": len(voxels)}, degraded=True)


@dataclass
class Generated:
    """`mesh` None: not wanted, or it did not fit; `notices` tell."""

    voxels: Voxels
    gaussians: RawGaussians
    mesh: RawMesh | None
    notices: list[EngineNotice] = field(default_factory=list)


class Generator:
    def __init__(self, networks: Networks, limits: Limits, convolve: Convolve | None = None) -> None:
        self.networks, self.limits, self.convolve = networks, limits, convolve
        self.config = networks.config

    @torch.no_grad()
    def run(self, image: U8, seed: int, label: str, progress: Progress) -> Generated:
        """Everything for one picture.

        Args:
            image: (518, 518, 3) sRGB, the object on black.
            label: for the sentences.
        Raises StageError where the picture gives no object, or no finite numbers.
        """
        random = torch.Generator().manual_seed(seed)  # on the CPU, so that every device has upstream's noise
        notices: list[EngineNotice] = []
        context = self.context(image)
        voxels = self.structure(context, random, notices, lambda f: progress(0.4 * f))
        latents = self.latents(context, voxels, random, notices, lambda f: progress(0.4 + 0.45 * f))
        gaussians = self.gaussians(latents, voxels, notices)
        progress(0.88)
        return Generated(voxels, gaussians, self.mesh(latents, voxels, label, notices), notices)

    def context(self, image: U8) -> Tensor:
        """(1, tokens, C): the picture's tokens, normalised without gain."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.networks.device)
        with self.networks.use(parts.IMAGE) as network:
            tokens = network(pixels.permute(2, 0, 1)[None].float() / 255)
        return F.layer_norm(tokens, tokens.shape[-1:])

    def structure(
        self, context: Tensor, random: torch.Generator, notices: list[EngineNotice], progress: Progress
    ) -> Voxels:
        """Voxels at the object's surface, ordered by x, y, z."""
        size = self.config.structure_flow
        noise = torch.randn(1, size.latent, *[size.grid] * 3, generator=random).to(self.networks.device)
        grid = self.networks.finite(
            parts.STRUCTURE_FLOW,
            lambda network: self._sample(network, context, noise, self.config.structure_sampling, progress),
            lambda found: {"grid": found},
            notices,
        )
        logits = self.networks.finite(
            parts.STRUCTURE_DECODER, lambda network: network(grid), lambda found: {"logits": found}, notices
        )
        coords = (logits[0, 0] > 0).nonzero()
        if not len(coords):
            raise StageError(
                "props.no_object",
                "no object was found in its cut-out; look whether the cut-out shows one whole thing, or try another "
                "seed",
                "在其抠图中未找到物体；请检查抠图是否为一个完整物体，或更换种子",
            )
        log.info("%d voxels", len(coords))
        return Voxels(coords, logits.shape[-1], self.convolve)

    def latents(
        self, context: Tensor, voxels: Voxels, random: torch.Generator, notices: list[EngineNotice], progress: Progress
    ) -> Tensor:
        """(N, 8) latent vectors, as the decoders take them."""
        noise = torch.randn(len(voxels), self.config.latent_flow.latent, generator=random).to(voxels.device)
        found = self.networks.finite(
            parts.LATENT_FLOW,
            lambda network: self._sample(
                network, context, noise[None], self.config.latent_sampling, progress, voxels
            ),
            lambda found: {"latents": found},
            notices,
        )[0]
        return found * found.new_tensor(self.config.std) + found.new_tensor(self.config.mean)

    def _sample(
        self, network: Any, context: Tensor, noise: Tensor, sampling: Sampling, progress: Progress, *voxels: Voxels
    ) -> Tensor:
        prepared = network.prepare(context)

        def velocity(x: Tensor, t: Tensor, seeing: int) -> Tensor:
            return network(x, *voxels, t, prepared if seeing else None)

        pool = torch.cuda.graph_pool_handle() if self.limits.graphs and noise.is_cuda else None
        found = sample(
            velocity, noise, sampling, together=self.limits.together, progress=progress,
            faster=lambda step: Replayed(step, pool) if pool else step,
        )  # fmt: skip
        if pool:
            self.networks.free()  # of the graphs' memory, which nothing else could use
        return found

    def gaussians(self, latents: Tensor, voxels: Voxels, notices: list[EngineNotice]) -> RawGaussians:
        return self.networks.finite(
            parts.GAUSSIAN_DECODER,
            lambda network: network.gaussians_of(network(latents, voxels), voxels),  # type: ignore[operator]
            lambda found: vars(found),
            notices,
        )

    def mesh(self, latents: Tensor, voxels: Voxels, label: str, notices: list[EngineNotice]) -> RawMesh | None:
        """None where the tier has none, or this object's would not fit."""
        if not self.limits.mesh:
            notices.append(EngineNotice("props.coarse_mesh", {"label": label}, degraded=True))
            return None
        if len(voxels) <= self.limits.mesh_voxels:
            for raw_bytes in (self.limits.raw_bytes, 0):
                try:
                    return self._mesh(latents, voxels, notices, raw_bytes)
                except RuntimeError as fault:  # OutOfMemoryError on a GPU, a plain one on a CPU
                    if not is_out_of_memory(fault):
                        raise
                    log.warning("no memory for the mesh of %d voxels: %s", len(voxels), fault)
                self.networks.drop()  # once more with nothing else on the device
        notices.append(too_many_voxels(label, voxels))
        return None

    def _mesh(self, latents: Tensor, voxels: Voxels, notices: list[EngineNotice], raw_bytes: int) -> RawMesh:
        large = 64 * len(voxels) * FINE_ROW_BYTES > raw_bytes
        return self.networks.finite(
            parts.MESH_DECODER,
            lambda network: network(latents, voxels, "cpu" if large else None),
            lambda found: {"sdf": found.sdf, "deform": found.deform, "weights": found.weights, "colour": found.colour},
            notices,
        )
