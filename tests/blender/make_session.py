# SPDX-License-Identifier: GPL-3.0-or-later
"""A session folder of an analytic set whose every pixel, point and pose is known.

Numpy and the standard library only.

A tilted camera (pitch down, a little roll, principal point off centre) looks at a checkered floor and a striped back
wall under an open sky, with two boxes on the floor. Colours are smooth functions of the place, so that a textured
mesh can repeat them.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

WALL_Y, WALL_HEIGHT = 6.0, 1.5
CAMERA_HEIGHT = 1.4
BOXES = {  # label: centre x, y on the floor; size x, y, z; yaw in degrees
    "crate": ((-0.9, 3.4), (0.8, 0.6, 0.7), 25.0),
    "tin": ((0.8, 2.9), (0.35, 0.35, 0.6), -15.0),
}


def intrinsics(width: int, height: int) -> np.ndarray:
    focal = 0.9 * width
    return np.array([[focal, 0, 0.52 * width], [0, focal, 0.47 * height], [0, 0, 1.0]])


def world_from_camera() -> np.ndarray:
    """Pitch 14 degrees down, roll 4 degrees; camera at (0, 0, CAMERA_HEIGHT), heading +y."""
    pitch, roll = np.radians(-14.0), np.radians(4.0)
    level = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # OpenCV axes of a level camera that looks along +y
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    about_view = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_x @ level @ about_view
    matrix[2, 3] = CAMERA_HEIGHT
    return matrix


def colors(place: np.ndarray, kind: str) -> np.ndarray:
    """sRGB-encoded 0..1 from points (..., 3) in the world (boxes: in the box's own frame)."""
    x, y, z = place[..., 0], place[..., 1], place[..., 2]
    waves = {
        "floor": (0.45 + 0.2 * np.sin(2 * x), 0.40 + 0.15 * np.cos(1.7 * y), 0.35 + 0.1 * np.sin(x + y)),
        "wall": (0.60 + 0.2 * np.sin(1.5 * x), 0.55 + 0.2 * np.sin(1.1 * z), 0.65 + 0.1 * np.cos(x)),
        "sky": (0.45 + 0.1 * z, 0.62 + 0.1 * z, 0.85 + 0.05 * x),
        "crate": (0.75 + 0.2 * x, 0.45 + 0.2 * y, 0.20 + 0.2 * z),
        "tin": (0.20 + 0.3 * z, 0.50 + 0.5 * x, 0.70 + 0.4 * y),
    }[kind]
    return np.clip(np.stack(np.broadcast_arrays(*waves), axis=-1), 0, 1)


def box_pose(label: str) -> np.ndarray:
    """world_from_prop."""
    (x, y), _, yaw = BOXES[label]
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    matrix = np.eye(4)
    matrix[:2, :2] = [[c, -s], [s, c]]
    matrix[:2, 3] = x, y
    return matrix


def trace(width: int, height: int, with_boxes: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Colours (H, W, 3), z-depth, sky mask, id (0 background, 1.. boxes)."""
    pose = world_from_camera()
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(intrinsics(width, height)).T
    direction, eye = rays @ pose[:3, :3].T, pose[:3, 3]
    best = np.full(u.shape, np.inf)
    picture = np.zeros((*u.shape, 3))
    ids = np.zeros(u.shape, int)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
        picture[:] = colors(unit, "sky")
        for kind, t in (("floor", -eye[2] / direction[..., 2]), ("wall", (WALL_Y - eye[1]) / direction[..., 1])):
            place = eye + direction * t[..., None]
            inside = (place[..., 2] > -1e-9) & (place[..., 2] < WALL_HEIGHT) & (place[..., 1] < WALL_Y + 1e-9)
            hit = (t > 0) & (t < best) & inside
            best[hit], picture[hit] = t[hit], colors(place, kind)[hit]
        for number, label in enumerate(BOXES if with_boxes else (), start=1):
            into = np.linalg.inv(box_pose(label))
            size = np.array(BOXES[label][1])
            low, high = np.array([-size[0] / 2, -size[1] / 2, 0]), np.array([size[0] / 2, size[1] / 2, size[2]])
            start, ray = into[:3, :3] @ eye + into[:3, 3], direction @ into[:3, :3].T
            first, second = (low - start) / ray, (high - start) / ray
            enter, leave = np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)
            hit = (enter < leave) & (enter > 0) & (enter < best)
            best[hit] = enter[hit]
            picture[hit] = colors(start + ray * enter[..., None], label)[hit]
            ids[hit] = number
    sky = ~np.isfinite(best)
    return picture, np.where(sky, 50.0, best), sky, ids


def png(path: Path, pixels: np.ndarray) -> None:
    height, width = pixels.shape[:2]
    kind = {1: 0, 3: 2, 4: 6}[pixels.shape[2] if pixels.ndim == 3 else 1]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows, 4)) + chunk(b"IEND", b""))


def ply(path: Path, columns: dict[str, np.ndarray], comment: str = "") -> None:
    names = {"f4": "float", "u1": "uchar"}
    rows = np.zeros(len(next(iter(columns.values()))), dtype=[(k, v.dtype.str) for k, v in columns.items()])
    for key, value in columns.items():
        rows[key] = value
    fields = "".join(f"property {names[v.dtype.str[1:]]} {k}\n" for k, v in columns.items())
    head = f"ply\nformat binary_little_endian 1.0\n{comment}element vertex {len(rows)}\n{fields}end_header\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head.encode() + rows.tobytes())


def gaussians(path: Path, position: np.ndarray, sigma: np.ndarray, color: np.ndarray, opacity: float = 0.98) -> None:
    """`sigma` (N, 3); axes along the file's own."""
    f32 = lambda a: np.ascontiguousarray(a, dtype=np.float32)  # noqa: E731
    dc = (color - 0.5) / 0.28209479177387814
    one = np.ones(len(position))
    columns = {name: f32(position[:, i]) for i, name in enumerate("xyz")}
    columns |= {name: f32(0 * one) for name in ("nx", "ny", "nz")}
    columns |= {f"f_dc_{i}": f32(dc[:, i]) for i in range(3)}
    columns["opacity"] = f32(np.log(opacity / (1 - opacity)) * one)
    columns |= {f"scale_{i}": f32(np.log(sigma[:, i])) for i in range(3)}
    columns |= {f"rot_{i}": f32(one if i == 0 else 0 * one) for i in range(4)}
    ply(path, columns)


def box_glb(path: Path, label: str, texels: int = 64) -> None:
    """A box in the prop frame, stored in glTF's axes, its six faces in a 3 x 2 atlas painted by `colors`."""
    size = np.array(BOXES[label][1])
    vertices, uvs, faces = [], [], []
    atlas = np.zeros((2 * texels, 3 * texels, 3))
    for face in range(6):
        axis, sign = divmod(face, 2)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        column, row = face % 3, face // 3
        s, t = np.meshgrid((np.arange(texels) + 0.5) / texels, (np.arange(texels) + 0.5) / texels)

        def place(s: np.ndarray, t: np.ndarray, axis=axis, sign=sign, a=a, b=b) -> np.ndarray:
            unit = np.zeros((*np.shape(s), 3))
            unit[..., axis], unit[..., a], unit[..., b] = sign - 0.5, s - 0.5, t - 0.5
            return unit * size + [0, 0, size[2] / 2]

        atlas[row * texels : (row + 1) * texels, column * texels : (column + 1) * texels] = colors(place(s, t), label)
        corner = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
        points = place(corner[:, 0], corner[:, 1])
        inset = 0.5 / texels + corner * (1 - 1 / texels)  # half a texel in, so that bilinear stays on its own face
        uv = (np.array([column, row]) + inset) / [3, 2]
        base = 4 * face
        order = [[0, 1, 2], [0, 2, 3]] if sign else [[2, 1, 0], [3, 2, 0]]
        vertices.append(points)
        uvs.append(uv)
        faces += [[base + i for i in triangle] for triangle in order]
    position = np.concatenate(vertices)[:, [0, 2, 1]] * [1, 1, -1]  # prop (x, y, z) -> glTF (x, z, -y)
    picture = path.with_suffix(".tmp.png")
    png(picture, np.round(atlas * 255).astype(np.uint8))
    image = picture.read_bytes()
    picture.unlink()
    blobs = [
        position.astype("<f4").tobytes(),
        np.concatenate(uvs).astype("<f4").tobytes(),
        np.array(faces, "<u2").tobytes(),
        image,
    ]
    views, binary = [], b""
    for blob in blobs:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(blob)})
        binary += blob + b"\0" * (-len(blob) % 4)
    count = len(position)
    document: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": label}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}]}],
        "materials": [
            {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 0.8}}
        ],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 3, "mimeType": "image/png"}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3",
             "min": position.min(0).tolist(), "max": position.max(0).tolist()},
            {"bufferView": 1, "componentType": 5126, "count": count, "type": "VEC2"},
            {"bufferView": 2, "componentType": 5123, "count": 3 * len(faces), "type": "SCALAR"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }  # fmt: skip
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)


