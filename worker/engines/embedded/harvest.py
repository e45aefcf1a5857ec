"""Props without a labelled network: saliency seen through many windows, the user's boxes, the geometry's instances.

One salient map of a whole film frame merges or misses most things. The same small network looking through windows of
several sizes sees one or two things at a time; what keeps clear of its window's edge is a whole thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes

from worker.arrays import F32, I32, U8, Bool
from worker.engines.contract import (
    EngineNotice,
    HarvestRequest,
    HarvestResult,
    MaskProposal,
    Progress,
    SurfaceClass,
)
from worker.engines.embedded.people import detect_people
from worker.engines.embedded.saliency import Saliency

LONG_SIDE = 1280  # proposals are made at this size; full-resolution edges come from the matting that follows
MIN_SHARE = 0.0015  # of the frame; the hero rules set the real floor
MAX_PROPOSALS = 40
LIKELY = 24  # best candidates, of which the coarsest get a second look
SURE, DULL = 0.5, 0.2  # saliency of a thing, and of its parts in shadow or of one colour with what is behind
SECOND_LOOKS = 14  # a run of the network each, a quarter of a second
STEP, EDGE_EPS = 1 / 160, 40.0  # of the long side: one step of the instances; variance of grey levels that is an edge
SAME, CLEARLY_SAME, RELATED = 0.6, 0.7, 0.35  # mask IoU of one thing in two windows, of one mask sharpened, of a share

Box = tuple[int, int, int, int]


@dataclass
class _Candidate:
    mask: Bool
    score: float
    source: str
    window: float  # the window's area over the frame's: how coarse the mask is
    support: int = 1


class EmbeddedHarvest:
    """CPU only; at most 27 runs of U2-Net (small) a still, and one a box."""

    def load(self, device: str, tier: str) -> None:
        self._saliency = Saliency(threads=1 if tier == "low" else 2)

    def run(self, request: HarvestRequest, progress: Progress) -> HarvestResult:
        full_height, full_width = request.image.shape[:2]
        scale = min(1.0, LONG_SIDE / max(full_height, full_width))
        size = (max(1, round(full_width * scale)), max(1, round(full_height * scale)))
        image = request.image
        if scale < 1:
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        notices: list[EngineNotice] = []

        rois = [self._from_roi(image, _scaled(box, scale, size)) for box in request.rois]
        progress(0.1)
        candidates = list(_instances(request, image))
        windows = list(_windows(*size, fine=len(candidates) < 4))
        for done, window in enumerate(windows):
            candidates += self._look(image, window)
            progress(0.1 + 0.6 * (done + 1) / len(windows))
        candidates = _merge(candidates)[:MAX_PROPOSALS]
        coarse = sorted(candidates[:LIKELY], key=_coarseness, reverse=True)[:SECOND_LOOKS]
        for done, candidate in enumerate(coarse):
            candidates += self._second_look(image, candidate)
            progress(0.7 + 0.25 * (done + 1) / SECOND_LOOKS)

        if request.instances is not None:
            numbers = request.instances.astype(np.float32)
            things = np.asarray(cv2.resize(numbers, size, interpolation=cv2.INTER_NEAREST), np.int32)
            for candidate in candidates:
                candidate.mask = candidate.mask | _own_holes(candidate.mask, things)
        people = detect_people(image)
        person = _person_map(request, size)
        proposals = [MaskProposal(mask, score, "roi") for mask, score in rois]
        for c in sorted(candidates, key=lambda c: -c.score):
            proposals.append(MaskProposal(c.mask, c.score, c.source, is_person=_is_person(c.mask, people, person)))
        if scale < 1:
            for p in proposals:
                p.mask = _resize_mask(p.mask, (full_width, full_height))
        if not proposals:
            notices.append(EngineNotice("harvest.nothing_salient"))
        progress(1.0)
        return HarvestResult(proposals, notices)

    def _look(self, image: U8, window: Box) -> Iterator[_Candidate]:
        """Whole things that the network sees through one window."""
        height, width = image.shape[:2]
        x, y, w, h = window
        saliency = self._saliency(np.ascontiguousarray(image[y : y + h, x : x + w]))
        inner = (x > 0, y > 0, x + w < width, y + h < height)  # left, top, right, bottom lie inside the picture
        sure = _components(saliency, SURE, MIN_SHARE * height * width)
        for mask in sure + _joined_dull_parts(saliency, sure, MIN_SHARE * height * width):
            if _touches(mask, inner):
                continue
            whole = np.zeros((height, width), dtype=bool)
            whole[y : y + h, x : x + w] = mask
            yield _Candidate(whole, float(saliency[mask].mean()), "saliency" if w == width else "tile",
                             w * h / (width * height))

    def _second_look(self, image: U8, candidate: _Candidate) -> Iterator[_Candidate]:
        """Look closely at a candidate seen through a much larger window: sharpen it where both see the same thing.

        Where the closer look shows rather more or less of it, that is another candidate.
        """
        if _coarseness(candidate) < 2.5:
            return
        x, y, w, h = _grown(_bounds(candidate.mask), 0.25, image.shape)
        saliency = self._saliency(np.ascontiguousarray(image[y : y + h, x : x + w]))
        closer = np.zeros_like(candidate.mask)
        parts = _components(saliency, SURE, 0.05 * candidate.mask.sum())
        for part in parts:
            if (part & candidate.mask[y : y + h, x : x + w]).sum() > 0.5 * part.sum():
                closer[y : y + h, x : x + w] |= part
        same = _iou(closer, candidate.mask)
        if same > CLEARLY_SAME:
            candidate.mask = closer
        elif same > RELATED:
            window = w * h / closer.size
            yield _Candidate(closer, float(saliency[closer[y : y + h, x : x + w]].mean()), "tile", window)

    def _from_roi(self, image: U8, box: Box) -> tuple[Bool, float]:
        """The thing inside a user's box: by saliency where that fills the box, else by GrabCut, else the box itself."""
        x, y, w, h = box
        inside = np.zeros(image.shape[:2], dtype=bool)
        inside[y : y + h, x : x + w] = True
        gx, gy, gw, gh = _grown(box, 0.35, image.shape)
        saliency = np.zeros(image.shape[:2], dtype=np.float32)
        saliency[gy : gy + gh, gx : gx + gw] = self._saliency(np.ascontiguousarray(image[gy : gy + gh, gx : gx + gw]))
        salient = (saliency > SURE) & inside
        if salient.any() and _box_iou(_bounds(salient), box) > 0.6:
            return salient, 0.95
        cut = _grabcut(image, box, saliency)
        if cut.sum() > 0.1 * w * h:
            return cut, 0.9
        return inside, 0.5


