"""Hero rules: which proposals are worth rebuilding as props. Every figure here is measured in the still's own pixels.

A rule answers with a code of stages/harvest.py's NOTICES and its parameters. `fatal` codes reject a proposal;
the others are remarks kept with the prop.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy import ndimage

from worker.arrays import F32, U8, Bool
from worker.formats.pointmap import Pointmap

MIN_AREA, MAX_AREA = 0.004, 0.35  # share of the frame
MIN_SIDE = 96  # px; the crop a generator sees is ~518 px, less than this gives mush
MIN_SIDE_SHARE = 0.05  # ... of the longer side, for stills smaller than film: a compact thing of the least area
BORDER = 5  # px
MAX_TRUNCATED, FLAG_TRUNCATED = 0.2, 0.01  # share of the contour that lies on the frame's border
MAIN_FRAGMENT = 0.6  # the largest piece must hold this share of the mask
MAX_HOLE = 100  # px at 1280 wide, in all
OCCLUDER_STEP = 0.04  # nearer than the prop by this share of its depth
OCCLUDED_SHARE, FLAG_OCCLUDED = 0.35, 0.06  # share of the contour behind something nearer
FLAT_INLIERS, FLAT_STEP = 0.85, 0.12  # a picture on its wall: flat, and no depth step around it
DUPLICATE_IOU, CONTAINED = 0.7, 0.85
OVERLAP = 0.4  # of the smaller of two masks
DOUBTFUL = 1.05  # a part that scores so many times better than the whole around it stands for itself

Reason = tuple[str, dict[str, object]]


@dataclass
class Judged:
    """One proposal under judgement; `score` is final once `judge` has run."""

    mask: Bool
    score: float
    source: str
    is_person: bool = False
    roi: int | None = None
    fatal: list[Reason] = field(default_factory=list)
    remarks: list[Reason] = field(default_factory=list)
    truncated: bool = False
    occluded: bool = False
    depth_step: float | None = None

    @property
    def box(self) -> tuple[int, int, int, int]:
        x, y, w, h = cv2.boundingRect(self.mask.astype(np.uint8))
        return x, y, w, h


def tidy(mask: Bool) -> Bool:
    """Drop specks below 2 % of the mask and close pinholes; real pieces and real holes stay to be judged."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= max(25, 0.02 * mask.sum())]
    mask = np.isin(labels, keep)
    holes, count = ndimage.label(~mask)
    if count > 1:
        sizes = np.bincount(holes.ravel())
        small = (sizes < max(25, 0.004 * mask.sum())) & (np.arange(len(sizes)) > 0)
        mask = mask | small[holes]
    return mask


def judge(item: Judged, image: U8, depth: Pointmap | None) -> None:
    """Apply every rule that looks at one proposal alone, then settle its score."""
    height, width = item.mask.shape
    area = float(item.mask.mean())
    _, _, w, h = item.box
    if item.is_person:
        item.fatal.append(("harvest.person", {}))
    if area < MIN_AREA:
        item.fatal.append(("harvest.too_small", {"percent": round(100 * area, 2), "limit": 100 * MIN_AREA}))
    if area > MAX_AREA:
        item.fatal.append(("harvest.too_large", {"percent": round(100 * area, 1), "limit": 100 * MAX_AREA}))
    floor = min(MIN_SIDE, round(MIN_SIDE_SHARE * max(width, height)))
    if max(w, h) < floor:
        item.fatal.append(("harvest.too_few_pixels", {"side": max(w, h), "limit": floor}))
    elif max(w, h) < MIN_SIDE:
        item.remarks.append(("harvest.coarse", {"side": max(w, h)}))
    _truncation(item)
    _wholeness(item)
    if depth is not None:
        _against_depth(item, depth)
    item.score = _score(item, image)


def _truncation(item: Judged) -> None:
    inner = item.mask[BORDER:-BORDER, BORDER:-BORDER] if min(item.mask.shape) > 4 * BORDER else item.mask
    edge = _contour(item.mask)
    on_border = edge.copy()
    if inner is not item.mask:
        on_border[BORDER:-BORDER, BORDER:-BORDER] = False
    share = float(on_border.sum() / max(1, edge.sum()))
    item.truncated = share > FLAG_TRUNCATED
    if share > MAX_TRUNCATED:
        item.fatal.append(("harvest.truncated", {"percent": round(100 * share)}))
    elif item.truncated:
        item.remarks.append(("harvest.slightly_truncated", {"percent": round(100 * share)}))


def _wholeness(item: Judged) -> None:
    labels, count = ndimage.label(item.mask, structure=np.ones((3, 3)))
    if count > 1:
        sizes = np.bincount(labels.ravel())[1:]
        share = float(sizes.max() / sizes.sum())
        if share < MAIN_FRAGMENT:
            item.fatal.append(("harvest.fragments", {"count": int(count), "percent": round(100 * share)}))
    holes = int((ndimage.binary_fill_holes(item.mask) & ~item.mask).sum())
    if holes > MAX_HOLE * (item.mask.shape[1] / 1280) ** 2:
        item.remarks.append(("harvest.holes", {"percent": round(100 * holes / item.mask.sum(), 1)}))


def _against_depth(item: Judged, pointmap: Pointmap) -> None:
    """Occlusion, and stuff against things, by the depth just inside and just outside the contour."""
    inside, outside = _bands(item.mask, pointmap)
    if len(inside) < 20:
        return
    step = (outside - inside) / inside
    occluded = float((step < -OCCLUDER_STEP).mean())
    item.depth_step = float((step > OCCLUDER_STEP).mean())
    item.occluded = occluded > FLAG_OCCLUDED
    if occluded > OCCLUDED_SHARE:
        item.fatal.append(("harvest.occluded", {"percent": round(100 * occluded)}))
    elif item.occluded:
        item.remarks.append(("harvest.slightly_occluded", {"percent": round(100 * occluded)}))
    if item.depth_step < FLAT_STEP:
        inliers = _plane_inliers(pointmap.points[item.mask & pointmap.mask])
        if inliers > FLAT_INLIERS:
            item.fatal.append(("harvest.flat", {"percent": round(100 * inliers)}))


