"""What the still says of one prop: its silhouette, the points seen on it, its colours; and how well a pose agrees."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from worker.arrays import F32, F64, I32, U8, Bool
from worker.formats.silhouette import iou, rasterise

_MARGIN = 0.3  # of the prop's box: room for a pose that is still wrong
_FOOT = 0.12  # of the silhouette's height
_NEARER = 0.95  # of the prop's depth: other props nearer than this may hide it


@dataclass
class Evidence:
    """A window of the still around one prop, at a working resolution.

    `intrinsics` are the window's. `points` are camera-frame; `seen` marks pixels of the prop with a usable point.
    `relief`: the points show the prop's own shape, not only where it stands.
    """

    mask: Bool
    intrinsics: F64
    points: F32
    seen: Bool
    colors: U8
    relief: bool
    hidden: Bool | None = None  # pixels of nearer things: what the prop has there cannot be seen

    @staticmethod
    def around(
        mask: Bool, points: F32, valid: Bool, image: U8, intrinsics: F64, relief: bool, longest: int = 112,
        others: Bool | None = None,
    ) -> Evidence:
        """Cut the window out of full-size maps and reduce it to at most `longest` pixels a side."""
        height, width = mask.shape
        rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        pad = round(_MARGIN * max(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)) + 2
        top, bottom = max(0, int(rows[0]) - pad), min(height, int(rows[-1]) + pad + 1)
        left, right = max(0, int(columns[0]) - pad), min(width, int(columns[-1]) + pad + 1)
        window = np.s_[top:bottom, left:right]
        scale = min(1.0, longest / max(bottom - top, right - left))
        size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
        zoom = np.diag([size[0] / (right - left), size[1] / (bottom - top), 1.0])
        shift = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
        seen = cv2.erode((mask & valid)[window].astype(np.uint8), np.ones((3, 3), np.uint8))
        # cv2's nearest takes the upper left pixel of each block; the middle one lies on the small pixel's own ray
        pick_row = np.minimum(((np.arange(size[1]) + 0.5) / zoom[1, 1]).astype(int), bottom - top - 1)
        pick_column = np.minimum(((np.arange(size[0]) + 0.5) / zoom[0, 0]).astype(int), right - left - 1)
        pick = np.ix_(pick_row, pick_column)
        hidden = None
        if others is not None:
            z = points[..., 2][window]
            hidden = (others & ~mask)[window] & (z < _NEARER * np.median(z[mask[window]]))
            hidden = hidden[pick]
        return Evidence(
            cv2.resize(mask[window].astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5,
            zoom @ shift @ np.asarray(intrinsics, dtype=np.float64),
            points[window][pick],
            seen[pick] > 0,
            np.asarray(cv2.resize(image[window], size, interpolation=cv2.INTER_AREA), np.uint8),
            relief,
            hidden,
        )

    @property
    def box(self) -> F64:
        """x0, y0, x1, y1 of the silhouette in window pixels."""
        rows, columns = np.nonzero(self.mask)
        return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float64)

    @property
    def depth(self) -> float | None:
        """Median depth of the points on the prop."""
        return float(np.median(self.points[..., 2][self.seen])) if self.seen.any() else None


@dataclass
class Agreement:
    """How one pose looks beside the still.

    `depth_ratio`: seen over rendered depth, median: the factor by which to move the body along its rays.
    `relief_error`: median depth difference left after that, over the body's diagonal. `color`: correlation of rendered
    and seen colours. `foot_ratio`: as `depth_ratio`, of the lowest part of the silhouette alone. None: cannot be told.
    """

    iou: float
    depth_ratio: float | None = None
    foot_ratio: float | None = None
    relief_error: float | None = None
    color: float | None = None

    @property
    def score(self) -> float:
        """The silhouette leads; relief and colour decide between poses that look alike in outline (front and back)."""
        relief = 0.0 if self.relief_error is None else min(self.relief_error, 0.2)
        return self.iou - 1.5 * relief + 0.12 * (self.color or 0.0)


def compare(vertices: F64, faces: I32, evidence: Evidence, face_colors: F32 | None = None) -> Agreement:
    """Render camera-frame `vertices` and compare. `face_colors` (F, 3) 0..1, or None for a mesh without texture."""
    raster = rasterise(vertices, faces, evidence.intrinsics, *evidence.mask.shape)
    both = raster.mask & evidence.mask
    shown = raster.mask if evidence.hidden is None else raster.mask & ~evidence.hidden
    result = Agreement(iou(shown, evidence.mask))
    seen = both & evidence.seen
    if seen.sum() >= 12:
        ratios = evidence.points[..., 2][seen] / raster.depth[seen]
        result.depth_ratio = float(np.median(ratios))
        rows = np.nonzero(evidence.mask.any(axis=1))[0]
        low = np.nonzero(seen)[0] >= rows[-1] - max(1, _FOOT * (rows[-1] - rows[0]))
        if low.sum() >= 6:
            result.foot_ratio = float(np.median(ratios[low]))
        if evidence.relief:
            left = np.abs(raster.depth[seen] * result.depth_ratio - evidence.points[..., 2][seen])
            result.relief_error = float(np.median(left) / np.linalg.norm(np.ptp(vertices, axis=0)))
    if face_colors is not None and both.sum() >= 12:
        result.color = _correlation(face_colors[raster.face[both]].astype(np.float64), evidence.colors[both] / 255.0)
    return result


def _correlation(first: F64, second: F64) -> float | None:
    """Of luminance and colour differences together, each freed of its mean; None where either is one plain colour."""
    a, b = (values - values.mean(axis=0) for values in (first, second))
    power = float(np.sqrt((a**2).sum() * (b**2).sum()))
    plain = min(a.std(), b.std()) < 0.02
    return None if plain else float((a * b).sum() / power)
