"""Camera, rendering and the truth beside the picture.

Cycles writes depth (along the optical axis, metres) and object index from the first sample, which it takes at the
pixel's centre, so both are exact per pixel and never blended at edges.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import OpenEXR
from mathutils import Matrix, Vector
from PIL import Image, ImageDraw

# Blender's camera looks along -Z with Y up; OpenCV's along +Z with Y down.
BLENDER_FROM_CV = np.diag([1.0, -1.0, -1.0, 1.0])


def camera(at: Sequence[float], towards: Sequence[float], lens_mm: float, roll: float = 0.0) -> bpy.types.Object:
    """A camera on a 36 mm wide sensor, fitted horizontally whatever the aspect."""
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.sensor_width, data.lens = "HORIZONTAL", 36.0, lens_mm
    data.clip_start, data.clip_end = 0.01, 500.0
    obj = bpy.data.objects.new("camera", data)
    obj.location = at
    look = (Vector(towards) - Vector(at)).to_track_quat("-Z", "Y").to_matrix().to_4x4()
    obj.matrix_world = Matrix.Translation(Vector(at)) @ look @ Matrix.Rotation(np.radians(roll), 4, "Z")
    bpy.context.scene.collection.objects.link(obj)
    bpy.context.scene.camera = obj
    return obj


def intrinsics(lens_mm: float, width: int, height: int) -> np.ndarray:
    """3x3 K for pixel centres at half-integers: square pixels, principal point in the middle."""
    f = lens_mm / 36.0 * width
    return np.array([[f, 0, width / 2], [0, f, height / 2], [0, 0, 1.0]])


def render(png: Path, size: tuple[int, int], samples: int, exposure: float = 0.0, haze: float = 0.0,
           haze_colour: Sequence[float] = (0.5, 0.55, 0.6), look: str = "AgX - Medium High Contrast", seed: int = 0
           ) -> dict[str, np.ndarray]:
    """Render the scene to `png` (8-bit sRGB, AgX) and return the passes.

    `haze` is the extinction per metre of an even haze, mixed in by depth. Returns depth (H, W) float32 with inf for
    the sky, ids (H, W) uint8, and linear (H, W, 3) float32, haze included.
    """
    scene = bpy.context.scene
    r, c = scene.render, scene.cycles
    r.engine, c.device, c.samples, c.seed = "CYCLES", "CPU", samples, seed
    c.use_denoising, c.denoiser, c.denoising_input_passes = True, "OPENIMAGEDENOISE", "RGB_ALBEDO_NORMAL"
    c.denoising_prefilter = "ACCURATE" if samples >= 32 else "FAST"
    c.use_adaptive_sampling, c.adaptive_threshold = True, 0.02 if samples >= 32 else 0.05
    c.max_bounces, c.diffuse_bounces, c.glossy_bounces, c.transmission_bounces = 6, 4, 3, 3
    c.caustics_reflective = c.caustics_refractive = False
    c.sample_clamp_indirect = 6.0
    r.resolution_x, r.resolution_y, r.resolution_percentage = *size, 100
    r.use_persistent_data = False
    scene.view_settings.view_transform, scene.view_settings.look = "AgX", look
    scene.view_settings.exposure = exposure
    r.image_settings.file_format, r.image_settings.color_mode, r.image_settings.compression = "PNG", "RGB", 100
    r.dither_intensity = 0.0
    layer = bpy.context.view_layer
    layer.use_pass_z = layer.use_pass_object_index = True
    with tempfile.TemporaryDirectory() as folder:
        _composite(scene, Path(folder), haze, haze_colour)
        r.filepath = str(png)
        bpy.ops.render.render(write_still=True)
        channel = _channels(Path(folder))
    depth = channel["depth.V"]
    depth[depth > 1e6] = np.inf
    return {"depth": depth, "ids": np.rint(channel["ids.V"]).astype(np.uint8),
            "linear": np.stack([channel[f"linear.{k}"] for k in "RGB"], -1)}


def normals() -> np.ndarray:
    """(H, W, 3) float32 unit normals of the last picture in OpenCV camera axes, 0 for the sky.

    A render of its own with every material put aside: Cycles' normal pass shows bump maps, which are not shape.
    """
    scene, layer = bpy.context.scene, bpy.context.view_layer
    plain = bpy.data.materials.new("plain")
    layer.use_pass_normal, layer.material_override, scene.cycles.samples = True, plain, 1
    scene.cycles.use_denoising = False
    with tempfile.TemporaryDirectory() as folder:
        tree = scene.node_tree
        tree.nodes.clear()
        layers = tree.nodes.new("CompositorNodeRLayers")
        _to_file(tree, Path(folder), {"normal": layers.outputs["Normal"]})
        bpy.ops.render.render()
        channel = _channels(Path(folder))
    layer.use_pass_normal, layer.material_override = False, None
    bpy.data.materials.remove(plain)
    world = np.stack([channel[f"normal.{k}"] for k in "XYZ"], -1)
    return (world @ camera_from_world()[:3, :3].T).astype(np.float32)


def _channels(folder: Path) -> dict[str, np.ndarray]:
    part = OpenEXR.File(str(next(folder.glob("*.exr"))), separate_channels=True).parts[0]
    return {name: np.array(value.pixels, np.float32) for name, value in part.channels.items()}


def _composite(scene: bpy.types.Scene, folder: Path, haze: float, colour: Sequence[float]) -> None:
    """Picture through the haze to the still; depth, ids and linear colour to one multilayer EXR."""
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    layers, out = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeComposite")
    image = layers.outputs["Image"]
    if haze:
        # transmittance = exp(-haze * depth); the sky keeps its own colour beyond 90 m of haze.
        product = tree.nodes.new("CompositorNodeMath")
        product.operation = "MULTIPLY"
        near = tree.nodes.new("CompositorNodeMath")
        near.operation = "MINIMUM"
        power = tree.nodes.new("CompositorNodeMath")
        power.operation = "POWER"
        mix = tree.nodes.new("CompositorNodeMixRGB")
        tree.links.new(layers.outputs["Depth"], near.inputs[0])
        near.inputs[1].default_value = 90.0
        tree.links.new(near.outputs[0], product.inputs[0])
        product.inputs[1].default_value = -haze
        power.inputs[0].default_value = float(np.e)
        tree.links.new(product.outputs[0], power.inputs[1])
        tree.links.new(power.outputs[0], mix.inputs[0])
        mix.inputs[1].default_value = (*colour, 1)
        tree.links.new(image, mix.inputs[2])
        image = mix.outputs[0]
    tree.links.new(image, out.inputs[0])
    _to_file(tree, folder, {"depth": layers.outputs["Depth"], "ids": layers.outputs["IndexOB"], "linear": image})


def _to_file(tree: bpy.types.NodeTree, folder: Path, wanted: dict[str, bpy.types.NodeSocket]) -> None:
    """Write sockets to one multilayer EXR of floats."""
    files = tree.nodes.new("CompositorNodeOutputFile")
    files.base_path = str(folder / "passes")
    files.format.file_format, files.format.color_depth, files.format.exr_codec = "OPEN_EXR_MULTILAYER", "32", "ZIP"
    files.layer_slots.clear()
    for name, socket in wanted.items():
        files.layer_slots.new(name)
        tree.links.new(socket, files.inputs[name])


def world_from_camera() -> np.ndarray:
    """4x4, OpenCV camera axes to Blender's world."""
    return np.array(bpy.context.scene.camera.matrix_world) @ BLENDER_FROM_CV


