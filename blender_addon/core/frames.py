# SPDX-License-Identifier: GPL-3.0-or-later
"""Axis and camera maths. The frames are those of the session folder:

camera  OpenCV: x right, y down, z forward, origin at the still's camera.
level   the camera frame turned upright: x right, y along the heading, z up. The light probe's frame.
world   Blender's: the level frame lifted so that the ground is z = 0.
prop    Z-up, origin at the ground contact, front to -y.

Matrices act on column vectors: x_a = a_from_b @ x_b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]

BLENDER_CAMERA_AXES: F64 = np.diag([1.0, -1.0, -1.0, 1.0])
"""A Blender camera looks along -z with y up: x_camera = BLENDER_CAMERA_AXES @ x_blender_camera, and back."""

SENSOR_WIDTH_MM = 36.0


def level_from_camera(gravity: ArrayLike) -> F64:
    """3x3 rotation from camera to level directions; `gravity` is the unit vector down in the camera frame.

    Looking straight down (or up) the heading is the direction of the picture's upper (or lower) edge.
    """
    up = -np.asarray(gravity, dtype=np.float64)
    up /= np.linalg.norm(up)
    forward = np.array([0.0, 0.0, 1.0])
    heading = forward - up * (up @ forward)
    if np.linalg.norm(heading) < 1e-3:
        image_up = np.array([0.0, -1.0, 0.0])
        heading = image_up - up * (up @ image_up)
        heading *= -np.sign(up @ forward)
    heading /= np.linalg.norm(heading)
    return np.stack([np.cross(heading, up), heading, up])


def camera_height(gravity: ArrayLike, ground: tuple[ArrayLike, float] | None) -> float | None:
    """Height of the camera above the ground, measured along the vertical; None where there is no usable ground.

    `ground` is (unit normal, offset) with normal . x + offset = 0. A plane tilted by more than 45 degrees is no ground.
    """
    if ground is None:
        return None
    up = -np.asarray(gravity, dtype=np.float64)
    steepness = float(np.asarray(ground[0], dtype=np.float64) @ (up / np.linalg.norm(up)))
    if steepness < 0.7:
        return None
    height = float(ground[1]) / steepness
    return height if np.isfinite(height) else None


def world_from_camera(gravity: ArrayLike, height: float) -> F64:
    """4x4: level rotation, and the camera `height` above z = 0."""
    matrix = np.eye(4)
    matrix[:3, :3] = level_from_camera(gravity)
    matrix[2, 3] = height
    return matrix


def stretch(depth_factor: float) -> F64:
    """4x4 change of shape that a change of focal length makes: x and y stay, depth is multiplied.

    A pixel (u, v) sees x = (u - cx) z / f. Hold x and multiply f by k: z is multiplied by k, for every point alike.
    """
    return np.diag([1.0, 1.0, depth_factor, 1.0])


def stretched_plane(normal: ArrayLike, offset: float, depth_factor: float) -> tuple[F64, float]:
    """The plane normal . x + offset = 0 after `stretch`: normals go by the inverse transpose."""
    bent = np.asarray(normal, dtype=np.float64) / np.array([1.0, 1.0, depth_factor])
    length = float(np.linalg.norm(bent))
    return bent / length, float(offset) / length


@dataclass(frozen=True)
class BlenderLens:
    """What a Blender camera and render need to have exactly these intrinsics (sensor fit HORIZONTAL)."""

    lens_mm: float
    shift_x: float
    shift_y: float
    pixel_aspect_x: float
    pixel_aspect_y: float


def blender_lens(intrinsics: ArrayLike, width: int, height: int) -> BlenderLens:
    """Blender's shifts are shares of the sensor width; +x moves the view right, +y up, the picture the other way."""
    K = np.asarray(intrinsics, dtype=np.float64)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    # Blender wants both aspects >= 1, the quotient is what counts; square within 1e-4 is square
    ratio = fx / fy
    square = abs(ratio - 1) < 1e-4
    aspect_x, aspect_y = (1.0, 1.0) if square else (max(1.0, 1 / ratio), max(1.0, ratio))
    return BlenderLens(
        lens_mm=float(fx / width * SENSOR_WIDTH_MM),
        shift_x=float((0.5 * width - cx) / width),
        shift_y=float((cy - 0.5 * height) / width * aspect_y / aspect_x),
        pixel_aspect_x=float(aspect_x),
        pixel_aspect_y=float(aspect_y),
    )


def srgb_to_linear(encoded: ArrayLike) -> NDArray[np.float32]:
    """IEC 61966-2-1 decoding of values 0..1 (below 0 counts as 0, above 1 follows the curve)."""
    value = np.maximum(np.asarray(encoded, dtype=np.float32), 0)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)
