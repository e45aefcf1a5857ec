# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects, meshes, images, collections: the small things every part of the scene is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

PARTS = ("Camera", "Background", "Points", "Props", "Light")


def make_collections(scene: bpy.types.Scene, name: str) -> dict[str, bpy.types.Collection]:
    """"Assetize <name>" and its parts, linked to the scene; "" is the collection that holds them."""
    top = bpy.data.collections.new(f"Assetize {name}")
    scene.collection.children.link(top)
    made = {"": top}
    for part in PARTS:
        made[part] = bpy.data.collections.new(f"{part} {name}")
        top.children.link(made[part])
    return made


def add_object(
    collection: bpy.types.Collection, name: str, data: Any, parent: bpy.types.Object | None, matrix: NDArray[np.float64]
) -> bpy.types.Object:
    """`matrix` is relative to the parent, which for the whole set stands at the world's origin."""
    made = bpy.data.objects.new(name, data)
    collection.objects.link(made)
    if parent is not None:
        made.parent = parent
    # written twice: matrix_world alone stays true for objects that are hidden, which no depsgraph evaluates
    made.matrix_local = made.matrix_world = Matrix(np.asarray(matrix, dtype=float).tolist())
    return made


def mesh_from_faces(name: str, vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> bpy.types.Mesh:
    """A mesh of triangles or quads, (F, 3) or (F, 4) indices; arrays go in whole."""
    mesh = bpy.data.meshes.new(name)
    count, sides = faces.shape
    mesh.vertices.add(len(vertices))
    # the attribute, not vertices.foreach_set("co"): ten times as fast for float32
    mesh.attributes["position"].data.foreach_set("vector", np.ascontiguousarray(vertices, np.float32).reshape(-1))
    mesh.loops.add(count * sides)
    mesh.loops.foreach_set("vertex_index", np.ascontiguousarray(faces, np.int32).reshape(-1))
    mesh.polygons.add(count)
    mesh.polygons.foreach_set("loop_start", np.arange(0, count * sides, sides, dtype=np.int32))
    mesh.update(calc_edges=True)
    return mesh


def mesh_from_points(name: str, positions: NDArray[np.float32]) -> bpy.types.Mesh:
    """Loose vertices."""
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(positions))
    mesh.attributes["position"].data.foreach_set("vector", np.ascontiguousarray(positions, np.float32).reshape(-1))
    return mesh


def set_uv(mesh: bpy.types.Mesh, uv: NDArray[np.float32], faces: NDArray[np.int32]) -> None:
    """`uv` one a vertex."""
    layer = mesh.uv_layers.new(name="UVMap")
    layer.uv.foreach_set("vector", np.ascontiguousarray(uv[faces.reshape(-1)], np.float32).reshape(-1))


def load_image(path: Path, colorspace: str, name: str) -> bpy.types.Image:
    """A picture from disk, packed: a .blend that is moved keeps its pictures."""
    image = bpy.data.images.load(str(path))
    image.name = name
    image.colorspace_settings.name = colorspace  # never left to the file type's default, which changed over versions
    image.pack()
    return image


def image_from_bytes(name: str, data: bytes, colorspace: str = "sRGB") -> bpy.types.Image:
    """An encoded PNG or JPEG that lies in memory."""
    image = bpy.data.images.new(name, 1, 1)
    image.source = "FILE"
    image.pack(data=data, data_len=len(data))
    image.colorspace_settings.name = colorspace
    return image


def camera_only(made: bpy.types.Object) -> None:
    """Seen by the camera and in mirrors, but no light and no shadow of its own: the probe already lights the scene."""
    made.visible_diffuse = False
    made.visible_shadow = False
    made.visible_volume_scatter = False