def camera_from_world() -> np.ndarray:
    return np.linalg.inv(world_from_camera())


def object_mesh(obj: bpy.types.Object) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, 3) in the object's own frame, scale applied, and triangles (M, 3)."""
    mesh = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    mesh.calc_loop_triangles()
    vertices = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", vertices)
    triangles = np.empty(len(mesh.loop_triangles) * 3, np.int32)
    mesh.loop_triangles.foreach_get("vertices", triangles)
    return vertices.reshape(-1, 3).astype(float) * np.array(obj.matrix_world.to_scale()), triangles.reshape(-1, 3)


def rigid(obj: bpy.types.Object) -> np.ndarray:
    """4x4 world_from_object without the scale."""
    location, turn, _ = obj.matrix_world.decompose()
    return np.array(Matrix.Translation(location) @ turn.to_matrix().to_4x4())


def silhouette(obj: bpy.types.Object, K: np.ndarray, size: tuple[int, int], oversample: int = 4) -> np.ndarray:
    """Amodal mask (H, W) bool: all of the object's triangles that lie in front of the camera, nothing hiding them."""
    vertices, triangles = object_mesh(obj)
    pose = camera_from_world() @ rigid(obj)
    p = vertices @ pose[:3, :3].T + pose[:3, 3]
    z = np.maximum(p[:, 2:], 1e-4)
    uv = ((p / z) @ K.T)[:, :2] * oversample
    picture = Image.new("1", (size[0] * oversample, size[1] * oversample))
    draw = ImageDraw.Draw(picture)
    for triangle in triangles[(p[triangles, 2] > 0.02).all(1)]:
        draw.polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in uv[triangle]], fill=1)
    big = np.array(picture).reshape(size[1], oversample, size[0], oversample)
    return big.mean((1, 3)) > 0.5


