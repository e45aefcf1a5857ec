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
_CHUNK = 1 << 17


@dataclass
class Layout:
    """A mesh cut along its seams. `source` (V,): which vertex of the uncut mesh each one is."""

    vertices: F32
    faces: I32
    uv: F32
    source: I32


def unwrapped(vertices: F32, faces: I32, side: int) -> Layout:
    """Charts packed into a square texture of `side` texels (xatlas)."""
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices, faces.astype(np.uint32))
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = 1  # more of them cost time and gave the same charts on every mesh measured
    packing.resolution, packing.padding, packing.bilinear = side, PADDING, True
    atlas.generate(charts, packing)
    source, cut, uv = atlas[0]
    return Layout(
        vertices[source], np.ascontiguousarray(cut, np.int32), np.ascontiguousarray(uv, np.float32),
        np.asarray(source, np.int32),
    )  # fmt: skip


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
