"""The lens that a pointmap was made with: the focal length under which its points lie on their own pixels' rays."""

from __future__ import annotations

import numpy as np

from worker.arrays import F32, F64

ITERATIONS = 50
FOCAL_RANGE = (0.12, 12.0)  # of the long side: 153 degrees to 4.8


def weighted_focal(points: F32, weight: F64, across: F64, down: F64) -> float | None:
    """Focal length in the unit of `across` (w,) and `down` (h,), the pixels' offsets from the principal point.

    Minimises the weighted sum of distances |pixel - focal * xy / z| by Weiszfeld's re-weighting (1937): a median, not a
    mean, so that flying points do not pull. None where no focal length makes sense of the points (h, w, 3).
    """
    used = weight > 0
    pixels = np.stack(np.broadcast_arrays(across[None, :], down[:, None]), -1)[used]
    slopes = points[..., :2][used].astype(np.float64) / points[..., 2:][used]
    weight = weight[used]
    along, squared = (slopes * pixels).sum(-1), (slopes**2).sum(-1)
    if not (weight * squared).sum() > 0:
        return None
    focal = float((weight * along).sum() / (weight * squared).sum())
    tiny = 1e-4 * float(np.abs(pixels).max() + 1)
    for _ in range(ITERATIONS):
        near = weight / np.maximum(np.linalg.norm(pixels - focal * slopes, axis=-1), tiny)
        last, focal = focal, float((near * along).sum() / (near * squared).sum())
        if abs(focal - last) < 1e-7 * abs(focal):
            break
    long_side = 2 * max(np.abs(across).max(), np.abs(down).max())
    low, high = FOCAL_RANGE
    return focal if low * long_side <= focal <= high * long_side else None


def ray_residual(points: F32, weight: F64, across: F64, down: F64, focal: float) -> float:
    """Median distance, in the offsets' unit, between a point's projection and its pixel: how far from a pinhole the
    network's own points are.
    """
    used = weight > 0
    pixels = np.stack(np.broadcast_arrays(across[None, :], down[:, None]), -1)[used]
    projected = focal * points[..., :2][used].astype(np.float64) / points[..., 2:][used]
    return float(np.median(np.linalg.norm(projected - pixels, axis=-1)))
