"""A cloud of 3D Gaussians in memory, and the standard 3DGS PLY it is stored as.

Layout of the file: Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering" (2023), as every viewer
reads it: float32 x y z, nx ny nz (zeros), f_dc_0..2, [f_rest_*], opacity (logit), scale_0..2 (natural log),
rot_0..3 (w x y z); binary, little-endian.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worker.arrays import F32
from worker.errors import InputError
from worker.session.atomic import replacing

SH_C0 = 0.28209479177387814  # Y_0^0: color = 0.5 + SH_C0 * f_dc
PROPERTIES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "<i2", "int16": "<i2", "ushort": "<u2",
    "uint16": "<u2", "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4", "float": "<f4", "float32": "<f4",
    "double": "<f8", "float64": "<f8",
}  # fmt: skip
_CHUNK = 1 << 15  # Gaussians at a time: two megabytes stay in the cache
_HEADER_LIMIT = 1 << 20


@dataclass
class GaussianCloud:
    """N Gaussians. `color` is what 3DGS files hold: sRGB-encoded 0..1, i.e. 0.5 + 0.28209479 * f_dc."""

    position: F32  # (N, 3)
    scale: F32  # (N, 3) linear standard deviations
    rotation: F32  # (N, 4) unit quaternion w x y z
    opacity: F32  # (N,) 0..1
    color: F32  # (N, 3)

    def __len__(self) -> int:
        return len(self.position)

    @staticmethod
    def joined(clouds: Iterable[GaussianCloud]) -> GaussianCloud:
        parts = list(clouds)
        return GaussianCloud(
            np.concatenate([c.position for c in parts]),
            np.concatenate([c.scale for c in parts]),
            np.concatenate([c.rotation for c in parts]),
            np.concatenate([c.opacity for c in parts]),
            np.concatenate([c.color for c in parts]),
        )


def write_gaussians(path: Path, cloud: GaussianCloud, comments: Iterable[str] = ()) -> str:
    """Store `cloud` with spherical harmonics of degree 0; returns the file's sha256, taken while it was written.

    Comments must be ASCII without line breaks. Opacity and scale are kept off their infinite logs (opacity 1 and
    scale 0 have none), so every value is finite.
    """
    comments = tuple(comments)
    for comment in comments:
        if not comment.isascii() or "\n" in comment or "\r" in comment:
            raise ValueError("PLY comments are one line of ASCII; other readers refuse the file otherwise")
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {comment}" for comment in comments)]
    header += [f"element vertex {len(cloud)}", *(f"property float {name}" for name in PROPERTIES), "end_header", ""]
    with replacing(path) as part, part.open("wb") as stream:
        head = "\n".join(header).encode("ascii")
        stream.write(head)
        digest = hashlib.sha256(head)
        rows = np.zeros((min(len(cloud), _CHUNK), len(PROPERTIES)), dtype="<f4")
        for start in range(0, len(cloud), _CHUNK):
            filled = _fill(rows, cloud, slice(start, start + _CHUNK)).data
            digest.update(filled)
            stream.write(filled)
    return digest.hexdigest()


def _fill(rows: F32, cloud: GaussianCloud, part: slice) -> F32:
    """The file's values of some Gaussians, in `rows`, whose normals are zero and stay so."""
    rows = rows[: len(cloud.opacity[part])]
    rows[:, 0:3] = cloud.position[part]
    rows[:, 6:9] = (cloud.color[part] - 0.5) / SH_C0
    opacity = np.clip(cloud.opacity[part].astype(np.float64), 1e-6, 1 - 1e-6)
    rows[:, 9] = np.log(opacity) - np.log1p(-opacity)
    rows[:, 10:13] = np.log(np.maximum(cloud.scale[part], 1e-9))
    rows[:, 13:17] = cloud.rotation[part]
    return rows


def read_gaussians(path: Path) -> GaussianCloud:
    """Read a binary 3DGS PLY; properties in any order, higher harmonics and unknown properties are passed over.

    Raises InputError for anything that is not such a file, or is cut short.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEADER_LIMIT)
        end = head.find(b"end_header\n")
        if not head.startswith(b"ply") or end < 0:
            raise _unreadable(path, "it has no PLY header", "没有 PLY 文件头")
        count, dtype = _vertex_layout(path, head[:end].decode("ascii", "replace").splitlines())
        stream.seek(end + len(b"end_header\n"))
        data = stream.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise _unreadable(path, "it is cut short", "文件不完整")
    vertices = np.frombuffer(data, dtype=dtype)

    def columns(*names: str) -> F32:
        return np.stack([vertices[name] for name in names], axis=-1).astype(np.float32)

    rotation = columns("rot_0", "rot_1", "rot_2", "rot_3")
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    rotation = np.where(length > 1e-12, rotation / np.maximum(length, 1e-12), np.array([1, 0, 0, 0], np.float32))
    return GaussianCloud(
        position=columns("x", "y", "z"),
        scale=np.exp(columns("scale_0", "scale_1", "scale_2")),
        rotation=rotation,
        opacity=(1 / (1 + np.exp(-vertices["opacity"].astype(np.float64)))).astype(np.float32),
        color=(0.5 + SH_C0 * columns("f_dc_0", "f_dc_1", "f_dc_2")).astype(np.float32),
    )


def _vertex_layout(path: Path, header: list[str]) -> tuple[int, np.dtype]:
    if not any(line.split() == ["format", "binary_little_endian", "1.0"] for line in header):
        raise _unreadable(path, "it is not binary little-endian", "不是二进制小端格式")
    count, fields, elements = 0, [], 0
    for line in header:
        match line.split():
            case ["element", "vertex", number] if number.isdigit() and elements == 0:
                count, elements = int(number), 1
            case ["element", *_]:
                elements += 1
            case ["property", kind, name] if elements == 1 and kind in _TYPES:
                fields.append((name, _TYPES[kind]))
            case ["property", *_] if elements == 1:
                raise _unreadable(path, "its vertices hold lists", "顶点包含列表属性")
    names = [name for name, _ in fields]
    missing = sorted((set(PROPERTIES) - {"nx", "ny", "nz"}) - set(names))
    if missing or len(set(names)) != len(names):
        raise _unreadable(path, f"it lacks {', '.join(missing) or 'distinct properties'}", "缺少高斯属性")
    return count, np.dtype(fields)


def _unreadable(path: Path, en: str, zh: str) -> InputError:
    return InputError(
        "gaussians.unreadable",
        f"“{path.name}” is not a 3D Gaussian file this program can read: {en}.",
        f"无法读取高斯文件“{path.name}”：{zh}。",
    )
