"""Filling a hole with patches of what surrounds it: coarse to fine, patch by patch, each pixel agreed by vote.

Wexler, Shechtman and Irani, "Space-Time Completion of Video" (TPAMI 2007) for the energy and the vote; Barnes et al.,
"PatchMatch" (SIGGRAPH 2009) for the search, run here for all patches at once instead of in scan order.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from worker.arrays import F32, I32, Bool

HALF = 3  # 7x7 patches
ROUNDS = (10, 6, 4, 3)  # search and vote, coarsest level first
# A patch from another height in the frame usually comes from another surface, or the same one seen at another scale;
# added to the mean squared colour difference per patch pixel, for a whole window height apart.
ROW_COST = 0.12
RIM_TRUST = 1.3  # per pixel of depth
FEWEST_SOURCES = 150
# Films stand level: what lies behind a prop continues sideways (floor, skirting, horizon) rather than up or down.
SIDEWAYS = 8


@dataclass
class Filling:
    """`image` (h, w, 3) float32 with the hole filled; `source` (h, w, 2) row and column each hole pixel speaks for."""

    image: F32
    source: I32


def fill(image: F32, hole: Bool, forbidden: Bool, seed: int) -> Filling | None:
    """Fill `hole` of an (h, w, 3) float32 sRGB 0..1 picture, never copying from `forbidden`.

    Returns None where too little is left around the hole to copy from.
    """
    levels = [(image, hole, forbidden)]
    while _depth(levels[-1][1]) > 3 and len(levels) < len(ROUNDS):
        smaller = _halved(*levels[-1])
        if _whole_patches(smaller[1] | smaller[2]).sum() < FEWEST_SOURCES:
            break
        levels.append(smaller)
    rng = np.random.default_rng(seed)
    result: Filling | None = None
    for number, (picture, gap, banned) in enumerate(reversed(levels)):
        start = picture.copy()
        if result is None:
            start[gap] = membrane(picture, gap | banned, SIDEWAYS)[gap]
            guess = None
        else:
            start[gap] = cv2.resize(result.image, gap.shape[::-1], interpolation=cv2.INTER_LINEAR)[gap]
            guess = _doubled(result.source, gap.shape)
        rounds = ROUNDS[number + len(ROUNDS) - len(levels)] if number else ROUNDS[0]
        filled = _Level(start, gap, gap | banned, rng).run(guess, rounds)
        if filled is None:
            if result is None:
                return None
            break  # the next finer level has no whole patch left: keep what the coarser one found
        result = filled
    if result is not None and result.image.shape != image.shape:
        return None
    return result


class _Level:
    """One level of the pyramid: targets are patches that touch the hole, sources are patches that touch nothing bad."""

    def __init__(self, image: F32, hole: Bool, banned: Bool, rng: np.random.Generator) -> None:
        self.image, self.hole, self.rng = image, hole, rng
        self.height, self.width = hole.shape
        self.valid = _whole_patches(banned)
        touching = ~_whole_patches(hole)
        touching[:HALF], touching[-HALF:], touching[:, :HALF], touching[:, -HALF:] = (False,) * 4
        self.targets = np.argwhere(touching).astype(np.int32)
        # What lies near the rim is better known than the middle and speaks louder, so the rim grows inwards.
        depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 3)
        self.trust = (RIM_TRUST ** -depth[tuple(self.targets.T)]).astype(np.float32)[:, None]
        self.index = np.full(hole.shape, -1, dtype=np.int32)
        self.index[tuple(self.targets.T)] = np.arange(len(self.targets))

    def run(self, guess: I32 | None, rounds: int) -> Filling | None:
        sources = np.argwhere(self.valid).astype(np.int32)
        if len(sources) < 16 or not len(self.targets):
            return None
        # Sources stand in row order: picking near the target's own place in that order starts on the same surface.
        own = np.searchsorted(sources[:, 0], self.targets[:, 0])
        spread = max(1, len(sources) // 12)
        pick = np.clip(own + self.rng.integers(-spread, spread + 1, len(own)), 0, len(sources) - 1)
        self.match = sources[pick]
        self.patches = _patches(self.image)
        if guess is not None:
            known = guess[tuple(self.targets.T)]
            fits = self._allowed(known)
            self.match[fits] = known[fits]
        for number in range(rounds):
            self._search()
            self._vote(sharpness=1.0 + 3.0 * number / rounds)
        nearest = np.zeros((self.height, self.width, 2), dtype=np.int32)
        nearest[..., 0], nearest[..., 1] = np.mgrid[: self.height, : self.width]
        nearest[tuple(self.targets.T)] = self.match
        return Filling(self.image, nearest)

    def _allowed(self, places: I32) -> Bool:
        rows, columns = places.T
        inside = (rows >= 0) & (rows < self.height) & (columns >= 0) & (columns < self.width)
        return inside & self.valid[np.where(inside, rows, 0), np.where(inside, columns, 0)]

    def _cost(self, which: I32, places: I32) -> F32:
        difference = self.wanted[which] - self.patches[places[:, 0], places[:, 1]].reshape(len(which), -1)
        apart = np.abs(places[:, 0] - self.targets[which, 0]) / self.height
        return np.einsum("ij,ij->i", difference, difference) / (2 * HALF + 1) ** 2 + ROW_COST * apart

    def _try(self, places: I32) -> None:
        which = np.nonzero(self._allowed(places))[0].astype(np.int32)
        if not len(which):
            return
        cost = self._cost(which, places[which])
        better = cost < self.cost[which]
        self.match[which[better]] = places[which[better]]
        self.cost[which[better]] = cost[better]

    def _search(self) -> None:
        self.wanted = self.patches[self.targets[:, 0], self.targets[:, 1]].reshape(len(self.targets), -1).copy()
        everything = np.arange(len(self.targets), dtype=np.int32)
        self.cost = self._cost(everything, self.match)
        for step in (4, 1):
            for shift in ((0, step), (0, -step), (step, 0), (-step, 0)):
                near = self.targets + np.array(shift, dtype=np.int32)
                clipped = np.clip(near, 0, (self.height - 1, self.width - 1))
                number = self.index[tuple(clipped.T)]
                self._try(np.where((number >= 0)[:, None], self.match[number] - np.array(shift, dtype=np.int32), -1))
        radius = max(self.height, self.width) // 2
        while radius >= 1:
            jump = self.rng.integers(-radius, radius + 1, self.match.shape, dtype=np.int32)
            jump[:, 0] //= 3
            self._try(self.match + jump)
            radius //= 3

    def _vote(self, sharpness: float) -> None:
        """Each hole pixel becomes the mean of what the patches over it say, the well-matched ones counting more.

        Rising sharpness ends in near-copies of single patches: the mean of many is a blur.
        """
        scale = max(float(np.percentile(self.cost, 60)), 1e-5) / sharpness
        weight = np.exp(-self.cost / (2 * scale))[:, None].astype(np.float32) * self.trust
        total = np.zeros((self.height, self.width, 4), dtype=np.float32)
        for dy in range(-HALF, HALF + 1):
            for dx in range(-HALF, HALF + 1):
                said = self.image[self.match[:, 0] + dy, self.match[:, 1] + dx]
                spot = total[self.targets[:, 0] + dy, self.targets[:, 1] + dx]
                total[self.targets[:, 0] + dy, self.targets[:, 1] + dx] = spot + np.hstack([said * weight, weight])
        agreed = self.hole & (total[..., 3] > 0)
        self.image[agreed] = total[agreed, :3] / total[agreed, 3:]


def _whole_patches(banned: Bool) -> Bool:
    """Centres of patches that lie within the picture and touch nothing banned."""
    kernel = np.ones((2 * HALF + 1, 2 * HALF + 1), np.uint8)
    whole = ~cv2.dilate(banned.astype(np.uint8), kernel).astype(bool)
    whole[:HALF], whole[-HALF:], whole[:, :HALF], whole[:, -HALF:] = (False,) * 4
    return whole


def _patches(image: F32) -> F32:
    """View (h, w, 3, 7, 7) of the patch centred on each pixel; it follows later changes of `image` only when remade."""
    padded = cv2.copyMakeBorder(image, HALF, HALF, HALF, HALF, cv2.BORDER_REFLECT)
    return sliding_window_view(padded, (2 * HALF + 1, 2 * HALF + 1), axis=(0, 1))


def _depth(hole: Bool) -> float:
    """How far the deepest hole pixel lies from its edge."""
    return float(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 3).max())


def _halved(image: F32, hole: Bool, forbidden: Bool) -> tuple[F32, Bool, Bool]:
    """Half size; hole colours are kept out of the averages, and a pixel is whole only if all four were."""
    size = (image.shape[1] // 2, image.shape[0] // 2)
    known = (~hole).astype(np.float32)
    weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    color = cv2.resize(image * known[..., None], size, interpolation=cv2.INTER_AREA)
    banned = cv2.resize(forbidden.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    return (color / np.maximum(weight, 1e-6)[..., None]).astype(np.float32), weight < 0.5, banned


def _doubled(source: I32, shape: tuple[int, ...]) -> I32:
    """A coarser level's match map for the next finer one; the parity of each pixel is kept."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    coarse = source[np.minimum(rows // 2, source.shape[0] - 1), np.minimum(columns // 2, source.shape[1] - 1)]
    return (2 * coarse + np.stack([rows % 2, columns % 2], axis=-1)).astype(np.int32)


