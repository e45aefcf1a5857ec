"""Letterbox and pillarbox bars: flat, nearly black margins with a straight, sharp edge towards the picture.

What is not cropped: dark sky, vignettes, things standing before black. Those have a gradual or a ragged edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from worker.arrays import F32, U8

Box = tuple[int, int, int, int]

_BLOCKS = 64
_DARKEST_PICTURE = 40.0  # 8-bit level above which a margin is no bar
_NOISIEST = 5.0  # standard deviation of block means in a bar
_MOST = 0.42  # of a side; beyond it the "bar" is the picture
_LONE_EDGE, _PAIRED_EDGE, _SPAN = 0.6, 0.2, 0.6


@dataclass(frozen=True)
class _Margin:
    depth: int = 0
    level: float = 0.0
    edge: float = 0.0  # share of the side where picture and margin differ sharply
    span: float = 0.0  # how far apart the outermost such places are


def find_bars(grey: U8) -> Box:
    """Picture area of an encoded grey (H, W) uint8 image: x, y, width, height. The whole image where no bar is."""
    height, width = grey.shape
    x, y, w, h = 0, 0, width, height
    for _ in range(2):  # windowboxed: one pair may only show once the other is gone
        before = (x, y, w, h)
        left, right = _pair(grey[y : y + h, x : x + w].T)
        x, w = x + left, w - left - right
        top, bottom = _pair(grey[y : y + h, x : x + w])
        y, h = y + top, h - top - bottom
        if (x, y, w, h) == before:
            break
    if min(w, h) < 16:
        return 0, 0, width, height
    return x, y, w, h


def _pair(grey: U8) -> tuple[int, int]:
    """Depth of the margins at the first and last rows."""
    rows = len(grey)
    if rows < 16:
        return 0, 0
    columns = min(_BLOCKS, grey.shape[1])
    shrunk = cv2.resize(grey.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    blocks = np.asarray(shrunk, dtype=np.float32)
    first, last = _margin(blocks), _margin(blocks[::-1])
    alike = (
        first.depth > 0
        and last.depth > 0
        and abs(first.depth - last.depth) <= max(2, 0.01 * rows)
        and abs(first.level - last.level) < 3
    )
    needed = _PAIRED_EDGE if alike else _LONE_EDGE
    return tuple(m.depth if m.edge >= needed and m.span >= _SPAN else 0 for m in (first, last))  # type: ignore[return-value]


def _margin(blocks: F32) -> _Margin:
    rows, columns = blocks.shape
    level = float(np.median(blocks[:2]))
    noise = float(1.4826 * np.median(np.abs(blocks[:2] - level)))
    if level > _DARKEST_PICTURE or noise > _NOISIEST:
        return _Margin()
    tolerance = max(1.5, 4 * noise)
    off = np.abs(blocks - level) > tolerance
    leaves = (off.mean(axis=1) > 0.1) | (np.abs(np.median(blocks, axis=1) - level) > max(1.0, 2 * noise))
    if not leaves.any():
        return _Margin()
    depth = int(np.argmax(leaves))
    if depth < 2 or depth > _MOST * rows:
        return _Margin()
    depth = _past_ringing(blocks, depth, level)
    inside = blocks[depth + 1 : depth + 4].mean(axis=0)
    outside = blocks[max(0, depth - 4) : max(1, depth - 1)].mean(axis=0)
    sharp = np.abs(inside - outside) > max(2.5, 4 * noise)
    places = np.flatnonzero(sharp)
    span = float(places[-1] - places[0] + 1) / columns if len(places) else 0.0
    return _Margin(depth, level, float(sharp.mean()), span)


def _past_ringing(blocks: F32, depth: int, level: float) -> int:
    """JPEG lets the picture ring into the bar by up to one 16-pixel block: the true edge is the great jump behind."""
    reach = blocks[max(depth - 1, 0) : depth + 18]
    jumps = np.abs(np.diff(reach, axis=0)).mean(axis=1)
    if len(jumps) == 0:
        return depth
    at = int(np.argmax(jumps))
    candidate = max(depth - 1, 0) + at + 1
    rise = np.abs(blocks - level).mean(axis=1)
    if rise[candidate - 1] > 0.5 * rise[candidate]:  # a rescaled edge spreads over two rows
        candidate -= 1
    ringing_only = candidate > depth and float(rise[depth : max(candidate - 1, depth + 1)].mean()) < 0.2 * jumps[at]
    return candidate if ringing_only else depth
