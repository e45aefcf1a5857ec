"""The strip of views: which side each shows, and that colours and outline are the mesh's own."""

from __future__ import annotations

import numpy as np

from worker.formats.mesh import TexturedMesh
from worker.report.turntable import strip


def die() -> TexturedMesh:
    """A closed box whose six sides have six colours: front (-Y) red, right (+X) green, back blue, left yellow."""
    sides = {  # outward axis, colour; corners in the plane run counter-clockwise seen from outside
        (0, -1, 0): (230, 0, 0), (1, 0, 0): (0, 230, 0), (0, 1, 0): (0, 0, 230), (-1, 0, 0): (230, 230, 0),
        (0, 0, 1): (230, 230, 230), (0, 0, -1): (20, 20, 20),
    }  # fmt: skip
    vertices, faces, uv = [], [], []
    texture = np.zeros((4, 6 * 4, 3), np.uint8)
    for number, (axis, colour) in enumerate(sides.items()):
        out = np.array(axis, float)
        u = np.array([0, 1, 0]) if axis[2] else np.cross([0, 0, 1], out)
        v = np.cross(out, u)
        base = len(vertices)
        vertices += [0.5 * (out + a * u + b * v) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        faces += [[base, base + 1, base + 2], [base, base + 2, base + 3]]
        uv += [[(number + 0.5) / 6, 0.5]] * 4
        texture[:, 4 * number : 4 * number + 4] = colour
    return TexturedMesh(np.array(vertices, np.float32), np.array(faces, np.int32), np.array(uv, np.float32), texture)


def views(mesh: TexturedMesh, count: int = 4, side: int = 64) -> list[np.ndarray]:
    whole = strip(mesh, count, side)
    assert whole.shape == (side, count * side, 4) and whole.dtype == np.uint8
    return [whole[:, i * side : (i + 1) * side] for i in range(count)]


def test_the_views_go_round_from_the_front():
    """Front, then the prop's own -X side (left of who faces it), back, +X."""
    seen = [tuple((view[36, 32, :3] > 100).tolist()) for view in views(die())]
    assert seen == [(True, False, False), (True, True, False), (False, False, True), (False, True, False)]


def test_it_is_seen_from_a_little_above():
    top = [view[..., :3].min(axis=-1) > 150 for view in views(die())]
    bottom = [(view[..., :3].max(axis=-1) < 60) & (view[..., 3] == 255) for view in views(die())]
    assert all(part.any() for part in top) and not any(part.any() for part in bottom)


def test_the_prop_fills_its_view_and_stays_inside():
    for view in views(die()):
        covered = view[..., 3] > 0
        assert 0.2 < covered.mean() < 0.8
        assert not covered[0].any() and not covered[-1].any() and not covered[:, 0].any() and not covered[:, -1].any()


def test_edges_are_soft_and_keep_their_colour():
    view = views(die())[0]
    edge = (view[..., 3] > 0) & (view[..., 3] < 255)
    assert edge.any()
    assert view[edge][:, :3].max(axis=1).min() > 100  # no black fringe


def test_size_and_place_do_not_matter():
    mesh = die()
    moved = TexturedMesh(mesh.vertices * 40 + 7, mesh.faces, mesh.uv, mesh.texture)
    assert np.abs(strip(mesh, 2, 32).astype(int) - strip(moved, 2, 32)).max() <= 8


def test_a_mesh_of_a_single_point_gives_an_empty_strip():
    mesh = die()
    flat = TexturedMesh(mesh.vertices * 0, mesh.faces, mesh.uv, mesh.texture)
    assert not strip(flat, 2, 32).any()