def membrane(image: F32, unknown: Bool, sideways: int = 1) -> F32:
    """Smooth colours across the unknown part, from its rim: push-pull over a pyramid.

    `sideways` above 1 takes that much more from left and right than from above and below.
    """
    if not unknown.any() or unknown.all():
        return image
    height, width = unknown.shape
    known = (~unknown).astype(np.float32)[..., None]
    first = np.concatenate([image * known, known], axis=-1)
    narrow = (max(1, width // sideways), height)
    stack = [first if sideways == 1 else cv2.resize(first, narrow, interpolation=cv2.INTER_AREA)]
    while max(stack[-1].shape[:2]) > 1:  # the last one is a single cell
        h, w = stack[-1].shape[:2]
        stack.append(cv2.resize(stack[-1], ((w + 1) // 2, (h + 1) // 2), interpolation=cv2.INTER_AREA))
    stack[-1] /= np.maximum(stack[-1][..., 3:], 1e-6)
    for level in range(len(stack) - 2, -1, -1):
        fine, coarse = stack[level], stack[level + 1]
        up = cv2.resize(coarse, fine.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        # A cell that is a quarter known speaks for itself: what is near counts, not the mean of the whole picture.
        own = np.clip(4 * fine[..., 3:], 0, 1)
        color = fine[..., :3] / np.maximum(fine[..., 3:], 1e-6) * own + up[..., :3] * (1 - own)
        stack[level] = np.concatenate([color, np.ones_like(own)], axis=-1)
    return np.asarray(cv2.resize(stack[0][..., :3], (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
