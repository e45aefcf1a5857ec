"""Unwrapping a mesh and painting its texture from the dense surface it was reduced from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xatlas
from scipy import ndimage
from scipy.spatial import cKDTree

from worker.arrays import F32, F64, I32, U8
from worker.baking.reduce import Surface
from worker.formats.mesh import face_normals, vertex_normals
from worker.formats.silhouette import rasterise

NEIGHBOURS = 6  # dense vertices that a texel is mixed from
FACING = 0.02  # weight of one that looks the other way: behind a thin wall, not beside the texel
PADDING = 3  # texels between charts
JAGGED_DEG, JAGGED_SHARE = 60.0, 0.3  # share of edges that turn by more; charts of such cost 30 s of processor
FEW = 2000  # faces: so many are unwrapped quickly however they lie; a plain box is all sharp edges
_CHUNK = 1 << 17


@dataclass
class Layout:
    """A mesh cut along its seams. `source` (V,): which vertex of the uncut mesh each one is. `in_charts` False: every
    triangle lies alone.
    """

    vertices: F32
    faces: I32
    uv: F32
    source: I32
    in_charts: bool = True


def unwrapped(vertices: F32, faces: I32, side: int) -> Layout:
    """Charts packed into a square texture of `side` texels (xatlas); of a jagged mesh every triangle by itself.

    xatlas holds the interpreter while it works, so a host that it kept for long would be taken for hung.
    """
    if len(faces) > FEW and _jaggedness(vertices, faces) > JAGGED_SHARE:
        return _one_by_one(vertices, faces, side)
    atlas = xatlas.Atlas()
    extent = max(float(np.ptp(vertices, axis=0).max()), 1e-30)  # what is small, xatlas takes for nothing
    atlas.add_mesh((vertices / extent).astype(np.float32), faces.astype(np.uint32))
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = 1  # more of them cost time and gave the same charts on every mesh measured
    packing.resolution, packing.padding, packing.bilinear = side, PADDING, True
    atlas.generate(charts, packing)
    source, cut, uv = atlas[0]
    return Layout(
        vertices[source], np.ascontiguousarray(cut, np.int32), np.ascontiguousarray(uv, np.float32),
        np.asarray(source, np.int32),
    )  # fmt: skip


def _jaggedness(vertices: F32, faces: I32) -> float:
    """Share of the edges between two faces at which the surface turns by more than `JAGGED_DEG`."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1).astype(np.int64)
    key = edges[:, 0] * len(vertices) + edges[:, 1]
    order = np.argsort(key, kind="stable")
    shared = np.flatnonzero(key[order][1:] == key[order][:-1])
    if not len(shared):
        return 0.0
    normal = face_normals(vertices, faces)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
    turn = np.einsum("ij,ij->i", normal[order[shared] // 3], normal[order[shared + 1] // 3])
    return float((turn < np.cos(np.radians(JAGGED_DEG))).mean())


def _one_by_one(vertices: F32, faces: I32, side: int) -> Layout:
    """Two triangles to a cell of a grid, a texel apart where there is room."""
    cells = int(np.ceil(np.sqrt((len(faces) + 1) // 2)))
    gap = min(0.2, cells / side)
    near, far = gap, 1 - 2.5 * gap
    lower = np.array([[near, near], [far, near], [near, far]])
    number = np.arange(len(faces))
    cell = np.stack([number // 2 % cells, number // 2 // cells], axis=1)
    uv = (cell[:, None] + np.where((number % 2 == 0)[:, None, None], lower, 1 - lower)) / cells
    source = np.ascontiguousarray(faces.ravel(), np.int32)
    own = np.arange(len(source), dtype=np.int32).reshape(-1, 3)
    return Layout(vertices[source], own, uv.reshape(-1, 2).astype(np.float32), source, in_charts=False)


def painted(layout: Layout, dense: Surface, side: int) -> U8:
    """(side, side, 3) sRGB. Between the charts the nearest chart's colours go on, so no border shows when filtered."""
    assert dense.colours is not None
    row, column, place, normal = _texels(layout, side)
    if not len(row):
        mean = np.round(255 * dense.colours.mean(axis=0))
        return np.broadcast_to(np.clip(mean, 0, 255).astype(np.uint8), (side, side, 3)).copy()
    texture = np.zeros((side, side, 3), np.uint8)
    texture[row, column] = _colours_at(place, normal, dense)
    empty = np.ones((side, side), bool)
    empty[row, column] = False
    nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    return np.ascontiguousarray(texture[nearest[0], nearest[1]])


def _texels(layout: Layout, side: int) -> tuple[Any, Any, F64, F64]:
    """Texels whose centre lies in a chart: row, column, place on the mesh (N, 3), unit normal of the face there."""
    flat = np.column_stack([layout.uv[:, 0] * side, (1 - layout.uv[:, 1]) * side, np.ones(len(layout.uv))])
    face = rasterise(flat.astype(np.float64), layout.faces, np.eye(3), side, side).face
    row, column = np.nonzero(face >= 0)
    corner = layout.faces[face[row, column]]
    a, b, c = (flat[corner[:, i], :2] for i in range(3))
    point = np.stack([column + 0.5, row + 0.5], axis=1)

    def cross(p: F64, q: F64) -> F64:
        return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]

    area = cross(b - a, c - a)
    share = np.stack([cross(b - point, c - point), cross(c - point, a - point), cross(a - point, b - point)], axis=1)
    share /= np.where(np.abs(area) > 1e-12, area, 1.0)[:, None]
    place = np.einsum("ni,nij->nj", share, layout.vertices.astype(np.float64)[corner])
    normal = face_normals(layout.vertices, layout.faces)[face[row, column]]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
    return row, column, place, normal


def _colours_at(place: F64, normal: F64, dense: Surface) -> U8:
    """Mean of the nearest dense vertices, by distance and by whether they look the same way."""
    assert dense.colours is not None
    tree = cKDTree(dense.vertices)
    facing = vertex_normals(dense.vertices, dense.faces)
    count = min(NEIGHBOURS, len(dense.vertices))
    out = np.empty((len(place), 3), np.uint8)
    for start in range(0, len(place), _CHUNK):
        some = slice(start, start + _CHUNK)
        distance, index = tree.query(place[some], k=count)
        distance, index = distance.reshape(-1, count), index.reshape(-1, count)
        along = np.einsum("ni,nki->nk", normal[some], facing[index])
        floor = 0.05 * distance.mean(axis=1, keepdims=True) + 1e-12
        weight = np.maximum(along, FACING) / (distance + floor) ** 2
        weight /= weight.sum(axis=1, keepdims=True)
        colour = np.einsum("nk,nki->ni", weight, dense.colours[index])
        out[some] = np.clip(np.round(255 * colour), 0, 255)
    return out
