"""Bring a shipped ONNX file back into the network, so that training can go on where no checkpoint is left.

    python bench/train/warm_start.py --onnx geometry.onnx --backbone lite2.pth --assets assets.npz --out START

The export folds every normalisation into its convolution. The encoder's were frozen in training, so their ImageNet
values undo the folding exactly (and prove the mapping: the folded biases must come out the same). The heads' are set
to what the convolutions give on rendered pictures, so that training mode starts where inference stopped.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from model import OUTPUTS, GeometryNet
from onnx import numpy_helper
from torch import Tensor, nn


def read_weights(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Module name -> {"weight", "bias"} as the graph uses them (convolutions with normalisation folded in)."""
    graph = onnx.load(str(path)).graph
    values = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in graph.initializer if t.data_type in (1, 10)}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    out: dict[str, dict[str, np.ndarray]] = {}
    for node in graph.node:
        names = node.name.strip("/").split("/")[:-1]
        # A nested scope repeats its parents: "dense/dense.0/dense.0.0" is dense.0.0, "layers.0/mlp/mlp.2" is
        # layers.0.mlp.2.
        module = ""
        for name in names:
            within = bool(module) and (name == module or name.startswith(module + "."))
            module = name if within else f"{module}.{name}".strip(".")
            parent, _, last = module.rpartition(".")
            head, _, tail = parent.rpartition(".")
            if tail and last.isdigit() and tail.split(".")[0] == head.rpartition(".")[2]:
                module = f"{head}.{last}"
        given = [values[i] for i in node.input if i in values]
        slot = out.setdefault(module, {})
        if node.op_type in ("Conv", "Gemm", "LayerNormalization") and given:
            slot |= dict(zip(("weight", "bias"), given, strict=False))
        elif node.op_type == "MatMul" and given:
            slot["weight"] = given[0].T
        elif node.op_type == "Add" and given:
            slot["bias"] = given[0]
    return {k: v for k, v in out.items() if v}


def follower(net: GeometryNet) -> dict[str, str]:
    """Convolution name -> name of the normalisation behind it, from the order in which they are registered."""
    pairs, last = {}, ""
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            last = name
        elif isinstance(module, nn.BatchNorm2d):
            pairs[last] = name
    return pairs


def fill(net: GeometryNet, found: dict[str, dict[str, np.ndarray]], backbone: Path) -> float:
    """Load everything; returns the largest gap between a folded encoder bias and what ImageNet's values give."""
    net.load_backbone(str(backbone))
    modules, norms, gap = dict(net.named_modules()), follower(net), 0.0
    wanted = {n for n, m in modules.items() if isinstance(m, nn.Conv2d | nn.Linear | nn.LayerNorm)}
    if wanted - set(found):
        raise ValueError(f"The ONNX file lacks {sorted(wanted - set(found))[:5]}.")
    with torch.no_grad():
        for name in wanted:
            module, weight = modules[name], torch.from_numpy(found[name]["weight"].copy())
            bias = torch.from_numpy(found[name].get("bias", np.zeros(len(weight), np.float32)).copy())
            if name not in norms:
                module.weight.copy_(weight.reshape(module.weight.shape))
                module.bias.copy_(bias)
                continue
            norm = modules[norms[name]]
            if name.startswith("encoder"):
                factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
                gap = max(gap, float((norm.bias - norm.running_mean * factor - bias).abs().max()))
                usable = factor.abs() > 1e-3
                unfolded = weight / torch.where(usable, factor, 1.0).reshape(-1, 1, 1, 1)
                module.weight.copy_(torch.where(usable.reshape(-1, 1, 1, 1), unfolded, module.weight))
            else:
                module.weight.copy_(weight)
                norm.weight.fill_(1)
                norm.bias.copy_(bias)
                norm.running_mean.zero_()
                norm.running_var.fill_(1 - norm.eps)
    return gap


def settle(net: GeometryNet, batches: list[Tensor]) -> None:
    """Give the heads' normalisations the statistics of these pictures, the function staying what it is."""
    norms, modules, seen = follower(net), dict(net.named_modules()), {}
    hooks = []
    for conv, norm in norms.items():
        if not conv.startswith("encoder"):
            seen[norm] = []

            def note(module: nn.Module, given: tuple, out: Tensor, rows: list = seen[norm]) -> None:
                rows.append((out.double().mean((0, 2, 3)), out.double().square().mean((0, 2, 3))))

            hooks.append(modules[conv].register_forward_hook(note))
    with torch.no_grad():
        for image in batches:
            net(image)
        for hook in hooks:
            hook.remove()
        for name, rows in seen.items():
            norm = modules[name]
            mean = torch.stack([r[0] for r in rows]).mean(0)
            var = (torch.stack([r[1] for r in rows]).mean(0) - mean**2).clamp_min(1e-6)
            norm.bias.add_(mean.float())
            norm.weight.copy_(torch.sqrt(var + norm.eps))
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(var)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--onnx", type=Path, required=True)
    parser.add_argument("--backbone", type=Path, required=True)
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=64)
    args = parser.parse_args()
    from augment import cut, photograph
    from checkpoint import save
    from kit import Kit
    from render import Renderer
    from scenes import make_scene

    net = GeometryNet().eval()
    print("largest gap of an encoder bias:", fill(net, read_weights(args.onnx), args.backbone))
    probe = torch.rand(1, 3, 256, 320) * 255
    with torch.no_grad():
        before = net(probe)
    renderer = Renderer(args.assets, "cpu", Path(tempfile.gettempdir()))
    kit, generator = Kit(renderer.stock), torch.Generator().manual_seed(0)
    batches = []
    for first in range(0, args.pictures, 8):
        drawn = renderer([make_scene(kit, 77_000_000 + first + k, 4 / 3) for k in range(8)], 448, 336)
        drawn["object"], drawn["class"] = drawn["object"].short(), drawn["class"].to(torch.uint8)
        drawn["normal"] = (drawn["normal"] * 127).to(torch.int8)
        part = cut(drawn, 288, 384, generator)
        batches.append(photograph(part["rgb"], part["depth"]))
    settle(net, batches)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(args.onnx), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        after = net(probe)
    given = session.run(None, {"image": probe.numpy()})
    for name, a, b, c in zip(OUTPUTS, before, after, given, strict=True):
        print(f"{name}: to the file {np.abs(b.numpy() - c).max():.2e}, by settling {(a - b).abs().max():.2e}")
    save(net, args.out, 0)


if __name__ == "__main__":
    main()
