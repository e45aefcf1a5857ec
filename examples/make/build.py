"""From shapes and materials to Blender objects, each with a name, an id and a place on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import bpy
import numpy as np

from .shapes import Shape, rotation


@dataclass
class Assembly:
    """One thing made of many parts, in its own frame: Z up, standing on z = 0, front towards -Y, metres.

    `kind` is one of "prop" (free-standing, may be taken away), "stuff" (walls, ground, fittings), "person", "vehicle".
    """

    label: str
    kind: str = "prop"
    vertices: list[np.ndarray] = field(default_factory=list)
    texture: list[np.ndarray] = field(default_factory=list)
    faces: list[tuple[int, ...]] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    smooth: list[bool] = field(default_factory=list)
    materials: list[bpy.types.Material] = field(default_factory=list)
    count: int = 0

    def add(self, shape: Shape, material: bpy.types.Material, at: Sequence[float] = (0, 0, 0),
            turn: Sequence[float] = (0, 0, 0), scale: float | Sequence[float] = 1.0, smooth: bool = True) -> Assembly:
        """Add a part; its texture coordinates are its own, longest side along x, shifted so that no two match."""
        local = shape.vertices * np.asarray(scale, float)
        order = np.argsort(-np.ptp(local, axis=0), kind="stable") if self.kind != "stuff" else np.arange(3)
        self.texture.append(local[:, order] + np.array([0.37, 0.61, 0.17]) * (len(self.texture) if
                                                                            self.kind != "stuff" else 0))
        self.vertices.append(local @ rotation(turn).T + np.asarray(at, float))
        self.faces += [tuple(i + self.count for i in face) for face in shape.faces]
        self.count += len(local)
        if material not in self.materials:
            self.materials.append(material)
        self.slots += [self.materials.index(material)] * len(shape.faces)
        self.smooth += [smooth] * len(shape.faces)
        return self

    def merge(self, other: Assembly, at: Sequence[float] = (0, 0, 0), turn: Sequence[float] = (0, 0, 0)) -> Assembly:
        """Take in another assembly's parts (fruit into a bowl, crates onto a cart)."""
        vertices = np.concatenate(other.vertices) @ rotation(turn).T + np.asarray(at, float)
        self.vertices.append(vertices)
        self.texture.append(np.concatenate(other.texture) + 0.53 * len(self.texture))
        self.faces += [tuple(i + self.count for i in face) for face in other.faces]
        self.count += len(vertices)
        slot = {}
        for k, material in enumerate(other.materials):
            if material not in self.materials:
                self.materials.append(material)
            slot[k] = self.materials.index(material)
        self.slots += [slot[k] for k in other.slots]
        self.smooth += other.smooth
        return self

    def place(self, at: Sequence[float] = (0, 0, 0), yaw: float = 0.0, scale: float = 1.0) -> bpy.types.Object:
        """Make the Blender object at `at`, turned by `yaw` degrees about Z; it gets the next free id (pass index)."""
        vertices = np.concatenate(self.vertices) * scale
        if self.kind == "prop":
            vertices[:, 2] -= vertices[:, 2].min()  # slanted legs' caps dip below their ends: stand on them exactly
        mesh = bpy.data.meshes.new(self.label)
        mesh.from_pydata(vertices.tolist(), [], self.faces)
        for material in self.materials:
            mesh.materials.append(material)
        mesh.polygons.foreach_set("material_index", np.array(self.slots, np.int32))
        attribute = mesh.attributes.new("part", "FLOAT_VECTOR", "POINT")
        attribute.data.foreach_set("vector", np.concatenate(self.texture).astype(np.float32).ravel())
        mesh.update()
        mesh.set_sharp_from_angle(angle=np.radians(38))
        mesh.polygons.foreach_set("use_smooth", np.array(self.smooth, bool))  # the line before had reset it
        obj = bpy.data.objects.new(self.label, mesh)
        if any(self.smooth):
            # Without it a narrow bevel bends the shading of the whole flat face beside it.
            weighted = obj.modifiers.new("weighted", "WEIGHTED_NORMAL")
            weighted.mode, weighted.keep_sharp = "FACE_AREA", True
        obj.location, obj.rotation_euler = at, (0, 0, np.radians(yaw))
        return register(obj, self.label, self.kind)


