"""Shapes as plain arrays: vertices in metres and faces, Z up. No bpy, so they can be tested anywhere.

Every function returns a `Shape`. Solids are closed and face outward; `sheet` is open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Shape:
    """`vertices` (N, 3) float64 in metres; `faces` tuples of vertex indices, counter-clockwise seen from outside."""

    vertices: Array
    faces: list[tuple[int, ...]] = field(default_factory=list)

    def moved(self, at: Sequence[float] = (0, 0, 0), turn: Sequence[float] = (0, 0, 0),
              scale: float | Sequence[float] = 1.0) -> Shape:
        """Scale, then turn (XYZ Euler angles in degrees, Blender's order), then move."""
        return Shape(self.vertices * np.asarray(scale, float) @ rotation(turn).T + np.asarray(at, float), self.faces)


def rotation(euler_degrees: Sequence[float]) -> Array:
    """3x3 rotation Rz @ Ry @ Rx, as Blender's XYZ Euler order."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(euler_degrees)), np.sin(np.radians(euler_degrees))
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return rz @ ry @ rx


def smooth_curve(points: Sequence[Sequence[float]], per_span: int = 6, closed: bool = False) -> Array:
    """Uniform Catmull-Rom through `points` (N, D): (N - 1) * per_span + 1 points, or N * per_span closed."""
    p = np.asarray(points, float)
    ends = (p[-1:], p[:2]) if closed else (2 * p[:1] - p[1:2], 2 * p[-1:] - p[-2:-1])
    q = np.concatenate([ends[0], p, ends[1]])
    t = np.linspace(0, 1, per_span, endpoint=False)[:, None]
    spans = []
    for a, b, c, d in zip(q[:-3], q[1:-2], q[2:-1], q[3:], strict=True):
        spans.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate(spans if closed else [*spans, p[-1:]])


def rounded_box(size: Sequence[float], radius: float = 0.01, segments: int = 3, puff: float = 0.0,
                grid: int = 1) -> Shape:
    """A box of outer `size` centred at the origin, edges rounded by `radius`.

    `puff` lets the faces swell outward by that many metres in their middle (cushions); `grid` splits the flat parts
    so that there is something to swell.
    """
    half = np.asarray(size, float) / 2
    radius = min(radius, float(half.min()) * 0.999)
    arc = np.tan(np.linspace(-np.pi / 4, 0, segments + 1)) * radius
    lines = []
    for h in half:
        flat = np.linspace(-(h - radius), h - radius, grid + 1)
        # No finer than `vertex` tells apart, or two lines share one vertex and the box opens.
        lines.append(np.unique(np.round(np.concatenate([arc - (h - radius), flat, (h - radius) - arc]), 7)))
    index: dict[tuple[int, ...], int] = {}
    vertices: list[Array] = []
    faces: list[tuple[int, ...]] = []

    def vertex(p: Array) -> int:
        key = tuple(np.round(p * 1e7).astype(int))
        if key not in index:
            index[key] = len(vertices)
            vertices.append(p)
        return index[key]

    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for side in (-1, 1):
            ids = np.empty((len(lines[u]), len(lines[v])), int)
            for i, a in enumerate(lines[u]):
                for j, b in enumerate(lines[v]):
                    p = np.zeros(3)
                    p[axis], p[u], p[v] = side * half[axis], a, b
                    ids[i, j] = vertex(p)
            for i in range(len(lines[u]) - 1):
                for j in range(len(lines[v]) - 1):
                    quad = (ids[i, j], ids[i + 1, j], ids[i + 1, j + 1], ids[i, j + 1])
                    faces.append(tuple(map(int, quad if side > 0 else quad[::-1])))
    p = np.array(vertices)
    inner = np.clip(p, -(half - radius), half - radius)
    out = p - inner
    q = inner + out / np.linalg.norm(out, axis=1, keepdims=True) * radius
    if puff:
        # The swelling dies away towards the edges: product of the two other axes' parabolas.
        w = 1 - (q / half) ** 2
        for axis in range(3):
            q[:, axis] += np.sign(p[:, axis]) * (np.abs(p[:, axis]) > half[axis] - 1e-9) * puff * np.clip(
                w[:, (axis + 1) % 3] * w[:, (axis + 2) % 3], 0, 1)
    return Shape(q, faces)


def lathe(profile: Sequence[Sequence[float]], segments: int = 40) -> Shape:
    """Turn a profile of (radius, height) pairs round Z.

    A closed solid needs the profile to begin and end on the axis (radius 0); run it from the bottom's middle, up the
    outside. For a vessel go over the rim and down the inside.
    """
    profile_ = np.asarray(profile, float)
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    vertices: list[tuple[float, float, float]] = []
    rings: list[list[int]] = []
    for r, z in profile_:
        if r < 1e-9:
            rings.append([len(vertices)] * segments)
            vertices.append((0, 0, z))
        else:
            rings.append(list(range(len(vertices), len(vertices) + segments)))
            vertices.extend((r * c, r * s, z) for c, s in zip(np.cos(angle), np.sin(angle), strict=True))
    faces: list[tuple[int, ...]] = []
    for low, high in pairwise(rings):
        for i in range(segments):
            j = (i + 1) % segments
            quad = (low[i], low[j], high[j], high[i])
            unique = tuple(dict.fromkeys(quad))
            if len(unique) >= 3:
                faces.append(unique)
    return Shape(np.array(vertices, float), faces)


def tube(path: Sequence[Sequence[float]], radius: float | Sequence[float], segments: int = 12,
         closed: bool = False) -> Shape:
    """A round tube along `path` (N, 3); `radius` one number or one a point. Open paths get flat caps."""
    p = np.asarray(path, float)
    r = np.broadcast_to(np.asarray(radius, float), (len(p),))
    tangent = (np.roll(p, -1, 0) - np.roll(p, 1, 0)) if closed else np.gradient(p, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.cross(tangent[0], [0, 0, 1.0] if abs(tangent[0, 2]) < 0.9 else [1.0, 0, 0])
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    vertices = []
    for point, direction, size in zip(p, tangent, r, strict=True):
        normal = normal - direction * (normal @ direction)  # parallel transport: no twist along the tube
        normal /= np.linalg.norm(normal)
        side = np.cross(direction, normal)
        vertices.append(point + size * (np.outer(np.cos(angle), normal) + np.outer(np.sin(angle), side)))
    n = len(p)
    faces: list[tuple[int, ...]] = []
    for k in range(n if closed else n - 1):
        a, b = k * segments, ((k + 1) % n) * segments
        faces += [(a + i, a + (i + 1) % segments, b + (i + 1) % segments, b + i) for i in range(segments)]
    if not closed:
        faces.append(tuple(range(segments - 1, -1, -1)))
        faces.append(tuple(range((n - 1) * segments, n * segments)))
    return Shape(np.concatenate(vertices), faces)


def ring(radius: float, thickness: float, segments: int = 48, across: int = 10) -> Shape:
    """A torus lying in the XY plane: `radius` to the middle of the tube, `thickness` the tube's radius."""
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    circle = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(segments)], 1)
    return tube(circle, thickness, across, closed=True)