def _own_holes(mask: Bool, things: I32) -> Bool:
    """Holes, also with a crack to the outside, that the geometry engine calls the same thing as the mask around them.

    A seat in the sun is not salient, yet part of its chair; what is seen between the bars of its back is not.
    """
    crack = 2 * max(1, round(max(mask.shape) * STEP / 2)) + 1
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((crack, crack), np.uint8))
    own, found = int(np.bincount(things[mask]).argmax()) if mask.any() else 0, np.zeros_like(mask)
    if own:
        for hole in _components((binary_fill_holes(closed) & ~mask).astype(np.float32), 0.5, 9):
            if np.bincount(things[hole]).argmax() == own:
                found |= hole
    return found


def _coarseness(candidate: _Candidate) -> float:
    """Area of the window a candidate was seen through, over the window a closer look would take."""
    _, _, w, h = _grown(_bounds(candidate.mask), 0.25, candidate.mask.shape)
    return candidate.window * candidate.mask.size / (w * h)


# --- windows --------------------------------------------------------------------------------------------------------
def _windows(width: int, height: int, fine: bool) -> Iterator[Box]:
    """The whole frame, then overlapping windows: few and large, then (`fine`) more and smaller ones."""
    yield 0, 0, width, height
    if min(width, height) < 160:  # a thumbnail holds no more than one look shows
        return
    levels: list[tuple[float, float]] = [(0.62, 0.72)]
    if fine:
        levels.append((0.4, 0.56))
    for level, (across, down) in enumerate(levels):
        w, h = round(width * across), round(height * down)
        columns, rows = (2, 2) if level == 0 else (4, 2)
        if width > 2.6 * height:  # scope or wider: one row of taller windows serves better
            columns, rows, h = columns + 1, 1, height
        for top in np.linspace(0, height - h, rows).round().astype(int):
            for left in np.linspace(0, width - w, columns).round().astype(int):
                yield int(left), int(top), w, h


