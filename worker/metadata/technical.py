"""Format facts of a file, read from its own header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from worker.formats import exr
from worker.metadata import containers

FORMATS = {
    ".png": ("image/png", "PNG (W3C, 3rd edition)"),
    ".exr": ("image/x-exr", "OpenEXR 2"),
    ".glb": ("model/gltf-binary", "glTF 2.0 binary (ISO/IEC 12113:2022)"),
    ".ply": ("application/octet-stream", "PLY 1.0, binary little-endian"),
    ".npz": ("application/zip", "NumPy NPZ"),
    ".json": ("application/json", "JSON (RFC 8259)"),
}


def describe(path: Path) -> dict[str, Any]:
    """Counts and sizes of one file; empty for formats without any."""
    if path.suffix == ".png":
        with Image.open(path) as image:
            return {"width": image.width, "height": image.height, "mode": image.mode}
    if path.suffix == ".exr":
        width, height = exr.size_of(path)
        return {"width": width, "height": height, "color_space": "scene-linear Rec.709"}
    if path.suffix == ".glb":
        return _glb(containers.glb_document(path))
    if path.suffix == ".ply":
        header = containers.ply_header(path)
        count = next(int(line.split()[2]) for line in header if line.startswith("element vertex"))
        names = {line.split()[2] for line in header if line.startswith("property")}
        splats = {"opacity", "rot_0", "scale_0"} <= names
        return {"content": "3D Gaussians" if splats else "points", "count": count}
    return {}


def _glb(document: dict[str, Any]) -> dict[str, Any]:
    accessors = document.get("accessors", [])
    vertices = triangles = 0
    for mesh in document.get("meshes", []):
        for primitive in mesh["primitives"]:
            vertices += accessors[primitive["attributes"]["POSITION"]]["count"]
            if primitive.get("mode", 4) == 4 and primitive.get("indices") is not None:
                triangles += accessors[primitive["indices"]]["count"] // 3
    return {"content": "textured mesh", "vertices": vertices, "triangles": triangles}
