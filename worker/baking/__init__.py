"""From a generator's dense coloured surface to a small textured mesh. Engine-neutral; numpy at the edge.

Needs no GPU and no renderer: the texture is looked up, texel by texel, on the dense surface itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from worker.arrays import F32
from worker.baking import reduce
from worker.baking.texture import painted, unwrapped
from worker.engines.contract import EngineNotice, Progress
from worker.formats.mesh import TexturedMesh, vertex_normals

SMALLEST_TEXTURE, LARGEST_TEXTURE = 64, 1024


@dataclass
class Baked:
    """`closed`: every edge of the mesh's surface has two faces (texture seams aside)."""

    mesh: TexturedMesh
    closed: bool
    notices: list[EngineNotice] = field(default_factory=list)


def bake(
    vertices: F32,
    faces: np.ndarray,
    colours: F32,
    triangle_budget: int,
    label: str = "",
    texture_side: int | None = None,
    progress: Progress = lambda _: None,
) -> Baked:
    """Reduce, unwrap and texture a surface; axes and scale stay as given.

    Hollows that nobody can see into and floating crumbs are left out. A closed surface stays closed.

    Args:
        vertices: (V, 3), Z up. faces: (F, 3) integers, counter-clockwise from outside.
        colours: (V, 3) sRGB-encoded, 0..1, one a vertex.
        label: the prop's name, for notices.
        texture_side: texels; None takes as many as the dense surface has colours to tell.

    Raises StageError, with a sentence, where there is no surface or it holds values that are not numbers.
    """
    dense = reduce.tidy(reduce.Surface.of(vertices, faces, colours))
    progress(0.2)
    small = reduce.simplified(dense, triangle_budget)
    progress(0.4)
    side = texture_side or _side_for(len(dense.vertices))
    layout = unwrapped(small.vertices, small.faces, side)
    progress(0.7)
    texture = painted(layout, dense, side)
    normals = vertex_normals(small.vertices, small.faces)[layout.source]
    mesh = TexturedMesh(layout.vertices, layout.faces, layout.uv, texture, normals)
    notices = []
    if dense.pieces > reduce.SHATTERED:
        notices.append(EngineNotice("props.shattered", {"label": label, "pieces": dense.pieces}, degraded=True))
    if not layout.in_charts:
        notices.append(EngineNotice("props.patchwork", {"label": label}))
    if not small.closed:
        notices.append(EngineNotice("props.open_mesh", {"label": label}))
    progress(1.0)
    return Baked(mesh, small.closed, notices)


def _side_for(vertices: int) -> int:
    """A power of two: at least one texel a dense vertex, a third of the square being lost between charts."""
    side = SMALLEST_TEXTURE
    while side < LARGEST_TEXTURE and side * side < 1.5 * vertices:
        side *= 2
    return side
