"""U2-Net (small) saliency through onnxruntime: how much each pixel belongs to the thing one looks at.

Source: Qin et al., "U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection", 2020. The weights'
origin and licence stand in weights/NOTICE.md.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from worker.arrays import F32, U8
from worker.engines.embedded.shipped_network import open_network

WEIGHTS = Path(__file__).parent / "weights" / "u2netp.onnx"
WEIGHTS_SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
SIDE = 320
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


class Saliency:
    """`Saliency(threads)(image)`: (H, W, 3) uint8 sRGB -> (H, W) float32 in 0..1.

    Raises:
        EngineUnavailable: the shipped weights are missing or are not the ones this code was measured with.
    """

    def __init__(self, threads: int = 2) -> None:
        self._session = open_network(WEIGHTS, WEIGHTS_SHA256, "harvest", "saliency", "显著性", threads)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name  # the first of seven is the fused map

    def __call__(self, image: U8) -> F32:
        height, width = image.shape[:2]
        # Aspect is not kept and the map is not stretched: the first is how the network was trained, the second would
        # invent an object in an empty frame.
        small = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.float32)
        normal = (small / max(float(small.max()), 1.0) - MEAN) / STD
        (out,) = self._session.run([self._output], {self._input: normal.transpose(2, 0, 1)[None]})
        return cv2.resize(np.clip(out[0, 0], 0.0, 1.0), (width, height), interpolation=cv2.INTER_LINEAR)
