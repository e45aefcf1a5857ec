"""A still as the network sees it, and the way back from its pixels to the still's.

The official networks were trained at 512 pixels on the long side and sides of whole patches. So the still is resized to
that and its middle cut to multiples of 16, as upstream does; what the cut leaves out (at most 7 pixels a side) is given
back by carrying the depth's local plane on. A square is not cut to 4:3 as upstream would: it is seen whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from worker.arrays import F32, F64, U8, Bool
from worker.engines.dust3r.config import PATCH

LONG_SIDE = 512
# What the networks were trained on reaches from 4:3 to 3.2:1, lying or standing.
TRAINED_ASPECT = (4 / 3, 3.2)
BORDER = 8  # rows or columns that the local plane outside the cut is taken from


@dataclass(frozen=True)
class View:
    """`small` is the whole still at network scale; the network sees `box` of it: left, top, width, height."""

    small: U8
    box: tuple[int, int, int, int]
    still_size: tuple[int, int]  # height, width

    @property
    def seen(self) -> U8:
        left, top, width, height = self.box
        return self.small[top : top + height, left : left + width]

    def network_input(self) -> F32:
        """(3, h, w) in -1..1."""
        return np.ascontiguousarray(self.seen.transpose(2, 0, 1), np.float32) / np.float32(127.5) - 1

    def offsets(self) -> tuple[F64, F64]:
        """Still pixels from the still's centre to the centres of the seen columns (w,) and rows (h,)."""
        left, top, width, height = self.box
        rows, columns = self.small.shape[:2]
        still_height, still_width = self.still_size
        across = (np.arange(width) + left + 0.5) * (still_width / columns) - still_width / 2
        down = (np.arange(height) + top + 0.5) * (still_height / rows) - still_height / 2
        return across, down

    def whole(self, log_depth: F32) -> F32:
        """Log depth of what was seen -> of all of `small`: disparity goes on as the plane that ends at the border."""
        return extend_planes(log_depth, self.box, self.small.shape[:2])

    def whole_mask(self, mask: Bool) -> Bool:
        """A mask of what was seen -> of all of `small`; what was not seen takes its nearest seen neighbour's."""
        return np.pad(mask, self._margins(), mode="edge")

    def whole_map(self, values: F32) -> F32:
        return np.pad(values, self._margins(), mode="edge")

    def _margins(self) -> tuple[tuple[int, int], tuple[int, int]]:
        left, top, width, height = self.box
        rows, columns = self.small.shape[:2]
        return (top, rows - top - height), (left, columns - left - width)


def look(still: U8) -> View:
    """Lanczos when shrinking, bicubic when enlarging, as upstream's loader does."""
    height, width = still.shape[:2]
    scale = LONG_SIDE / max(height, width)
    # A sliver thinner than a patch is widened to one: its pixels are no longer square, and map back all the same.
    columns, rows = max(PATCH, round(width * scale)), max(PATCH, round(height * scale))
    kind = Image.Resampling.LANCZOS if max(height, width) > LONG_SIDE else Image.Resampling.BICUBIC
    small = np.asarray(Image.fromarray(still).resize((columns, rows), kind))
    seen_width, seen_height = columns // PATCH * PATCH, rows // PATCH * PATCH
    left, top = columns // 2 - seen_width // 2, rows // 2 - seen_height // 2
    return View(small, (left, top, seen_width, seen_height), (height, width))


def is_usual_shape(still: U8) -> bool:
    aspect = max(still.shape[:2]) / min(still.shape[:2])
    return TRAINED_ASPECT[0] - 0.02 <= aspect <= TRAINED_ASPECT[1] + 0.02


def extend_planes(log_depth: F32, box: tuple[int, int, int, int], size: tuple[int, int]) -> F32:
    """(h, w) -> `size` (rows, columns), the given map at `box`.

    A plane's disparity is linear in the picture, so outside the box it goes on from the border with the slope of its
    last BORDER rows or columns; never by more than a fifth, so that a steep slope makes no horizon of its own.
    """
    left, top, width, height = box
    rows, columns = size
    disparity = np.exp(-log_depth.astype(np.float64))
    for axis, before, after in ((0, top, rows - top - height), (1, left, columns - left - width)):
        disparity = np.concatenate(
            [_beyond(disparity, axis, before, first=True), disparity, _beyond(disparity, axis, after, first=False)],
            axis,
        )
    return -np.log(disparity).astype(np.float32)


def _beyond(disparity: F64, axis: int, count: int, first: bool) -> F64:
    """`count` rows (axis 0) or columns (axis 1) outside the first or last one."""
    lines = np.moveaxis(disparity, axis, 0)
    if not first:
        lines = lines[::-1]
    depth = min(BORDER, len(lines) - 1)
    # The median of the steps forgives one edge among them.
    slope = np.median(np.diff(lines[: depth + 1], axis=0), axis=0) if depth else np.zeros_like(lines[0])
    edge = lines[0]
    steps = np.arange(count, 0, -1).reshape(-1, *(1,) * edge.ndim)
    out = np.clip(edge - steps * slope, 0.8 * edge, 1.2 * edge)
    return np.moveaxis(out if first else out[::-1], 0, axis)