def exr(path: Path, pixels: np.ndarray) -> None:
    """Scanline OpenEXR, float32 RGB, no compression (OpenEXR file layout, version 2)."""
    height, width = pixels.shape[:2]
    text = lambda s: s.encode() + b"\0"  # noqa: E731
    box = struct.pack("<4i", 0, 0, width - 1, height - 1)
    channels = b"".join(text(c) + struct.pack("<iB3xii", 2, 0, 1, 1) for c in "BGR") + b"\0"
    attributes = [
        ("channels", "chlist", channels), ("compression", "compression", b"\0"), ("dataWindow", "box2i", box),
        ("displayWindow", "box2i", box), ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1)), ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    ]  # fmt: skip
    head = struct.pack("<ii", 20000630, 2)
    head += b"".join(text(n) + text(k) + struct.pack("<i", len(d)) + d for n, k, d in attributes) + b"\0"
    line = 12 * width
    start = len(head) + 8 * height
    offsets = b"".join(struct.pack("<Q", start + y * (line + 8)) for y in range(height))
    body = b"".join(
        struct.pack("<ii", y, line) + pixels[y, :, ::-1].T.astype("<f4").tobytes() for y in range(height)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + offsets + body)


def make_session(root: Path, width: int = 320, height: int = 180) -> Path:
    """Write the whole folder and return it."""
    pose = world_from_camera()
    camera_from_world = np.linalg.inv(pose)
    K = intrinsics(width, height)
    still, depth, sky, ids = trace(width, height, True)
    clean, clean_depth, clean_sky, _ = trace(width, height, False)
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(K).T
    points = (rays * depth[..., None]).astype(np.float32)
    behind = (rays * clean_depth[..., None]).astype(np.float32)
    root.mkdir(parents=True, exist_ok=True)
    byte = lambda a: np.round(np.clip(a, 0, 1) * 255).astype(np.uint8)  # noqa: E731
    png(root / "plate/still.png", byte(still))
    png(root / "plate/clean.png", byte(clean))
    png(root / "plate/removed_mask.png", byte(ids > 0)[..., None])
    (root / "dust3r").mkdir(exist_ok=True)
    np.savez(root / "dust3r/pointmap.npz", points=points, mask=~sky, confidence=(~sky).astype(np.float32),
             intrinsics=K.astype(np.float32), sky=sky)  # fmt: skip
    seen = ~sky
    ply(root / "dust3r/points.ply",
        {n: np.ascontiguousarray(points[seen][:, i]) for i, n in enumerate("xyz")}
        | {n: byte(still)[seen][:, i] for i, n in enumerate(("red", "green", "blue"))})  # fmt: skip
    (root / "scene_visual").mkdir(exist_ok=True)
    np.savez(root / "scene_visual/background.npz", points=behind, mask=~clean_sky)
    flat = behind.reshape(-1, 3)
    sigma = np.repeat(0.5 * flat[:, 2:3] / K[0, 0], 3, axis=1)
    gaussians(root / "scene_visual/scene.ply", flat, sigma, clean.reshape(-1, 3))

    props, stages_outputs = [], {}
    for number, (label, (_, size, _)) in enumerate(BOXES.items(), start=1):
        prop_id = f"prop_{number:02d}"
        box_glb(root / f"props_3d/{prop_id}.glb", label)
        grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 12)] * 3, indexing="ij"), -1).reshape(-1, 3)
        shell = grid[np.abs(grid).max(1) > 0.49] * size + [0, 0, size[2] / 2]
        gaussians(root / f"props_3d/{prop_id}.ply", shell, np.full((len(shell), 3), 0.02), colors(shell, label))
        mask = ids == number
        png(root / f"props/{prop_id}_mask.png", byte(mask)[..., None])
        png(root / f"props/{prop_id}.png", np.concatenate([byte(still), byte(mask)[..., None]], -1))
        record = {
            "system_metadata": {"referent_type": "DigitalAsset", "referent_sub_type": "3DModel/Mesh",
                                "referent_name": [label]},
            "AIGC": {"Label": "1", "ContentProducer": "test"},
        }  # fmt: skip
        (root / f"props_3d/{prop_id}.json").write_text(json.dumps(record), encoding="utf-8")
        camera_from_prop = camera_from_world @ box_pose(label)
        prop_from_glb = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
        props.append({
            "id": prop_id, "label": label, "glb": f"props_3d/{prop_id}.glb", "ply": f"props_3d/{prop_id}.ply",
            "mask": f"props/{prop_id}_mask.png", "crop": f"props/{prop_id}.png", "record": f"props_3d/{prop_id}.json",
            "camera_from_prop": camera_from_prop.tolist(),
            "camera_from_glb": (camera_from_prop @ prop_from_glb).tolist(),
            "dimensions": dict(zip(("width", "depth", "height"), size, strict=True)),
            "silhouette_iou": 1.0, "pose_confidence": 1.0, "grounded": True,
        })  # fmt: skip

    probe = np.full((32, 64, 3), 0.25, np.float32)
    probe[8:10, 40:42] = [30.0, 24.0, 18.0]  # above, to the right of the heading
    exr(root / "lighting/probe.exr", probe)
    azimuth, elevation = (41 / 64 - 0.5) * 2 * np.pi, (0.5 - 9 / 32) * np.pi
    toward = np.array([np.sin(azimuth) * np.cos(elevation), np.cos(azimuth) * np.cos(elevation), np.sin(elevation)])
    rotation = camera_from_world[:3, :3]
    ground_normal = rotation @ [0, 0, 1.0]
    stage = {"state": "done", "engine": "embedded", "engine_version": "1", "licence_code": "GPL-3.0-or-later",
             "commercial_use": "yes", "seed": 2**40}  # fmt: skip
    for name in ("scene_visual/scene.ply", "dust3r/points.ply", "plate/clean.png"):
        stages_outputs[name] = hashlib.sha256((root / name).read_bytes()).hexdigest()
    document = {
        "schema": "assetize.session/1", "tool_version": "0.1.0", "session_id": "5f3a7c7e-0000-5000-8000-000000000001",
        "created": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z", "state": "done",
        "input": {"name": "set.png", "sha256": "0" * 64, "bytes": 1, "format": "PNG", "width": width, "height": height,
                  "mode": "RGB", "bit_depth": 8, "color_space": "sRGB", "crop": [0, 0, width, height]},
        "options": {},
        "stages": {name: stage | {"outputs": {k: v for k, v in stages_outputs.items() if k.startswith(prefix)}}
                   for name, prefix in (("plate", "plate/still"), ("geometry", "dust3r/"), ("harvest", "props/"),
                                        ("clean_plate", "plate/clean"), ("scene", "scene_visual/"),
                                        ("lighting", "lighting"), ("props", "props_3d/"), ("placement", "?"))},
        "scene": {
            "width": width, "height": height, "intrinsics": K.tolist(),
            "hfov_deg": float(np.degrees(2 * np.arctan(0.5 * width / K[0, 0]))), "hfov_source": "user",
            "unit": "metre", "median_depth": float(np.median(depth[seen])), "scale_basis": "Analytic.",
            "gravity": (-ground_normal).tolist(), "gravity_source": "engine",
            "ground_plane": {"normal": ground_normal.tolist(), "offset": CAMERA_HEIGHT, "confidence": 1.0},
            "props": props,
            "light": {
                "probe": "lighting/probe.exr", "level_from_camera": pose[:3, :3].tolist(), "coverage": 0.04,
                "key": {"direction": (rotation @ toward).tolist(), "color": [1.0, 0.8, 0.6], "intensity": 3.0,
                        "angular_size_deg": 5.0, "confidence": 0.8},
            },
        },
    }  # fmt: skip
    (root / "session.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
    return root
