"""A body inside the upright box of its object.

Where a geometry engine tells the box and its heading, thickness need not be guessed: no part of the front lies before
the box's, and what is thick reaches to where its rays leave the box. The silhouette stays what it is, so the body is
the silhouette's cone cut by the box. Thin parts (legs, handles, stems) stay as thin as they are wide. Boxes without a
heading are left alone: what is round is guessed better from its outline (prop_slices.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from worker.arrays import F32, F64, Bool
from worker.engines.embedded.prop_shape import Thickness
from worker.engines.embedded.prop_slices import local_thickness
from worker.pointmaps.object_box import ObjectBox

_GRID = 168  # longest side on which local thickness is found
_THIN = 0.3  # of the box's narrower side: what is thinner is not extruded to the box's back
_GRAZING = 0.25  # of the middle chord, times the box's expected error
_SMOOTHED = 7  # vertices: each with its neighbours
_SURE = (1, 99)  # percentiles of the guessed body that are brought onto the box's near and far end


@dataclass
class Reach:
    """The stretch of each ray (multiples of rays with z = 1) that the body may fill."""

    enter: F64
    leave: F64


def reach_of(box: ObjectBox, rays: F64, pixels: F64) -> Reach | None:
    """Where (N, 3) rays through (N, 2) pixels cross the box. None where hardly any meets it.

    A box is never quite right, and rays that miss it or only graze its edge would tear the rim: they take after their
    nearest neighbour that crosses it well, and all are smoothed a little.
    """
    enter, leave = box.crossed(rays)
    hit = np.isfinite(enter)
    if hit.mean() < 0.5:
        return None
    chord = leave - enter
    well = hit & (chord > min(_GRAZING * box.expected_error, 0.2) * np.median(chord[hit]))
    if not well.all():
        _, nearest = cKDTree(pixels[well]).query(pixels[~well])
        enter[~well], leave[~well] = enter[well][nearest], leave[well][nearest]
    _, around = cKDTree(pixels).query(pixels, k=min(_SMOOTHED, len(pixels)))
    return Reach(enter[around].mean(axis=1), leave[around].mean(axis=1))


def spanning(guess: Thickness, solid: Bool, box: ObjectBox, direction: F64) -> F64:
    """The guessed front, the body stretched along `direction` to the box's ends: (h, w) distances along it."""
    ends = box.corners @ direction
    near, far = float(ends.min()), float(ends.max())
    deepest = float(np.percentile(guess.back[solid], _SURE[0]))
    nearest = float(np.percentile(guess.front[solid], _SURE[1]))
    return near + (nearest - guess.front.astype(np.float64)) * (far - near) / max(nearest - deepest, 1e-6)


def thinness(solid: Bool, pixels: F64, box: ObjectBox, unit: float) -> tuple[F64, F64]:
    """At (N, 2) pixels: how much of a thin part is there, 0..1, and how thick the silhouette is (scene units)."""
    height, width = solid.shape
    scale = min(1.0, _GRID / max(height, width))
    size = (max(4, round(width * scale)), max(4, round(height * scale)))
    small = cv2.resize(solid.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    thick = 2 * local_thickness(small) / scale * unit
    ratio = thick / (_THIN * float(box.sides[:2].min()))
    thin = np.clip(2 - 2 * ratio, 0, 1)  # all of it below half the limit, none above the limit
    where = (pixels[:, ::-1] * [[size[1] / height, size[0] / width]]).T - 0.5
    fields = (_spread(field, small) for field in (thin, thick))
    thin, thick = (map_coordinates(field, where, order=1, mode="nearest").astype(np.float64) for field in fields)
    return thin, thick


def inside(reach: Reach, front: F64, thin: F64, thick: F64, climb: F64) -> tuple[F64, F64]:
    """Near and far end of the body on every ray.

    Args:
        front: where it begins, as measured or guessed. thin, thick: from `thinness`, `thick` along the rays. climb: of
            the rays along up.
    """
    near = np.clip(front, reach.enter, reach.leave)
    full = _above_its_legs(near, reach.leave, thin, climb)
    return near, thin * np.minimum(near + thick, full) + (1 - thin) * full


def _above_its_legs(near: F64, far: F64, thin: F64, climb: F64) -> F64:
    """A body that stands on thin legs reaches no lower than it is seen to, or its seat would fill the room below."""
    height = near * climb
    trunk = thin < 0.5
    if not trunk.any():
        return far
    lowest = float(np.percentile(height[trunk], 1))
    legs = (thin >= 0.5) & (height < lowest - 0.1 * np.ptp(height))
    if not legs.any():
        return far
    with np.errstate(divide="ignore"):
        limit = np.where(climb < 0, lowest / climb, np.inf)
    return np.where((limit > 0) & trunk, np.maximum(np.minimum(far, limit), near), far)


def _spread(field: F64, where: Bool) -> F32:
    """Smoothed inside the silhouette, nearest value outside."""
    weight = cv2.GaussianBlur(where.astype(np.float32), (0, 0), 1.5)
    mean = cv2.GaussianBlur(np.where(where, field, 0).astype(np.float32), (0, 0), 1.5) / np.maximum(weight, 1e-6)
    _, labels = cv2.distanceTransformWithLabels((~where).astype(np.uint8), cv2.DIST_L2, 5,
                                                labelType=cv2.DIST_LABEL_PIXEL)  # fmt: skip
    values = np.zeros(labels.max() + 1, np.float32)
    values[labels[where]] = mean[where]
    return values[labels]
