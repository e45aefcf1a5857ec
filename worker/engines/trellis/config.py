"""TRELLIS' sizes. The defaults are those of the released image-large weights; tests make smaller twins."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.nn.sizes import DinoConfig, Sampling


@dataclass(frozen=True)
class StructureFlowConfig:
    """Which voxels: a diffusion transformer over all 16^3 cells of a latent grid."""

    grid: int = 16
    latent: int = 8
    channels: int = 1024
    context: int = 1024
    blocks: int = 24
    heads: int = 16
    mlp_ratio: float = 4.0


@dataclass(frozen=True)
class StructureDecoderConfig:
    """Latent grid to occupancy; each step in `channels` after the first doubles the resolution."""

    latent: int = 8
    channels: tuple[int, ...] = (512, 128, 32)
    blocks: int = 2  # residual blocks at each resolution, and in the middle


@dataclass(frozen=True)
class LatentFlowConfig:
    """What is in the voxels: a transformer at half resolution between sparse convolutions."""

    latent: int = 8
    edge_channels: int = 128
    channels: int = 1024
    context: int = 1024
    blocks: int = 24
    heads: int = 16
    mlp_ratio: float = 4.0


@dataclass(frozen=True)
class DecoderConfig:
    """The windowed transformer that both decoders are built on."""

    latent: int = 8
    channels: int = 768
    blocks: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    window: int = 8


@dataclass(frozen=True)
class GaussianConfig:
    """How 448 numbers of a voxel are read as 32 Gaussians."""

    count: int = 32
    rotation_gain: float = 0.1
    reach: float = 1.5  # how far a Gaussian's centre may lie from its voxel's, in half voxels
    smallest: float = 9e-4  # standard deviation added in quadrature: the training's 3D filter
    scale_bias: float = 4e-3
    opacity_bias: float = 0.1

    @property
    def channels(self) -> int:
        return self.count * (3 + 3 + 3 + 4 + 1)


@dataclass(frozen=True)
class TrellisConfig:
    """Everything of the released pipeline. `mean` and `std` undo the normalisation of the latents in training."""

    resolution: int = 64
    image: DinoConfig = field(default_factory=DinoConfig)
    structure_flow: StructureFlowConfig = field(default_factory=StructureFlowConfig)
    structure_decoder: StructureDecoderConfig = field(default_factory=StructureDecoderConfig)
    latent_flow: LatentFlowConfig = field(default_factory=LatentFlowConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    gaussians: GaussianConfig = field(default_factory=GaussianConfig)
    structure_sampling: Sampling = field(default_factory=Sampling)
    latent_sampling: Sampling = field(default_factory=Sampling)
    mean: tuple[float, ...] = (
        -2.1687545776367188, -0.004347046371549368, -0.13352349400520325, -0.08418072760105133,
        -0.5271206498146057, 0.7238689064979553, -1.1414450407028198, 1.2039363384246826,
    )  # fmt: skip
    std: tuple[float, ...] = (
        2.377650737762451, 2.386378288269043, 2.124418020248413, 2.1748552322387695,
        2.663944721221924, 2.371192216873169, 2.6217446327209473, 2.684523105621338,
    )  # fmt: skip
