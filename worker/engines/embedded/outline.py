"""Whole things from rough masks: a small network of our own looks at a square around each (weights/MODEL_CARD.md).

A rough mask has lost legs and handles, or holds a piece of the neighbour. The network sees the picture around it and
gives the outline of the one thing that the mask mostly lies on, and how far it believes itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from worker.arrays import F32, U8, Bool
from worker.engines.embedded.shipped_network import open_network

WEIGHTS = Path(__file__).parent / "weights" / "outline.onnx"
WEIGHTS_SHA256 = "901c4043b93938026f7e302b08f42ca6ee549ffa670492b7c8e17316075d3703"
SIDE = 256  # pixels of the square that the network sees
AROUND = 1.4  # side of the square over the longer side of the rough mask


@dataclass(frozen=True)
class Outline:
    mask: Bool  # (H, W)
    certainty: float  # the IoU with the true outline that the network expects; near 0 where it sees no thing
    person: float  # probability


class Outlines:
    """`Outlines(threads)(image, mask)`: (H, W, 3) uint8 sRGB and a rough mask (H, W), not empty -> the outline there.

    Raises:
        EngineUnavailable: the shipped weights are missing or are not the ones this code was measured with.
    """

    def __init__(self, threads: int = 2) -> None:
        self._session = open_network(WEIGHTS, WEIGHTS_SHA256, "harvest", "outline", "轮廓", threads)

    def __call__(self, image: U8, mask: Bool) -> Outline:
        square = _Square.around(mask)
        picture = square.cut(image, cv2.BORDER_REPLICATE).transpose(2, 0, 1)
        rough = square.cut(mask.astype(np.float32), cv2.BORDER_CONSTANT)
        logits, verdict = self._session.run(
            ["outline", "verdict"], {"image": np.ascontiguousarray(picture[None]), "prompt": rough[None, None]}
        )
        certain, person = (float(1 / (1 + np.exp(-v))) for v in verdict[0])
        return Outline(square.back(logits[0, 0], image.shape[:2]) > 0, certain, person)


@dataclass(frozen=True)
class _Square:
    """A square of the picture, which may reach beyond its edges."""

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, mask: Bool) -> _Square:
        x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
        side = max(8, round(AROUND * max(w, h)))
        return cls(round(x + w / 2 - side / 2), round(y + h / 2 - side / 2), side)

    def cut(self, values: F32 | U8, border: int) -> F32:
        """(H, W[, C]) -> (SIDE, SIDE[, C]); `border`: OpenCV's rule for what lies beyond the edges."""
        height, width = values.shape[:2]
        x0, y0, x1, y1 = self.left, self.top, self.left + self.side, self.top + self.side
        inside = values[max(0, y0) : min(height, y1), max(0, x0) : min(width, x1)]
        whole = cv2.copyMakeBorder(inside, max(0, -y0), max(0, y1 - height), max(0, -x0), max(0, x1 - width), border)
        how = cv2.INTER_AREA if self.side > SIDE else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(whole, (SIDE, SIDE), interpolation=how), np.float32)

    def back(self, logits: F32, shape: tuple[int, ...]) -> F32:
        """(SIDE, SIDE) logits -> (H, W), far below zero outside of the square."""
        height, width = shape
        full = np.full((height, width), -99.0, np.float32)
        whole = cv2.resize(logits, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        y0, x0 = max(0, self.top), max(0, self.left)
        y1, x1 = min(height, self.top + self.side), min(width, self.left + self.side)
        full[y0:y1, x0:x1] = whole[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
        return full
