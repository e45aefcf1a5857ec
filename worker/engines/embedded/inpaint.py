"""Classical inpainting: structure from patches at a workable size, texture and grain from the picture's own pixels.

The voted colours are right but soft; the patches they came from are known, so what a reduced picture lost (grain,
weave, brick) is copied over from the full-size pixels they stand for. Seams cannot show: only detail is copied.
"""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, I32, U8, Bool
from worker.engines.contract import CleanPlateRequest, CleanPlateResult, EngineNotice, Progress
from worker.engines.embedded import patchmatch

HOLE_BUDGET = 4000  # pixels of one hole at working size: about half a second
LONG_SIDE = 320
RIM_STEP = 0.12  # sRGB; a larger difference is an edge of the picture, not a seam
LARGE_HOLE = 0.12  # of the frame: what was behind is anyone's guess


class EmbeddedInpaint:
    def load(self, device: str, tier: str) -> None:
        self._budget = HOLE_BUDGET if tier == "full" else HOLE_BUDGET // 2

    def run(self, request: CleanPlateRequest, progress: Progress) -> CleanPlateResult:
        image, open_holes = request.image.copy(), request.hole.copy()
        notices: list[EngineNotice] = []
        count, labels, stats, _ = cv2.connectedComponentsWithStats(request.hole.astype(np.uint8), connectivity=8)
        # Far things first (their feet are higher up): nearer holes may then borrow from what was filled.
        order = sorted(range(1, count), key=lambda i: int(stats[i, cv2.CC_STAT_TOP] + stats[i, cv2.CC_STAT_HEIGHT]))
        smooth = 0
        for done, number in enumerate(order):
            hole = labels == number
            smooth += not _fill_one(image, hole, open_holes, self._budget, request.seed)
            open_holes &= ~hole
            progress((done + 1) / len(order))
        if request.hole.mean() > LARGE_HOLE:
            notices.append(EngineNotice("clean_plate.large", {"percent": round(100 * float(request.hole.mean()))}))
        if smooth:
            notices.append(EngineNotice("clean_plate.smooth", {"count": smooth}, degraded=True))
        return CleanPlateResult(image, notices)


def _fill_one(image: U8, hole: Bool, open_holes: Bool, budget: int, seed: int) -> bool:
    """Fill one connected hole of `image` in place; False where only smooth colour could be put there."""
    x0, y0, x1, y1 = _surroundings(hole)
    window = np.s_[y0:y1, x0:x1]
    picture = np.divide(image[window], 255, dtype=np.float32)
    gap, banned = hole[window], open_holes[window]
    scale = min(1.0, LONG_SIDE / max(gap.shape), float(np.sqrt(budget / gap.sum())))
    size = (max(8, round(gap.shape[1] * scale)), max(8, round(gap.shape[0] * scale)))
    # Known colours only: the prop itself must not bleed into what replaces it.
    small = _shrunk(picture, ~banned, size)
    small_gap = cv2.resize(gap.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    small_banned = cv2.resize(banned.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    filling = patchmatch.fill(small, small_gap, small_banned, seed)
    if filling is None:
        smooth = patchmatch.membrane(picture, banned)
        image[window][gap] = _bytes(smooth)[gap]
        return False
    full = _soft(filling.image, gap.shape) + _detail(picture, banned, small, filling.source)
    full = _joined(picture, full, gap, banned)
    image[window][gap] = _bytes(full)[gap]
    return True


def _surroundings(hole: Bool) -> tuple[int, int, int, int]:
    """The hole with as much around it as it is large: near enough to fit, wide enough to choose."""
    x, y, w, h = cv2.boundingRect(hole.astype(np.uint8))
    margin = max(48, round(0.8 * max(w, h)))
    height, width = hole.shape
    return max(0, x - margin), max(0, y - margin), min(width, x + w + margin), min(height, y + h + margin)


def _shrunk(picture: F32, known: Bool, size: tuple[int, int]) -> F32:
    weight = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    color = cv2.resize(picture * known[..., None], size, interpolation=cv2.INTER_AREA)
    return (color / np.maximum(weight, 1e-6)[..., None]).astype(np.float32)


def _soft(small: F32, shape: tuple[int, ...]) -> F32:
    """Enlarged, and as soft as a vote of patches makes it: what `_detail` adds is what this lacks."""
    return np.asarray(cv2.resize(cv2.blur(small, (3, 3)), shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _detail(picture: F32, banned: Bool, small: F32, source: I32) -> F32:
    """What the soft picture lost, taken from where each pixel's patch came from; zero outside known picture."""
    height, width = banned.shape
    lost = picture - _soft(small, banned.shape)
    reach = 2 * int(np.ceil(2 * height / small.shape[0])) + 1
    lost[cv2.dilate(banned.astype(np.uint8), np.ones((reach, reach), np.uint8)).astype(bool)] = 0
    rows, columns = np.mgrid[:height, :width]
    ratio_y, ratio_x = height / small.shape[0], width / small.shape[1]
    coarse_y = np.minimum((rows / ratio_y).astype(int), small.shape[0] - 1)
    coarse_x = np.minimum((columns / ratio_x).astype(int), small.shape[1] - 1)
    # Whole offsets, so that neighbours with one offset copy a piece without resampling it.
    shift = _calmed(source)[coarse_y, coarse_x]
    from_y = np.clip(rows + np.round(shift[..., 0] * ratio_y).astype(int), 0, height - 1)
    from_x = np.clip(columns + np.round(shift[..., 1] * ratio_x).astype(int), 0, width - 1)
    return lost[from_y, from_x]


def _calmed(source: I32) -> I32:
    """Offsets (h, w, 2) of the match map with stray ones outvoted by their neighbours: pieces copy, combs do not."""
    own = np.moveaxis(np.mgrid[: source.shape[0], : source.shape[1]], 0, -1)
    offsets = (source - own).astype(np.float32)
    return np.dstack([cv2.medianBlur(np.ascontiguousarray(offsets[..., i]), 5) for i in (0, 1)]).astype(np.int32)


def _joined(picture: F32, filled: F32, gap: Bool, banned: Bool) -> F32:
    """Take away the step along the hole's rim: the difference there, spread smoothly inwards.

    This is Poisson blending (Perez et al., SIGGRAPH 2003) with the membrane in place of an exact solve.
    """
    window = (9, 9)
    outside = ~banned & ~gap

    def mean(values: F32, where: Bool) -> tuple[F32, F32]:
        weight = np.asarray(cv2.blur(where.astype(np.float32), window), np.float32)
        total = np.asarray(cv2.blur(values * where[..., None], window), np.float32)
        return np.asarray(total / np.maximum(weight, 1e-6)[..., None], np.float32), weight

    there, seen = mean(picture, outside)
    here, _ = mean(filled, gap)
    rim = gap & (seen > 0.15)
    if not rim.any():
        return filled
    step = np.clip(np.where(rim[..., None], there - here, 0), -RIM_STEP, RIM_STEP).astype(np.float32)
    # It fades with depth: a rest of shadow on the rim must not darken the middle.
    depth = cv2.distanceTransform(gap.astype(np.uint8), cv2.DIST_L2, 3)
    return filled + patchmatch.membrane(step, ~rim) * np.exp(-depth / max(3.0, 0.3 * float(depth.max())))[..., None]


def _bytes(picture: F32) -> U8:
    return np.clip(np.round(picture * 255), 0, 255).astype(np.uint8)