def _components(saliency: F32, threshold: float, min_area: float) -> list[Bool]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats((saliency > threshold).astype(np.uint8))
    return [labels == i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= min_area]


def _joined_dull_parts(saliency: F32, sure: list[Bool], min_area: float) -> list[Bool]:
    """Outlines at the lower threshold that add dull parts to one thing; those that join several things are haze."""
    grown = []
    for mask in _components(saliency, DULL, min_area):
        inside = [int(s.sum()) for s in sure if s[mask].any()]
        if len(inside) == 1 and 0.4 * mask.sum() < inside[0] < 0.85 * mask.sum():
            grown.append(mask)
    return grown


def _touches(mask: Bool, sides: tuple[bool, bool, bool, bool]) -> bool:
    """Whether more than a sliver of the mask lies on one of the sides (left, top, right, bottom) asked for."""
    edges = (mask[:, :2], mask[:2], mask[:, -2:], mask[-2:])
    limit = 0.06 * 2 * np.sqrt(mask.sum())
    return any(side and edge.sum() > limit for side, edge in zip(sides, edges, strict=True))


def _merge(candidates: list[_Candidate]) -> list[_Candidate]:
    """Join views of one thing: the best-scored mask stays, others add support. Best first."""
    kept: list[_Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (-c.score, c.window)):
        same = next((k for k in kept if _iou(k.mask, candidate.mask) > SAME), None)
        if same is None:
            kept.append(candidate)
            continue
        same.support += 1
    for k in kept:
        k.score *= 0.8 + 0.2 * min(k.support - 1, 2) / 2
    return sorted(kept, key=lambda c: -c.score)


# --- other sources --------------------------------------------------------------------------------------------------
def _instances(request: HarvestRequest, image: U8) -> Iterator[_Candidate]:
    """The geometry engine's own objects. Its person class is left to the hero rules, its stuff is not offered."""
    if request.instances is None:
        return
    size = (image.shape[1], image.shape[0])
    for number in np.unique(request.instances):
        mask = request.instances == number
        if number <= 0 or mask.mean() < MIN_SHARE:
            continue
        score = 0.8
        if request.classes is not None:
            score = float(np.isin(request.classes[mask], (SurfaceClass.OBJECT, SurfaceClass.PERSON)).mean())
        if request.confidence is not None:
            score *= 0.6 + 0.4 * float(request.confidence[mask].mean())
        yield _Candidate(_drawn_to_edges(image, _resize_mask(mask, size)), score, "instances", 1.0)


def _drawn_to_edges(image: U8, mask: Bool) -> Bool:
    """A network's mask has steps of several pixels: follow the picture's own edges (guided filter, He et al. 2010)."""
    x, y, w, h = _grown(_bounds(mask), 0.1, image.shape)
    part = (slice(y, y + h), slice(x, x + w))
    reach = max(2, round(STEP * max(image.shape)))
    soft = cv2.ximgproc.guidedFilter(np.ascontiguousarray(image[part]), mask[part].astype(np.float32), reach, EDGE_EPS)
    drawn = np.zeros_like(mask)
    drawn[part] = soft > 0.5
    return drawn


