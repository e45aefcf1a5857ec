"""The frames every reader must agree on.

camera  OpenCV: x right, y down, z forward, origin at the still's camera. Everything in session.json.
level   the camera frame turned upright: x right, y forward along the camera's heading, z up. Same origin. The probe's.
world   Blender's: the level frame lifted so that the ground plane is z = 0 (the add-on makes it).
prop    Z-up, origin at the ground contact, front to -y.
"""

from __future__ import annotations

import numpy as np

from worker.arrays import F64


def level_from_camera(gravity: object) -> F64:
    """3x3 rotation from camera to level directions, from the unit vector down in the camera frame.

    Looking straight up or down the heading is the direction of the image's upper (or lower) edge.
    """
    up = -np.asarray(gravity, dtype=np.float64)
    up /= np.linalg.norm(up)
    forward = np.array([0.0, 0.0, 1.0])
    heading = forward - up * (up @ forward)
    if np.linalg.norm(heading) < 1e-3:
        image_up = np.array([0.0, -1.0, 0.0])
        heading = image_up - up * (up @ image_up)
        heading *= -np.sign(up @ forward)  # looking down: the picture's top is ahead; looking up: it is behind
    heading /= np.linalg.norm(heading)
    return np.stack([np.cross(heading, up), heading, up])


PROP_FROM_GLB: F64 = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
"""glTF's Y-up axes to the Z-up prop frame: (x, y, z) -> (x, -z, y)."""
