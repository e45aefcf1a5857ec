"""A textured mesh in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worker.arrays import F32, F64, I32, U8


@dataclass
class TexturedMesh:
    """Prop frame: Z-up, origin at the ground contact, front to -Y. Faces counter-clockwise seen from outside.

    `normals` (V, 3) unit, where they are not simply the faces' means: vertices cut apart at texture seams keep the
    normal of the uncut surface.
    """

    vertices: F32  # (V, 3)
    faces: I32  # (F, 3)
    uv: F32  # (V, 2), origin bottom left (OBJ/Blender)
    texture: U8  # (T, T, 3) sRGB
    normals: F32 | None = None


def face_normals(vertices: F32, faces: I32) -> F64:
    """(F, 3) normals, their length twice the face's area."""
    a, b, c = (np.asarray(vertices, dtype=np.float64)[faces[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(vertices: F32, faces: I32) -> F32:
    """(V, 3) unit normals, area-weighted; straight up where a vertex has no area around it."""
    flat = face_normals(vertices, faces)
    total = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(total, faces[:, corner], flat)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-20, total / np.maximum(length, 1e-20), [0.0, 0.0, 1.0]).astype(np.float32)


def sample_texture(texture: U8, uv: F32) -> U8:
    """(N, 3) nearest texels at (N, 2) coordinates with their origin bottom left."""
    height, width = texture.shape[:2]
    column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1.0 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return texture[row, column]