def _grabcut(image: U8, box: Box, saliency: F32) -> Bool:
    """GrabCut (Rother et al. 2004) seeded by a box, on a crop of at most 320 px: seconds become tenths."""
    gx, gy, gw, gh = _grown(box, 0.35, image.shape)
    scale = min(1.0, 320 / max(gw, gh))
    size = (max(8, round(gw * scale)), max(8, round(gh * scale)))
    crop = cv2.resize(image[gy : gy + gh, gx : gx + gw], size, interpolation=cv2.INTER_AREA)
    seen = cv2.resize(saliency[gy : gy + gh, gx : gx + gw], size)
    mask = np.full(crop.shape[:2], cv2.GC_BGD, dtype=np.uint8)
    x0, y0 = int((box[0] - gx) * scale), int((box[1] - gy) * scale)
    x1, y1 = int(np.ceil((box[0] + box[2] - gx) * scale)), int(np.ceil((box[1] + box[3] - gy) * scale))
    mask[y0:y1, x0:x1] = cv2.GC_PR_FGD
    mask[(seen > 0.9) & (mask == cv2.GC_PR_FGD)] = cv2.GC_FGD
    whole = np.zeros(image.shape[:2], dtype=bool)
    if (mask == cv2.GC_BGD).sum() < 32:  # a box over the whole picture leaves nothing to learn the background from
        return whole
    cv2.setRNGSeed(0)  # its colour models start from k-means
    bgr = np.ascontiguousarray(crop[..., ::-1])
    cv2.grabCut(bgr, mask, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    cut = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))
    whole[gy : gy + gh, gx : gx + gw] = _resize_mask(cut, (gw, gh))
    return whole


# --- people ---------------------------------------------------------------------------------------------------------
def _person_map(request: HarvestRequest, size: tuple[int, int]) -> Bool | None:
    if request.classes is None:
        return None
    return _resize_mask(request.classes == SurfaceClass.PERSON, size)


def _is_person(mask: Bool, people: list[tuple[int, int, int, int, float]], person: Bool | None) -> bool:
    """By class where the geometry engine gives one; else a detected figure that fills the mask and its height."""
    if person is not None and (mask & person).sum() > 0.5 * mask.sum():
        return True
    bounds = _bounds(mask)
    return any(_box_iou(bounds, (x, y, w, h)) > 0.5 for x, y, w, h, _ in people)


# --- small geometry -------------------------------------------------------------------------------------------------
def _bounds(mask: Bool) -> Box:
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, w, h


def _grown(box: Box, share: float, shape: tuple[int, ...]) -> Box:
    x, y, w, h = box
    margin = max(4, round(share * max(w, h)))
    x0, y0 = max(0, x - margin), max(0, y - margin)
    return x0, y0, min(shape[1], x + w + margin) - x0, min(shape[0], y + h + margin) - y0


def _scaled(box: Box, scale: float, size: tuple[int, int]) -> Box:
    """A box in working pixels, clipped to the picture, never empty."""
    x0, y0 = min(int(box[0] * scale), size[0] - 1), min(int(box[1] * scale), size[1] - 1)
    x1, y1 = int(np.ceil((box[0] + box[2]) * scale)), int(np.ceil((box[1] + box[3]) * scale))
    return x0, y0, max(1, min(x1, size[0]) - x0), max(1, min(y1, size[1]) - y0)


def _iou(a: Bool, b: Bool) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


def _box_iou(a: Box, b: Box) -> float:
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (a[2] * a[3] + b[2] * b[3] - w * h)


def _resize_mask(mask: Bool, size: tuple[int, int]) -> Bool:
    """Area-true resampling, cut at one half: smoother edges than nearest."""
    if mask.shape == (size[1], size[0]):
        return mask
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