def describe(ids: np.ndarray, K: np.ndarray, key_to_light: Sequence[float] | None, ground_z: float = 0.0,
             extra: dict[str, Any] | None = None, amodal: dict[int, np.ndarray] | None = None) -> dict[str, Any]:
    """The truth as a JSON-able dict; `amodal`, if given, is filled with each thing's amodal mask by id."""
    height, width = ids.shape
    view = camera_from_world()
    up = view[:3, 2]
    things = []
    for obj in sorted(bpy.context.scene.objects, key=lambda o: o.pass_index):
        if not obj.pass_index:
            continue
        seen = ids == obj.pass_index
        entry: dict[str, Any] = {"id": obj.pass_index, "label": obj["label"], "kind": obj["kind"],
                                 "pixels": int(seen.sum())}
        if obj["kind"] != "stuff":
            vertices, _ = object_mesh(obj)
            low, high = vertices.min(0), vertices.max(0)
            whole = silhouette(obj, K, (width, height))
            if amodal is not None:
                amodal[obj.pass_index] = whole
            rows, columns = np.nonzero(seen)
            box = [int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1] if len(
                rows) else [0, 0, 0, 0]
            border = bool(len(rows)) and (box[0] <= 2 or box[1] <= 2 or box[0] + box[2] >= width - 2
                                          or box[1] + box[3] >= height - 2)
            share = float(seen.sum() / max(whole.sum(), 1))
            entry |= {
                "bbox_xywh": box, "area_fraction": round(float(seen.mean()), 5), "truncated": border,
                "visible_fraction": round(min(share, 1.0), 4), "bbox_min": _list(low), "bbox_max": _list(high),
                "dims": _list(high - low), "camera_from_object": _list(view @ rigid(obj)),
                "world_from_object": _list(rigid(obj)),
            }
        # A hero is what a prop harvester should find: whole, inside the frame, big enough to rebuild.
        entry["is_prop"] = obj["kind"] == "prop" and not entry["truncated"] and entry["visible_fraction"] >= 0.8 and (
            entry["area_fraction"] >= 0.004)
        things.append(entry)
    origin = view @ np.array([0, 0, ground_z, 1.0])
    truth = {
        "version": 1, "frame": "OpenCV camera axes (x right, y down, z forward), metres; pixel centres at .5",
        "width": width, "height": height, "intrinsics": _list(K),
        "hfov_degrees": round(float(np.degrees(2 * np.arctan(width / 2 / K[0, 0]))), 6),
        "camera_from_world": _list(view), "gravity": _list(-up),
        "ground_plane": {"normal": _list(up), "offset": round(float(-up @ origin[:3]), 6),
                         "meaning": "normal . p + offset = height of p above the ground"},
        "objects": things,
    }
    if key_to_light is not None:
        way = view[:3, :3] @ (np.asarray(key_to_light, float) / np.linalg.norm(key_to_light))
        truth["key_light"] = {"direction_to_light": _list(way)}
    return truth | (extra or {})


def _list(a: np.ndarray) -> list[Any]:
    return np.round(np.asarray(a, float), 6).tolist()


def write(folder: Path, name: str, passes: dict[str, np.ndarray], truth: dict[str, Any], stride: int = 2) -> None:
    """NAME.json, NAME_ids.png, NAME.npz: depth is every `stride`-th pixel from the first, float16, no averaging."""
    folder.mkdir(parents=True, exist_ok=True)
    truth |= {"depth_stride": stride}
    np.savez_compressed(folder / f"{name}.npz", depth=passes["depth"][::stride, ::stride].astype(np.float16))
    Image.fromarray(passes["ids"]).save(folder / f"{name}_ids.png", optimize=True)
    (folder / f"{name}.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