def register(obj: bpy.types.Object, label: str, kind: str) -> bpy.types.Object:
    """Link an object into the scene and give it the next id; ids begin at 1, 0 is the sky."""
    bpy.context.scene.collection.objects.link(obj)
    obj["label"], obj["kind"] = label, kind
    obj.pass_index = 1 + max((o.pass_index for o in bpy.context.scene.objects if o != obj), default=0)
    return obj


def empty_scene() -> bpy.types.Scene:
    """A new, empty file with Cycles on the CPU."""
    from . import materials

    bpy.ops.wm.read_factory_settings(use_empty=True)
    materials.forget()
    scene = bpy.context.scene
    scene.world = bpy.data.worlds.new("World")
    scene.world.use_nodes = True
    return scene


def sun(direction_to_light: Sequence[float], colour: Sequence[float], strength: float,
        angle: float = 1.0) -> bpy.types.Object:
    """A sun lamp; `direction_to_light` in world axes, `angle` its diameter in degrees, strength in W/m2."""
    from mathutils import Vector

    lamp = bpy.data.lights.new("key", "SUN")
    lamp.color, lamp.energy, lamp.angle = colour, strength, np.radians(angle)
    obj = bpy.data.objects.new("key", lamp)
    obj.rotation_euler = Vector(direction_to_light).to_track_quat("Z", "Y").to_euler()
    bpy.context.scene.collection.objects.link(obj)
    return obj


def area(at: Sequence[float], towards: Sequence[float], size: Sequence[float], colour: Sequence[float],
         power: float) -> bpy.types.Object:
    """A rectangular area light (watts), not seen by the camera."""
    from mathutils import Vector

    lamp = bpy.data.lights.new("area", "AREA")
    lamp.shape, lamp.size, lamp.size_y = "RECTANGLE", *size
    lamp.color, lamp.energy = colour, power
    obj = bpy.data.objects.new("area", lamp)
    obj.location = at
    obj.rotation_euler = (Vector(at) - Vector(towards)).to_track_quat("Z", "Y").to_euler()
    obj.visible_camera = False
    bpy.context.scene.collection.objects.link(obj)
    return obj


def bulb(at: Sequence[float], colour: Sequence[float], power: float, radius: float = 0.05) -> bpy.types.Object:
    """A point light (watts), not seen by the camera."""
    lamp = bpy.data.lights.new("bulb", "POINT")
    lamp.color, lamp.energy, lamp.shadow_soft_size = colour, power, radius
    obj = bpy.data.objects.new("bulb", lamp)
    obj.location = at
    obj.visible_camera = False
    bpy.context.scene.collection.objects.link(obj)
    return obj


def world_gradient(low: Sequence[float], high: Sequence[float], strength: float) -> None:
    """A sky that goes from `low` at the horizon to `high` at the zenith, linear Rec.709."""
    tree = bpy.context.scene.world.node_tree
    background = tree.nodes["Background"]
    coordinates = tree.nodes.new("ShaderNodeTexCoord")
    split = tree.nodes.new("ShaderNodeSeparateXYZ")
    ramp = tree.nodes.new("ShaderNodeValToRGB")
    tree.links.new(coordinates.outputs["Generated"], split.inputs[0])
    tree.links.new(split.outputs["Z"], ramp.inputs[0])
    tree.links.new(ramp.outputs[0], background.inputs["Color"])
    ramp.color_ramp.interpolation = "EASE"
    ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = (*low, 1), (*high, 1)
    ramp.color_ramp.elements[1].position = 0.45
    background.inputs["Strength"].default_value = strength
