"""A textured mesh in memory, and the GLB it is stored as."""

from __future__ import annotations

from dataclasses import dataclass

from worker.arrays import F32, I32, U8


@dataclass
class TexturedMesh:
    """Prop frame: Z-up, origin at the ground contact, front to -Y. Faces counter-clockwise seen from outside."""

    vertices: F32  # (V, 3)
    faces: I32  # (F, 3)
    uv: F32  # (V, 2), origin bottom left (OBJ/Blender)
    texture: U8  # (T, T, 3) sRGB
