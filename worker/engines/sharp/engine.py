"""SHARP as a scene engine: the clean plate in, Gaussians in the session's frame and scale out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worker.arrays import U8
from worker.engines.contract import EngineNotice, Progress, SceneRequest, SceneResult
from worker.engines.sharp.cards import NAME, WEIGHTS
from worker.engines.sharp.compose import Gaussians
from worker.engines.sharp.config import LAYERS, SharpConfig
from worker.engines.sharp.manifest import UNUSED
from worker.engines.sharp.network import Execution, Overflow, SharpNetwork
from worker.engines.sharp.session_frame import agreement, camera_from_network, to_cloud, unprojected
from worker.nn.checkpoint import load_into, open_checkpoint
from worker.pointmaps.background import background_points
from worker.weights import store

# float16 is eight times finer than bfloat16 and as fast, but its range is narrow: see `_gaussians`.
TIERS = {
    "full": Execution(torch.float16, tiles_at_once=35, stripes=1),
    "low": Execution(torch.float16, tiles_at_once=7, stripes=8),
    "cpu": Execution(torch.float32, tiles_at_once=5, stripes=8),
}
PLACES = 256  # along a side, where depth is compared with the session's: more would not move the median
DISAGREEMENT = 0.25  # of depth after scaling, beyond which it is worth a word


class Sharp:
    config = SharpConfig()

    def load(self, device: str, tier: str) -> None:
        self.load_from(store.path_of(NAME, WEIGHTS), device, TIERS[tier])

    def load_from(self, weights: Path, device: str, execution: Execution) -> None:
        """Raises WeightsError where the file is not this network's."""
        self.device, self.weights = torch.device(device), weights
        with torch.device("meta"):
            network = SharpNetwork(self.config, execution)
        load_into(network, open_checkpoint(weights), ignore=UNUSED, device=device)
        if self.device.type == "cuda":
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network

    @torch.inference_mode()
    def run(self, request: SceneRequest, progress: Progress) -> SceneResult:
        bare = request.clean is not None and not request.keep_props
        image = request.clean if request.clean is not None and bare else request.still
        height, width = image.shape[:2]
        notices: list[EngineNotice] = []
        # The same machine gives the same bytes: no algorithm is chosen by a stopwatch, none adds in a random order.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            gaussians = self._gaussians(image, float(request.intrinsics[0, 0]) / width, progress, notices)
            parts = unprojected(gaussians, camera_from_network(request.intrinsics, width, height))
        details: dict[str, Any] = {"precision": str(self.network.execution.precision).removeprefix("torch.")}
        side = self.config.grid
        step = max(1, side // PLACES)
        depth = (
            gaussians.position[: side * side, 2].view(side, side)[step // 2 :: step, step // 2 :: step].cpu().numpy()
        )
        found = agreement(depth, request, request.removed if bare else None)
        if found is None:
            notices.append(EngineNotice("scene.own_scale", degraded=True))
        else:
            details |= {"scale": found.scale, "scale_spread": found.spread, "scale_pixels": found.pixels}
            notices.append(EngineNotice("scene.scaled", {"ratio": 1 / found.scale, "pixels": found.pixels}))
            if found.spread > DISAGREEMENT:
                notices.append(EngineNotice("scene.depth_disagrees", {"percent": 100 * found.spread}))
        cloud = to_cloud(*parts, gaussians, found.scale if found else 1.0)
        progress(1.0)
        solid = request.mask & ~request.sky
        background = background_points(request.points, solid, request.removed, request.intrinsics, request.seed)
        return SceneResult(cloud, background, layers=(side * side,) * LAYERS, details=details, notices=notices)

    def _gaussians(
        self, image: U8, disparity_factor: float, progress: Progress, notices: list[EngineNotice]
    ) -> Gaussians:
        """Once more in bfloat16, and said, where float16 overflows; the engine stays there."""
        picture = self._picture(image)
        try:
            return self._forward(picture, disparity_factor, progress)
        except Overflow:
            execution = self.network.execution
            if execution.precision != torch.float16:
                raise
        del self.network  # before its successor comes
        self.load_from(self.weights, str(self.device), replace(execution, precision=torch.bfloat16))
        notices.append(EngineNotice("scene.coarser_numbers"))
        return self._forward(picture, disparity_factor, progress)

    def _forward(self, picture: Tensor, disparity_factor: float, progress: Progress) -> Gaussians:
        found: Gaussians = self.network(picture, disparity_factor, lambda share: progress(0.9 * share))
        return found

    def _picture(self, image: U8) -> Tensor:
        """(1, 3, S, S) in 0..1: squeezed to the network's square, which unprojection undoes."""
        pixels = torch.from_numpy(np.array(image)).to(self.device)
        picture = pixels.permute(2, 0, 1)[None].float() / 255
        return F.interpolate(picture, size=(self.config.side,) * 2, mode="bilinear", align_corners=True)
