"""A strip of views of a prop, turned about its upright axis: what it looks like where the still does not show it."""

from __future__ import annotations

import numpy as np

from worker.arrays import F64, U8
from worker.formats.mesh import TexturedMesh, face_normals
from worker.formats.silhouette import rasterise

VIEWS = 6
SIDE = 144
_SUPERSAMPLE = 2
_PITCH_DEG = 15.0
_HFOV_DEG = 28.0
_ROOM = 1.06  # around the prop's sphere


def strip(mesh: TexturedMesh, views: int = VIEWS, side: int = SIDE) -> U8:
    """(side, views * side, 4) RGBA. The first view is of the front (-Y); each next one stands further to the left."""
    points = mesh.vertices.astype(np.float64)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    radius = max(float(np.linalg.norm(points - middle, axis=1).max()), 1e-9)
    large = side * _SUPERSAMPLE
    focal = large / 2 / np.tan(np.radians(_HFOV_DEG / 2))
    intrinsics = np.array([[focal, 0, large / 2], [0, focal, large / 2], [0, 0, 1]])
    distance = _ROOM * radius / np.sin(np.radians(_HFOV_DEG / 2))
    out = [_view(mesh, (points - middle) @ _turn(2 * np.pi * i / views).T + [0, 0, distance], intrinsics, large)
           for i in range(views)]  # fmt: skip
    return np.concatenate(out, axis=1)


def _turn(yaw: float) -> F64:
    """3x3 from the prop's axes (Z up, front to -Y) to a camera's (x right, y down, z forward) that looks down a bit."""
    c, s = np.cos(yaw), np.sin(yaw)
    facing = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    c, s = np.cos(np.radians(_PITCH_DEG)), np.sin(np.radians(_PITCH_DEG))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ facing


def _view(mesh: TexturedMesh, points: F64, intrinsics: F64, side: int) -> U8:
    normals = face_normals(points.astype(np.float32), mesh.faces)
    front = np.flatnonzero(np.einsum("ij,ij->i", normals, points[mesh.faces[:, 0]]) < 0)  # as glTF shows it
    raster = rasterise(points, mesh.faces[front], intrinsics, side, side)
    row, column = np.nonzero(raster.mask)
    face = front[raster.face[row, column]]
    ray = np.stack([(column + 0.5 - side / 2), (row + 0.5 - side / 2)], axis=1) / intrinsics[0, 0]
    hit = np.column_stack([ray, np.ones(len(ray))]) * raster.depth[row, column, None].astype(np.float64)
    share = _shares(hit, points[mesh.faces[face]])
    uv = np.einsum("ni,nij->nj", share, mesh.uv[mesh.faces[face]].astype(np.float64))
    height, width = mesh.texture.shape[:2]
    u = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    v = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    normal = normals[face]
    towards = np.abs(normal[:, 2]) / np.maximum(np.linalg.norm(normal, axis=1), 1e-20)
    light = (0.72 + 0.28 * towards)[:, None]
    picture = np.zeros((side, side, 4), np.float32)
    picture[row, column, :3] = mesh.texture[v, u, :3] * light
    picture[row, column, 3] = 255
    n = _SUPERSAMPLE
    blocks = np.zeros((side // n, side // n, 4), np.float32)
    for place in range(n * n):
        blocks += picture[place // n :: n, place % n :: n]
    blocks /= n * n
    blocks[..., :3] /= np.maximum(blocks[..., 3:] / 255, 1e-3)  # straight alpha: edges keep the prop's own colour
    return np.clip(np.round(blocks), 0, 255).astype(np.uint8)


def _shares(point: F64, corner: F64) -> F64:
    """(N, 3) barycentric shares of points (N, 3) in triangles (N, 3, 3); 1, 0, 0 in those without area."""
    a, b, p = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0], point - corner[:, 0]
    aa, ab, bb = (np.einsum("ni,ni->n", *pair) for pair in ((a, a), (a, b), (b, b)))
    pa, pb = np.einsum("ni,ni->n", p, a), np.einsum("ni,ni->n", p, b)
    area = aa * bb - ab * ab
    safe = np.where(area > 1e-18, area, 1.0)
    second, third = (bb * pa - ab * pb) / safe, (aa * pb - ab * pa) / safe
    second, third = (np.where(area > 1e-18, share, 0.0) for share in (second, third))
    return np.stack([1 - second - third, second, third], axis=1)
