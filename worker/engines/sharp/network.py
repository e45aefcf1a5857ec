"""SHARP's network: a picture to two layers of depth, and to what each Gaussian differs by from its plain beginning.

Module names are the official checkpoint's. Everything that becomes geometry is computed in float32, whatever the
precision of the matrices: the last layers of each head, and all of `compose`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.engines.finite import NotFinite
from worker.engines.sharp.compose import Base, Gaussians, compose, initialise
from worker.engines.sharp.config import LAYERS, STRIDE, SharpConfig
from worker.engines.sharp.decoder import Fusion, MultiresDecoder, NormedResidual, in_stripes
from worker.engines.sharp.encoder import SlidingPyramid

Report = Callable[[float], None]


class Overflow(NotFinite):
    """The network's numbers left the range of its precision."""


_MATRICES = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class Execution:
    """How the network is run on a device; the result is the same but for rounding.

    `precision`: of matrix products and convolutions; norms, sums along the ViT and all geometry stay float32.
    """

    precision: torch.dtype = torch.float32
    tiles_at_once: int = 35
    stripes: int = 1


class MonodepthPredictor(nn.Module):
    def __init__(self, config: SharpConfig) -> None:
        super().__init__()
        width = config.depth_width
        self.encoder = SlidingPyramid(config)
        self.decoder = MultiresDecoder(config, width)
        self.head = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.ConvTranspose2d(width // 2, width // 2, 2, stride=2),
            nn.Conv2d(width // 2, config.depth_head, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(config.depth_head, LAYERS, 1),
            nn.ReLU(inplace=True),
        )

    def disparity(self, levels: list[Tensor], stripes: int) -> Tensor:
        """(1, 2, S, S) float32, not negative."""

        def head(x: Tensor) -> Tensor:
            return torch.relu(_pointwise(self.head[4], self.head[:4](x)))

        return in_stripes(head, self.decoder(levels), stripes)


class MonodepthModel(nn.Module):
    def __init__(self, config: SharpConfig) -> None:
        super().__init__()
        self.monodepth_predictor = MonodepthPredictor(config)


class PictureEncoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3 + LAYERS, width, STRIDE, stride=STRIDE)

    def forward(self, picture: Tensor) -> Tensor:
        return self.conv(picture)


class FeatureModel(nn.Module):
    """(texture, geometry) features, (1, gaussian_head, S/2, S/2) each, from the levels and the picture with depth."""

    def __init__(self, config: SharpConfig) -> None:
        super().__init__()
        width = config.gaussian_width
        self.decoder = MultiresDecoder(config, width)
        self.image_encoder = PictureEncoder(width)
        self.fusion = Fusion(width, doubling=False)
        self.texture_head = self._head(width, config.gaussian_head)
        self.geometry_head = self._head(width, config.gaussian_head)

    @staticmethod
    def _head(width: int, out: int) -> nn.Sequential:
        return nn.Sequential(
            NormedResidual(width), NormedResidual(width), nn.ReLU(inplace=True), nn.Conv2d(width, out, 1), nn.ReLU()
        )

    def forward(self, levels: list[Tensor], picture: Tensor) -> tuple[Tensor, Tensor]:
        """Empties `levels`, the largest thing in memory, as soon as they are used."""
        decoded = self.decoder(levels)
        levels.clear()
        fused = self.fusion(decoded, self.image_encoder(picture))
        del decoded
        return self.texture_head(fused), self.geometry_head(fused)


class PredictionHead(nn.Module):
    """Offsets (1, 14, layers, S/2, S/2): position, scale, quaternion, colour, opacity."""

    def __init__(self, config: SharpConfig) -> None:
        super().__init__()
        self.geometry_prediction_head = nn.Conv2d(config.gaussian_head, 3 * LAYERS, 1)
        self.texture_prediction_head = nn.Conv2d(config.gaussian_head, 11 * LAYERS, 1)

    def forward(self, texture: Tensor, geometry: Tensor) -> Tensor:
        parts = [
            _pointwise(self.geometry_prediction_head, geometry).unflatten(1, (3, LAYERS)),
            _pointwise(self.texture_prediction_head, texture).unflatten(1, (11, LAYERS)),
        ]
        return torch.cat(parts, dim=1)


class SharpNetwork(nn.Module):
    def __init__(self, config: SharpConfig, execution: Execution) -> None:
        super().__init__()
        self.config, self.execution = config, execution
        self.monodepth_model = MonodepthModel(config)
        self.feature_model = FeatureModel(config)
        self.prediction_head = PredictionHead(config)
        for module in self.modules():
            if isinstance(module, _MATRICES):
                module.to(execution.precision)
        for last in (self.monodepth_model.monodepth_predictor.head[4], self.prediction_head):
            last.float()

    def forward(self, image: Tensor, disparity_factor: float, report: Report = lambda fraction: None) -> Gaussians:
        """Gaussians in the network's own space: x and y in -1..1 at depth 1, depth in metres by its own judgement.

        Raises Overflow where numbers are not finite.

        Args:
            image: (1, 3, S, S) sRGB-encoded 0..1.
            disparity_factor: focal length in pixels by the picture's width.
            report: takes the share of the work that is done, 0..1.
        """
        monodepth = self.monodepth_model.monodepth_predictor
        with self._autocast(image.device.type):
            levels = monodepth.encoder(
                self._laid_out(2 * image - 1), self.execution.tiles_at_once, lambda share: report(0.7 * share)
            )
            levels = [self._laid_out(level) for level in levels]
            disparity = monodepth.disparity(levels, self.execution.stripes)
            report(0.85)
            base: Base = initialise(image, disparity_factor / disparity.clamp(1e-4, 1e4))
            texture, geometry = self.feature_model(levels, self._laid_out(base.features))
            offsets = self.prediction_head(texture, geometry)
        # Looked at here, because the clamps that follow would hide an overflow behind finite nonsense.
        if not bool(torch.isfinite(disparity).all() & torch.isfinite(offsets).all()):
            precision = str(self.execution.precision).removeprefix("torch.")
            raise Overflow(f"the network's output in {precision}")
        report(1.0)
        return compose(base, offsets)

    def _autocast(self, device: str) -> AbstractContextManager[object]:
        if self.execution.precision == torch.float32:
            return nullcontext()
        return torch.autocast(device, self.execution.precision, cache_enabled=False)

    def _laid_out(self, x: Tensor) -> Tensor:
        """Channels last on CUDA, where half-precision convolutions want it; elsewhere as it is."""
        wanted = x.is_cuda and self.execution.precision != torch.float32
        return x.contiguous(memory_format=torch.channels_last) if wanted else x


def _pointwise(layer: nn.Module, x: Tensor) -> Tensor:
    """A 1x1 convolution in float32, as the matrix product that it is."""
    assert isinstance(layer, nn.Conv2d)
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.movedim(1, -1).float(), layer.weight[:, :, 0, 0], layer.bias).movedim(-1, 1)
