"""Put fetched models, skies and textures into the Blender scene."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from examples.make.build import register
from examples.make.materials import Graph

from .assets import Model

KINDS = {"person": "person", "vehicle": "vehicle"}


def place(model: Model, root: Path, at: tuple[float, float, float], yaw: float) -> bpy.types.Object:
    """Import a furniture model at its catalogue size, standing on `at`, turned by `yaw` degrees; front to -Y at 0."""
    before = set(bpy.data.objects)
    # Forward Y, up Z means: take the file's numbers as they are; the turn below brings them upright.
    bpy.ops.wm.obj_import(filepath=str(root / model.obj), forward_axis="Y", up_axis="Z", use_split_objects=False,
                          use_split_groups=False, validate_meshes=True)
    (obj,) = set(bpy.data.objects) - before
    for collection in list(obj.users_collection):
        collection.objects.unlink(obj)
    mesh = obj.data
    turn = Matrix(np.reshape(model.turn, (3, 3)).tolist()).to_4x4() if model.turn else Matrix.Identity(4)
    upright = Matrix(((1, 0, 0, 0), (0, 0, -1, 0), (0, 1, 0, 0), (0, 0, 0, 1)))  # the catalogue's models are Y-up
    mesh.transform(upright @ turn)
    low, high = _bounds(mesh)
    factor = np.array(model.size) / np.maximum(high - low, 1e-6)
    mesh.transform(Matrix.Diagonal((*factor, 1)) @ Matrix.Translation((*(-(low + high)[:2] / 2), -low[2])))
    for slot in obj.material_slots:
        _tame(slot.material)
    obj.location, obj.rotation_euler = at, (0, 0, np.radians(yaw))
    return register(obj, model.name.lower(), KINDS.get(model.role, "prop"))


def _bounds(mesh: bpy.types.Mesh) -> tuple[np.ndarray, np.ndarray]:
    co = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", co)
    co = co.reshape(-1, 3).astype(float)
    return co.min(0), co.max(0)


def _tame(material: bpy.types.Material | None) -> None:
    """Old OBJ materials come mirror-bright, self-lit or with lost pictures (which Blender paints magenta)."""
    if material is None or material.node_tree is None:
        return
    for node in list(material.node_tree.nodes):
        if node.type == "TEX_IMAGE" and (node.image is None or not node.image.size[0]):
            material.node_tree.nodes.remove(node)
            continue
        if node.type == "BSDF_PRINCIPLED":
            roughness = node.inputs["Roughness"]
            if not roughness.is_linked:
                roughness.default_value = float(np.clip(roughness.default_value, 0.25, 0.8))
            node.inputs["Emission Strength"].default_value = 0.0


def sky(path: Path, turn_degrees: float, strength: float) -> np.ndarray:
    """Light the world with an equirect EXR, turned about Z; returns the world direction of its brightest spot."""
    world = bpy.context.scene.world
    tree = world.node_tree
    tree.nodes.clear()
    coordinates, mapping, picture = (
        tree.nodes.new(f"ShaderNode{k}") for k in ("TexCoord", "Mapping", "TexEnvironment"))
    background, out = tree.nodes.new("ShaderNodeBackground"), tree.nodes.new("ShaderNodeOutputWorld")
    picture.image = bpy.data.images.load(str(path), check_existing=True)
    mapping.inputs["Rotation"].default_value = (0, 0, np.radians(turn_degrees))
    background.inputs["Strength"].default_value = strength
    for a, b in ((coordinates.outputs["Generated"], mapping.inputs["Vector"]), (mapping.outputs[0], picture.inputs[0]),
                 (picture.outputs[0], background.inputs["Color"]), (background.outputs[0], out.inputs[0])):
        tree.links.new(a, b)
    width, height = picture.image.size
    pixels = np.empty(width * height * 4, np.float32)
    picture.image.pixels.foreach_get(pixels)
    luminance = pixels.reshape(height, width, 4)[..., :3] @ np.array([0.2126, 0.7152, 0.0722])
    row, column = np.unravel_index(np.argmax(luminance), luminance.shape)
    # Blender's image rows run upwards; azimuth falls from pi at the left edge to -pi at the right.
    azimuth = np.pi - 2 * np.pi * (column + 0.5) / width - np.radians(turn_degrees)
    height_angle = np.pi * ((row + 0.5) / height - 0.5)
    c = np.cos(height_angle)
    return np.array([c * np.cos(azimuth), c * np.sin(azimuth), np.sin(height_angle)])


def textured(path: Path, metres: float, roughness: float, upright: bool) -> bpy.types.Material:
    """A tiling photograph-like texture of `metres` a tile, on flat ground or on upright walls."""
    g = Graph(path.stem)
    vector = g.part((1 / metres,) * 3)
    if upright:
        xyz = g.node("ShaderNodeSeparateXYZ", Vector=vector)
        along = g.node("ShaderNodeMath", {"operation": "ADD"}, i0=xyz.outputs["X"], i1=xyz.outputs["Y"]).outputs[0]
        vector = g.node("ShaderNodeCombineXYZ", X=along, Y=xyz.outputs["Z"]).outputs[0]
    image = bpy.data.images.load(str(path), check_existing=True)
    colour = g.node("ShaderNodeTexImage", {"image": image}, Vector=vector).outputs["Color"]
    uneven = g.noise(g.part(), 0.8, 6)
    return g.principled(Base_Color=g.mix(g.range(uneven, 0, 0.5), colour, (0.08, 0.07, 0.06)), Roughness=roughness,
                        Normal=g.bump(colour, 0.2, 0.01))
