"""Our TRELLIS networks against a checkout's, run as a black box with equal random weights, voxels and noise.

    python -m bench.parity.trellis path/to/TRELLIS [--dinov2 path/to/dinov2] [--size tiny|full] [--half] [--json FILE]

Tiny networks take seconds; the full-size ones are made one at a time and need 6 GB. `--half` computes both sides with
16-bit matrices as released; the difference is then rounding's, and its bound is stated in docs/engines.md.
`--golden FILE` keeps some of the checkout's numbers for the tests.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.parity.trellis_cases import CASES, SAMPLING, SEED, TINY, Cases, network_of
from bench.parity.trellis_upstream import load_dinov2, load_upstream, uninitialised
from worker.engines.trellis.config import LatentFlowConfig, StructureFlowConfig, TrellisConfig
from worker.nn.dit import position_embedding

GOLDEN = 48  # numbers kept of a tensor

RELEASED_GAUSSIANS = {
    "lr": {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0, "_rotation": 0.1},
    "perturb_offset": True, "voxel_size": 1.5, "num_gaussians": 32, "2d_filter_kernel_size": 0.1,
    "3d_filter_kernel_size": 9e-4, "scaling_bias": 4e-3, "opacity_bias": 0.1, "scaling_activation": "softplus",
}  # fmt: skip


def gap(ours: Tensor, theirs: Tensor) -> dict[str, float]:
    """Relative to the root mean square of theirs: worst, and root mean square."""
    ours, theirs = ours.double().cpu(), theirs.double().cpu()
    scale = theirs.square().mean().sqrt()
    off = (ours - theirs).abs() / scale
    return {"max": float(off.max()), "rms": float(off.square().mean().sqrt())}


def some_of(tensor: Tensor) -> list[float]:
    """`GOLDEN` numbers spread over a tensor."""
    flat = tensor.detach().double().flatten().cpu()
    return flat[torch.linspace(0, len(flat) - 1, GOLDEN).long()].tolist()


class Theirs:
    """The checkout's networks, made from our sizes."""

    def __init__(self, cases: Cases, checkout: Path, dinov2: Path | None = None) -> None:
        self.cases, self.config, self.device = cases, cases.config, cases.device
        self.up = load_upstream(checkout)
        self.vits = load_dinov2(dinov2) if dinov2 else None

    def build(self, case: str) -> nn.Module:
        """Without values, on the CPU."""
        models, config, half = self.up.models, self.config, self.cases.half
        with uninitialised():
            match network_of(case):
                case "structure_flow":
                    size = config.structure_flow
                    return models.SparseStructureFlowModel(resolution=size.grid, patch_size=1, **self._flow(size))
                case "structure_decoder":
                    size = config.structure_decoder
                    return models.SparseStructureDecoder(
                        out_channels=1, latent_channels=size.latent, num_res_blocks=size.blocks,
                        num_res_blocks_middle=size.blocks, channels=list(size.channels), use_fp16=half,
                    )  # fmt: skip
                case "latent_flow":
                    size = config.latent_flow
                    return models.SLatFlowModel(
                        resolution=config.resolution, patch_size=2, num_io_res_blocks=2,
                        io_block_channels=[size.edge_channels], **self._flow(size),
                    )  # fmt: skip
                case "gaussian_decoder":
                    return models.SLatGaussianDecoder(**self._decoder(), representation_config=RELEASED_GAUSSIANS)
                case "mesh_decoder":
                    return models.SLatMeshDecoder(**self._decoder(), representation_config={"use_color": True})
            return self._image()

    def _flow(self, size: StructureFlowConfig | LatentFlowConfig) -> dict[str, Any]:
        return {
            "in_channels": size.latent, "out_channels": size.latent, "model_channels": size.channels,
            "cond_channels": size.context, "num_blocks": size.blocks, "num_heads": size.heads,
            "mlp_ratio": size.mlp_ratio, "qk_rms_norm": True, "use_fp16": self.cases.half,
        }  # fmt: skip

    def _decoder(self) -> dict[str, Any]:
        size = self.config.decoder
        return {
            "resolution": self.config.resolution, "model_channels": size.channels, "latent_channels": size.latent,
            "num_blocks": size.blocks, "num_heads": size.heads, "mlp_ratio": size.mlp_ratio, "attn_mode": "swin",
            "window_size": size.window, "use_fp16": self.cases.half,
        }  # fmt: skip

    def _image(self) -> nn.Module:
        size, vits = self.config.image, self.vits
        return vits.DinoVisionTransformer(
            img_size=size.image, patch_size=size.patch, embed_dim=size.dim, depth=size.depth, num_heads=size.heads,
            mlp_ratio=4, init_values=1.0, num_register_tokens=size.registers, block_chunks=0,
            interpolate_antialias=True, interpolate_offset=0.0,
            block_fn=lambda **words: vits.Block(attn_class=vits.MemEffAttention, **words),
        )  # fmt: skip

    def network(self, case: str) -> nn.Module:
        """With the weights that ours have. Raises AssertionError where names, shapes or precisions differ."""
        network, values = self.build(case), self.cases.weights(case)
        wanted = {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
        assert wanted == {name: (tensor.shape, tensor.dtype) for name, tensor in values.items()}
        if network_of(case) == "structure_flow":
            axis = torch.arange(self.config.structure_flow.grid)
            places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
            made = position_embedding(places, self.config.structure_flow.channels)
            torch.testing.assert_close(made, network.pos_emb, rtol=0, atol=1e-5)  # its own, before it is written over
        network.load_state_dict(values, assign=True)
        return network.to(self.device).eval()

    def sparse(self, x: Tensor) -> Any:
        coords = torch.cat([torch.zeros_like(self.cases.coords[:, :1]), self.cases.coords], dim=1)
        return self.up.sparse.SparseTensor(x, coords)

    @torch.no_grad()
    def answers(self, case: str) -> dict[str, Tensor]:
        """As `Cases.ours` gives them."""
        network, inputs = self.network(case), self.cases.inputs(case)
        match case:
            case "image":
                mean, std = (
                    torch.tensor(three, device=self.device).view(3, 1, 1)
                    for three in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
                )
                return {"output": network((inputs[0] - mean) / std, is_training=True)["x_prenorm"]}
            case "sampling":
                return {"grid": self._sampled(network, *inputs)}
            case "structure_flow":
                return {"velocity": network(*inputs)}
            case "latent_flow":
                x, t, context = inputs
                return {"velocity": network(self.sparse(x), t, context).feats}
            case "gaussian_decoder":
                (found,) = network(self.sparse(*inputs))
                return self._read(found)
            case "mesh_decoder":
                (found,) = network(self.sparse(*inputs))
                return {"coords": found.coords[:, 1:].int(), "raw": found.feats}
        return {"output": network(*inputs)}

    def _sampled(self, network: nn.Module, noise: Tensor, context: Tensor) -> Tensor:
        """Upstream draws from the global generator after seeding it."""
        torch.manual_seed(SEED)
        own = torch.randn(noise.shape)
        assert torch.equal(own, noise.cpu()), "the seed's noise differs"
        wanted = self.config.structure_sampling
        sampler = self.up.samplers.FlowEulerGuidanceIntervalSampler(1e-5)
        return sampler.sample(
            network, noise, cond=context, neg_cond=torch.zeros_like(context), steps=wanted.steps,
            cfg_strength=wanted.guidance, cfg_interval=wanted.interval, rescale_t=wanted.rescale_t, verbose=False,
        ).samples  # fmt: skip

    def _read(self, found: Any) -> dict[str, Tensor]:
        """The published formulas of 3D Gaussians' activations on the fields that the decoder sets."""
        bias = torch.tensor(RELEASED_GAUSSIANS["scaling_bias"], device=self.device)
        scale = nn.functional.softplus(found._scaling + bias + torch.log(-torch.expm1(-bias)))
        turned = found._rotation + torch.tensor([1.0, 0, 0, 0], device=self.device)
        return {
            "position": found._xyz - 0.5,
            "scale": (scale**2 + 9e-4**2).sqrt(),
            "rotation": turned / turned.norm(dim=1, keepdim=True),
            "opacity": torch.sigmoid(found._opacity[:, 0] + torch.logit(torch.tensor(0.1, device=self.device))),
            "color": 0.5 + 0.28209479177387814 * found._features_dc[:, 0],
        }


def compare(cases: Cases, theirs: Theirs, case: str) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Worst gap over a case's outputs, and upstream's outputs. Integers must be equal."""
    expected, found = theirs.answers(case), cases.ours(case)
    assert expected.keys() == found.keys()
    gaps = []
    for name, value in expected.items():
        if value.dtype.is_floating_point:
            gaps.append(gap(found[name], value))
        else:
            assert torch.equal(found[name], value), name
    return {key: max(one[key] for one in gaps) for key in ("max", "rms")}, expected


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
    parser.add_argument("--golden", type=Path)
    args = parser.parse_args()
    cases = Cases(TINY if args.size == "tiny" else TrellisConfig(), args.voxels, args.half, args.device)
    theirs = Theirs(cases, args.checkout, args.dinov2)
    results: dict[str, Any] = {}
    golden: dict[str, Any] = {}
    for case in CASES:
        left_out = (case == "image" and not args.dinov2) or (case == SAMPLING and args.size == "full")
        if left_out or (args.only and case not in args.only):
            continue
        started = time.perf_counter()
        results[case], outputs = compare(cases, theirs, case)
        golden[case] = {name: some_of(value) for name, value in outputs.items()}
        del outputs
        gc.collect()
        print(f"{case:18} max {results[case]['max']:.2e}  rms {results[case]['rms']:.2e}"
              f"  ({time.perf_counter() - started:.1f} s)", flush=True)  # fmt: skip
    what = {"size": args.size, "half": args.half, "device": args.device, "voxels": args.voxels}
    if args.json:
        args.json.write_text(json.dumps({**what, "relative_difference": results}, indent=1) + "\n", "utf-8")
    if args.golden:
        origin = "microsoft/TRELLIS at 6b0d647 and facebookresearch/dinov2 at b8931f7, by bench/parity/trellis.py"
        text = json.dumps({"origin": origin, **what, "values": golden})
        args.golden.write_text(text.replace("}, ", "},\n") + "\n", "utf-8")


if __name__ == "__main__":
    main()
