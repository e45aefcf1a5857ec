"""Render stills with complete truth into CACHE/scenes/NAME/.

python -m bench.scenes --cache DIR [--split dev|holdout] [--count 24] [--first 0] [--samples 24]

still.png          8-bit sRGB, AgX
truth.json         as examples/truth (camera, gravity, ground, objects, key light) and: probe point, views, people
depth.npz          depth (H, W) float16 metres, inf sky; normal (H, W, 3) float16, OpenCV camera axes
ids.png            visible object ids; amodal.npz: bit-packed whole silhouettes by id
meshes.npz         NAME_vertices (N, 3) float32 in each prop's own frame, NAME_triangles; NAME = o<id>
probe.exr          equirect 128x64 around the probe point in the still's camera axes (centre = forward), linear
view_<name>.png    the same scene from 5, 10, 20 cm to the right and from 5 degrees aside
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import bpy
import numpy as np
import OpenEXR
from PIL import Image

from examples.make import truth

from .assets import Model, fetch, load
from .compose import Scene, compose

# Seeds of the two splits never meet. Nothing in this repository trains or tunes on the holdout.
FIRST_SEED = {"dev": 0, "holdout": 1_000_000}
VIEWS = {"right_05cm": 0.05, "right_10cm": 0.10, "right_20cm": 0.20, "orbit_5deg": None}


def make(seed: int, folder: Path, root: Path, library: dict[str, list[Model]], samples: int) -> dict:
    """Compose and render the scene of `seed` into `folder`; written last, truth.json marks it complete."""
    began = time.perf_counter()
    scene = compose(seed, root, library)
    folder.mkdir(parents=True, exist_ok=True)
    shot = {"exposure": scene.exposure, "haze": scene.haze, "haze_colour": scene.haze_colour, "look": scene.look,
            "seed": seed}
    passes = truth.render(folder / "still.png", scene.size, samples, **shot)
    K = truth.intrinsics(scene.lens_mm, *scene.size)
    amodal: dict[int, np.ndarray] = {}
    record = truth.describe(passes["ids"], K, scene.key, scene.ground_z, amodal=amodal)
    record |= {"seed": seed, "kind": scene.kind, "depth_stride": 1,
               "people": sum(o["kind"] == "person" and o["pixels"] > 0 for o in record["objects"])}
    seen = {o["id"] for o in record["objects"] if o["kind"] != "stuff" and o["pixels"]}
    np.savez_compressed(folder / "depth.npz", depth=passes["depth"].astype(np.float16),
                        normal=truth.normals().astype(np.float16))
    Image.fromarray(passes["ids"]).save(folder / "ids.png", optimize=True)
    np.savez_compressed(folder / "amodal.npz", **{f"o{k}": np.packbits(m) for k, m in amodal.items() if k in seen})
    _meshes(folder / "meshes.npz", seen)
    record["probe"] = _probe(folder / "probe.exr", record, passes, samples)
    record["views"] = _views(folder, scene, passes["depth"], shot, samples)
    record["seconds"] = round(time.perf_counter() - began, 1)
    part = folder / "truth.json.part"
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    part.replace(folder / "truth.json")
    return record


def _meshes(path: Path, ids: set[int]) -> None:
    arrays = {}
    for obj in bpy.context.scene.objects:
        if obj.pass_index in ids:
            vertices, triangles = truth.object_mesh(obj)
            arrays[f"o{obj.pass_index}_vertices"] = vertices.astype(np.float32)
            arrays[f"o{obj.pass_index}_triangles"] = triangles.astype(np.int32)
    np.savez_compressed(path, **arrays)


def _probe(path: Path, record: dict, passes: dict[str, np.ndarray], samples: int) -> dict:
    """Render the light that arrives at a free point before the middle of the picture."""
    scene, main = bpy.context.scene, bpy.context.scene.camera
    finite = passes["depth"][np.isfinite(passes["depth"])]
    # In front of everything in the middle third, so that nothing swallows the point.
    h, w = passes["depth"].shape
    middle = passes["depth"][h // 3 : 2 * h // 3, w // 3 : 2 * w // 3]
    distance = float(min(0.8 * np.nanmin(np.where(np.isfinite(middle), middle, np.nan)), np.median(finite)))
    data = bpy.data.cameras.new("probe")
    data.type, data.panorama_type = "PANO", "EQUIRECTANGULAR"
    obj = bpy.data.objects.new("probe", data)
    point = truth.world_from_camera() @ np.array([0, 0, distance, 1.0])
    obj.matrix_world = main.matrix_world.copy()
    obj.matrix_world.translation = point[:3]
    scene.collection.objects.link(obj)
    scene.camera = obj
    scene.use_nodes = False
    r = scene.render
    r.resolution_x, r.resolution_y, r.filepath = 128, 64, str(path)
    r.image_settings.file_format, r.image_settings.color_depth, r.image_settings.exr_codec = "OPEN_EXR", "32", "ZIP"
    scene.cycles.samples, scene.cycles.sample_clamp_indirect, scene.cycles.use_denoising = samples * 2, 0, True
    lamps = [o for o in scene.objects if o.type == "LIGHT"]
    for lamp in lamps:
        lamp.visible_camera = True  # hidden in the still, but light that arrives all the same
    bpy.ops.render.render(write_still=True)
    for lamp in lamps:
        lamp.visible_camera = False
    scene.camera = main
    light = np.array(OpenEXR.File(str(path)).channels()["RGB"].pixels, np.float32)
    for lamp in lamps:
        if lamp.data.type == "SUN":
            _add_sun(light, lamp, obj)
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION}, {"RGB": light}).write(str(path))
    return {"distance": distance, "dominant_to_light": dominant(light).round(6).tolist()}


def _add_sun(equirect: np.ndarray, lamp: bpy.types.Object, probe: bpy.types.Object) -> None:
    """Put a sun lamp, which no camera of Cycles sees, into the texel where it stands, unless something shades it."""
    way = lamp.matrix_world.to_3x3().col[2].normalized()
    hit, *_ = bpy.context.scene.ray_cast(bpy.context.evaluated_depsgraph_get(), probe.matrix_world.translation, way)
    if hit:
        return
    x, y, z = truth.camera_from_world()[:3, :3] @ np.array(way)
    h, w = equirect.shape[:2]
    row = int((0.5 + np.arcsin(np.clip(y, -1, 1)) / np.pi) * h)
    column = int((np.arctan2(x, z) / (2 * np.pi) + 0.5) * w)
    solid = np.cos(np.pi / 2 - (row + 0.5) / h * np.pi) * (np.pi / h) * (2 * np.pi / w)
    # Blender gives a sun's strength as irradiance, W/m2; spread over one texel that is this radiance.
    equirect[row, column] += np.array(lamp.data.color) * lamp.data.energy / solid


def dominant(equirect: np.ndarray) -> np.ndarray:
    """Unit vector of the luminance-weighted mean direction of an equirect in camera axes (the L1 term's direction)."""
    h, w = equirect.shape[:2]
    longitude = (np.arange(w) + 0.5) / w * 2 * np.pi - np.pi
    latitude = np.pi / 2 - (np.arange(h) + 0.5) / h * np.pi
    c = np.cos(latitude)[:, None]
    down = np.broadcast_to(-np.sin(latitude)[:, None], (h, w))
    way = np.stack([np.sin(longitude) * c, down, np.cos(longitude) * c], -1)
    weight = (equirect @ np.array([0.2126, 0.7152, 0.0722])) * c
    mean = (way * weight[..., None]).sum((0, 1))
    return mean / np.linalg.norm(mean)


def _views(folder: Path, scene: Scene, depth: np.ndarray, shot: dict, samples: int) -> dict:
    """The true picture from beside, half size; poses as still_from_view (camera axes of the still)."""
    from mathutils import Matrix

    main = bpy.context.scene.camera
    home = main.matrix_world.copy()
    pivot = float(np.median(depth[np.isfinite(depth)]))
    size = (scene.size[0] // 2, scene.size[1] // 2)
    poses = {}
    for name, right in VIEWS.items():
        if right is not None:
            move = np.eye(4)
            move[0, 3] = right
        else:
            c, s = np.cos(np.radians(5)), np.sin(np.radians(5))
            turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
            move = np.eye(4)
            move[:3, :3], move[:3, 3] = turn, np.array([0, 0, pivot]) - turn @ [0, 0, pivot]
        main.matrix_world = home @ Matrix((truth.BLENDER_FROM_CV @ move @ truth.BLENDER_FROM_CV).tolist())
        bpy.context.view_layer.update()
        truth.render(folder / f"view_{name}.png", size, max(samples // 2, 8), **shot)
        poses[name] = {"still_from_view": np.round(move, 6).tolist(),
                       "intrinsics": truth.intrinsics(scene.lens_mm, *size).round(6).tolist()}
    main.matrix_world = home
    return poses


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the bench's stills and their truth.")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--split", choices=sorted(FIRST_SEED), default="dev")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--samples", type=int, default=16)
    args = parser.parse_args()
    root = fetch(args.cache)
    library = load(root)
    for k in range(args.first, args.first + args.count):
        folder = args.cache / "scenes" / f"{args.split}_{k:04d}"
        if (folder / "truth.json").exists():
            continue
        record = make(FIRST_SEED[args.split] + k, folder, root, library, args.samples)
        props = sum(o["is_prop"] for o in record["objects"])
        print(f"{folder.name}: {record['kind']}, {props} props, {record['people']} people, {record['seconds']} s",
              flush=True)


if __name__ == "__main__":
    main()
