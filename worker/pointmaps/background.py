"""What stands behind the props: the pointmap's inverse depth continued under what was taken away.

Inverse depth is affine in the pixel on any plane, so the surroundings of a hole are explained by a few planes (floor,
wall, table top) found by RANSAC; in a room the nearest of them is the one that is seen. What the planes do not explain
is spread over the hole as a membrane.
"""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, F64, Bool
from worker.formats.pointmap import pixel_rays, rays_at
from worker.pointmaps.membrane import membrane

_PLANES = 3
_TRIALS = 200
_SAMPLES = 1500


def dome_radius(depth: F32, solid: Bool) -> float:
    """How far the sky is put: well behind everything that depth is trusted of."""
    trusted = depth[solid] if solid.any() else depth.ravel()
    return max(3 * float(np.percentile(trusted, 98)), 20 * float(np.median(trusted)))


def vault(rays: F32, dome: float) -> F32:
    """1/z of a sphere of radius `dome` around the camera."""
    return (np.linalg.norm(rays, axis=-1) / dome).astype(np.float32)


def background_points(points: F32, solid: Bool, removed: Bool | None, intrinsics: F32, seed: int) -> F32:
    """The pointmap without what was `removed`: (H, W, 3), camera frame. `solid`: trusted depth that is not sky."""
    if removed is None or not removed.any():
        return points
    dome = dome_radius(points[..., 2], solid)
    sky = ~solid
    disparity = (1 / np.maximum(points[..., 2], 1e-3 * dome)).astype(np.float32, copy=False)
    if sky.any():
        disparity[sky] = vault(pixel_rays(sky.shape[0], sky.shape[1], intrinsics)[sky], dome)
    behind, unseen = fill_behind(disparity, removed, sky, 1 / dome, seed)
    rows, columns = np.nonzero(removed)
    rays = rays_at(rows, columns, intrinsics)
    found = points.astype(np.float32)
    found[removed] = rays / np.where(unseen[removed], vault(rays, dome), behind[removed])[:, None]
    return found


def fill_behind(disparity: F32, removed: Bool, sky: Bool, far: float, seed: int) -> tuple[F32, Bool]:
    """Disparity (1/z) and sky with the `removed` region continued from its surroundings; `far` is the sky's 1/z.

    Never nearer than what was removed: a background lies behind. Pixels outside `removed` are untouched.
    """
    if not removed.any():
        return disparity, sky
    filled = disparity.copy()
    # Depth maps smear an object's depth a little past its outline: look at the surroundings from a step away.
    step = max(2, round(0.004 * disparity.shape[1]))
    wide = cv2.dilate(removed.astype(np.uint8), np.ones((2 * step + 1, 2 * step + 1), np.uint8)) > 0
    sky_filled = sky
    if sky.any():
        sky_filled = sky | (removed & (membrane(sky.astype(np.float32), ~wide) > 0.5))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(wide.astype(np.uint8))
    for label in range(1, count):
        x, y, w, h = stats[label, :4]
        margin = max(8, round(0.15 * max(w, h)))
        box = np.s_[max(0, y - margin) : y + h + margin, max(0, x - margin) : x + w + margin]
        hole = labels[box] == label
        known = ~wide[box] & ~sky[box]
        if not known.any():
            filled[box][hole & removed[box]] = far
            continue
        base = _planes(disparity[box], known & _near(hole, margin), seed + label)
        rest = membrane(disparity[box] - base, known)
        inside = hole & removed[box]
        # The floor of 0.2 keeps a plane that leaves the frame steeply from running off to infinity.
        lowest = 0.2 * float(disparity[box][known].min())
        filled[box][inside] = np.maximum(base + rest, lowest)[inside]
    solid = removed & ~sky_filled
    filled[solid] = np.minimum(filled[solid], disparity[solid])
    filled[removed & sky_filled] = far
    return filled, sky_filled


def _near(hole: Bool, margin: int) -> Bool:
    return cv2.dilate(hole.astype(np.uint8), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) > 0


def _planes(disparity: F32, ring: Bool, seed: int) -> F32:
    """The upper envelope of up to _PLANES planes, each kept only if it explains the ring better; 0 if none does."""
    rows, columns = np.nonzero(ring)
    base = np.zeros_like(disparity)
    if len(rows) < 30:
        return base
    rng = np.random.default_rng(seed)
    pick = rng.choice(len(rows), min(_SAMPLES, len(rows)), replace=False)
    grid = np.column_stack([columns[pick], rows[pick], np.ones(len(pick))]).astype(np.float64)
    value = disparity[rows[pick], columns[pick]].astype(np.float64)
    tolerance = 0.02 * value
    envelope, free = np.zeros(len(pick)), np.ones(len(pick), dtype=bool)
    error = np.inf
    found: list[F64] = []
    for _ in range(_PLANES):
        if free.sum() < 0.1 * len(pick):
            break
        plane = _ransac(grid[free], value[free], tolerance[free], rng)
        raised = np.maximum(envelope, grid @ plane) if found else grid @ plane
        # An envelope that overshoots the ring would put the background in front of what is seen there.
        new_error = float(np.mean(np.minimum(np.abs(raised - value) / value, 0.3)))
        free &= np.abs(grid @ plane - value) > tolerance
        if new_error < 0.9 * error:
            envelope, error = raised, new_error
            found.append(plane)
    if not found or error > 0.1:
        return base
    v, u = np.mgrid[: disparity.shape[0], : disparity.shape[1]]
    planes = [plane[0] * u + plane[1] * v + plane[2] for plane in found]
    return np.maximum.reduce(planes).astype(np.float32)


def _ransac(grid: F64, value: F64, tolerance: F64, rng: np.random.Generator) -> F64:
    best, best_count = np.array([0.0, 0.0, float(np.median(value))]), 0
    picks = np.array([rng.choice(len(grid), 3, replace=False) for _ in range(_TRIALS)])
    picks = picks[np.abs(np.linalg.det(grid[picks])) >= 1.0]
    for plane in np.linalg.solve(grid[picks], value[picks][..., None])[..., 0]:
        count = int((np.abs(grid @ plane - value) < tolerance).sum())
        if count > best_count:
            best, best_count = plane, count
    inside = np.abs(grid @ best - value) < tolerance
    return np.linalg.lstsq(grid[inside], value[inside], rcond=None)[0] if inside.sum() >= 3 else best
