"""DUSt3R beside upstream's own code, both given the same meaningless weights at the official size.

    python -m bench.parity.dust3r --upstream FOLDER [--size 512x288 ...] [--device cpu] [--json FILE] [--golden FILE]

FOLDER holds upstream's `dust3r` package with `croco` beside it (github.com/naver/dust3r with its submodule; CC BY-NC-SA
4.0, which is why it is only run here, never part of the product). Needs torch, einops, huggingface_hub and packaging.
Upstream is asked for the pair (still, still) and for view 1's pointmap, ours for the still.

The numbers: relative distance of points |ours - theirs| / |theirs| over all pixels, worst and 99.9 %, and the same for
confidence - 1. Weights are normal with std 1 / sqrt(fan-in) (bench/random_weights.py); the head's last map is made
smaller (`HEAD_GAIN`), because distance is the exponential of its output.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.random_weights import draw
from worker.engines.dust3r.network import Dust3r, Dust3rConfig

ROOT = Path(__file__).resolve().parents[2]
OFFICIAL = 571_171_208
HEAD_GAIN = 0.25
LAST = "head.4.weight"  # of the DPT head
ALIAS = ".scratch.layer_rn."  # upstream's second name for layer1_rn ... layer4_rn


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(draw(name, shape, gain=HEAD_GAIN if name.endswith(LAST) else 1.0))
        for name, shape in shapes.items()
    }


def picture(height: int, width: int) -> Tensor:
    """(1, 3, height, width) in -1..1: smooth colours and noise, drawn by numpy so that it is the same everywhere."""
    v, u = np.mgrid[:height, :width] / max(height, width)
    waves = np.stack([np.sin(7 * u + 3 * v), np.cos(9 * v - 2 * u), np.sin(5 * u * v + 1)])
    noise = np.random.Generator(np.random.Philox(key=7)).standard_normal((3, height, width))
    return torch.from_numpy(np.clip(0.7 * waves + 0.2 * noise, -1, 1).astype(np.float32))[None]


def upstream(folder: Path, config: Dust3rConfig) -> torch.nn.Module:
    """Upstream's network on the meta device; its constructor's words are those its README trains with."""
    sys.path.insert(0, str(folder))
    warnings.filterwarnings("ignore", category=FutureWarning)
    from dust3r.model import AsymmetricCroCo3DStereo

    inf = float("inf")
    with torch.device("meta"):
        network: torch.nn.Module = AsymmetricCroCo3DStereo(
            output_mode="pts3d", head_type=config.head, depth_mode=("exp", -inf, inf), conf_mode=("exp", 1, inf),
            pos_embed="RoPE100", img_size=(512, 512), patch_embed_cls="PatchEmbedDust3R", landscape_only=False,
            enc_embed_dim=config.enc_dim, enc_depth=config.enc_depth, enc_num_heads=config.enc_heads,
            dec_embed_dim=config.dec_dim, dec_depth=config.dec_depth, dec_num_heads=config.dec_heads,
        )  # fmt: skip
    return network


def official_shapes(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(t.shape) for name, t in network.state_dict().items() if ALIAS not in name}


def ask_upstream(network: torch.nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    def view(index: int) -> dict[str, Any]:
        shape = torch.tensor([image.shape[-2:]], dtype=torch.int32)
        return {"img": image, "true_shape": shape, "idx": [index], "instance": [str(index)]}

    first, _ = network(view(0), view(1))
    return first["pts3d"], first["conf"]


def ours(config: Dust3rConfig, state: dict[str, Tensor]) -> Dust3r:
    with torch.device("meta"):
        network = Dust3r(config)
    network.load_state_dict(state, assign=True)
    network.keep_first_view()
    return network.requires_grad_(False).eval()


def difference(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Relative errors of the first against the second."""
    points = (one[0] - other[0]).norm(dim=-1) / other[0].norm(dim=-1)
    conf = (one[1] - other[1]).abs() / (other[1] - 1)
    figures = {}
    for name, error in (("points", points), ("confidence", conf)):
        error = error.double().flatten()
        figures |= {f"{name} worst": error.max().item(), f"{name} 99.9 %": error.quantile(0.999).item(),
                    f"{name} median": error.median().item()}  # fmt: skip
    return figures


