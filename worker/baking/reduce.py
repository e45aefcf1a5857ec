"""Tidying a dense surface and bringing it to a number of triangles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import fast_simplification
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from worker.arrays import F32, F64, I32, Bool
from worker.errors import StageError

CRUMB = 1e-3  # a piece with less than this share of the largest one's area...
CRUMB_REACH = 0.03  # ... and of the whole's diagonal is left out
SHATTERED = 200  # pieces; a generator that made more has failed, and unwrapping them all would take minutes
# How eagerly the reducer takes bad edges, tried in turn: eager ones sometimes tear a closed surface.
_EAGERNESS = (3, 2, 5, 1)


@dataclass
class Surface:
    """Triangles that share vertices. `colours` (V, 3) 0..1, or None."""

    vertices: F32
    faces: I32
    colours: F32 | None = None
    pieces: int = 1  # it fell into, before `tidy`

    @staticmethod
    def of(vertices: F32, faces: np.ndarray, colours: F32) -> Surface:
        nothing = StageError("props.no_surface", "the generator made no surface", "生成器未产生任何表面")
        if not len(faces):
            raise nothing
        if not (np.isfinite(vertices).all() and np.isfinite(colours).all()):
            raise StageError(
                "props.not_finite",
                "the generator's surface holds values that are not numbers; another seed or a higher tier may help",
                "生成的表面含有非数值；更换随机种子或使用更高档位可能有效",
            )
        surface = Surface(
            np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32),
            np.ascontiguousarray(colours, np.float32),
        )  # fmt: skip
        surface = surface if surface.closed else surface.welded()
        if not len(surface.faces) or not surface.has_area:
            raise nothing
        return surface

    @cached_property
    def has_area(self) -> bool:
        """Whether any face is more than a line, at the surface's own scale."""
        corner = self.vertices.astype(np.float64)[self.faces]
        cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        extent = float(np.ptp(corner.reshape(-1, 3), axis=0).max())
        return float(np.linalg.norm(cross, axis=1).max()) > 1e-6 * extent**2

    @cached_property
    def closed(self) -> bool:
        """Whether every edge is run through once in each direction."""
        return bool(len(self.faces)) and not self.open_edges.any()

    @cached_property
    def open_edges(self) -> Bool:
        """(3F,) of the edges (0-1, 1-2, 2-0 of each face): whether it has not exactly one partner in reverse."""
        count = len(self.vertices)
        start, end = self.faces.astype(np.int64).ravel(), self.faces[:, [1, 2, 0]].astype(np.int64).ravel()
        there, back = start * count + end, end * count + start
        ordered = np.append(np.sort(there), (-1, -1))
        first = np.searchsorted(ordered[:-2], back)
        return (ordered[first] != back) | (ordered[first + 1] == back)

    def welded(self) -> Surface:
        """Vertices in exactly one place become one; faces that lose their area by it go."""
        _, first, inverse = np.unique(self.vertices, axis=0, return_index=True, return_inverse=True)
        faces = inverse.reshape(-1)[self.faces].astype(np.int32)
        a, b, c = faces.T
        faces = faces[(a != b) & (b != c) & (c != a)]
        return Surface(self.vertices[first], faces, None if self.colours is None else self.colours[first])

    def part(self, kept: Bool) -> Surface:
        """Some of the faces, with only the vertices they use."""
        used, faces = np.unique(self.faces[kept], return_inverse=True)
        colours = None if self.colours is None else self.colours[used]
        return Surface(self.vertices[used], faces.reshape(-1, 3).astype(np.int32), colours)


def tidy(surface: Surface) -> Surface:
    """Without crumbs and closed hollows: a decoder draws a wall's inner side too, which nobody ever sees.

    Of a shattered surface only the largest pieces stay.
    """
    count = len(surface.vertices)
    a, b, c = surface.faces.T
    links = coo_matrix((np.ones(2 * len(a), bool), (np.concatenate([a, b]), np.concatenate([b, c]))), (count, count))
    pieces, of_vertex = connected_components(links, directed=False)
    if pieces == 1:
        return surface
    piece = of_vertex[a]
    corner = surface.vertices.astype(np.float64)[surface.faces] - surface.vertices.mean(axis=0)
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.bincount(piece, np.linalg.norm(cross, axis=1) / 2, pieces)
    volume = np.bincount(piece, np.einsum("ij,ij->i", cross, corner[:, 0]) / 6, pieces)
    tears = np.bincount(piece, surface.open_edges.reshape(-1, 3).any(axis=1), pieces)
    crumb = (area < CRUMB * area.max()) & (_reach(surface.vertices, of_vertex, pieces) < CRUMB_REACH)
    hollow = (tears == 0) & (volume < 0)
    kept = ~(crumb | hollow)
    if not kept.any():  # the whole surface looks inwards: it is not for us to turn it
        kept[:] = True
    if kept.sum() > SHATTERED:
        kept &= area >= np.sort(area[kept])[-SHATTERED]
    found = surface
    if not kept.all():
        found = surface.part(kept[piece])
        found.open_edges = surface.open_edges[np.repeat(kept[piece], 3)]  # no edge has its partner in another piece
    found.pieces = pieces
    return found


def _reach(vertices: F32, of_vertex: I32, pieces: int) -> F64:
    """(P,) diagonal of each piece's box, in shares of the whole's."""
    low, high = np.full((pieces, 3), np.inf), np.full((pieces, 3), -np.inf)
    np.minimum.at(low, of_vertex, vertices)
    np.maximum.at(high, of_vertex, vertices)
    return np.linalg.norm(high - low, axis=1) / max(float(np.linalg.norm(np.ptp(vertices, axis=0))), 1e-12)


def simplified(surface: Surface, triangles: int) -> Surface:
    """At most `triangles` faces where that can be reached (quadric error edge collapse), no colours.

    A surface that is closed stays so: of several runs the first that tears nothing is taken.
    """
    if len(surface.faces) <= triangles:
        return Surface(surface.vertices, surface.faces)
    best: Surface | None = None
    too_mild = 0
    for eagerness in _EAGERNESS:
        if eagerness <= too_mild:  # seconds each on a dense surface
            continue
        vertices, faces = fast_simplification.simplify(
            surface.vertices, surface.faces, target_count=triangles, agg=eagerness
        )
        found = Surface(np.asarray(vertices, np.float32), np.asarray(faces, np.int32))
        fits = len(found.faces) <= triangles
        too_mild = too_mild if fits else max(too_mild, eagerness)
        if fits and (found.closed or not surface.closed):
            return found
        if best is None or (fits, -found.open_edges.sum()) > (len(best.faces) <= triangles, -best.open_edges.sum()):
            best = found
    assert best is not None
    return best
