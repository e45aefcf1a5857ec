# SPDX-License-Identifier: GPL-3.0-or-later
"""The coloured point cloud: Blender's own where Python can make one (5.2), else vertices and Mesh to Points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..core.frames import F64, srgb_to_linear
from ..core.ply import Points, read_points
from . import attributes
from .attributes import COLOR
from .nodes import geometry_group, new_material
from .objects import add_object, camera_only, mesh_from_points

MODIFIER = "Points"


def has_native_points() -> bool:
    return hasattr(bpy.types.PointCloud, "resize")


def add_points(
    path: Path, name: str, collection: bpy.types.Collection, parent: bpy.types.Object, matrix: F64, focal: float
) -> bpy.types.Object:
    """`focal` in pixels: a point is as large as the pixel it came from, so it closes the picture and no more.

    Raises FormatError for files that are no point cloud.
    """
    cloud = read_points(path)
    color = np.concatenate([srgb_to_linear(cloud.color), np.ones((len(cloud), 1), np.float32)], axis=1)
    radius = (0.5 * np.linalg.norm(cloud.position, axis=1) / focal).astype(np.float32)
    data: Any = _native(name, cloud) if has_native_points() else mesh_from_points(name, cloud.position)
    attributes.write(data, COLOR, "FLOAT_COLOR", color)
    attributes.write(data, "radius", "FLOAT", radius)
    made = add_object(collection, name, data, parent, matrix)
    camera_only(made)
    data.materials.append(_points_material())
    if isinstance(data, bpy.types.Mesh):
        made.modifiers.new(MODIFIER, "NODES").node_group = _points_group()
    return made


def _native(name: str, cloud: Points) -> Any:
    data = bpy.data.pointclouds.new(name)
    data.resize(len(cloud))
    attributes.write(data, "position", "FLOAT_VECTOR", cloud.position)
    return data


def _points_group() -> Any:
    name = "Assetize points"
    if name in bpy.data.node_groups:
        return bpy.data.node_groups[name]
    group, tree = geometry_group(name)
    given = tree.add("NodeGroupInput").outputs
    radius = tree.add("GeometryNodeInputNamedAttribute", {"Name": "radius"}, data_type="FLOAT").outputs[0]
    points = tree.add("GeometryNodeMeshToPoints", {"Mesh": given["Geometry"], "Radius": radius})
    dressed = tree.add("GeometryNodeSetMaterial",
                       {"Geometry": points.outputs[0], "Material": _points_material()})  # fmt: skip
    tree.add("NodeGroupOutput", {"Geometry": dressed.outputs["Geometry"]})
    tree.layout()
    return group


def _points_material() -> bpy.types.Material:
    name = "Assetize points"
    if name in bpy.data.materials:
        return bpy.data.materials[name]
    material, tree, output = new_material(name)
    color = tree.add("ShaderNodeAttribute", attribute_name=COLOR).outputs["Color"]
    emission = tree.add("ShaderNodeEmission", {"Color": color})
    tree.tree.links.new(emission.outputs[0], output.inputs["Surface"])
    tree.layout()
    material.cycles.emission_sampling = "NONE"
    return material
