"""Props without a labelled network: rough masks from many sources, each brought to the outline of the thing it lies on.

One salient map of a whole film frame merges or misses most things. The same small network looking through windows of
several sizes sees one or two things at a time; what keeps clear of its window's edge may be a whole thing. With the
geometry engine's instances these are hints where things are; the outline network (outline.py) says what they are, and
drops what it takes for none. Hints that agree score better than a single one, and so do outlines that meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from worker.engines.embedded.outline import Outline, Outlines
from worker.engines.embedded.people import detect_people
from worker.engines.embedded.saliency import Saliency

LONG_SIDE = 1280  # proposals are made at this size; full-resolution edges come from the matting that follows
MIN_SHARE = 0.0015  # of the frame; the hero rules set the real floor
MAX_PROPOSALS = 40
MAX_HINTS = 40  # a look of the outline network each, at times two
SURE, DULL = 0.5, 0.2  # saliency of a thing, and of its parts in shadow or of one colour with what is behind
LEAST_CERTAIN = 0.65  # expected IoU of an outline
HOLES, DOUBT = 0.02, 0.03  # share of an outline that is worth another look; certainty that look may cost
CRACK = 1 / 160  # of the long side: width of a crack between a hole and the outside
LOOSER = 0.05  # IoU with a user's box that an outline may lose
SAME = 0.6  # IoU of two masks of one thing
SINGLE = 0.8  # share of its score that a mask keeps which nothing else agrees with; two others give all

Box = tuple[int, int, int, int]


@dataclass
class _Candidate:
    mask: Bool
    score: float
    source: str
    is_person: bool = False
    support: int = 1


class EmbeddedHarvest:
    """CPU only; at most 13 runs of U2-Net (small) and 80 of the outline network a still, and one of each a box."""

    def load(self, device: str, tier: str) -> None:
        threads = 1 if tier == "low" else 2
        self._saliency, self._outlines = Saliency(threads), Outlines(threads)

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
        candidates = self._found(request, image, lambda done: progress(0.1 + 0.85 * done))
        people = detect_people(image)
        person = _person_map(request, size)
        proposals = [MaskProposal(mask, score, "roi") for mask, score in rois]
        for c in candidates:
            is_person = c.is_person or _is_person(c.mask, people, person)
            proposals.append(MaskProposal(c.mask, c.score, c.source, is_person=is_person))
        if scale < 1:
            for p in proposals:
                p.mask = _resize_mask(p.mask, (full_width, full_height))
        if not proposals:
            notices.append(EngineNotice("harvest.nothing_salient"))
        progress(1.0)
        return HarvestResult(proposals, notices)

    def _found(self, request: HarvestRequest, image: U8, progress: Progress) -> list[_Candidate]:
        """Outlines of things at the working size, best first."""
        size = (image.shape[1], image.shape[0])
        hints: list[_Candidate] = []
        things = None
        if request.instances is not None:
            hints += _instances(request, [request.instances], size)
            numbers = request.instances.astype(np.float32)
            things = np.asarray(cv2.resize(numbers, size, interpolation=cv2.INTER_NEAREST), np.int32)
        windows = list(_windows(*size, fine=len(hints) < 4))
        if request.instance_readings is not None:
            hints += _instances(request, request.instance_readings, size)
        for done, window in enumerate(windows, 1):
            hints += self._look(image, window)
            progress(0.6 * done / len(windows))
        hints = _merge(hints)[:MAX_HINTS]
        found: list[_Candidate] = []
        for done, hint in enumerate(hints, 1):
            outline = self._outline(image, hint.mask, things)
            if outline.certainty >= LEAST_CERTAIN and outline.mask.mean() >= MIN_SHARE:
                score = 0.5 * (hint.score + outline.certainty)
                found.append(_Candidate(outline.mask, score, hint.source, outline.person > 0.5))
            progress(0.6 + 0.4 * done / len(hints))
        return _merge(found)[:MAX_PROPOSALS]

    def _outline(self, image: U8, hint: Bool, things: I32 | None) -> Outline:
        """Looked at once more where the outline leaves holes in what the geometry engine calls one thing: a seat in the
        sun, yet part of its chair."""
        outline = self._outlines(image, hint)
        if things is None:
            return outline
        holes = _own_holes(outline.mask, things)
        if holes.sum() <= HOLES * outline.mask.sum():
            return outline
        again = self._outlines(image, outline.mask | holes)
        return again if again.certainty > outline.certainty - DOUBT else outline

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
            yield _Candidate(whole, float(saliency[mask].mean()), "saliency" if w == width else "tile")

    def _from_roi(self, image: U8, box: Box) -> tuple[Bool, float]:
        """The thing inside a user's box: what is salient there, else what GrabCut finds, each brought to its outline
        where that fills the box as well; where there is neither, the box itself."""
        x, y, w, h = box
        inside = np.zeros(image.shape[:2], dtype=bool)
        inside[y : y + h, x : x + w] = True
        gx, gy, gw, gh = _grown(box, 0.35, image.shape)
        saliency = np.zeros(image.shape[:2], dtype=np.float32)
        saliency[gy : gy + gh, gx : gx + gw] = self._saliency(np.ascontiguousarray(image[gy : gy + gh, gx : gx + gw]))
        salient = (saliency > SURE) & inside
        if salient.any() and _box_iou(_bounds(salient), box) > 0.6:
            return self._within_box(image, salient, box), 0.95
        cut = _grabcut(image, box, saliency)
        if cut.sum() > 0.1 * w * h:
            return self._within_box(image, cut, box), 0.9
        return inside, 0.5

    def _within_box(self, image: U8, mask: Bool, box: Box) -> Bool:
        """The mask's outline where that fills the user's box nearly as well as the mask."""
        outline = self._outlines(image, mask)
        if outline.certainty < LEAST_CERTAIN or not outline.mask.any():
            return mask
        fit, before = (_box_iou(_bounds(m), box) for m in (outline.mask, mask))
        return outline.mask if fit >= before - LOOSER else mask


def _own_holes(mask: Bool, things: I32) -> Bool:
    """Holes, also with a crack to the outside, that the geometry engine calls the same thing as the mask around them.

    What is seen between the bars of a chair's back is not.
    """
    found = np.zeros_like(mask)
    own = int(np.bincount(things[mask]).argmax()) if mask.any() else 0
    if not own:
        return found
    crack = 2 * max(1, round(max(mask.shape) * CRACK / 2)) + 1
    x, y, w, h = _bounds(mask)
    part = np.s_[max(0, y - crack) : y + h + crack, max(0, x - crack) : x + w + crack]
    closed = cv2.morphologyEx(mask[part].astype(np.uint8), cv2.MORPH_CLOSE, np.ones((crack, crack), np.uint8))
    for hole in _components((binary_fill_holes(closed) & ~mask[part]).astype(np.float32), 0.5, 9):
        if np.bincount(things[part][hole]).argmax() == own:
            found[part] |= hole
    return found


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
    """Join masks of one thing: the best-scored stays, others add support. Best first."""
    kept: list[_Candidate] = []
    for candidate in sorted(candidates, key=lambda c: -c.score):
        same = next((k for k in kept if _iou(k.mask, candidate.mask) > SAME), None)
        if same is None:
            kept.append(candidate)
            continue
        same.support += 1
    for k in kept:
        k.score *= SINGLE + (1 - SINGLE) * min(k.support - 1, 2) / 2
    return sorted(kept, key=lambda c: -c.score)


# --- other sources --------------------------------------------------------------------------------------------------
def _instances(request: HarvestRequest, maps: Iterable[I32], size: tuple[int, int]) -> Iterator[_Candidate]:
    """The geometry engine's own objects. Its person class is left to the hero rules, its stuff is not offered."""
    things = confidence = None
    if request.classes is not None:
        classes = cv2.resize(request.classes, size, interpolation=cv2.INTER_NEAREST)
        things = np.isin(classes, (SurfaceClass.OBJECT, SurfaceClass.PERSON))
    if request.confidence is not None:
        confidence = cv2.resize(request.confidence, size, interpolation=cv2.INTER_LINEAR)
    for labels in maps:
        for number in np.unique(labels[labels > 0]):
            mask = _resize_mask(labels == number, size)
            if mask.mean() < MIN_SHARE:
                continue
            score = 0.8 if things is None else float(things[mask].mean())
            if confidence is not None:
                score *= 0.6 + 0.4 * float(confidence[mask].mean())
            yield _Candidate(mask, score, "instances")


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
    """By class where the geometry engine gives one, or as a detected figure that fills the mask and its height."""
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
