# SPDX-License-Identifier: GPL-3.0-or-later
"""Short hand for node trees, and the one place that knows how modifier inputs are written in each Blender."""

from __future__ import annotations

from typing import Any

import bpy


class Tree:
    """Adds nodes and links them by socket: `tree.add("ShaderNodeMath", {0: a, 1: 2.0}, operation="ADD")`."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree

    def add(self, kind: str, inputs: dict[Any, Any] | None = None, **settings: Any) -> Any:
        """A new node; `inputs` maps socket names or numbers to values or to output sockets to link from."""
        node = self.tree.nodes.new(kind)
        for key, value in settings.items():
            setattr(node, key, value)
        for key, value in (inputs or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, node.inputs[key])
            else:
                node.inputs[key].default_value = value
        return node

    def math(self, operation: str, *operands: Any) -> Any:
        """Scalar maths; returns the output socket. Works in shader and geometry trees."""
        return self.add("ShaderNodeMath", dict(enumerate(operands)), operation=operation).outputs[0]

    def vector(self, operation: str, *operands: Any) -> Any:
        """Vector maths; returns the vector output, or the value output of DOT_PRODUCT, LENGTH and DISTANCE."""
        node = self.add("ShaderNodeVectorMath", dict(enumerate(operands)), operation=operation)
        scalar = operation in {"DOT_PRODUCT", "LENGTH", "DISTANCE"}
        return node.outputs["Value" if scalar else "Vector"]

    def layout(self) -> None:
        """Columns by distance from the output, so that who opens the tree can read it."""
        depth: dict[str, int] = {}
        users: dict[str, list[str]] = {}
        for link in self.tree.links:
            users.setdefault(link.from_node.name, []).append(link.to_node.name)

        def column(name: str) -> int:
            if name not in depth:
                depth[name] = 1 + max(map(column, users.get(name, [])), default=-1)
            return depth[name]

        rows: dict[int, int] = {}
        for node in self.tree.nodes:
            at = column(node.name)
            node.location = (-220.0 * at, -180.0 * rows.get(at, 0))
            rows[at] = rows.get(at, 0) + 1


def new_material(name: str) -> tuple[bpy.types.Material, Tree, Any]:
    """An empty material: it, its tree, and the output node."""
    material = bpy.data.materials.new(name)
    if material.node_tree is None:  # always there from 5.0 on, where writing use_nodes is deprecated
        material.use_nodes = True
    material.node_tree.nodes.clear()
    tree = Tree(material.node_tree)
    return material, tree, tree.add("ShaderNodeOutputMaterial")


def geometry_group(name: str) -> tuple[Any, Tree]:
    """A geometry node group with a geometry input and output socket; add more by `interface.new_socket`."""
    group = bpy.data.node_groups.new(name, "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    group.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    group.is_modifier = True
    return group, Tree(group)


def _identifier(modifier: Any, name: str) -> str:
    for item in modifier.node_group.interface.items_tree:
        if item.item_type == "SOCKET" and item.in_out == "INPUT" and item.name == name:
            return str(item.identifier)
    raise KeyError(f"{modifier.node_group.name} has no input {name}")


def set_input(modifier: Any, name: str, value: Any) -> None:
    """Write a geometry nodes input. From 5.2 on modifiers hold no ID properties, inputs lie in `properties.inputs`."""
    identifier = _identifier(modifier, name)
    properties = getattr(modifier, "properties", None)
    inputs = getattr(properties, "inputs", None)
    if inputs is not None:
        getattr(inputs, identifier).value = value
    else:
        modifier[identifier] = value
    modifier.id_data.update_tag()  # neither way tells the dependency graph


def get_input(modifier: Any, name: str) -> Any:
    identifier = _identifier(modifier, name)
    inputs = getattr(getattr(modifier, "properties", None), "inputs", None)
    return getattr(inputs, identifier).value if inputs is not None else modifier[identifier]
