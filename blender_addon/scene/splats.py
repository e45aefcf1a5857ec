# SPDX-License-Identifier: GPL-3.0-or-later
"""3D Gaussians in Blender: one function, two back ends.

Native, where the running Blender has Gaussian point clouds (5.3). Else vertices with attributes, which geometry nodes
turn into one quad a Gaussian:

A ray that passes a Gaussian meets its densest point on the plane x' S v = 0 through the centre (v the viewing
direction, S the inverse covariance). On that plane the density itself is the Gaussian's footprint as seen along v.
So a quad on this plane, with the density as its opacity, looks from the eye like the projected Gaussian of a splat
rasteriser; for flat Gaussians it is their own disk, for round ones it faces the eye. In whitened space (rotated and
scaled so that S is one) the plane is simply perpendicular to the whitened v. The construction is affine, so it holds
under any object transform, a stretched one too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..core.frames import F64, srgb_to_linear
from ..core.ply import SH_C0, Gaussians, read_gaussians
from . import attributes
from .attributes import COLOR
from .nodes import Tree, geometry_group, new_material, set_input
from .objects import add_object, camera_only, mesh_from_points

MODIFIER = "Gaussian splats"
LEVELS = {"AUTO": 0, "FULL": 1, "DRAFT": 2}
DRAFT_COUNT = 120_000
CUTOFF = 2.8  # half width of a quad in standard deviations: opacity has fallen to 2 % there


def has_native_splats() -> bool:
    """Whether point clouds can be Gaussian here; asked of the running Blender, not of its version number."""
    kind = bpy.types.PointCloud.bl_rna.properties.get("type")
    return kind is not None and any("SPLAT" in item.identifier for item in kind.enum_items)


def add_splats(
    path: Path,
    name: str,
    collection: bpy.types.Collection,
    parent: bpy.types.Object | None,
    matrix: F64,
    eye: bpy.types.Object,
) -> bpy.types.Object:
    """Import a 3DGS PLY, its own frame as object space. `eye`: the object that the splats are turned to.

    Raises FormatError for files that hold no Gaussians.
    """
    cloud = read_gaussians(path)
    data = _native(name, cloud) if has_native_splats() else _vertices(name, cloud)
    made = add_object(collection, name, data, parent, matrix)
    camera_only(made)
    if isinstance(data, bpy.types.Mesh):
        data.materials.append(splat_material())
        modifier = made.modifiers.new(MODIFIER, "NODES")
        modifier.node_group = splat_group()
        set_input(modifier, "Eye", eye)
        share = DRAFT_COUNT / max(1, len(cloud))
        set_input(modifier, "Draft size", float(max(1.0, share**-0.5)))
    return made


def set_level(made: bpy.types.Object, level: str) -> None:
    """AUTO: draft in the viewport and full in renders; FULL, DRAFT: in both. Native splats have no levels."""
    modifier = made.modifiers.get(MODIFIER)
    if modifier is not None:
        set_input(modifier, "Level", LEVELS[level])


def _vertices(name: str, cloud: Gaussians) -> bpy.types.Mesh:
    """The colour is decoded to scene linear once, here: Blender blends and displays linear values."""
    mesh = mesh_from_points(name, cloud.position)
    color = np.concatenate([srgb_to_linear(cloud.color), cloud.opacity[:, None]], axis=1)
    attributes.write(mesh, COLOR, "FLOAT_COLOR", color)
    attributes.write(mesh, "scale", "FLOAT_VECTOR", cloud.scale)
    attributes.write(mesh, "rotation", "QUATERNION", cloud.rotation)
    # every k-th in an order without pattern: the same draft every time
    count = len(cloud)
    draft = np.zeros(count, bool)
    draft[np.random.default_rng(0).permutation(count)[:DRAFT_COUNT]] = True
    attributes.write(mesh, "draft", "BOOLEAN", draft)
    return mesh


def _native(name: str, cloud: Gaussians) -> Any:
    """Blender 5.3's layout, written from its importer's source; not yet run on a 5.3 build."""
    data = bpy.data.pointclouds.new(name)
    data.resize(len(cloud))
    attributes.write(data, "position", "FLOAT_VECTOR", cloud.position)
    attributes.write(data, "scale", "FLOAT_VECTOR", cloud.scale)
    attributes.write(data, "rotation", "QUATERNION", cloud.rotation)
    base = np.concatenate([(cloud.color - 0.5) / SH_C0, cloud.opacity[:, None]], axis=1)
    attributes.write(data, "radiance:base", "FLOAT4", base)
    kinds = bpy.types.PointCloud.bl_rna.properties["type"].enum_items
    data.type = next(item.identifier for item in kinds if "SPLAT" in item.identifier)
    return data


def splat_group() -> Any:
    """The geometry nodes that turn vertices into quads; made once a file, shared by all splats."""
    name = "Assetize Gaussian splats"
    if name in bpy.data.node_groups:
        return bpy.data.node_groups[name]
    group, tree = geometry_group(name)
    _socket(group, "Eye", "NodeSocketObject")
    level = _socket(group, "Level", "NodeSocketInt")
    level.min_value, level.max_value = 0, 2
    level.description = "0: draft in the viewport, full in renders. 1: full. 2: draft"
    size = _socket(group, "Size", "NodeSocketFloat")
    size.default_value = 1.0
    _socket(group, "Draft size", "NodeSocketFloat").default_value = 1.0
    given = tree.add("NodeGroupInput").outputs
    is_draft = _draft_switch(tree, given["Level"])

    kept = tree.add("GeometryNodeDeleteGeometry", {"Geometry": given["Geometry"]}, domain="POINT", mode="ALL")
    left_out = tree.add("FunctionNodeBooleanMath", {0: _named(tree, "draft", "BOOLEAN")}, operation="NOT").outputs[0]
    drop = tree.add("FunctionNodeBooleanMath", {0: is_draft, 1: left_out}, operation="AND").outputs[0]
    tree.tree.links.new(drop, kept.inputs["Selection"])

    quad = tree.add("GeometryNodeMeshGrid", {"Size X": 2 * CUTOFF, "Size Y": 2 * CUTOFF,
                                             "Vertices X": 2, "Vertices Y": 2})  # fmt: skip
    marked = tree.add("GeometryNodeStoreNamedAttribute",
                      {"Geometry": quad.outputs["Mesh"], "Name": "sigmas",
                       "Value": tree.add("GeometryNodeInputPosition").outputs[0]},
                      data_type="FLOAT_VECTOR", domain="POINT")  # fmt: skip
    instances = tree.add("GeometryNodeInstanceOnPoints",
                         {"Points": kept.outputs[0], "Instance": marked.outputs["Geometry"]})  # fmt: skip
    placed = tree.add("GeometryNodeSetInstanceTransform", {"Instances": instances.outputs["Instances"]})
    grow = tree.add("GeometryNodeSwitch", {"Switch": is_draft, "False": 1.0, "True": given["Draft size"]},
                    input_type="FLOAT").outputs[0]  # fmt: skip
    tree.tree.links.new(_footprint(tree, given["Eye"], tree.math("MULTIPLY", grow, given["Size"])),
                        placed.inputs["Transform"])  # fmt: skip
    mesh = tree.add("GeometryNodeRealizeInstances", {"Geometry": placed.outputs["Instances"]})
    dressed = tree.add("GeometryNodeSetMaterial", {"Geometry": mesh.outputs["Geometry"], "Material": splat_material()})
    tree.add("NodeGroupOutput", {"Geometry": dressed.outputs["Geometry"]})
    tree.layout()
    return group


def _socket(group: Any, name: str, kind: str) -> Any:
    return group.interface.new_socket(name, in_out="INPUT", socket_type=kind)


def _named(tree: Tree, name: str, kind: str) -> Any:
    node = tree.add("GeometryNodeInputNamedAttribute", {"Name": name}, data_type=kind)
    return next(output for output in node.outputs if output.name == "Attribute" and output.enabled)


def _draft_switch(tree: Tree, level: Any) -> Any:
    """True where drafts are wanted: level 2, or level 0 in a viewport."""
    # scalar maths, because the sockets of the compare node are numbered differently from 5.2 on
    always = tree.math("COMPARE", level, float(LEVELS["DRAFT"]), 0.5)
    auto = tree.math("COMPARE", level, float(LEVELS["AUTO"]), 0.5)
    viewport = tree.add("GeometryNodeIsViewport").outputs[0]
    here = tree.add("FunctionNodeBooleanMath", {0: auto, 1: viewport}, operation="AND").outputs[0]
    return tree.add("FunctionNodeBooleanMath", {0: always, 1: here}, operation="OR").outputs[0]


def _footprint(tree: Tree, eye: Any, size: Any) -> Any:
    """The matrix that takes the unit quad to a Gaussian's plane; see the head of this file."""
    position = tree.add("GeometryNodeInputPosition").outputs[0]
    scale = tree.vector("SCALE", _named(tree, "scale", "FLOAT_VECTOR"))
    tree.tree.links.new(size, scale.node.inputs["Scale"])
    rotation = _named(tree, "rotation", "QUATERNION")
    info = tree.add("GeometryNodeObjectInfo", {"Object": eye}, transform_space="RELATIVE")
    view = tree.vector("SUBTRACT", position, info.outputs["Location"])
    back = tree.add("FunctionNodeInvertRotation", {0: rotation}).outputs[0]
    white = tree.vector(
        "DIVIDE", tree.add("FunctionNodeRotateVector", {"Vector": view, "Rotation": back}).outputs[0], scale
    )
    # normalised, because the next node takes tiny scales' huge vectors for degenerate
    facing = tree.add("FunctionNodeAlignRotationToVector", {"Vector": tree.vector("NORMALIZE", white)}, axis="Z")
    columns = []
    for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)):
        unit = tree.add("FunctionNodeRotateVector", {"Vector": axis, "Rotation": facing.outputs[0]}).outputs[0]
        bent = tree.vector("MULTIPLY", unit, scale)
        columns.append(tree.add("FunctionNodeRotateVector", {"Vector": bent, "Rotation": rotation}).outputs[0])
    columns.append(tree.vector("CROSS_PRODUCT", columns[0], columns[1]))
    columns.append(position)
    matrix = tree.add("FunctionNodeCombineMatrix")
    for number, column in enumerate(columns):
        parts = tree.add("ShaderNodeSeparateXYZ", {0: column}).outputs
        for row in range(3):
            tree.tree.links.new(parts[row], matrix.inputs[4 * number + row])
    return matrix.outputs[0]


