"""Figures of merit as pure functions on arrays. No files, no engines, no bpy.

Depth is along the optical axis in any unit unless said; masks are (H, W) bool; frames are OpenCV camera axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial import ConvexHull, HalfspaceIntersection, cKDTree

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


# --- lens and light ---------------------------------------------------------------------------------------------------


def angle_degrees(a: Array, b: Array) -> float:
    """Angle between two directions, degrees. No length is a ValueError: a missing light is not 90 degrees off."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if not (np.linalg.norm(a) > 0 and np.linalg.norm(b) > 0):
        raise ValueError("a direction has no length")
    # atan2 keeps its precision near 0 and 180 degrees, where arccos loses half its digits.
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def scale_invariant_rmse(predicted: Array, true: Array, where: Mask | None = None) -> float:
    """RMSE after the one factor that fits best, divided by the true values' RMS (0 perfect, about 1 useless).

    A single image fixes light only up to exposure, so the factor is free (as in the si-RMSE of Grosse et al. 2009 and
    the light-estimation papers that follow it).
    """
    p, t = (np.asarray(x, float)[where] if where is not None else np.asarray(x, float) for x in (predicted, true))
    factor = (p * t).sum() / max((p * p).sum(), 1e-12)
    return float(np.sqrt(((factor * p - t) ** 2).mean()) / max(np.sqrt((t**2).mean()), 1e-12))


def rgb_angular_error(predicted: Array, true: Array, where: Mask) -> float:
    """Mean angle between RGB vectors (..., 3), degrees: colour of the light, whatever its strength."""
    p, t = np.asarray(predicted, float)[where], np.asarray(true, float)[where]
    dot = (p * t).sum(-1)
    cross = np.linalg.norm(np.cross(p, t), axis=-1)
    return float(np.degrees(np.arctan2(cross, dot)).mean())


# --- depth ------------------------------------------------------------------------------------------------------------


def align_disparity(predicted: Array, true: Array, where: Mask) -> Array:
    """Depth whose disparity a * (1/predicted) + b fits 1/true best in least squares over `where` (the MiDaS protocol).

    Disparity at or below a ten-thousandth of the largest true one is held there, so nothing lies behind infinity.
    """
    d, t = 1 / np.asarray(predicted, float)[where], 1 / np.asarray(true, float)[where]
    a, b = np.linalg.lstsq(np.stack([d, np.ones_like(d)], 1), t, rcond=None)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 / np.maximum(a / np.asarray(predicted, float) + b, t.max() * 1e-4)


def align_scale(predicted: Array, true: Array, where: Mask) -> Array:
    """Depth times the median ratio true / predicted over `where`."""
    return np.asarray(predicted, float) * np.median(true[where] / predicted[where])


def abs_rel(predicted: Array, true: Array, where: Mask) -> float:
    """Mean of |predicted - true| / true."""
    return float((np.abs(predicted[where] - true[where]) / true[where]).mean())


def delta_inliers(predicted: Array, true: Array, where: Mask, limit: float = 1.25) -> float:
    """Share of pixels with max(predicted / true, true / predicted) below `limit`."""
    ratio = predicted[where] / true[where]
    return float((np.maximum(ratio, 1 / ratio) < limit).mean())


def ordinal_accuracy(predicted: Array, true: Array, where: Mask, pairs: int = 20_000, margin: float = 1.05,
                     seed: int = 0) -> float:
    """Share of random pixel pairs put in the right order, of those whose true depths differ by the factor `margin`."""
    rng = np.random.default_rng(seed)
    p, t = predicted[where], true[where]
    i, j = rng.integers(0, len(t), (2, pairs))
    apart = np.maximum(t[i] / t[j], t[j] / t[i]) > margin
    if not apart.any():
        return float("nan")
    return float(((p[i] > p[j]) == (t[i] > t[j]))[apart].mean())


