# SPDX-License-Identifier: GPL-3.0-or-later
"""A small reader of binary glTF 2.0: triangles, UVs, base colour textures. What a prop needs, and no operator."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import FormatError

_COMPONENT = {5120: "i1", 5121: "u1", 5122: "i2", 5123: "u2", 5125: "u4", 5126: "f4"}
_WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@dataclass
class GlbMaterial:
    """`image` is the PNG or JPEG as it lies in the file; None means a plain `color` (linear RGBA)."""

    name: str
    image: bytes | None
    color: tuple[float, float, float, float]
    roughness: float
    metallic: float


@dataclass
class GlbMesh:
    """All triangles of a file in glTF's own axes (Y up), node transforms applied. UV origin bottom left."""

    vertices: NDArray[np.float32]  # (V, 3)
    faces: NDArray[np.int32]  # (F, 3)
    uv: NDArray[np.float32]  # (V, 2)
    material_index: NDArray[np.int32]  # (F,)
    materials: list[GlbMaterial]


def _bad(path: Path, en: str, zh: str) -> FormatError:
    return FormatError("glb.unreadable", f"{path.name} cannot be read: {en}.", f"无法读取 {path.name}：{zh}。")


def read_glb(path: Path) -> GlbMesh:
    """Raises FormatError for anything that is not a GLB with at least one triangle."""
    data = path.read_bytes()
    try:
        document, binary = _chunks(data)
        return _merge(document, binary)
    except FormatError as error:
        raise _bad(path, error.en, error.zh) from error
    except (KeyError, IndexError, ValueError, TypeError, struct.error, UnicodeDecodeError) as error:
        raise _bad(path, "it is no intact binary glTF file", "它不是完整的二进制 glTF 文件") from error


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, _length = struct.unpack_from("<4sII", data)
    if magic != b"glTF" or version != 2:
        raise ValueError("no GLB 2")
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        size, kind = struct.unpack_from("<I4s", data, at)
        if at + 8 + size > len(data):
            raise ValueError("cut short")
        chunks.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size
    return json.loads(chunks[b"JSON"].decode("utf-8")), chunks.get(b"BIN\0", b"")


def _view(document: dict[str, Any], binary: bytes, index: int) -> tuple[bytes, int]:
    view = document["bufferViews"][index]
    if "uri" in document["buffers"][view["buffer"]] or "extensions" in view:
        raise FormatError("glb.external", "its data is compressed or elsewhere", "其数据被压缩或位于其他文件中")
    start = view.get("byteOffset", 0)
    return binary[start : start + view["byteLength"]], view.get("byteStride", 0)


def _accessor(document: dict[str, Any], binary: bytes, index: int) -> NDArray[Any]:
    """(count, width) array; normalised integers become floats 0..1."""
    accessor = document["accessors"][index]
    if "sparse" in accessor:
        raise FormatError("glb.sparse", "it uses sparse accessors", "它使用了稀疏访问器")
    dtype = np.dtype("<" + _COMPONENT[accessor["componentType"]])
    width, count = _WIDTH[accessor["type"]], accessor["count"]
    buffer, stride = _view(document, binary, accessor["bufferView"])
    offset = accessor.get("byteOffset", 0)
    array = np.ndarray((count, width), dtype, buffer, offset, (stride or width * dtype.itemsize, dtype.itemsize))
    if accessor.get("normalized") and dtype.kind != "f":
        return array.astype(np.float32) / np.iinfo(dtype).max
    return array


def _local(node: dict[str, Any]) -> NDArray[np.float64]:
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= np.asarray(node.get("scale", (1.0, 1.0, 1.0)))
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix


def _placed_meshes(document: dict[str, Any]) -> list[tuple[int, NDArray[np.float64]]]:
    """(mesh index, world matrix) of every mesh node of the scene."""
    nodes = document.get("nodes", [])
    scenes = document.get("scenes")
    roots = scenes[document.get("scene", 0)].get("nodes", []) if scenes else range(len(nodes))
    found: list[tuple[int, NDArray[np.float64]]] = []
    stack = [(index, np.eye(4)) for index in reversed(list(roots))]
    while stack:
        index, parent = stack.pop()
        matrix = parent @ _local(nodes[index])
        if "mesh" in nodes[index]:
            found.append((nodes[index]["mesh"], matrix))
        stack.extend((child, matrix) for child in reversed(nodes[index].get("children", [])))
        if len(found) + len(stack) > 100_000:
            raise ValueError("node cycle")
    return found


def _material(document: dict[str, Any], binary: bytes, index: int | None) -> GlbMaterial:
    material = document["materials"][index] if index is not None else {}
    pbr = material.get("pbrMetallicRoughness", {})
    image = None
    if "baseColorTexture" in pbr:
        texture = document["textures"][pbr["baseColorTexture"]["index"]]
        source = document["images"][texture["source"]]
        image = bytes(_view(document, binary, source["bufferView"])[0])
    red, green, blue, alpha = pbr.get("baseColorFactor", (1.0, 1.0, 1.0, 1.0))
    return GlbMaterial(
        name=material.get("name", "material"),
        image=image,
        color=(red, green, blue, alpha),
        roughness=float(pbr.get("roughnessFactor", 1.0)),
        metallic=float(pbr.get("metallicFactor", 1.0)),
    )


def _merge(document: dict[str, Any], binary: bytes) -> GlbMesh:
    vertices, faces, uvs, slots = [], [], [], []
    materials: list[GlbMaterial] = []
    slot_of: dict[int | None, int] = {}
    base = 0
    for mesh_index, matrix in _placed_meshes(document):
        for primitive in document["meshes"][mesh_index]["primitives"]:
            if primitive.get("mode", 4) != 4:
                continue
            attributes = primitive["attributes"]
            position = np.asarray(_accessor(document, binary, attributes["POSITION"]), dtype=np.float64)
            count = len(position)
            if "indices" in primitive:
                index = _accessor(document, binary, primitive["indices"]).astype(np.int64).reshape(-1, 3)
            else:
                index = np.arange(count - count % 3).reshape(-1, 3)
            if index.size and (index.min() < 0 or index.max() >= count):
                raise ValueError("index out of range")
            if np.linalg.det(matrix[:3, :3]) < 0:
                index = index[:, ::-1]  # a mirroring node turns faces inside out
            uv = np.zeros((count, 2), np.float32)
            if "TEXCOORD_0" in attributes:
                uv = np.array(_accessor(document, binary, attributes["TEXCOORD_0"]), dtype=np.float32)
                uv[:, 1] = 1 - uv[:, 1]  # glTF counts v from the top
            key = primitive.get("material")
            if key not in slot_of:
                slot_of[key] = len(materials)
                materials.append(_material(document, binary, key))
            vertices.append(position @ matrix[:3, :3].T + matrix[:3, 3])
            faces.append(index + base)
            uvs.append(uv)
            slots.append(np.full(len(index), slot_of[key], np.int32))
            base += count
    if not faces or not sum(map(len, faces)):
        raise FormatError("glb.empty", "it holds no triangles", "其中没有三角形")
    return GlbMesh(
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
        np.concatenate(uvs),
        np.concatenate(slots),
        materials,
    )
