"""The silhouette as a triangle sheet: contour at sub-pixel accuracy from the soft alpha, even triangles inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, cKDTree

from worker.arrays import F64, I32, U8, Bool

_SUBPIXEL_BITS = 4  # cv2.fillPoly's fixed-point fraction


@dataclass
class Sheet:
    """A planar triangulation in crop pixels, pixel (i, j) centred at (i + 0.5, j + 0.5).

    `faces` have positive area in (x right, y down). `rim` are the directed edges with a face on one side only, in the
    direction that face runs them. Every vertex has one fan of faces: the rim is a set of simple loops.
    """

    points: F64  # (V, 2)
    faces: I32  # (F, 3)
    rim: I32  # (R, 2)


class EmptyOutline(ValueError):
    """The alpha holds nothing that could be a body."""


def solid_alpha(alpha: U8, min_share: float = 0.005) -> Bool:
    """The alpha at one half without specks and pinholes smaller than `min_share` of the whole."""
    mask = (alpha >= 128).astype(np.uint8)
    least = max(8.0, min_share * float(mask.sum()))
    for value in (1, 0):  # first drop specks, then close pinholes
        count, labels, stats, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), connectivity=4)
        small = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] < least]
        mask[np.isin(labels, small)] = 1 - value
    return mask.astype(bool)


def triangulate(alpha: U8, solid: Bool, spacing: float) -> Sheet:
    """Conforming Delaunay triangulation of the silhouette, about `spacing` pixels between vertices.

    Args:
        alpha: (h, w) soft alpha. solid: what of it counts (`solid_alpha`).
    Raises:
        EmptyOutline: fewer than three vertices lie on the contour.
    """
    height, width = alpha.shape
    loops = [_resample(loop, 0.8 * spacing) for loop in _contours(alpha, solid)]
    loops = [loop for loop in loops if len(loop) >= 3]
    if not loops:
        raise EmptyOutline("its cut-out has no outline")
    inside, scale = _raster(loops, height, width)
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) / scale

    def depth_at(points: F64) -> F64:
        column = np.clip((points[:, 0] * scale).astype(int), 0, inside.shape[1] - 1)
        row = np.clip((points[:, 1] * scale).astype(int), 0, inside.shape[0] - 1)
        return distance[row, column].astype(np.float64)

    contour = np.concatenate(loops)
    ring = _inner_ring(loops, 0.35 * spacing)
    ring = ring[depth_at(ring) > 0.2 * spacing]  # keeps round edges round: the profile is steepest at the rim
    grid = _hexagons(height, width, spacing)
    grid = grid[depth_at(grid) > 0.75 * spacing]
    inner = np.concatenate([_thinned(ring, 0.5 * spacing), grid])

    for _ in range(4):
        points = np.concatenate([contour, inner])
        faces = _positive(Delaunay(points).simplices.astype(np.int32), points)
        faces = faces[depth_at(points[faces].mean(axis=1)) > 0]
        missing = _missing_edges(loops, faces)
        chords = _chords(faces, len(contour), points, depth_at, 0.3)
        if not len(missing) and not len(chords):
            break
        loops = _split(loops, missing)
        contour = np.concatenate(loops)
        inner = np.concatenate([inner, chords])
    return _one_fan_per_vertex(points, faces)


def _contours(alpha: U8, solid: Bool) -> list[F64]:
    """Closed contours (outer ones and holes) of the alpha's half level, in pixels."""
    height, width = alpha.shape
    zoom = int(np.clip(1600 // max(height, width), 1, 4))
    near = cv2.dilate(solid.astype(np.uint8), np.ones((3, 3), np.uint8))
    level = np.where(near > 0, alpha, 0).astype(np.uint8)
    level = np.where(solid, np.maximum(level, 128), np.minimum(level, 127)).astype(np.uint8)
    level = np.pad(level, 2)
    size = (level.shape[1] * zoom, level.shape[0] * zoom)
    large = cv2.resize(level.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    binary = (cv2.GaussianBlur(large, (0, 0), 0.5 * zoom) >= 127.5).astype(np.uint8)
    found, _ = cv2.findContours(binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    loops = []
    for chain in found:
        loop = chain[:, 0].astype(np.float64)
        if len(loop) < 6 * zoom:
            continue
        for _ in range(zoom):  # takes the staircase of the enlarged pixels away, well below one pixel
            loop = 0.25 * np.roll(loop, 1, axis=0) + 0.5 * loop + 0.25 * np.roll(loop, -1, axis=0)
        loops.append((loop + 0.5) / zoom - 2.0)
    return loops


def _resample(loop: F64, spacing: float) -> F64:
    """Corners kept (Douglas-Peucker at 0.4 px), long edges cut to `spacing`."""
    corners = cv2.approxPolyDP(loop.astype(np.float32)[:, None], 0.4, closed=True)[:, 0].astype(np.float64)
    if len(corners) < 3:
        return corners
    pieces = []
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        count = max(1, int(np.ceil(np.linalg.norm(end - start) / spacing)))
        pieces.append(start + np.arange(count)[:, None] / count * (end - start))
    return np.concatenate(pieces)


def _raster(loops: list[F64], height: int, width: int) -> tuple[Bool, int]:
    """Even-odd fill of the contours at a few times the crop's resolution."""
    scale = int(np.clip(2400 // max(height, width), 1, 4))
    image = np.zeros((height * scale, width * scale), np.uint8)
    one = 1 << _SUBPIXEL_BITS
    # cv2 puts integer coordinates on pixel centres, ours are on corners
    fixed = [np.round((loop * scale - 0.5) * one).astype(np.int32) for loop in loops]
    cv2.fillPoly(image, fixed, 1, shift=_SUBPIXEL_BITS)
    return image.astype(bool), scale


def _inner_ring(loops: list[F64], offset: float) -> F64:
    """Each contour moved by `offset` both ways; the caller keeps what lies inside."""
    rings = []
    for loop in loops:
        tangent = np.roll(loop, -1, axis=0) - np.roll(loop, 1, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
        rings += [loop + offset * normal, loop - offset * normal]
    return np.concatenate(rings)


def _hexagons(height: int, width: int, spacing: float) -> F64:
    rows = np.arange(0.5 * spacing, height, 0.866 * spacing)
    lines = [_line(row, spacing * (0.25 + 0.5 * (i % 2)), width, spacing) for i, row in enumerate(rows)]
    return np.concatenate(lines) if lines else np.zeros((0, 2))


def _line(row: float, start: float, width: int, spacing: float) -> F64:
    x = np.arange(start, width, spacing)
    return np.stack([x, np.full(len(x), row)], axis=1)


def _thinned(points: F64, least: float) -> F64:
    """Points in order, without those nearer than `least` to one kept before."""
    if len(points) < 2:
        return points
    pairs = cKDTree(points).query_pairs(least, output_type="ndarray")
    drop = np.zeros(len(points), bool)
    for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        if not drop[first]:
            drop[second] = True
    return points[~drop]


def _positive(faces: I32, points: F64) -> I32:
    """Same orientation for all; faces without area dropped."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    faces = np.where((area < 0)[:, None], faces[:, [0, 2, 1]], faces)
    return faces[np.abs(area) > 1e-6]


def _edges(faces: I32) -> I32:
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def _missing_edges(loops: list[F64], faces: I32) -> Bool:
    """Flat flags over all contour edges: True where the triangulation lacks that edge."""
    ends = []
    base = 0
    for loop in loops:
        index = np.arange(len(loop)) + base
        ends.append(np.stack([index, np.roll(index, -1)], axis=1))
        base += len(loop)
    wanted = np.sort(np.concatenate(ends), axis=1).astype(np.int64)
    have = np.sort(_edges(faces), axis=1).astype(np.int64)
    missing = ~np.isin(wanted[:, 0] << 32 | wanted[:, 1], have[:, 0] << 32 | have[:, 1])
    return missing if missing.any() else np.zeros(0, bool)


def _split(loops: list[F64], missing: Bool) -> list[F64]:
    if not len(missing):
        return loops
    result, base = [], 0
    for loop in loops:
        cut = missing[base : base + len(loop)]
        base += len(loop)
        middle = 0.5 * (loop + np.roll(loop, -1, axis=0))
        both = np.stack([loop, middle], axis=1).reshape(-1, 2)
        keep = np.stack([np.ones(len(loop), bool), cut], axis=1).ravel()
        result.append(both[keep])
    return result


def _chords(faces: I32, contour_count: int, points: F64, depth_at: Callable[[F64], F64], least: float) -> F64:
    """Middles of inner edges between two contour vertices: a thin part needs a ridge to be round."""
    edges = np.sort(_edges(faces), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    inner = unique[(counts == 2) & (unique[:, 1] < contour_count)]
    middle = points[inner].mean(axis=1)
    length = np.linalg.norm(points[inner[:, 0]] - points[inner[:, 1]], axis=1)
    middle = middle[(depth_at(middle) > least) & (length > 4 * least)]
    return _thinned(middle, 2 * least)


def _one_fan_per_vertex(points: F64, faces: I32) -> Sheet:
    """Drop unused vertices; where two fans meet in one vertex give each fan its own."""
    corner = np.arange(faces.size).reshape(faces.shape)
    start = np.concatenate([faces[:, i] for i in range(3)]).astype(np.int64)
    end = np.concatenate([faces[:, (i + 1) % 3] for i in range(3)]).astype(np.int64)
    start_corner = np.concatenate([corner[:, i] for i in range(3)])
    end_corner = np.concatenate([corner[:, (i + 1) % 3] for i in range(3)])
    forward, backward = start << 32 | end, end << 32 | start
    order = np.argsort(forward)
    slot = np.searchsorted(forward, backward, sorter=order).clip(0, len(order) - 1)
    twin = order[slot]
    paired = forward[twin] == backward  # two faces share the edge: their corners at its ends are one vertex
    first = np.concatenate([start_corner[paired], end_corner[paired]])
    second = np.concatenate([end_corner[twin[paired]], start_corner[twin[paired]]])
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(faces.size, faces.size))
    _, fans = connected_components(graph, directed=False)
    _, unique, index = np.unique(fans, return_index=True, return_inverse=True)
    new_faces = index.reshape(faces.shape).astype(np.int32)
    new_points = points[faces.ravel()[unique]]
    directed = _edges(new_faces).astype(np.int64)
    reverse = directed[:, 1] << 32 | directed[:, 0]
    rim = directed[~np.isin(directed[:, 0] << 32 | directed[:, 1], reverse)]
    return Sheet(new_points, new_faces, rim.astype(np.int32))

