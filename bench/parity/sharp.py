"""SHARP beside Apple's own code: equal random weights by tensor name, equal picture, outputs compared.

    python -m bench.parity.sharp --upstream FOLDER [--wheel timm.whl] [--device cuda] [--out result.json]
    python -m bench.parity.sharp --upstream FOLDER --golden tests/data/sharp_golden.json

FOLDER holds Apple's `sharp` package (github.com/apple/ml-sharp, `src`), which is only run, never copied from. It needs
timm, and timm a torchvision that fits the torch. At the real size on a CPU this takes minutes and 9 GiB. --golden
narrows upstream's own network to SMALL (the picture stays as large), compares, and writes some of upstream's Gaussians
down for the tests.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.random_weights import draw
from worker.engines.sharp.config import SharpConfig
from worker.engines.sharp.manifest import tensors

SIZE = (1080, 1920)
FOCAL = 1527.4  # px: what upstream assumes for this size
SMALL = SharpConfig(
    dim=16, depth=4, heads=1, latent_blocks=(0, 1), widths=(8, 8, 16, 16, 16), depth_width=8,
    gaussian_width=16, gaussian_head=8, classes=10,
)  # fmt: skip
SMALL_SIZE, SMALL_FOCAL = (90, 160), 130.0
SAMPLED = 40  # Gaussians in the golden file, evenly through the cloud
# Random weights leave disparity around zero, where depth is only ever the limit: this lifts it.
DISPARITY_BIAS, LIFT = "monodepth_model.monodepth_predictor.head.4.bias", 0.6


def state(config: SharpConfig | None = None, seed: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the official file, meaningless but the same everywhere."""
    for name, spec in tensors(config or SharpConfig()).items():
        tensor = torch.from_numpy(draw(name, spec.shape, seed))
        yield name, tensor + LIFT if name == DISPARITY_BIAS else tensor


