# SPDX-License-Identifier: GPL-3.0-or-later
"""Props: meshes in their own Z-up frame, standing where they stood."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np

from ..core.frames import F64
from ..core.glb import GlbMaterial, read_glb
from ..core.record import PREFIX, prop_record
from ..core.session import PropEntry, SessionData
from .metadata import write_record
from .nodes import new_material
from .objects import add_object, image_from_bytes, mesh_from_faces, set_uv
from .splats import add_splats

RELIGHT = PREFIX + "relight"


def add_prop(
    session: SessionData,
    prop: PropEntry,
    collection: bpy.types.Collection,
    parent: bpy.types.Object,
    world_from_camera: F64,
    eye: bpy.types.Object,
    with_splats: bool,
    meshes: dict[Path, bpy.types.Mesh],
) -> list[bpy.types.Object]:
    """The mesh, and its Gaussian version hidden beside it (or shown, where there is no mesh).

    `meshes`: those already imported, by file: props that share a file share its data.

    Raises FormatError for a broken GLB or PLY.
    """
    matrix = world_from_camera @ prop.camera_from_prop
    name = f"{prop.label} {prop.id}" if prop.label and prop.label != prop.id else prop.id
    made: list[bpy.types.Object] = []
    if prop.glb is not None:
        if prop.glb not in meshes:
            meshes[prop.glb] = _prop_mesh(prop, name)
        made.append(add_object(collection, name, meshes[prop.glb], parent, matrix))
        made[0][RELIGHT] = 0.0
        made[0].id_properties_ui(RELIGHT).update(
            min=0.0, max=1.0, description="0: as filmed. 1: lit by the scene's own light"
        )
    if prop.ply is not None and (with_splats or not made):
        splats = add_splats(prop.ply, f"{name} splats", collection, parent, matrix, eye)
        splats.hide_render = bool(made)
        splats.hide_viewport = bool(made)
        made.append(splats)
    record = prop_record(session, prop)
    for each in made:
        write_record(each, record | ({PREFIX + "role": "prop splats"} if each.name.endswith(" splats") else {}))
    return made


def _prop_mesh(prop: PropEntry, name: str) -> bpy.types.Mesh:
    """The GLB's triangles in the prop frame: Z-up, origin at the ground contact."""
    assert prop.glb is not None
    glb = read_glb(prop.glb)
    prop_from_glb = np.linalg.inv(prop.camera_from_prop) @ prop.camera_from_glb
    vertices = glb.vertices @ prop_from_glb[:3, :3].T + prop_from_glb[:3, 3]
    mesh = mesh_from_faces(name, vertices.astype(np.float32), glb.faces)
    set_uv(mesh, glb.uv, glb.faces)
    for material in glb.materials:
        mesh.materials.append(_prop_material(name, material))
    if len(glb.materials) > 1:
        mesh.polygons.foreach_set("material_index", glb.material_index)
    mesh.polygons.foreach_set("use_smooth", np.ones(len(glb.faces), bool))
    mesh.update()
    return mesh


def _prop_material(name: str, source: GlbMaterial) -> bpy.types.Material:
    """As filmed (the texture holds the light of the still) or lit anew, by the object's own property."""
    material, tree, output = new_material(name)
    if source.image is not None:
        texture = tree.add("ShaderNodeTexImage", image=image_from_bytes(f"{name} texture", source.image))
        color = texture.outputs["Color"]
        tree.tree.nodes.active = texture
    else:
        color = tree.add("ShaderNodeRGB").outputs[0]
        color.default_value = source.color
    lit = tree.add("ShaderNodeBsdfPrincipled",
                   {"Base Color": color, "Roughness": source.roughness, "Metallic": source.metallic})  # fmt: skip
    filmed = tree.add("ShaderNodeEmission", {"Color": color})
    relight = tree.add("ShaderNodeAttribute", attribute_type="OBJECT", attribute_name=f'["{RELIGHT}"]')
    mixed = tree.add("ShaderNodeMixShader",
                     {0: relight.outputs["Fac"], 1: filmed.outputs[0], 2: lit.outputs[0]})  # fmt: skip
    tree.tree.links.new(mixed.outputs[0], output.inputs["Surface"])
    tree.layout()
    material.cycles.emission_sampling = "NONE"
    return material