def timed(work: Callable[[], tuple[Tensor, Tensor]]) -> tuple[tuple[Tensor, Tensor], float]:
    start = time.process_time()
    with torch.inference_mode():
        answer = work()
    return answer, time.process_time() - start


def compare(folder: Path, sizes: list[tuple[int, int]], device: str, low: bool) -> dict[str, Any]:
    config = Dust3rConfig()
    theirs = upstream(folder, config).eval().requires_grad_(False)
    shapes = official_shapes(theirs)
    with torch.device("meta"):
        mine = Dust3r(config)
    same_names = {name: tuple(t.shape) for name, t in mine.state_dict().items()} == shapes
    count = sum(p.numel() for p in mine.parameters())
    result: dict[str, Any] = {"names and shapes equal": same_names, "parameters": count, "official": count == OFFICIAL}
    print(result, flush=True)
    state = {name: tensor.to(device) for name, tensor in weights(shapes).items()}
    theirs.load_state_dict(state, strict=False, assign=True)
    mine = ours(config, state)
    for width, height in sizes:
        image = picture(height, width).to(device)
        want, their_seconds = timed(lambda image=image: ask_upstream(theirs, image))
        got, our_seconds = timed(lambda image=image: mine(image))
        distance = want[0].norm(dim=-1)
        row = difference(got, want) | {
            "processor seconds, upstream": round(their_seconds, 1), "processor seconds, ours": round(our_seconds, 1),
            "distance 5..95 %": [distance.quantile(q).item() for q in (0.05, 0.95)] if distance.numel() < 2**24 else [],
        }  # fmt: skip
        result[f"{width}x{height} fp32"] = row
        print(f"{width}x{height} fp32", row, flush=True)
    if low:
        width, height = sizes[0]
        image = picture(height, width).to(device)
        want, _ = timed(lambda: mine(image))
        for kind in (torch.bfloat16, torch.float16):
            half = ours(config, state)
            half.trunk_to(kind)
            got, _ = timed(lambda half=half: half(image))
            name = f"{width}x{height} {str(kind).removeprefix('torch.')} trunk against fp32"
            result[name] = difference(got, want)
            print(name, result[name], flush=True)
    return result


GOLDEN_CONFIG = Dust3rConfig(enc_dim=128, enc_depth=2, enc_heads=2, dec_dim=192, dec_depth=12, dec_heads=3)
GOLDEN_SIZE = (48, 80)  # height, width: 3 x 5 tokens, an odd grid


def write_golden(folder: Path, path: Path) -> None:
    """Upstream's answer of a small network, for tests/dust3r."""
    theirs = upstream(folder, GOLDEN_CONFIG).eval().requires_grad_(False)
    theirs.load_state_dict(weights(official_shapes(theirs)), strict=False, assign=True)
    with torch.inference_mode():
        points, conf = ask_upstream(theirs, picture(*GOLDEN_SIZE))
    np.savez_compressed(path, points=points[0].numpy(), conf=conf[0].numpy())
    print(f"{path}: points {points.shape}, mean distance {points.norm(dim=-1).mean():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", nargs="*", default=["512x288", "512x336", "288x512"], metavar="WxH")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no_low", action="store_true", help="leave the half-precision tiers out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--golden", type=Path, help="write the small golden case here and do nothing else")
    arguments = parser.parse_args()
    if arguments.golden:
        write_golden(arguments.upstream, arguments.golden)
        return
    sizes = [tuple(int(part) for part in size.split("x")) for size in arguments.size]
    result = compare(arguments.upstream, sizes, arguments.device, not arguments.no_low)
    if arguments.json:
        machine = {"system": platform.system(), "machine": platform.machine(), "torch": torch.__version__,
                   "device": torch.cuda.get_device_name() if arguments.device != "cpu" else "cpu"}  # fmt: skip
        arguments.json.write_text(json.dumps({"machine": machine, "result": result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
