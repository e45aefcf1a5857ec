"""Finer depth from overlapping tiles of the still, each brought into line with the pass over the whole.

A tile alone is a picture from another lens looking straight ahead, so its depth comes with a scale of its own, tilted
(its axis is not the still's) and perhaps flattened. In log depth, scale is an offset, tilt is linear in the picture and
flattening is a gain. These are fitted robustly to the whole pass; what slow drift is left is taken out; where a tile
still tells another story than the whole pass, the whole pass is kept. So tiles add detail and cannot move the scene.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from worker.arrays import F32, F64

LONGEST = 1024  # pixels of the still on a tile's long side; more only where there would be too many tiles
SHORTEST = 512  # of the still, less would show the network nothing new
MOST = 30
ASPECT = 0.75  # 4:3 is the fullest shape that the official networks were trained on
OVERLAP = 0.25

AGREES = 0.08  # log depth: residual after alignment at which half a pixel's trust is gone
GAIN = (0.6, 1.7)
REFUSED = 0.25  # median residual above which a tile is not used at all
WHOLE_WEIGHT = 0.05  # of the whole pass beside a trusted tile


@dataclass(frozen=True)
class Window:
    left: int
    top: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def windows(height: int, width: int) -> list[Window]:
    """Tiles that cover a still with overlap, all of one size; none where tiles would show no more than the whole."""
    long_side = max(height, width)
    size = float(min(max(long_side / 2, SHORTEST), LONGEST))
    if long_side < 1.25 * size:
        return []
    while True:
        across, down = (size, size * ASPECT) if width >= height else (size * ASPECT, size)
        columns, rows = _starts(width, min(width, round(across))), _starts(height, min(height, round(down)))
        if len(columns) * len(rows) <= MOST:
            tile = min(width, round(across)), min(height, round(down))
            return [Window(x, y, *tile) for y in rows for x in columns]
        size *= 1.1


def _starts(length: int, tile: int) -> list[int]:
    count = int(np.ceil((length - tile) / (tile * (1 - OVERLAP)))) + 1
    return [round(x) for x in np.linspace(0, length - tile, count)]


def aligned(tile: F32, whole: F32, confidence: F32) -> F32 | None:
    """A tile's log depth (h, w) in line with the whole pass's there; None where the two have nothing in common.

    Fits gain * tile + offset + two slopes by re-weighted least squares (Cauchy), on at most some ten thousand pixels.
    """
    if not np.isfinite(tile).all():
        return None
    step = max(1, round((tile.size / 10_000) ** 0.5))
    rows, columns = (np.linspace(-1, 1, n) for n in tile.shape)
    thin = tile[::step, ::step]
    sample = np.stack([thin, np.ones_like(thin), *np.meshgrid(columns[::step], rows[::step])], -1)
    sample = sample.reshape(-1, 4).astype(np.float64)
    want = whole[::step, ::step].reshape(-1).astype(np.float64)
    weight = 0.05 + confidence[::step, ::step].reshape(-1).astype(np.float64)
    found = _robust_fit(sample, want, weight)
    if not GAIN[0] < found[0] < GAIN[1]:  # flat or garbled: keep its relief as it is, and let agreement decide
        found = np.array([1.0, *_robust_fit(sample[:, 1:], want - sample[:, 0], weight)])
    plane = (found[1] + found[2] * columns + found[3] * rows[:, None]).astype(np.float32)
    corrected = np.float32(found[0]) * tile + plane
    drift = whole - corrected
    counts = 1 / (1 + (drift / AGREES) ** 4)  # slow drift is what most agree on, not what an edge or a wild part adds
    corrected += _slow(drift * counts) / np.maximum(_slow(counts), 1e-6)
    return corrected if float(np.median(np.abs(whole - corrected))) < REFUSED else None


def _slow(values: F32) -> F32:
    """What of a map (h, w) changes over an eighth of its length; found on a small copy, where it costs little."""
    height, width = values.shape
    small = cv2.resize(values, (max(2, width // 16), max(2, height // 16)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(small.shape) / 8, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _robust_fit(basis: F64, want: F64, weight: F64) -> F64:
    w = weight
    for _ in range(15):
        ridge = 1e-6 * w.sum() * np.eye(basis.shape[1])
        found = np.linalg.solve((basis * w[:, None]).T @ basis + ridge, (basis * w[:, None]).T @ want)
        off = np.abs(want - basis @ found)
        w = weight / (1 + (off / max(1.5 * float(np.median(off)), 1e-4)) ** 2)
    return np.asarray(found)


@dataclass
class Mosaic:
    """The whole pass's log depth (H, W) with tiles laid over it one by one."""

    whole: F32
    used: int = 0
    refused: int = 0
    _sum: F32 = field(init=False)
    _weight: F32 = field(init=False)

    def __post_init__(self) -> None:
        self._sum = WHOLE_WEIGHT * self.whole
        self._weight = np.full(self.whole.shape, WHOLE_WEIGHT, np.float32)

    def lay(self, window: Window, tile: F32, confidence: F32) -> None:
        """`tile`: log depth at the window's own size; `confidence` 0..1 of the same size."""
        whole = self.whole[window.slices]
        corrected = aligned(tile, whole, confidence)
        if corrected is None:
            self.refused += 1
            return
        self.used += 1
        # Agreement region by region: a single thin thing that the whole pass missed does not count against a tile.
        apart = cv2.blur(np.abs(corrected - whole), (_odd(window.width // 10), _odd(window.height // 10)))
        weight = _feather(window, self.whole.shape) / (1 + (apart / AGREES) ** 6)
        self._sum[window.slices] += weight * corrected
        self._weight[window.slices] += weight

    def blended(self) -> F32:
        return self._sum / self._weight


def _feather(window: Window, shape: tuple[int, ...]) -> F32:
    """1 in a tile's middle, falling to 0 at its edges inside the picture; steep, so that few pixels mix two tiles."""

    def ramp(start: int, length: int, whole: int) -> F64:
        place = np.arange(length) + 0.5
        reach = max(1.0, OVERLAP * length)
        rise = np.ones(length) if start == 0 else np.minimum(1, place / reach)
        fall = np.ones(length) if start + length == whole else np.minimum(1, (length - place) / reach)
        return np.minimum(rise, fall)

    both = np.outer(ramp(window.top, window.height, shape[0]), ramp(window.left, window.width, shape[1]))
    return (both**4).astype(np.float32)


def _odd(n: int) -> int:
    return max(3, n | 1)