def depth_boundary_f(predicted: Array, true: Array, thresholds: tuple[float, ...] = (1.05, 1.10, 1.15, 1.20, 1.25)
                     ) -> float:
    """F1 of occluding edges: neighbours whose depths differ by more than a ratio, weighted towards strong edges.

    After Bochkovskii et al. 2024 (Depth Pro), scale-invariant: the same pair of neighbours must step the same way in
    both. Infinite depth (sky) counts as an edge at every ratio.
    """
    total = weight = 0.0
    far = 1e4 * np.nanmax(np.where(np.isfinite(true), true, np.nan))
    p, t = (np.where(np.isfinite(x), x, far) for x in (np.asarray(predicted, float), np.asarray(true, float)))
    for limit in thresholds:
        hit = made = wanted = 0
        for axis in (0, 1):
            rp, rt = (np.take(x, range(1, x.shape[axis]), axis) / np.take(x, range(x.shape[axis] - 1), axis)
                      for x in (p, t))
            for step_p, step_t in ((rp > limit, rt > limit), (rp < 1 / limit, rt < 1 / limit)):
                hit += int((step_p & step_t).sum())
                made += int(step_p.sum())
                wanted += int(step_t.sum())
        if wanted:
            total += limit * (2 * hit / (made + wanted))
            weight += limit
    return total / weight if weight else float("nan")


# --- masks ------------------------------------------------------------------------------------------------------------


def iou(a: Mask, b: Mask) -> float:
    """Intersection over union; two empty masks agree wholly."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def boundary_f(predicted: Mask, true: Mask, tolerance: float) -> float:
    """F1 of the two contours, a contour pixel counting as found within `tolerance` pixels (DAVIS, Perazzi 2016)."""
    edges = [m & ~ndimage.binary_erosion(m, border_value=1) for m in (predicted, true)]
    if not edges[0].any() or not edges[1].any():
        return float(not edges[0].any() and not edges[1].any())
    near = [ndimage.distance_transform_edt(~e) <= tolerance for e in edges]
    precision, recall = near[1][edges[0]].mean(), near[0][edges[1]].mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


@dataclass(frozen=True)
class Matches:
    """Pairs (predicted index, true index) with their IoU, and what is left over."""

    pairs: list[tuple[int, int, float]]
    predicted: int
    wanted: int

    @property
    def recall(self) -> float:
        return len(self.pairs) / self.wanted if self.wanted else float("nan")

    @property
    def precision(self) -> float:
        return len(self.pairs) / self.predicted if self.predicted else float("nan")


def match_masks(predicted: list[Mask], true: list[Mask], ignored: list[Mask] | None = None, limit: float = 0.5
                ) -> Matches:
    """One-to-one pairs of largest total IoU, those below `limit` dropped.

    `ignored` are true things that need not be found but may be (half hidden, cut by the frame, vehicles): a prediction
    that matches one of them best is neither right nor wrong.
    """
    ignored = ignored or []
    table = np.array([[iou(p, t) for t in [*true, *ignored]] for p in predicted]).reshape(
        len(predicted), len(true) + len(ignored))
    rows, columns = linear_sum_assignment(-np.where(table >= limit, table, 0))
    good = [(int(r), int(c), float(table[r, c])) for r, c in zip(rows, columns, strict=True) if table[r, c] >= limit]
    pairs = [pair for pair in good if pair[1] < len(true)]
    return Matches(pairs, len(predicted) - (len(good) - len(pairs)), len(true))


# --- shapes and poses -------------------------------------------------------------------------------------------------


def chamfer(a: Array, b: Array) -> float:
    """Mean of the two mean nearest distances between point sets (N, 3) and (M, 3), in their unit."""
    return float((cKDTree(b).query(a)[0].mean() + cKDTree(a).query(b)[0].mean()) / 2)


def f_score(a: Array, b: Array, tolerance: float) -> float:
    """F1 of the shares of points within `tolerance` of the other set (Tatarchenko et al. 2019)."""
    precision = (cKDTree(b).query(a)[0] < tolerance).mean()
    recall = (cKDTree(a).query(b)[0] < tolerance).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def sample_surface(vertices: Array, triangles: NDArray[np.integer], count: int, seed: int = 0) -> Array:
    """`count` points spread evenly over a triangle mesh, (count, 3)."""
    rng = np.random.default_rng(seed)
    corners = vertices[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = rng.choice(len(triangles), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    root = np.sqrt(u)
    c = corners[chosen]
    return (1 - root) * c[:, 0] + root * (1 - v) * c[:, 1] + root * v * c[:, 2]


@dataclass(frozen=True)
class Box:
    """An oriented box: `pose` 4x4 from its own frame, in which it spans `low`..`high`."""

    pose: Array
    low: Array
    high: Array

    @property
    def volume(self) -> float:
        return float(np.prod(np.asarray(self.high) - self.low))


def box_iou(a: Box, b: Box) -> float:
    """3D IoU of two oriented boxes, exact: the volume of the convex body that their twelve half-spaces leave."""
    planes = []
    for box in (a, b):
        R, t = np.asarray(box.pose)[:3, :3], np.asarray(box.pose)[:3, 3]
        for axis in range(3):
            planes.append([*R[:, axis], -R[:, axis] @ t - box.high[axis]])
            planes.append([*-R[:, axis], R[:, axis] @ t + box.low[axis]])
    planes_ = np.array(planes)
    # The point deepest inside all twelve (Chebyshev centre); none, or one without room, means no overlap.
    deepest = linprog([0, 0, 0, -1], A_ub=np.c_[planes_[:, :3], np.ones(12)], b_ub=-planes_[:, 3],
                      bounds=[(None, None)] * 3 + [(0, None)])
    if not deepest.success or deepest.x[3] < 1e-9:
        return 0.0
    both = float(ConvexHull(HalfspaceIntersection(planes_, deepest.x[:3]).intersections).volume)
    return both / (a.volume + b.volume - both)


def yaw_error(predicted: Array, true: Array, up: Array, fold: int = 1) -> float:
    """Degrees between two 3x3 rotations' headings about `up`; `fold`-fold symmetric things forgive 360 / fold turns."""
    up = np.asarray(up, float) / np.linalg.norm(up)
    turn = np.asarray(predicted, float) @ np.asarray(true, float).T
    # The twist of `turn` about `up` (swing-twist): atan2 of its quaternion's part along `up` and its real part.
    w = 0.5 * np.sqrt(max(1 + np.trace(turn), 0))
    if w > 1e-6:
        along = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / (4 * w) @ up
    else:  # half a turn: the axis is the eigenvector to eigenvalue 1
        values, vectors = np.linalg.eigh((turn + turn.T) / 2)
        along = vectors[:, np.argmax(values)] @ up
    angle = np.degrees(2 * np.arctan2(along, w)) % (360 / fold)
    return float(min(angle, 360 / fold - angle))


