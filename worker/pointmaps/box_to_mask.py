"""A box brought to its silhouette: the picture knows an object's edges better than a network knows its sides.

The four edges of the mask (left, right, top, bottom) are followed by a shift across the line of sight, one upwards, and
the scales of footprint and height. Distance, heading and the footprint's proportions stay the estimate's.

Masks lose feet, and things stand behind others. So the box is also brought to the other three edges alone, keeping its
proportions; what it then reaches further down is kept as a possibility (`ObjectBox.below`) that placement weighs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from worker.arrays import F32, F64, Bool
from worker.pointmaps.object_box import ObjectBox, box_of

EDGE_ERROR = 0.03  # of the mask's longer side: few things reach into all corners of their box
LEAST_CONFIDENCE = 0.2
LEAST_FIT = 0.5  # IoU of the rectangles around mask and projected box
SHIFT_SHARE = 0.35  # a box's expected error as one of its place, in diagonals; it is one of the logarithms of its sides
FAR_OFF = 3.0  # edge errors from which an edge is doubted


def believed_box(
    votes: F32 | None, mask: Bool, points: F32, valid: Bool, up: F64, intrinsics: F32 | F64
) -> tuple[ObjectBox | None, dict[str, Any]]:
    """The box of the thing under `mask` where it may be built on, else None; and what was decided, for the record.

    `state`: "none" (this session has no votes), "unclear" (few, or they disagree), "unsure", "off the mask", "known".
    """
    if votes is None:
        return None, {"state": "none"}
    box = box_of(votes, mask, points, valid, up)
    if box is None:
        return None, {"state": "unclear"}
    box = aligned(box, mask, intrinsics)
    fit = box.fit(mask, intrinsics)
    state = "unsure" if box.confidence < LEAST_CONFIDENCE else "off the mask" if fit < LEAST_FIT else "known"
    facts = {
        "state": state,
        "confidence": round(box.confidence, 3),
        "fit": round(fit, 3),
        "heading_known": box.heading_known,
        "sides": [round(float(side), 4) for side in box.sides],
    }
    return (box if state == "known" else None), facts


def aligned(box: ObjectBox, mask: Bool, intrinsics: F32 | F64) -> ObjectBox:
    """`box` moved and resized so that its projection's edges come to those of `mask` (of the whole still).

    Edges of the mask at the frame's border are left alone.
    """
    up = box.axes[:, 2]
    across = np.cross(box.centre, up)
    if np.linalg.norm(across) < 1e-6 * np.linalg.norm(box.centre):
        return box  # straight above or below the camera
    across /= np.linalg.norm(across)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
    height, width = mask.shape
    free = np.array([edges[0] > 1, edges[1] > 1, edges[2] < width - 1, edges[3] < height - 1])
    tolerance = EDGE_ERROR * float(max(edges[2:] - edges[:2]))
    diagonal = float(np.linalg.norm(box.sides))
    error = max(box.expected_error, 0.01)

    def moved(q: F64) -> ObjectBox:
        """By shifts across and up, in diagonals, and the logarithms of the scales of footprint and height."""
        scale = np.exp([q[2], q[2], q[-1]])
        return replace(box, centre=box.centre + diagonal * (q[0] * across + q[1] * up), sides=box.sides * scale)

    def fitted(free: Bool, unknowns: int) -> ObjectBox:
        typical = error * np.array([SHIFT_SHARE, SHIFT_SHARE, 1.0, 1.0])[:unknowns]

        def misfit(q: F64) -> F64:
            off = moved(q).projected(intrinsics) - edges
            return np.concatenate([np.where(free, off, 0.0) / tolerance, q / typical])

        return moved(least_squares(misfit, np.zeros(unknowns), loss="soft_l1", f_scale=FAR_OFF, max_nfev=20).x)

    whole, without_foot = fitted(free, 4), fitted(free & [True, True, True, False], 3)
    return replace(whole, below=max(0.0, float((whole.underside - without_foot.underside) @ up)))