def splat_material() -> bpy.types.Material:
    """Emits the colour, as opaque as the Gaussian is at that place of its quad."""
    name = "Assetize Gaussian splats"
    if name in bpy.data.materials:
        return bpy.data.materials[name]
    material, tree, output = new_material(name)
    color = tree.add("ShaderNodeAttribute", attribute_name=COLOR).outputs
    sigmas = tree.add("ShaderNodeAttribute", attribute_name="sigmas").outputs["Vector"]
    squared = tree.vector("DOT_PRODUCT", sigmas, sigmas)
    density = tree.math("EXPONENT", tree.math("MULTIPLY", squared, -0.5))
    inside = tree.math("LESS_THAN", squared, CUTOFF**2)
    opacity = tree.math("MULTIPLY", tree.math("MULTIPLY", density, inside), color["Alpha"])
    emission = tree.add("ShaderNodeEmission", {"Color": color["Color"]})
    clear = tree.add("ShaderNodeBsdfTransparent")
    mixed = tree.add("ShaderNodeMixShader", {0: opacity, 1: clear.outputs[0], 2: emission.outputs[0]})
    tree.tree.links.new(mixed.outputs[0], output.inputs["Surface"])
    tree.layout()
    material.surface_render_method = "DITHERED"  # needs no order of millions of quads
    material.cycles.emission_sampling = "NONE"
    return material
