"""Which edges of a grid cube belong to which dual vertex: dual marching cubes' tables, derived.

Source: Nielson, "Dual Marching Cubes" (IEEE Visualization 2004); the repair of touching ambiguous faces is Wenger,
"Isosurfaces: Geometry, Topology, and Algorithms" (2013), used by Shen et al., "Flexible Isosurface Extraction for
Gradient-Based Mesh Optimization" (FlexiCubes, 2023), supplement 1.3.

A case is the 8-bit number whose bit i says that corner i lies inside. Corner i stands at (i & 1, i >> 1 & 1, i >> 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

EDGES = ((0, 1), (1, 5), (4, 5), (0, 4), (2, 3), (3, 7), (6, 7), (2, 6), (2, 0), (3, 1), (7, 5), (6, 4))
"""The 12 edges by their corners; the order is that of the 12 beta weights."""

_FACES = tuple((axis, side) for axis in range(3) for side in (0, 1))


@dataclass(frozen=True)
class Tables:
    """`patch[case, edge]`: which of the case's dual vertices the edge belongs to, -1 where the surface does not cross
    it. `count[case]`: how many dual vertices. `ambiguous[case]`: the one ambiguous face joins two inside corners into
    one sheet, `towards[case]` (3,) leads to the cube behind that face; if that one is ambiguous too, both are inverted.
    """

    patch: NDArray[np.int8]
    count: NDArray[np.int8]
    ambiguous: NDArray[np.bool_]
    towards: NDArray[np.int8]


@cache
def tables() -> Tables:
    patch = np.full((256, 12), -1, np.int8)
    count = np.zeros(256, np.int8)
    ambiguous = np.zeros(256, bool)
    towards = np.zeros((256, 3), np.int8)
    for case in range(256):
        loops = _loops(case, isolate=1)
        count[case] = len(loops)
        for number, loop in enumerate(loops):
            patch[case, loop] = number
        faces = [face for face in _FACES if _is_ambiguous(case, face)]
        if len(faces) == 1 and len(loops) == 1 and len(_loops(case, isolate=0)) == 2:
            axis, side = faces[0]
            ambiguous[case] = True
            towards[case, axis] = 1 if side else -1
    return Tables(patch, count, ambiguous, towards)


def _corners(face: tuple[int, int]) -> list[int]:
    axis, side = face
    return [corner for corner in range(8) if corner >> axis & 1 == side]


def _is_ambiguous(case: int, face: tuple[int, int]) -> bool:
    """Whether exactly two diagonal corners of the face lie inside."""
    a, b, c, d = (case >> corner & 1 for corner in _corners(face))
    return a == d and b == c and a != b


def _loops(case: int, isolate: int) -> list[list[int]]:
    """The closed curves that the surface draws on the cube's faces, each as the edges it crosses.

    On an ambiguous face two lines are drawn: each cuts off one corner whose inside bit equals `isolate`.
    """
    inside = [case >> corner & 1 for corner in range(8)]
    crossed = [edge for edge, (a, b) in enumerate(EDGES) if inside[a] != inside[b]]
    links: dict[int, list[int]] = {edge: [] for edge in crossed}
    for face in _FACES:
        corners = _corners(face)
        here = [edge for edge in crossed if set(EDGES[edge]) <= set(corners)]
        lines = [here] if len(here) == 2 else []
        if len(here) == 4:
            lines = [[e for e in here if corner in EDGES[e]] for corner in corners if inside[corner] == isolate]
        for first, second in lines:
            links[first].append(second)
            links[second].append(first)
    loops = []
    while links:
        loop, waiting = [], [min(links)]
        while waiting:
            edge = waiting.pop()
            if edge in links:
                loop.append(edge)
                waiting += links.pop(edge)
        loops.append(sorted(loop))
    return loops
