"""Inputs, random weights and our own answers for the comparison of TRELLIS' networks: equal wherever they are drawn."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn

from bench.random_weights import draw
from worker.engines.trellis import manifest
from worker.engines.trellis.config import (
    DecoderConfig,
    LatentFlowConfig,
    StructureDecoderConfig,
    StructureFlowConfig,
    TrellisConfig,
)
from worker.engines.trellis.networks import BUILD, PARTS
from worker.nn.flow import sample
from worker.nn.sizes import DinoConfig
from worker.nn.sparse import Voxels

TINY = TrellisConfig(
    resolution=16,
    image=DinoConfig(image=56, dim=32, depth=2, heads=2),
    structure_flow=StructureFlowConfig(grid=4, channels=64, context=32, blocks=2, heads=2),
    structure_decoder=StructureDecoderConfig(channels=(32, 16, 8), blocks=1),
    latent_flow=LatentFlowConfig(edge_channels=16, channels=64, context=32, blocks=2, heads=2),
    decoder=DecoderConfig(channels=256, blocks=2, heads=4),
)
SAMPLING = "sampling"  # not a network: the structure flow through all 25 guided steps
CASES = (*PARTS, SAMPLING)
SEED = 42


def network_of(case: str) -> str:
    return "structure_flow" if case == SAMPLING else case


def shell(size: int, count: int) -> Tensor:
    """`count` voxels at the surface of an ellipsoid, sorted."""
    axis = (torch.arange(size) + 0.5) / size - 0.5
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    far = ((grid * torch.tensor([1.0, 1.2, 1.4])).norm(dim=-1) - 0.42).abs().flatten()
    chosen = far.argsort(stable=True)[:count].sort().values
    return torch.stack([chosen // size**2, chosen // size % size, chosen % size], dim=1).int()


class Cases:
    """Args: `half` computes with 16-bit matrices, as released."""

    def __init__(self, config: TrellisConfig, voxels: int, half: bool = False, device: str = "cpu") -> None:
        self.config, self.half, self.device = config, half, device
        self.dtype = torch.float16 if half else torch.float32
        self.coords = shell(config.resolution, voxels).to(device)

    def weights(self, case: str) -> dict[str, Tensor]:
        """A value for every name; gains of heads are drawn around one, else attention would see next to nothing."""
        found = {}
        for name, spec in getattr(manifest, network_of(case))(self.config).items():
            value = draw(name, spec.shape)
            dtype = getattr(torch, spec.dtype) if self.half else torch.float32
            found[name] = torch.from_numpy(value + 1 if "rms_norm" in name else value).to(dtype)
        return found

    def inputs(self, case: str) -> tuple[Tensor, ...]:
        random = torch.Generator().manual_seed(zlib.crc32(case.encode()))

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random)

        flow, tokens = self.config.structure_flow, self.config.image.tokens
        grid = (flow.latent, *[flow.grid] * 3)
        match case:
            case "image":
                found: tuple[Tensor, ...] = (noise(1, 3, *[self.config.image.image] * 2).sigmoid(),)
            case "structure_flow":
                found = noise(2, *grid), torch.tensor([731.0, 12.5]), noise(2, tokens, flow.context)
            case "sampling":
                seeded = torch.Generator().manual_seed(SEED)
                found = torch.randn(1, *grid, generator=seeded), noise(1, tokens, flow.context)
            case "structure_decoder":
                found = (noise(1, *grid),)
            case "latent_flow":
                count = len(self.coords)
                found = noise(count, flow.latent), torch.tensor([444.0]), noise(1, tokens, flow.context)
            case _:
                found = (noise(len(self.coords), self.config.decoder.latent),)
        return tuple(tensor.to(self.device) for tensor in found)

    def network(self, case: str) -> nn.Module:
        with torch.device("meta"):
            network = BUILD[network_of(case)](self.config, self.dtype)
        network.load_state_dict(self.weights(case), assign=True)
        return network.to(self.device).eval().requires_grad_(False)

    @torch.no_grad()
    def ours(self, case: str) -> dict[str, Tensor]:
        network, inputs = self.network(case), self.inputs(case)
        voxels = Voxels(self.coords, self.config.resolution)
        match case:
            case "structure_flow":
                x, t, context = inputs
                return {"velocity": network(x, t, network.prepare(context))}
            case "sampling":
                noise, context = inputs
                prepared = network.prepare(context)
                sampling = self.config.structure_sampling
                grid = sample(lambda x, t, seeing: network(x, t, prepared if seeing else None), noise, sampling)
                return {"grid": grid}
            case "latent_flow":
                x, t, context = inputs
                return {"velocity": network(x[None], voxels, t, network.prepare(context))[0]}
            case "gaussian_decoder":
                found = network.gaussians_of(network(*inputs, voxels), voxels)
                return dict(vars(found))
            case "mesh_decoder":
                raw = network(*inputs, voxels)
                parts = raw.sdf, raw.deform.flatten(1), raw.weights, raw.colour.flatten(1)
                return {"coords": raw.voxels.coords, "raw": torch.cat(parts, dim=1)}
            case _:
                return {"output": network(*inputs)}
