"""Write a trained network as ONNX: dynamic size (geometry) or count (outline), weights kept in half precision.

    python bench/train/export.py --weights OUT --onnx worker/engines/embedded/weights/geometry.onnx
    python bench/train/export.py --network outline --weights OUT --onnx worker/engines/embedded/weights/outline.onnx

Inputs and outputs are float32. Every large weight is stored as float16 and cast when the file is loaded, which
onnxruntime folds away: the arithmetic is float32 and the file half as large.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import model
import numpy as np
import onnx
import outline_model
import torch
from checkpoint import load
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn


def halve(written: onnx.ModelProto, smallest: int = 256) -> None:
    """Store large float32 initialisers as float16 behind a Cast."""
    casts = []
    for tensor in list(written.graph.initializer):
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size >= smallest:
            small = numpy_helper.from_array(array.astype(np.float16), tensor.name + "_half")
            written.graph.initializer.remove(tensor)
            written.graph.initializer.append(small)
            casts.append(
                helper.make_node("Cast", [small.name], [tensor.name], to=TensorProto.FLOAT, name="cast_" + tensor.name)
            )
    for node in reversed(casts):
        written.graph.node.insert(0, node)


@dataclass(frozen=True)
class Form:
    """How one network is written: its inputs' and outputs' names, what varies in them, and inputs to compare with."""

    make: Callable[[], nn.Module]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic_axes: dict[str, dict[int, str]]
    examples: Callable[[], list[tuple[Tensor, ...]]]


def picture(*size: int) -> Tensor:
    return torch.rand(*size) * 255


def pointed(count: int) -> tuple[Tensor, Tensor]:
    size = outline_model.SIZE
    return picture(count, 3, size, size), (torch.rand(count, 1, size, size) > 0.5).float()


SIZES = {2: "height", 3: "width"}
GEOMETRY = Form(
    model.GeometryNet,
    ("image",),
    model.OUTPUTS,
    {
        "image": SIZES,
        "log_disparity": SIZES,
        "dense": {2: "height4", 3: "width4"},
        "coarse": {2: "height8", 3: "width8"},
    },
    lambda: [(picture(1, 3, *size),) for size in ((256, 320), (384, 512), (512, 288))],
)
OUTLINE = Form(
    outline_model.OutlineNet,
    ("image", "prompt"),
    outline_model.OUTPUTS,
    {name: {0: "count"} for name in ("image", "prompt", *outline_model.OUTPUTS)},
    lambda: [pointed(count) for count in (2, 1, 3)],
)


def compare(form: Form, net: nn.Module, path: Path, most: float) -> None:
    """Raises ValueError where the file's outputs lie further than `most` from the network's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for example in form.examples():
        with torch.no_grad():
            wanted = net(*example)
        got = session.run(None, {name: a.numpy() for name, a in zip(form.inputs, example, strict=True)})
        gaps = [float(np.abs(a.numpy() - b).max()) for a, b in zip(wanted, got, strict=True)]
        print(tuple(example[0].shape), "largest differences to torch", [round(g, 5) for g in gaps])
        if max(gaps) > most:
            raise ValueError("The ONNX file does not compute what the network computes.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=["geometry", "outline"], default="geometry")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--onnx", type=Path, required=True)
    args = parser.parse_args()
    form = {"geometry": GEOMETRY, "outline": OUTLINE}[args.network]
    net = form.make()
    load(net, args.weights)
    net.eval()
    torch.onnx.export(
        net,
        form.examples()[0],
        str(args.onnx),
        input_names=list(form.inputs),
        output_names=list(form.outputs),
        dynamic_axes=form.dynamic_axes,
        opset_version=17,
        dynamo=False,
    )
    compare(form, net, args.onnx, 0.005)
    written = onnx.load(str(args.onnx))
    halve(written)
    del written.metadata_props[:]
    written.producer_name, written.producer_version, written.doc_string = "assetize", "", ""
    onnx.checker.check_model(written)
    onnx.save(written, str(args.onnx))
    compare(form, net, args.onnx, 0.3)  # rounding the folded weights moves a logit by up to 0.2
    print(f"{args.onnx} {args.onnx.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