def ground_contact(points: Array, normal: Array, offset: float) -> tuple[float, float]:
    """(gap, penetration) of points (N, 3) against the plane normal . p + offset = 0, each over the points' own height.

    The lowest and highest half per cent are left out, so that one stray vertex decides nothing.
    """
    height = np.asarray(points, float) @ np.asarray(normal, float) + offset
    low, high = np.quantile(height, [0.005, 0.995])
    size = max(high - low, 1e-9)
    return max(low, 0) / size, max(-low, 0) / size


# --- pictures ---------------------------------------------------------------------------------------------------------


def psnr(a: Array, b: Array, where: Mask | None = None) -> float:
    """Decibels between two pictures with values 0..1, (H, W, 3); infinite where they are the same."""
    error = (np.asarray(a, float) - np.asarray(b, float)) ** 2
    mse = float(error[where].mean() if where is not None else error.mean())
    return float("inf") if mse == 0 else -10 * float(np.log10(mse))


def ssim(a: Array, b: Array, where: Mask | None = None) -> float:
    """Structural similarity of two pictures 0..1, Gaussian window sigma 1.5 (Wang et al. 2004), mean over channels."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    blur = lambda x: ndimage.gaussian_filter(x, (1.5, 1.5, 0), truncate=3.5)  # noqa: E731
    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    value = ((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean(-1)
    return float(value[where].mean() if where is not None else value.mean())


def gmsd(a: Array, b: Array) -> float:
    """Gradient magnitude similarity deviation of two pictures 0..1, (H, W, 3): 0 the same, 0.35 as good as unrelated.

    Xue et al. 2014: a perceptual distance that needs no network weights. Luma at half size, Prewitt gradients, 8-bit
    scale for the constant.
    """
    luma = np.array([0.299, 0.587, 0.114])
    size = []
    for picture in (a, b):
        y = ndimage.uniform_filter(np.asarray(picture, float) @ luma * 255, 2)[::2, ::2]
        size.append(np.hypot(ndimage.prewitt(y, 0), ndimage.prewitt(y, 1)) / 3)
    similar = (2 * size[0] * size[1] + 170) / (size[0] ** 2 + size[1] ** 2 + 170)
    return float(similar.std())
