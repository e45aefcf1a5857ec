# SPDX-License-Identifier: GPL-3.0-or-later
"""World light from the probe, key light as a sun."""

from __future__ import annotations

import math
from typing import Any

import bpy
import numpy as np

from ..core.frames import F64
from ..core.record import LIGHT, flat_record
from ..core.session import SessionData
from .metadata import write_record
from .nodes import Tree
from .objects import add_object, load_image
from .sets import world_of


def add_world(session: SessionData, scene: bpy.types.Scene) -> bpy.types.World | None:
    """The probe as the scene's world.

    The probe's middle column looks along the heading (world +y), Blender's along +x: directions are turned by -90
    degrees about z before the look-up. Both count columns to the right as turning right.
    """
    if session.probe is None:
        return None
    image = load_image(session.probe, "Linear Rec.709", f"{session.name} probe")
    world = bpy.data.worlds.new(f"{session.name} probe")
    if world.node_tree is None:
        world.use_nodes = True
    world.node_tree.nodes.clear()
    tree = Tree(world.node_tree)
    direction = tree.add("ShaderNodeTexCoord").outputs["Generated"]
    turned = tree.add("ShaderNodeMapping",
                      {"Vector": direction, "Rotation": (0.0, 0.0, math.radians(-90.0))}).outputs[0]  # fmt: skip
    probe = tree.add("ShaderNodeTexEnvironment", {"Vector": turned}, image=image)
    background = tree.add("ShaderNodeBackground", {"Color": probe.outputs["Color"], "Strength": 1.0})
    tree.add("ShaderNodeOutputWorld", {"Surface": background.outputs[0]})
    tree.layout()
    source = session.probe.relative_to(session.root).as_posix()
    write_record(world, flat_record(session, "world", LIGHT, source))
    scene.world = world
    return world


def probe_strength(root: bpy.types.Object) -> float:
    """Raises KeyError for a set without a probe, or whose world was rebuilt by hand."""
    return float(_strength(root).default_value)


def set_probe_strength(root: bpy.types.Object, value: float) -> None:
    _strength(root).default_value = value


def _strength(root: bpy.types.Object) -> Any:
    world = world_of(root)
    if world is None:
        raise KeyError("no probe")
    return world.node_tree.nodes["Background"].inputs["Strength"]


def add_key_light(
    session: SessionData, collection: bpy.types.Collection, parent: bpy.types.Object, world_from_camera: F64
) -> bpy.types.Object | None:
    """A sun that shines from where the key light was found; hidden at first, because the probe holds its light."""
    key = session.key_light
    if key is None:
        return None
    data = bpy.data.lights.new(f"{session.name} key light", "SUN")
    data.color = key.color
    # the session gives the irradiance as luminance; a sun's strength is irradiance before its colour
    luminance = float(np.dot(key.color, (0.2126, 0.7152, 0.0722)))
    data.energy = key.intensity / max(luminance, 1e-6)
    data.angle = math.radians(key.angular_size_deg)
    toward = world_from_camera[:3, :3] @ key.direction
    made = add_object(collection, data.name, data, parent, _looking_from(toward, world_from_camera, session))
    made.hide_render = True
    made.hide_viewport = True
    write_record(made, flat_record(session, "key light", LIGHT, "lighting_probe.json"))
    return made


def _looking_from(toward: F64, world_from_camera: F64, session: SessionData) -> F64:
    """A sun shines along its -z: z points to the light. Its place has no effect, so it stands where one finds it."""
    z = toward / np.linalg.norm(toward)
    side = np.cross([0.0, 0.0, 1.0] if abs(z[2]) < 0.99 else [0.0, 1.0, 0.0], z)
    x = side / np.linalg.norm(side)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    matrix[:3, 3] = world_from_camera[:3, 3] + z * session.median_depth
    return matrix
