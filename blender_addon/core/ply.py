# SPDX-License-Identifier: GPL-3.0-or-later
"""PLY by numpy alone: the vertex element of any PLY, 3D Gaussians, coloured points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import FormatError

F32 = NDArray[np.float32]
SH_C0 = 0.28209479177387814  # the constant real spherical harmonic, 1 / (2 sqrt(pi))

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip


@dataclass
class Gaussians:
    """N Gaussians in their file's frame. `color` is sRGB-encoded as 3DGS files hold it, not clipped."""

    position: F32  # (N, 3)
    scale: F32  # (N, 3) linear standard deviations
    rotation: F32  # (N, 4) unit quaternion w x y z
    opacity: F32  # (N,) 0..1
    color: F32  # (N, 3)

    def __len__(self) -> int:
        return len(self.position)


@dataclass
class Points:
    position: F32  # (N, 3)
    color: F32  # (N, 3) sRGB-encoded 0..1

    def __len__(self) -> int:
        return len(self.position)


def _bad(path: Path, en: str, zh: str) -> FormatError:
    return FormatError("ply.unreadable", f"{path.name} cannot be read: {en}.", f"无法读取 {path.name}：{zh}。")


def read_vertices(path: Path) -> NDArray[np.void]:
    """The vertex element as a structured array.

    Raises:
        FormatError: no PLY, cut short, or vertices that do not come before every list element.
    """
    data = path.read_bytes()
    end = data.find(b"end_header")
    if not data.startswith(b"ply") or end < 0:
        raise _bad(path, "it is not a PLY file", "它不是 PLY 文件")
    body = data.find(b"\n", end) + 1
    byte_order, elements = _header(path, data[:end].decode("ascii", "replace"))
    skip = 0
    for name, count, fields in elements:
        if name == "vertex":
            break
        if fields is None or byte_order is None:
            raise _bad(path, "other elements stand before its vertices", "顶点之前还有其他元素")
        skip += count * np.dtype(_dtype(fields, byte_order)).itemsize
    else:
        raise _bad(path, "it has no vertices", "其中没有顶点")
    if fields is None:
        raise _bad(path, "its vertices hold lists", "其顶点包含列表")
    dtype = np.dtype(_dtype(fields, byte_order or "<"))
    if byte_order is None:
        rows = [tuple(line.split()) for line in data[body:].decode("ascii", "replace").splitlines() if line.strip()]
        if len(rows) < count:
            raise _bad(path, "it is cut short", "文件不完整")
        try:
            return np.array([tuple(map(float, row)) for row in rows[:count]], dtype=dtype)
        except ValueError as error:
            raise _bad(path, "a line of it is no row of numbers", "某一行不是数字") from error
    if len(data) < body + skip + count * dtype.itemsize:
        raise _bad(path, "it is cut short", "文件不完整")
    return np.frombuffer(data, dtype=dtype, count=count, offset=body + skip)


def _dtype(fields: list[tuple[str, str]], byte_order: str) -> list[tuple[str, str]]:
    return [(name, byte_order + kind) for name, kind in fields]


def _header(path: Path, text: str) -> tuple[str | None, list[tuple[str, int, list[tuple[str, str]] | None]]]:
    """Byte order (None for ascii) and per element its name, count and fields (None where it holds lists)."""
    orders: dict[str, str | None] = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}
    order: str | None = None
    elements: list[tuple[str, int, list[tuple[str, str]] | None]] = []
    try:
        for line in text.splitlines()[1:]:
            words = line.split()
            if not words:
                continue
            if words[0] == "format":
                order = orders[words[1]]
            elif words[0] == "element":
                elements.append((words[1], int(words[2]), []))
            elif words[0] == "property":
                name, count, fields = elements[-1]
                if words[1] == "list":
                    elements[-1] = (name, count, None)
                elif fields is not None:
                    fields.append((words[2], _TYPES[words[1]]))
    except (KeyError, IndexError, ValueError) as error:
        raise _bad(path, "its header is broken", "其文件头已损坏") from error
    return order, elements


def _columns(rows: NDArray[np.void], *names: str) -> F32:
    return np.stack([rows[name] for name in names], axis=-1).astype(np.float32)


def read_gaussians(path: Path) -> Gaussians:
    """The standard 3DGS layout: log scales, logit opacity, SH DC; any degree (higher orders are not read).

    Rows that are not finite are dropped: one of them would poison the bounding box of them all.
    """
    rows = read_vertices(path)
    have = set(rows.dtype.names or ())
    need = {"x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "rot_0", "rot_1", "rot_2", "rot_3"}
    need |= {"scale_0", "scale_1", "scale_2"}
    if need - have:
        lacking = ", ".join(sorted(need - have))
        raise _bad(path, f"it holds no 3D Gaussians (lacking {lacking})", f"其中没有三维高斯（缺少 {lacking}）")
    position = _columns(rows, "x", "y", "z")
    scale = np.exp(np.minimum(_columns(rows, "scale_0", "scale_1", "scale_2"), 40))
    rotation = _columns(rows, "rot_0", "rot_1", "rot_2", "rot_3")
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    rotation = np.where(length > 1e-12, rotation / np.maximum(length, 1e-12), np.float32([1, 0, 0, 0]))
    opacity = 1 / (1 + np.exp(-np.clip(rows["opacity"].astype(np.float32), -40, 40)))
    color = 0.5 + SH_C0 * _columns(rows, "f_dc_0", "f_dc_1", "f_dc_2")
    good = np.isfinite(np.concatenate([position, scale, rotation, opacity[:, None], color], axis=1)).all(axis=1)
    arrays = [position, scale, rotation, opacity, color]
    if not good.all():
        arrays = [array[good] for array in arrays]
    return Gaussians(*(np.ascontiguousarray(array, dtype=np.float32) for array in arrays))


def read_points(path: Path) -> Points:
    """x y z and red green blue (bytes, or floats 0..1); grey where there is no colour."""
    rows = read_vertices(path)
    have = set(rows.dtype.names or ())
    if not {"x", "y", "z"} <= have:
        raise _bad(path, "its vertices have no x, y, z", "其顶点没有 x、y、z")
    position = _columns(rows, "x", "y", "z")
    if {"red", "green", "blue"} <= have:
        color = _columns(rows, "red", "green", "blue")
        if rows.dtype["red"].kind in "ui":
            color /= np.iinfo(rows.dtype["red"]).max
    else:
        color = np.full_like(position, 0.5)
    good = np.isfinite(position).all(axis=1)
    return Points(np.ascontiguousarray(position[good]), np.ascontiguousarray(color[good]))
