# SPDX-License-Identifier: GPL-3.0-or-later
"""The background proxy: a mesh that wears the plate as the still's camera saw it.

The meshes are stored in the camera frame, their objects carry world_from_camera: a change of lens is a change of the
object's matrix.
"""

from __future__ import annotations

import bpy

from ..core.frames import F64
from ..core.proxy import Grid, background_grids
from ..core.record import SCENE, flat_record
from ..core.session import BACKGROUND, POINTMAP, SessionData
from .metadata import write_record
from .nodes import new_material
from .objects import add_object, camera_only, load_image, mesh_from_faces, set_uv


def plate_material(name: str, image: bpy.types.Image) -> bpy.types.Material:
    """Emits the picture where the UVs say.

    Each vertex has the picture position of its own ray. Projecting anew for every pixel (by dividing object
    coordinates) would be exact between the vertices too, where this is off by a tenth of a pixel at most; but EEVEE
    then takes blurred mip levels all over the grid.
    """
    material, tree, output = new_material(name)
    texture = tree.add("ShaderNodeTexImage", image=image, extension="EXTEND")
    emission = tree.add("ShaderNodeEmission", {"Color": texture.outputs["Color"]})
    tree.tree.links.new(emission.outputs[0], output.inputs["Surface"])
    tree.tree.nodes.active = texture  # what the solid viewport's texture mode shows
    tree.layout()
    material.cycles.emission_sampling = "NONE"
    return material


def add_background(
    session: SessionData, collection: bpy.types.Collection, parent: bpy.types.Object, world_from_camera: F64
) -> dict[str, bpy.types.Object]:
    """Objects by role: "proxy" and "dome", each where it has a face at all."""
    background = session.background()
    if background is None or session.plate is None:
        return {}
    depth, mask = background
    source = BACKGROUND if session.file(BACKGROUND) else POINTMAP
    image = load_image(session.plate, "sRGB", f"{session.name} plate")
    material = plate_material(f"{session.name} plate", image)
    made: dict[str, bpy.types.Object] = {}
    surface, dome = background_grids(depth, mask, session.intrinsics)
    for role, title, grid in (("proxy", "background", surface), ("dome", "sky dome", dome)):
        if not len(grid.quads):
            continue
        made[role] = add_object(collection, f"{session.name} {title}", _mesh(session, title, grid, material),
                                parent, world_from_camera)  # fmt: skip
        camera_only(made[role])
        write_record(made[role], flat_record(session, role, SCENE, source))
    return made


def _mesh(session: SessionData, title: str, grid: Grid, material: bpy.types.Material) -> bpy.types.Mesh:
    mesh = mesh_from_faces(f"{session.name} {title}", grid.vertices, grid.quads)
    set_uv(mesh, grid.uv, grid.quads)
    mesh.materials.append(material)
    return mesh
