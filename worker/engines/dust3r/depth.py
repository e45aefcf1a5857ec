"""From the network's raw points to a depth for every pixel, and what of it may be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from worker.arrays import F32, F64, U8, Bool
from worker.engines.dust3r import lens
from worker.engines.dust3r.view import View
from worker.errors import StageError
from worker.pointmaps import edge_upsampling, edge_upsampling_gpu
from worker.pointmaps.sky import colour_regions, plain_sky, shrunk

# Upstream's demo keeps raw confidence above 1.1; where a whole picture is doubtful, its better nine tenths stay.
CONFIDENT = 1.1
KEPT_AT_LEAST = 0.9
USABLE = 0.05  # share of pixels in front of the camera below which there is no geometry
FLYING = 0.04  # relative depth step across a neighbourhood that counts as an edge
SURE = 0.5  # confidence (0..1) of a surface that looks like sky and is none


@dataclass
class RawDepth:
    """One pass over a view. Maps (h, w) of what the network saw; `log_depth` is finite everywhere."""

    log_depth: F32
    confidence: F32  # 0..1: 1 - 1 / raw
    usable: Bool  # in front of the camera, finite
    trusted: Bool  # usable and above the threshold
    threshold: float  # raw confidence
    own_focal: float | None  # in still pixels
    residual: float | None  # median pixels of the still between raw points and their rays


def read(points: F32, conf: F32, view: View) -> RawDepth:
    """The network's points (h, w, 3) and raw confidence (h, w). Raises StageError where they are no geometry."""
    z = points[..., 2]
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(points).all(-1) & np.isfinite(conf) & (z > 0)
    if usable.any():
        usable &= z > 1e-4 * np.median(z[usable])
    if usable.mean() < USABLE:
        raise StageError(
            "geometry.no_geometry",
            f"The network put only {usable.mean():.0%} of this still in front of the camera, so it made no geometry of "
            "it. Use another engine for this still (--engine geometry=embedded), or check the weights with "
            "“assetize engines check”.",
            f"网络仅将此剧照 {usable.mean():.0%} 的像素置于相机前方，未得到可用几何。"
            "请为此剧照改用其他引擎（--engine geometry=embedded），或用“assetize engines check”检查权重。",
        )
    raw = np.where(usable, conf, 1).astype(np.float64)
    confidence = 1 - 1 / np.maximum(raw, 1)
    threshold = float(min(CONFIDENT, np.quantile(raw[usable], 1 - KEPT_AT_LEAST)))
    log_depth = _filled(np.log(np.where(usable, z, 1)).astype(np.float32), usable)
    across, down = view.offsets()
    clean = np.where(usable[..., None], points, 1)
    weight = np.where(usable, raw - 1, 0)
    if not weight.any():
        weight = usable.astype(np.float64)
    focal = lens.weighted_focal(clean, weight, across, down)
    residual = None if focal is None else lens.ray_residual(clean, weight, across, down, focal)
    trusted = usable & (raw >= threshold)
    return RawDepth(log_depth, confidence.astype(np.float32), usable, trusted, threshold, focal, residual)


def _filled(values: F32, known: Bool) -> F32:
    """Unknown pixels take the value of the nearest known one."""
    if known.all():
        return values
    holes = (~known).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(holes, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    by_label = np.zeros(labels.max() + 1, np.float32)
    by_label[labels[known]] = values[known]
    return by_label[labels]


def to_still(log_depth: F32, view: View, still: U8, device: str) -> F32:
    """(H, W) log depth at the still's size, edges on the picture's edges."""
    whole = view.whole(log_depth)
    if device == "cpu":  # where numpy is the quicker of the two
        return edge_upsampling.upsample(whole, view.small, still)
    return edge_upsampling_gpu.upsample(whole, view.small, still, device)


def resized(values: F32, size: tuple[int, int]) -> F32:
    """(h, w) or (h, w, c) to (height, width), bilinear."""
    return np.asarray(cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def landed(log_depth: F32) -> F32:
    """Points that hang in the air between a thing and what is behind it go to the nearer of the two.

    Told from a smooth slope, on which every pixel lies half-way too, by the slope breaking off on both sides.
    """
    kernel = np.ones((3, 3), np.uint8)
    low, high = cv2.erode(log_depth, kernel), cv2.dilate(log_depth, kernel)
    wider = cv2.dilate(high, kernel) - cv2.erode(low, kernel)
    found = log_depth.astype(np.float32)
    edge = np.nonzero(high - low > FLYING)
    depth, low, high = log_depth[edge], low[edge], high[edge]
    step = high - low
    between = np.minimum(depth - low, high - depth)
    flying = (between > 0.1 * step) & (step > 0.75 * wider[edge])
    side = np.where(depth - low < high - depth, low, high)
    found[edge] = np.where(flying, side, depth)
    return found


def sky_of(view: View, raw: RawDepth, gravity: F64, rays: F32) -> Bool:
    """Sky (rows, columns of `view.small`): plain, bright or blue, on the top edge, no surface the network is sure of.

    The network has no class for it, but was never taught a depth there, so it is unsure of it. `rays` are those of
    `small`'s pixels.
    """
    picture = shrunk(view.small)
    size = picture.shape[:2]
    below = resized((rays @ gravity.astype(np.float32)).astype(np.float32), size) > 0
    found = plain_sky(picture, colour_regions(picture), below)
    confidence, depth = (resized(view.whole_map(m), size) for m in (raw.confidence, raw.log_depth))
    count, labels = cv2.connectedComponents(found.astype(np.uint8), connectivity=4)
    middle = np.median(depth[~found]) if (~found).any() else -np.inf
    for label in range(1, count):
        part = labels == label
        if np.median(confidence[part]) > SURE and np.median(depth[part]) < middle:
            found[part] = False
    return cv2.resize(found.astype(np.uint8), view.small.shape[1::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
