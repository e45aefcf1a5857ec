# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing the lens of a set that stands already, without running anything again.

A pixel fixes x / z * focal. Keep x and y, and a focal length k times as long multiplies every depth by k (what
single-image engines know is the shape up to exactly this factor). Background, splats and points are stored in the
camera frame, so the change is one matrix on their objects; the floor tilts with the stretch and the set is made level
again; props follow with their contact points and keep upright.
"""

from __future__ import annotations

import math

import bpy
import numpy as np
from mathutils import Matrix

from ..core.frames import BLENDER_CAMERA_AXES, F64, stretch, stretched_plane, world_from_camera
from ..core.record import PREFIX
from .metadata import role_of
from .sets import by_role, members

_IN_CAMERA_FRAME = ("proxy", "dome", "splats", "points")


def remember_lens(root: bpy.types.Object, gravity: F64, height: float, hfov_deg: float) -> None:
    """Note on the root what `set_hfov` starts from."""
    root[PREFIX + "gravity"] = [float(value) for value in gravity]
    root[PREFIX + "camera_height"] = float(height)
    root[PREFIX + "hfov_deg"] = float(hfov_deg)
    root[PREFIX + "depth_factor"] = 1.0


def hfov_of(root: bpy.types.Object) -> float:
    """The set's present horizontal field of view in degrees."""
    half = math.tan(math.radians(root[PREFIX + "hfov_deg"]) / 2) / root[PREFIX + "depth_factor"]
    return math.degrees(2 * math.atan(half))


def set_hfov(root: bpy.types.Object, hfov_deg: float) -> None:
    """Give the set another horizontal field of view; the picture through its camera stays the same."""
    original = math.tan(math.radians(root[PREFIX + "hfov_deg"]) / 2)
    _stretch_to(root, original / math.tan(math.radians(hfov_deg) / 2))


def _frames(root: bpy.types.Object, factor: float) -> F64:
    """world_from_camera of the set at a depth factor: what was level before the stretch is level after it."""
    up, height = stretched_plane(-np.array(root[PREFIX + "gravity"]), root[PREFIX + "camera_height"], factor)
    return world_from_camera(-up, height)


def _stretch_to(root: bpy.types.Object, factor: float) -> None:
    before = float(root[PREFIX + "depth_factor"])
    old, new = _frames(root, before), _frames(root, factor)
    first = np.linalg.inv(_frames(root, 1.0))

    def from_first(k: float) -> F64:
        return _frames(root, k) @ stretch(k) @ first

    change = new @ stretch(factor / before) @ np.linalg.inv(old)
    for role, item in by_role(root).items():
        if role in _IN_CAMERA_FRAME:
            item.matrix_local = Matrix((new @ stretch(factor)).tolist())
        elif role == "camera":
            item.matrix_local = Matrix((new @ BLENDER_CAMERA_AXES).tolist())
            item.data.lens *= factor / before
        elif role == "key light":
            item.matrix_local = Matrix((new @ np.linalg.inv(old)).tolist()) @ _local(item)
    for item in members(root):
        if role_of(item).startswith("prop"):
            item.matrix_local = _carried(change, from_first(before), from_first(factor), _local(item))
    root[PREFIX + "depth_factor"] = factor


def _local(item: bpy.types.Object) -> Matrix:
    """As set, not as last evaluated: `matrix_local` itself lags behind until the next depsgraph update."""
    return item.matrix_parent_inverse @ item.matrix_basis


def _carried(change: F64, before: F64, after: F64, matrix: Matrix) -> Matrix:
    """A prop's place moved by `change`; its axes keep their directions and take the new lengths.

    The lengths are counted from the first lens, `before` and `after` lead from there: so it does not matter by which
    way a lens was reached.
    """
    place, turn, size = matrix.decompose()
    moved = change @ np.array([*place, 1.0])
    axes = np.array(turn.to_matrix())
    longer = np.linalg.norm(after[:3, :3] @ axes, axis=0) / np.linalg.norm(before[:3, :3] @ axes, axis=0)
    return Matrix.LocRotScale(moved[:3].tolist(), turn, (np.array(size) * longer).tolist())


def set_known_length(root: bpy.types.Object, measured: float, known: float) -> None:
    """Scale the whole set about the world's origin so that what measures `measured` now becomes `known`."""
    if measured > 0 and known > 0:
        root.scale = root.scale * (known / measured)
