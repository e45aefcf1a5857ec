"""The TRELLIS engine: a prop's crop in, a textured mesh and Gaussians out."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import torch

from worker.arrays import F32
from worker.baking import bake
from worker.engines.card import WeightFile
from worker.engines.contract import Progress, PropRequest, PropResult
from worker.engines.faults import is_out_of_memory
from worker.engines.trellis.cards import REPORTED_SHA256, SETTINGS, WEIGHTS
from worker.engines.trellis.coarse import coarse_mesh
from worker.engines.trellis.config import TrellisConfig
from worker.engines.trellis.crop import crop
from worker.engines.trellis.decoders import RawGaussians, RawMesh
from worker.engines.trellis.generate import Generated, Generator, too_many_voxels
from worker.engines.trellis.networks import PARTS, Networks
from worker.engines.trellis.settings import read_settings
from worker.engines.trellis.spconv_choice import Spconv, convolution
from worker.engines.trellis.tiers import TIERS
from worker.formats.gaussians import GaussianCloud
from worker.nn.checkpoint import Checkpoint, open_checkpoint
from worker.nn.flexicubes import extract
from worker.weights import store

log = logging.getLogger("assetize.trellis")
_FAINT = 0.005  # Gaussians below are nowhere seen, and are half of some props


class Trellis:
    """Results are in TRELLIS' own frame: Z up, in the unit cube, without pose or scale; placement finds those."""

    name = "trellis"
    config = TrellisConfig()
    files: tuple[WeightFile, ...] = WEIGHTS
    settings: WeightFile = SETTINGS

    def load(self, device: str, tier: str) -> None:
        config = read_settings(store.path_of(self.name, self.settings), self.config)
        if device == "cuda":
            torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False  # sums in 32 bits, as trained
        resident, limits = TIERS[tier]
        networks = Networks(config, self._open, torch.device(device), resident)
        for file in self.files:
            self._compare_hash(file)
        if resident:
            networks.load_all()
        convolve = convolution(device)
        if isinstance(convolve, Spconv):  # whose kernels nobody has seen in a graph
            limits = replace(limits, graphs=False)
        self._generator = Generator(networks, limits, convolve)

    def _open(self, part: str) -> Checkpoint:
        return open_checkpoint(store.path_of(self.name, self.files[PARTS.index(part)]))

    def _compare_hash(self, file: WeightFile) -> None:
        receipt = store.receipt_of(store.path_of(self.name, file))
        reported = REPORTED_SHA256.get(file.name)
        if receipt and reported and receipt.sha256 != reported:
            log.warning("%s has sha256 %s; a third party reported %s", file.name, receipt.sha256, reported)

    def run(self, request: PropRequest, progress: Progress) -> PropResult:
        """Raises StageError, with a sentence, where this crop gives no object."""
        seen = crop(request)
        found = self._generator.run(seen.image, request.seed, request.label, lambda f: progress(0.85 * f))
        try:
            vertices, faces, colours = surface_of(found)
        except RuntimeError as fault:
            if found.mesh is None or not is_out_of_memory(fault):
                raise
            log.warning("no memory for the surface of %d voxels: %s", len(found.voxels), fault)
            found.mesh = None
            found.notices.append(too_many_voxels(request.label, found.voxels))
            vertices, faces, colours = surface_of(found)
        cloud = cloud_of(found.gaussians)
        notices = [*seen.notices, *found.notices]
        del found  # a fine mesh's raw numbers are half a gigabyte
        self._generator.networks.free()
        baked = bake(
            vertices, faces, colours, request.triangle_budget, request.label,
            progress=lambda f: progress(0.85 + 0.15 * f),
        )  # fmt: skip
        measured = {"crop_score": seen.score}
        return PropResult(baked.mesh, cloud, None, False, [*notices, *baked.notices], measured)


def surface_of(found: Generated) -> tuple[F32, np.ndarray, F32]:
    """vertices (V, 3), faces (F, 3), colours (V, 3): the fine mesh, or the coarse one where there is none."""
    if found.mesh is not None:
        vertices, faces, attributes = _fine(found.mesh)
    else:
        vertices, faces, attributes = coarse_mesh(found.voxels, found.gaussians)
    return vertices.cpu().numpy(), faces.cpu().numpy(), attributes[:, :3].cpu().numpy()


def _fine(raw: RawMesh) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    coords = raw.voxels.coords.to(raw.sdf.device)
    return extract(coords, raw.sdf, raw.deform, raw.weights, raw.colour, raw.voxels.size)


def cloud_of(raw: RawGaussians) -> GaussianCloud:
    """Without those too faint to be seen."""
    seen = raw.opacity > _FAINT
    position, scale, rotation, color, opacity = (
        part[seen].float().cpu().numpy()
        for part in (raw.position, raw.scale, raw.rotation, raw.color, raw.opacity)
    )
    return GaussianCloud(position, scale, rotation, opacity, color)
