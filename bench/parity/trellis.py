"""Our TRELLIS networks against a checkout's, run as a black box with equal random weights, voxels and noise.

    python -m bench.parity.trellis path/to/TRELLIS [--dinov2 path/to/dinov2] [--size tiny|full] [--half] [--json FILE]

Tiny networks take seconds; the full-size ones are made one at a time and need 6 GB. `--half` computes both sides with
16-bit matrices as released; the difference is then rounding's, and its bound is stated in docs/engines.md.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.parity.trellis_upstream import load_dinov2, load_upstream, uninitialised
from bench.random_weights import draw
from worker.engines.trellis.config import (
    DecoderConfig,
    GaussianConfig,
    LatentFlowConfig,
    StructureDecoderConfig,
    StructureFlowConfig,
    TrellisConfig,
)
from worker.engines.trellis.decoders import GaussianDecoder, MeshDecoder
from worker.engines.trellis.latent import LatentFlow
from worker.engines.trellis.structure import StructureDecoder, StructureFlow
from worker.nn.dinov2 import DinoV2
from worker.nn.dit import position_embedding
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


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """A value for every name; gains of heads are drawn around one, else attention would see next to nothing."""
    found = {}
    for name, tensor in module.state_dict().items():
        value = draw(name, tensor.shape)
        found[name] = torch.from_numpy(value + 1 if "rms_norm" in name else value)
    return found


def shell(size: int, count: int) -> Tensor:
    """`count` voxels at the surface of an ellipsoid, sorted."""
    axis = (torch.arange(size) + 0.5) / size - 0.5
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    far = ((grid * torch.tensor([1.0, 1.2, 1.4])).norm(dim=-1) - 0.42).abs().flatten()
    chosen = far.argsort()[:count].sort().values
    return torch.stack([chosen // size**2, chosen // size % size, chosen % size], dim=1).int()


def gap(ours: Tensor, theirs: Tensor) -> dict[str, float]:
    """Relative to the root mean square of theirs: worst, and root mean square."""
    ours, theirs = ours.double().cpu(), theirs.double().cpu()
    scale = theirs.square().mean().sqrt()
    off = (ours - theirs).abs() / scale
    return {"max": float(off.max()), "rms": float(off.square().mean().sqrt())}


class Parity:
    def __init__(self, upstream: Any, config: TrellisConfig, voxels: int, half: bool, device: str) -> None:
        self.up, self.config, self.half, self.device = upstream, config, half, device
        self.dtype = torch.float16 if half else torch.float32
        self.coords = shell(config.resolution, voxels).to(device)
        self.random = torch.Generator().manual_seed(7)

    def noise(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random).to(self.device)

    def both(self, theirs: Callable[[], nn.Module], ours: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
        """Both networks with equal weights; names and shapes must be the same."""
        with uninitialised():
            a = theirs()
        values = weights_of(a)
        dtypes = {name: tensor.dtype for name, tensor in a.state_dict().items()}
        values = {name: value.to(dtypes[name]) for name, value in values.items()}
        a.load_state_dict(values, assign=True)
        with torch.device("meta"):
            b = ours()
        assert {n: (t.shape, t.dtype) for n, t in b.state_dict().items()} == {
            n: (t.shape, t.dtype) for n, t in values.items()
        }, "names, shapes or precisions differ"
        b.load_state_dict(values, assign=True)
        return a.to(self.device).eval(), b.to(self.device).eval()

    def sparse(self, x: Tensor) -> Any:
        coords = torch.cat([torch.zeros_like(self.coords[:, :1]), self.coords], dim=1)
        return self.up.sparse.SparseTensor(x, coords)

    def flow_args(self, config: StructureFlowConfig | LatentFlowConfig) -> dict[str, Any]:
        return {
            "in_channels": config.latent, "out_channels": config.latent, "model_channels": config.channels,
            "cond_channels": config.context, "num_blocks": config.blocks, "num_heads": config.heads,
            "mlp_ratio": config.mlp_ratio, "qk_rms_norm": True, "use_fp16": self.half,
        }  # fmt: skip

    def structure_flow(self) -> dict[str, float]:
        config = self.config.structure_flow
        with uninitialised():
            made = self.up.models.SparseStructureFlowModel(
                resolution=config.grid, patch_size=1, **{**self.flow_args(config), "num_blocks": 0}
            ).pos_emb
        axis = torch.arange(config.grid)
        places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        torch.testing.assert_close(position_embedding(places, config.channels), made, rtol=0, atol=1e-5)
        a, b = self.both(
            lambda: self.up.models.SparseStructureFlowModel(
                resolution=config.grid, patch_size=1, **self.flow_args(config)
            ),
            lambda: StructureFlow(config, self.dtype),
        )
        x, t = self.noise(2, config.latent, *[config.grid] * 3), torch.tensor([731.0, 12.5], device=self.device)
        context = self.noise(2, self.config.image.tokens, config.context)
        return gap(b(x, t, context), a(x, t, context))

    def structure_decoder(self) -> dict[str, float]:
        config = self.config.structure_decoder
        a, b = self.both(
            lambda: self.up.models.SparseStructureDecoder(
                out_channels=1, latent_channels=config.latent, num_res_blocks=config.blocks,
                num_res_blocks_middle=config.blocks, channels=list(config.channels), use_fp16=self.half,
            ),
            lambda: StructureDecoder(config, self.dtype),
        )  # fmt: skip
        x = self.noise(1, config.latent, *[self.config.structure_flow.grid] * 3)
        return gap(b(x), a(x))

    def latent_flow(self) -> dict[str, float]:
        config = self.config.latent_flow
        a, b = self.both(
            lambda: self.up.models.SLatFlowModel(
                resolution=self.config.resolution, patch_size=2, num_io_res_blocks=2,
                io_block_channels=[config.edge_channels], **self.flow_args(config),
            ),
            lambda: LatentFlow(config, self.dtype),
        )  # fmt: skip
        x, t = self.noise(len(self.coords), config.latent), torch.tensor([444.0], device=self.device)
        context = self.noise(1, self.config.image.tokens, config.context)
        theirs = a(self.sparse(x), t, context).feats
        return gap(b(x[None], Voxels(self.coords, self.config.resolution), t, context)[0], theirs)

    def decoder_args(self) -> dict[str, Any]:
        config = self.config.decoder
        return {
            "resolution": self.config.resolution, "model_channels": config.channels, "latent_channels": config.latent,
            "num_blocks": config.blocks, "num_heads": config.heads, "mlp_ratio": config.mlp_ratio, "attn_mode": "swin",
            "window_size": config.window, "use_fp16": self.half,
        }  # fmt: skip

    def gaussian_decoder(self) -> dict[str, float]:
        read = GaussianConfig()
        settings = {
            "lr": {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0, "_rotation": 0.1},
            "perturb_offset": True, "voxel_size": 1.5, "num_gaussians": 32, "2d_filter_kernel_size": 0.1,
            "3d_filter_kernel_size": 9e-4, "scaling_bias": 4e-3, "opacity_bias": 0.1, "scaling_activation": "softplus",
        }  # fmt: skip
        a, b = self.both(
            lambda: self.up.models.SLatGaussianDecoder(**self.decoder_args(), representation_config=settings),
            lambda: GaussianDecoder(self.config.decoder, read, self.dtype),
        )
        x = self.noise(len(self.coords), self.config.decoder.latent)
        (theirs,) = a(self.sparse(x))
        voxels = Voxels(self.coords, self.config.resolution)
        found = b.gaussians_of(b(x, voxels), voxels)
        bias = torch.tensor(4e-3)
        scale = torch.nn.functional.softplus(theirs._scaling + bias + torch.log(-torch.expm1(-bias)))
        turned = theirs._rotation + torch.tensor([1.0, 0, 0, 0], device=self.device)
        pairs = {
            "position": (found.position, theirs._xyz - 0.5),
            "color": (found.color, 0.5 + 0.28209479177387814 * theirs._features_dc[:, 0]),
            "scale": (found.scale, (scale**2 + 9e-4**2).sqrt()),
            "rotation": (found.rotation, turned / turned.norm(dim=1, keepdim=True)),
            "opacity": (found.opacity, torch.sigmoid(theirs._opacity[:, 0] + torch.logit(torch.tensor(0.1)))),
        }
        gaps = [gap(*pair) for pair in pairs.values()]
        return {key: max(one[key] for one in gaps) for key in ("max", "rms")}

    def mesh_decoder(self) -> dict[str, float]:
        a, b = self.both(
            lambda: self.up.models.SLatMeshDecoder(**self.decoder_args(), representation_config={"use_color": True}),
            lambda: MeshDecoder(self.config.decoder, self.dtype),
        )
        x = self.noise(len(self.coords), self.config.decoder.latent)
        (theirs,) = a(self.sparse(x))
        found = b(x, Voxels(self.coords, self.config.resolution))
        assert torch.equal(found.voxels.coords, theirs.coords[:, 1:].int())
        ours = torch.cat([found.sdf, found.deform.flatten(1), found.weights, found.colour.flatten(1)], dim=1)
        return gap(ours, theirs.feats)

    def pipeline(self) -> dict[str, float]:
        """Seed to decoded latents through both flows and samplers: upstream's draws in upstream's order."""
        config, device = self.config, self.device
        a, b = self.both(
            lambda: self.up.models.SparseStructureFlowModel(
                resolution=config.structure_flow.grid, patch_size=1, **self.flow_args(config.structure_flow)
            ),
            lambda: StructureFlow(config.structure_flow, self.dtype),
        )
        sampler = self.up.samplers.FlowEulerGuidanceIntervalSampler(1e-5)
        wanted = config.structure_sampling
        context = self.noise(1, config.image.tokens, config.structure_flow.context)
        torch.manual_seed(42)
        noise = torch.randn(1, config.structure_flow.latent, *[config.structure_flow.grid] * 3).to(device)
        theirs = sampler.sample(
            a, noise, cond=context, neg_cond=torch.zeros_like(context), steps=wanted.steps,
            cfg_strength=wanted.guidance, cfg_interval=wanted.interval, rescale_t=wanted.rescale_t, verbose=False,
        ).samples  # fmt: skip
        random = torch.Generator().manual_seed(42)
        ours_noise = torch.randn(noise.shape, generator=random).to(device)
        assert torch.equal(ours_noise, noise), "the seed's noise differs"
        second = torch.randn(len(self.coords), config.latent_flow.latent)
        assert torch.equal(second, torch.randn(second.shape, generator=random)), "the seed's second noise differs"
        return gap(sample(b, ours_noise, context, wanted), theirs)


def dinov2(checkout: Path, config: DinoConfig, device: str) -> dict[str, float]:
    theirs = load_dinov2(checkout)
    with uninitialised():
        a = theirs.DinoVisionTransformer(
            img_size=config.image, patch_size=config.patch, embed_dim=config.dim, depth=config.depth,
            num_heads=config.heads, mlp_ratio=4, init_values=1.0, num_register_tokens=config.registers,
            block_chunks=0, interpolate_antialias=True, interpolate_offset=0.0,
            block_fn=lambda **words: theirs.Block(attn_class=theirs.MemEffAttention, **words),
        )  # fmt: skip
    values = weights_of(a)
    a.load_state_dict(values, assign=True)
    with torch.device("meta"):
        b = DinoV2(config)
    b.load_state_dict(values, assign=True)
    a, b = a.to(device).eval(), b.to(device).eval()
    image = torch.rand(1, 3, config.image, config.image, generator=torch.Generator().manual_seed(1)).to(device)
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)
    return gap(b(image), a((image - mean) / std, is_training=True)["x_prenorm"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--dinov2", type=Path)
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--voxels", type=int, default=300)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    config = TINY if args.size == "tiny" else TrellisConfig()
    parity = Parity(load_upstream(args.checkout), config, args.voxels, args.half, args.device)
    parts: dict[str, Callable[[], dict[str, float]]] = {
        "structure_flow": parity.structure_flow,
        "structure_decoder": parity.structure_decoder,
        "latent_flow": parity.latent_flow,
        "gaussian_decoder": parity.gaussian_decoder,
        "mesh_decoder": parity.mesh_decoder,
    }
    if args.size == "tiny":
        parts["pipeline"] = parity.pipeline
    if args.dinov2:
        parts["dinov2"] = lambda: dinov2(args.dinov2, config.image, args.device)
    results: dict[str, Any] = {}
    for name, part in parts.items():
        if args.only and name not in args.only:
            continue
        started = time.perf_counter()
        with torch.no_grad():
            results[name] = part()
        gc.collect()
        print(f"{name:18} max {results[name]['max']:.2e}  rms {results[name]['rms']:.2e}"
              f"  ({time.perf_counter() - started:.1f} s)", flush=True)  # fmt: skip
    if args.json:
        what = {"size": args.size, "half": args.half, "device": args.device, "voxels": args.voxels}
        args.json.write_text(json.dumps({**what, "relative_difference": results}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