def picture(size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3) uint8: soft waves with fine grain, so that every scale of the pyramid has something to see."""
    v, u = np.mgrid[: size[0], : size[1]].astype(np.float32)
    waves = [127 + 70 * np.sin(u / (37 + 11 * c) + c) * np.cos(v / (53 - 9 * c)) for c in range(3)]
    grain = np.random.default_rng(0).normal(0, 18, (*size, 3))
    return np.clip(np.stack(waves, axis=-1) + grain, 0, 255).astype(np.uint8)


class Upstream:
    """Apple's predictor as a black box."""

    def __init__(
        self, folder: Path, wheels: list[Path], weights: dict[str, torch.Tensor], device: str, small: bool = False
    ) -> None:
        sys.path[:0] = [str(folder), *map(str, wheels)]
        from sharp.models import PredictorParams, create_predictor

        self.device = device
        params = PredictorParams()
        if small:
            _narrow(params)
        self.model = create_predictor(params).eval()
        self.model.load_state_dict(weights, strict=not small)
        self.model.to(device)

    def forward(self, image: np.ndarray, focal: float) -> Any:
        pixels = torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None].float() / 255
        resized = torch.nn.functional.interpolate(pixels, size=(1536, 1536), mode="bilinear", align_corners=True)
        factor = torch.tensor([focal / image.shape[1]], device=self.device)
        return self.model(resized, factor)

    def unproject(self, gaussians: Any, image: np.ndarray, focal: float) -> Any:
        from sharp.utils.gaussians import unproject_gaussians

        height, width = image.shape[:2]
        intrinsics = torch.tensor([[focal, 0, width / 2, 0], [0, focal, height / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        intrinsics[0] *= 1536 / width
        intrinsics[1] *= 1536 / height
        return unproject_gaussians(
            gaussians, torch.eye(4, device=self.device), intrinsics.to(self.device), (1536, 1536)
        )


def _narrow(params: Any) -> None:
    """Give upstream the widths of SMALL by its own tables and parameters."""
    from sharp.models import presets

    (name,) = presets.VIT_CONFIG_DICT
    presets.VIT_CONFIG_DICT[name] = dataclasses.replace(
        presets.VIT_CONFIG_DICT[name],
        embed_dim=SMALL.dim, depth=SMALL.depth, num_heads=SMALL.heads, num_classes=SMALL.classes,
    )  # fmt: skip
    presets.MONODEPTH_ENCODER_DIMS_MAP[name][:] = SMALL.widths[1:]
    presets.MONODEPTH_HOOK_IDS_MAP[name][:] = range(4)
    params.monodepth.dims_decoder = (SMALL.depth_width,) * 5
    params.gaussian_decoder.dims_decoder = (SMALL.gaussian_width,) * 5
    params.gaussian_decoder.dim_out = SMALL.gaussian_head


def covariances(scale: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    from worker.engines.sharp.ellipsoids import rotations_of

    axes = rotations_of(rotation.double()) * scale.double()[:, None, :]
    return axes @ axes.mT


def differences(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Largest and typical differences of two clouds: `position`, `scale`, `rotation`, `color` sRGB, `opacity`.

    Positions relative to each one's depth; covariances relative to each one's largest variance.
    """
    out: dict[str, float] = {}

    def note(name: str, values: torch.Tensor) -> None:
        values = values.flatten().double()
        out[f"{name}_max"] = float(values.max())
        out[f"{name}_p999"] = float(torch.sort(values).values[int(0.999 * (len(values) - 1))])
        out[f"{name}_median"] = float(values.median())

    depth = theirs["position"][:, 2:].abs().clamp(min=1e-9)
    note("position", ((ours["position"] - theirs["position"]).abs() / depth))
    note("color", (ours["color"] - theirs["color"]).abs())
    note("opacity", (ours["opacity"] - theirs["opacity"]).abs())
    note("length", ((ours["scale"] - theirs["scale"]).abs() / theirs["scale"].amax(dim=1, keepdim=True)))
    mine, other = (covariances(c["scale"], c["rotation"]) for c in (ours, theirs))
    note("covariance", (mine - other).abs() / other.diagonal(dim1=1, dim2=2).amax(dim=1)[:, None, None])
    return out


def as_dict(position: Any, scale: Any, rotation: Any, color: Any, opacity: Any) -> dict[str, torch.Tensor]:
    names = ("position", "scale", "rotation", "color", "opacity")
    parts = (position, scale, rotation, color, opacity)
    return {name: torch.as_tensor(part).float().cpu() for name, part in zip(names, parts, strict=True)}


def theirs_as_dict(found: Any) -> dict[str, torch.Tensor]:
    """Upstream's colours are linear; ours, as files hold them, sRGB-encoded."""
    c = found.colors[0].double()
    encoded = torch.where(c <= 0.0031308, 12.92 * c, 1.055 * c.clamp(min=1e-9) ** (1 / 2.4) - 0.055)
    return as_dict(found.mean_vectors[0], found.singular_values[0], found.quaternions[0], encoded, found.opacities[0])


def machine() -> dict[str, str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {"device": device, "torch": torch.__version__, "python": platform.python_version()}


class Drawn:
    """Tensors in memory, as a checkpoint."""

    name = "random weights"

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = weights

    def specs(self) -> Any:
        from worker.nn.checkpoint import spec_of

        return {name: spec_of(tensor) for name, tensor in self.weights.items()}

    def tensor(self, name: str) -> torch.Tensor:
        return self.weights[name]


def lens(size: tuple[int, int], focal: float) -> np.ndarray:
    return np.array([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1]], np.float32)


def ours(config: SharpConfig, weights: dict[str, torch.Tensor], image: np.ndarray, focal: float, device: str) -> Any:
    """Our cloud in float32, at the network's own scale."""
    from worker.engines.sharp.engine import Sharp
    from worker.engines.sharp.manifest import UNUSED
    from worker.engines.sharp.network import Execution, SharpNetwork
    from worker.engines.sharp.session_frame import camera_from_network, unprojected
    from worker.nn.checkpoint import load_into

    engine = Sharp()
    engine.config, engine.device = config, torch.device(device)
    with torch.device("meta"):
        engine.network = SharpNetwork(config, Execution(tiles_at_once=5, stripes=8))
    load_into(engine.network, Drawn(weights), ignore=UNUSED, device=device)
    height, width = image.shape[:2]
    gaussians = engine.network(engine._picture(image), focal / width)
    camera = camera_from_network(lens((height, width), focal), width, height)
    return as_dict(*unprojected(gaussians, camera), gaussians.color, gaussians.opacity)


def sampled(cloud: dict[str, torch.Tensor]) -> dict[str, list[Any]]:
    index = torch.linspace(0, len(cloud["opacity"]) - 1, SAMPLED).long()
    return {name: values[index].tolist() for name, values in cloud.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", type=Path, required=True)
    parser.add_argument("--wheel", type=Path, action="append", default=[])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--golden", type=Path)
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_grad_enabled(False)
    small = words.golden is not None
    config, size, focal = (SMALL, SMALL_SIZE, SMALL_FOCAL) if small else (SharpConfig(), SIZE, FOCAL)
    image, weights = picture(size), dict(state(config))
    upstream = Upstream(words.upstream, words.wheel, weights, words.device, small)
    found = theirs_as_dict(upstream.unproject(upstream.forward(image, focal), image, focal))
    del upstream
    cloud = ours(config, weights, image, focal, words.device)
    result = {"machine": machine(), "gaussians": len(cloud["opacity"]), **differences(cloud, found)}
    print(json.dumps(result, indent=1))
    if small:
        origin = f"Apple's ml-sharp narrowed by bench/parity/sharp.py --golden; torch {torch.__version__}"
        words.golden.write_text(json.dumps({"origin": origin, **sampled(found)}) + "\n", "utf-8")
    if words.out:
        words.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
