"""SAM 3D Objects' frames and ours.

Its camera has PyTorch3D's axes: x left, y up, z forward, origin at the camera. Its objects are Z-up in a unit cube, but
its GLB is already turned to Y-up; the pose speaks of the Z-up object. Vectors are rows there: x_camera = (s x) R + t
with R = quaternion_to_matrix(q), q = (w, x, y, z). So for column vectors the rotation is R transposed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.arrays import F32, F64, Bool

FLIP: F64 = np.array([-1.0, -1.0, 1.0])  # OpenCV's camera axes to PyTorch3D's, and back
_GLB_FROM_OBJECT: F64 = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # rows times this


def pointmap_for(points: F32, mask: Bool | None) -> F32:
    """(H, W, 3) of ours in its camera frame; NaN where there is no surface."""
    turned = points * FLIP.astype(np.float32)
    return turned if mask is None else np.where(mask[..., None], turned, np.float32(np.nan)).astype(np.float32)


def object_from_glb(vertices: NDArray[np.floating]) -> F64:
    """(V, 3) Y-up vertices of its GLB as the Z-up object that the pose speaks of."""
    return np.asarray(vertices, np.float64) @ _GLB_FROM_OBJECT.T


def rotation_of(quaternion: NDArray[np.floating]) -> F64:
    """3x3 of a quaternion w x y z (normalised here), to be applied to columns."""
    w, x, y, z = np.asarray(quaternion, np.float64) / np.linalg.norm(quaternion)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def camera_from_object(
    quaternion: NDArray[np.floating], translation: NDArray[np.floating], scale: float
) -> F64:
    """4x4, our OpenCV camera frame from the Z-up object, with the uniform scale in it."""
    matrix = np.eye(4)
    matrix[:3, :3] = FLIP[:, None] * (scale * rotation_of(quaternion).T)
    matrix[:3, 3] = FLIP * np.asarray(translation, np.float64)
    return matrix