def ball(radius: float | Sequence[float], segments: int = 24, rings: int = 12) -> Shape:
    """An ellipsoid centred at the origin; `radius` one number or three."""
    t = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    profile = np.stack([np.cos(t), np.sin(t)], 1)
    profile[[0, -1], 0] = 0
    return lathe(profile, segments).moved(scale=radius)


def prism(outline: Sequence[Sequence[float]], depth: float, bevel: float = 0.0) -> Shape:
    """Extrude a counter-clockwise outline in the XZ plane along Y by `depth` (centred); `bevel` insets the two caps."""
    p = np.asarray(outline, float)
    n = len(p)
    edge = np.roll(p, -1, 0) - np.roll(p, 1, 0)
    inward = np.stack([-edge[:, 1], edge[:, 0]], 1)
    inward /= np.linalg.norm(inward, axis=1, keepdims=True)
    stations = [(-depth / 2, bevel), (-depth / 2 + bevel, 0), (depth / 2 - bevel, 0), (depth / 2, bevel)]
    if not bevel:
        stations = [(-depth / 2, 0), (depth / 2, 0)]
    vertices = np.concatenate([np.insert(p + inward * inset, 1, y, axis=1) for y, inset in stations])
    faces: list[tuple[int, ...]] = []
    for k in range(len(stations) - 1):
        faces += [(k * n + i, k * n + (i + 1) % n, (k + 1) * n + (i + 1) % n, (k + 1) * n + i) for i in range(n)]
    faces = [f[::-1] for f in faces]
    faces += [tuple(range(n)), tuple(range(len(stations) * n - 1, (len(stations) - 1) * n - 1, -1))]
    return Shape(vertices, [f[::-1] for f in faces] if _signed_volume(vertices, faces) < 0 else faces)


def _signed_volume(vertices: Array, faces: list[tuple[int, ...]]) -> float:
    total = 0.0
    for f in faces:
        for i in range(1, len(f) - 1):
            total += float(np.dot(vertices[f[0]], np.cross(vertices[f[i]], vertices[f[i + 1]])))
    return total / 6


def sheet(surface: Callable[[Array, Array], Array], nu: int, nv: int) -> Shape:
    """An open surface: `surface(u, v)` maps two (N,) arrays in 0..1 to (N, 3) points."""
    u, v = np.meshgrid(np.linspace(0, 1, nu + 1), np.linspace(0, 1, nv + 1), indexing="ij")
    ids = np.arange((nu + 1) * (nv + 1)).reshape(nu + 1, nv + 1)
    faces = [(int(ids[i, j]), int(ids[i + 1, j]), int(ids[i + 1, j + 1]), int(ids[i, j + 1]))
             for i in range(nu) for j in range(nv)]
    return Shape(surface(u.ravel(), v.ravel()), faces)
