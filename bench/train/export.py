"""Write a trained network as ONNX: dynamic height and width, weights kept in half precision.

    python bench/train/export.py --weights OUT --onnx worker/engines/embedded/weights/geometry.onnx

Inputs and outputs are float32. Every large weight is stored as float16 and cast when the file is loaded, which
onnxruntime folds away: the arithmetic is float32 and the file half as large.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from checkpoint import load
from model import OUTPUTS, GeometryNet
from onnx import TensorProto, helper, numpy_helper


def halve(model: onnx.ModelProto, smallest: int = 256) -> None:
    """Store large float32 initialisers as float16 behind a Cast."""
    casts = []
    for tensor in list(model.graph.initializer):
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size >= smallest:
            small = numpy_helper.from_array(array.astype(np.float16), tensor.name + "_half")
            model.graph.initializer.remove(tensor)
            model.graph.initializer.append(small)
            casts.append(
                helper.make_node("Cast", [small.name], [tensor.name], to=TensorProto.FLOAT, name="cast_" + tensor.name)
            )
    for node in reversed(casts):
        model.graph.node.insert(0, node)


def compare(net: GeometryNet, path: Path, most: float) -> None:
    """Raises ValueError where the file's outputs lie further than `most` from the network's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in ((256, 320), (384, 512), (512, 288)):
        image = torch.rand(1, 3, *size) * 255
        with torch.no_grad():
            wanted = net(image)
        got = session.run(None, {"image": image.numpy()})
        gaps = [float(np.abs(a.numpy() - b).max()) for a, b in zip(wanted, got, strict=True)]
        print(size, "largest differences to torch", [round(g, 5) for g in gaps])
        if max(gaps) > most:
            raise ValueError("The ONNX file does not compute what the network computes.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--onnx", type=Path, required=True)
    args = parser.parse_args()
    net = GeometryNet()
    load(net, args.weights)
    net.eval()
    image = torch.rand(1, 3, 256, 320) * 255
    sizes = {2: "height", 3: "width"}
    torch.onnx.export(
        net,
        (image,),
        str(args.onnx),
        input_names=["image"],
        output_names=list(OUTPUTS),
        dynamic_axes={
            "image": sizes,
            "log_disparity": sizes,
            "dense": {2: "height4", 3: "width4"},
            "coarse": {2: "height8", 3: "width8"},
        },
        opset_version=17,
        dynamo=False,
    )
    compare(net, args.onnx, 0.005)
    model = onnx.load(str(args.onnx))
    halve(model)
    del model.metadata_props[:]
    model.producer_name, model.producer_version, model.doc_string = "assetize", "", ""
    onnx.checker.check_model(model)
    onnx.save(model, str(args.onnx))
    compare(net, args.onnx, 0.3)  # rounding the folded weights moves a logit by up to 0.2
    print(f"{args.onnx} {args.onnx.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