def _bands(mask: Bool, pointmap: Pointmap) -> tuple[F32, F32]:
    """Depths (N,) inside and outside of N contour pixels, some pixels away: network depth is soft at edges."""
    reach = max(2, round(0.004 * max(mask.shape)))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    depth = np.where(pointmap.mask, pointmap.depth, np.nan).astype(np.float32)
    # Nearest depth of the neighbourhood within each side: what stands in front decides.
    far = np.float32(np.finfo(np.float32).max)
    inner = cv2.erode(np.where(mask & pointmap.mask, depth, far), kernel)
    outer = cv2.erode(np.where(~mask & pointmap.mask, depth, far), kernel)
    edge = _contour(mask) & (inner < far) & (outer < far)
    return np.asarray(inner[edge], np.float32), np.asarray(outer[edge], np.float32)


def _plane_inliers(points: F32) -> float:
    """Share of points within 1 % of their distance of the best plane (RANSAC, fixed seed)."""
    if len(points) < 50:
        return 0.0
    rng = np.random.default_rng(0)
    sample = points[rng.choice(len(points), min(len(points), 1500), replace=False)].astype(np.float64)
    tolerance = 0.01 * float(np.median(np.linalg.norm(sample, axis=1)))
    triples = sample[rng.integers(0, len(sample), (64, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.maximum(length, 1e-12)
    distance = np.abs((sample[None] - triples[:, :1]) @ normals[..., None])[..., 0]
    return float((distance < tolerance).mean(axis=1).max())


def _contour(mask: Bool) -> Bool:
    """The mask's own outermost pixels; the frame's border counts as outside."""
    padded = np.pad(mask, 1).astype(np.uint8)
    return mask & ~cv2.erode(padded, np.ones((3, 3), np.uint8))[1:-1, 1:-1].astype(bool)


def _score(item: Judged, image: U8) -> float:
    """0..1: mostly the engine's word, then size, place, depth step and sharpness, less the penalties."""
    height, width = item.mask.shape
    x, y, w, h = item.box
    size = min(1.0, np.sqrt(float(item.mask.mean()) / 0.06))
    away = np.hypot((x + w / 2) / width - 0.5, (y + h / 2) / height - 0.5) / np.hypot(0.5, 0.5)
    crop = cv2.cvtColor(np.ascontiguousarray(image[y : y + h, x : x + w]), cv2.COLOR_RGB2GRAY)
    sharp = min(1.0, float(cv2.Laplacian(crop, cv2.CV_32F)[item.mask[y : y + h, x : x + w]].std()) / 20)
    step = 0.5 if item.depth_step is None else min(1.0, item.depth_step / 0.6)
    value = 0.55 * item.score + 0.15 * size + 0.1 * (1 - away) + 0.1 * step + 0.1 * sharp
    value -= 0.08 * item.truncated + 0.08 * item.occluded
    return round(float(np.clip(value, 0.0, 1.0)), 4)


def drop_duplicates(items: list[Judged]) -> None:
    """Mark the weaker of two masks of one thing; of a thing and its part keep the thing, unless it swallows several.

    The user's boxes win over anything found on its own.
    """
    order = sorted(items, key=lambda i: (i.roi is None, -i.score))
    kept: list[Judged] = []
    for item in order:
        if item.fatal and item.roi is None:
            continue
        rival = next((k for k in kept if _same_thing(item.mask, k.mask)), None)
        if rival is not None and not (item.roi is not None and rival.roi is not None):
            item.fatal.append(("harvest.duplicate", {}))
            continue
        kept.append(item)
    for item in list(kept):
        if item.roi is not None:
            continue
        parts = [k for k in kept if k is not item and not k.fatal and _within(k.mask, item.mask)]
        chosen = [k for k in parts if k.roi is not None]
        # Several good things inside one outline: the outline is a group (a table with all that stands on it).
        covered = sum(int(k.mask.sum()) for k in parts) / max(1, int(item.mask.sum()))
        if chosen or (len(parts) >= 2 and covered > 0.6):
            item.fatal.append(("harvest.group", {"count": len(parts)}))
            continue
        # A doubtful outline does not swallow a clear thing inside it.
        if any(k.score > DOUBTFUL * item.score for k in parts):
            item.fatal.append(("harvest.group", {"count": len(parts)}))
            continue
        for part in parts:
            part.fatal.append(("harvest.part", {}))
    _drop_overlapping([item for item in kept if not item.fatal])


def _drop_overlapping(items: list[Judged]) -> None:
    """No pixel shows two things: of two outlines that share much of the smaller one, the weaker is wrong."""
    good: list[Judged] = []
    for item in sorted(items, key=lambda i: -i.score):
        shared = (np.count_nonzero(item.mask & g.mask) / min(item.mask.sum(), g.mask.sum()) for g in good)
        if item.roi is None and any(share > OVERLAP for share in shared):
            item.fatal.append(("harvest.overlap", {}))
        else:
            good.append(item)


def _same_thing(a: Bool, b: Bool) -> bool:
    union = np.count_nonzero(a | b)
    return bool(union and np.count_nonzero(a & b) / union > DUPLICATE_IOU)


def _within(part: Bool, whole: Bool) -> bool:
    return bool(np.count_nonzero(part & whole) > CONTAINED * np.count_nonzero(part) and part.sum() < whole.sum())
