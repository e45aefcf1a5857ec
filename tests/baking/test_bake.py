"""Baking: the budget holds, closed stays closed, colours land where they were, and nothing takes long."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import trimesh

from worker.baking import bake, reduce
from worker.errors import StageError
from worker.formats.glb import read_glb, write_glb
from worker.formats.mesh import sample_texture


def _ball(subdivisions: int = 5, radius: float = 0.4) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions, radius)


def _colours(vertices: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + vertices, 0, 1)


def _bake(solid: trimesh.Trimesh, budget: int = 2000, **more):
    vertices = np.asarray(solid.vertices, np.float32)
    return bake(vertices, np.asarray(solid.faces), _colours(vertices).astype(np.float32), budget, "thing",
                **{"texture_side": 256} | more)  # fmt: skip


def _welded(mesh) -> trimesh.Trimesh:
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    solid.merge_vertices(merge_tex=True, merge_norm=True)
    return solid


@pytest.mark.parametrize("solid", [_ball(), trimesh.creation.torus(0.3, 0.12, 96, 48)], ids=["ball", "torus"])
def test_a_closed_surface_stays_closed_within_the_budget(solid):
    baked = _bake(solid)
    assert baked.closed and not baked.notices
    assert len(baked.mesh.faces) <= 2000
    welded = _welded(baked.mesh)
    assert welded.is_watertight and welded.euler_number == solid.euler_number
    assert welded.volume == pytest.approx(solid.volume, rel=0.02)


def test_colours_land_where_they_were():
    """Golden: colour is a linear function of place, so the texture must give it back, less a texel."""
    mesh = _bake(_ball()).mesh
    middle = mesh.vertices[mesh.faces].mean(axis=1)
    seen = sample_texture(mesh.texture, mesh.uv[mesh.faces].mean(axis=1)) / 255
    error = np.abs(seen - _colours(middle))
    assert error.mean() < 0.004 and error.max() < 0.03


def test_the_texture_is_as_fine_as_the_surface():
    coarse, fine = _ball(3), _ball(5)  # 642 and 10,242 vertices
    sides = [len(_bake(ball, 500, texture_side=None).mesh.texture) for ball in (coarse, fine)]
    assert sides == [64, 128]


def test_every_texel_is_painted():
    """Between the charts too, or black would bleed in where a renderer filters."""
    texture = _bake(_ball()).mesh.texture
    assert texture.min() >= 255 * 0.09  # the darkest colour on the ball is 0.1


def test_a_thin_wall_keeps_its_two_colours():
    """A plate, red above and blue below, thinner than its vertices are apart: neither side's colour comes through."""
    plate = trimesh.creation.box([1, 1, 0.004])
    plate = plate.subdivide().subdivide().subdivide().subdivide().subdivide()
    colours = np.where(plate.vertices[:, 2:] > 0, [[0.9, 0.1, 0.1]], [[0.1, 0.1, 0.9]]).astype(np.float32)
    mesh = bake(np.asarray(plate.vertices, np.float32), np.asarray(plate.faces), colours, 400, texture_side=256).mesh
    middle, normals = mesh.vertices[mesh.faces].mean(axis=1), trimesh.Trimesh(mesh.vertices, mesh.faces).face_normals
    seen = sample_texture(mesh.texture, mesh.uv[mesh.faces].mean(axis=1))
    inner = (np.abs(middle[:, :2]) < 0.45).all(axis=1)
    above, below = inner & (normals[:, 2] > 0.9), inner & (normals[:, 2] < -0.9)
    assert above.any() and below.any()
    assert (seen[above, 0] > 200).all() and (seen[below, 2] > 200).all()


def test_hollows_and_crumbs_go():
    inner = _ball(3, 0.3)
    inner.invert()
    crumb = _ball(1, 0.003)
    crumb.apply_translation([0.45, 0, 0])
    beside = _ball(3, 0.1)
    beside.apply_translation([0.6, 0, 0])
    baked = _bake(trimesh.util.concatenate([_ball(4), inner, crumb, beside]))
    parts = _welded(baked.mesh).split(only_watertight=False)
    assert len(parts) == 2 and all(part.volume > 0 for part in parts)


def test_a_surface_that_looks_inwards_as_a_whole_is_left():
    ball = _ball(3)
    ball.invert()
    assert len(_bake(ball).mesh.faces) == len(ball.faces)


def test_open_meshes_are_told():
    ball = _ball(3)
    ball.update_faces(ball.triangles_center[:, 2] < 0.2)
    baked = _bake(ball)
    assert not baked.closed
    assert [notice.code for notice in baked.notices] == ["props.open_mesh"]


def test_unshared_vertices_are_welded():
    ball = _ball(3)
    soup = trimesh.Trimesh(ball.triangles.reshape(-1, 3), np.arange(3 * len(ball.faces)).reshape(-1, 3), process=False)
    assert _bake(soup, 500).closed


def test_a_shattered_surface_is_told_and_bounded(monkeypatch):
    monkeypatch.setattr(reduce, "SHATTERED", 20)
    pieces = []
    for number in range(40):
        piece = _ball(1, 0.02 + 0.0002 * number)
        piece.apply_translation([0.1 * (number % 7), 0.1 * (number // 7), 0])
        pieces.append(piece)
    baked = _bake(trimesh.util.concatenate(pieces))
    assert [(n.code, n.params["pieces"], n.degraded) for n in baked.notices] == [("props.shattered", 40, True)]
    assert len(_welded(baked.mesh).split(only_watertight=False)) == 20


@pytest.mark.parametrize("seed", range(20))
def test_open_edges_are_those_without_one_partner(seed):
    """Held against counting; few vertices, so that edges are run through several times."""
    rng = np.random.default_rng(seed)
    faces = np.array([rng.permutation(12)[:3] for _ in range(int(rng.integers(1, 60)))], np.int32)
    surface = reduce.Surface(rng.random((12, 3)).astype(np.float32), faces)
    edges = [(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)]
    count = Counter(edges)
    assert surface.open_edges.tolist() == [count[b, a] != 1 for a, b in edges]


def test_a_tidied_surface_knows_its_open_edges():
    ball, speck = _ball(3), _ball(1, 0.0001)
    ball.update_faces(np.arange(len(ball.faces)) % 50 != 0)
    both = trimesh.util.concatenate([speck, ball])
    tidied = reduce.tidy(reduce.Surface(np.asarray(both.vertices, np.float32), np.asarray(both.faces, np.int32)))
    assert 0 < len(tidied.faces) < len(both.faces)
    fresh = reduce.Surface(tidied.vertices, tidied.faces)
    assert tidied.open_edges.any() and (tidied.open_edges == fresh.open_edges).all()


def test_a_reduction_that_stops_short_is_not_tried_more_mildly(monkeypatch):
    """On millions of triangles every try is seconds."""
    tried = []

    def simplify(vertices, faces, target_count, agg):
        tried.append(agg)
        return vertices, faces[: target_count if agg >= 5 else 2 * target_count]

    monkeypatch.setattr(reduce.fast_simplification, "simplify", simplify)
    ball = _ball(3)
    surface = reduce.Surface(np.asarray(ball.vertices, np.float32), np.asarray(ball.faces, np.int32))
    assert len(reduce.simplified(surface, 500).faces) == 500
    assert tried == [3, 5]


def test_a_jagged_surface_is_unwrapped_triangle_by_triangle():
    """Charts of such a one take long, and a host would be taken for hung; its colours are right all the same."""
    ball = _ball(4)
    ball.vertices *= 1 + 0.4 * np.random.default_rng(0).random((len(ball.vertices), 1))
    baked = _bake(ball, 6000)
    mesh = baked.mesh
    assert [notice.code for notice in baked.notices] == ["props.patchwork"]
    assert len(mesh.vertices) == 3 * len(mesh.faces) and mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    seen = sample_texture(mesh.texture, mesh.uv[mesh.faces].mean(axis=1)) / 255
    error = np.abs(seen - _colours(mesh.vertices[mesh.faces].mean(axis=1)))
    assert error.mean() < 0.03 and np.quantile(error, 0.95) < 0.1
    corners = mesh.uv[mesh.faces] * 256
    places = np.unique((2 * corners.mean(axis=1)).astype(int), axis=0)
    assert len(places) == len(mesh.faces)  # no two lie on one spot


def test_a_box_keeps_its_charts():
    """All its edges are sharp, and it is no jagged thing for that."""
    baked = _bake(trimesh.creation.box([0.4, 0.5, 0.6]))
    assert not baked.notices and len(baked.mesh.vertices) <= 24


@pytest.mark.parametrize("spoil, word", [
    (lambda v, f, c: (v, f[:0], c), "no surface"),
    (lambda v, f, c: (np.where(np.arange(len(v))[:, None] == 3, np.nan, v), f, c), "not numbers"),
    (lambda v, f, c: (v, f, c * np.inf), "not numbers"),
])  # fmt: skip
def test_nothing_and_nonsense_are_refused_with_a_sentence(spoil, word):
    ball = _ball(2)
    vertices = np.asarray(ball.vertices, np.float32)
    with pytest.raises(StageError, match=word):
        bake(*spoil(vertices, np.asarray(ball.faces), np.ones_like(vertices)), 500)


@pytest.mark.parametrize(
    "vertices", [[[0, 0, 0]] * 3, [[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 0, 0], [1e-9, 0, 0], [0, 1, 0]]]
)
def test_points_and_lines_are_no_surface(vertices):
    with pytest.raises(StageError, match="no surface"):
        bake(np.array(vertices, np.float32), np.array([[0, 1, 2]]), np.full((3, 3), 0.5, np.float32), 100)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_size_does_not_matter(scale):
    corners = scale * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    baked = bake(corners, faces, np.full((4, 3), 0.5, np.float32), 100)
    assert baked.closed and np.isfinite(baked.mesh.uv).all() and np.ptp(baked.mesh.uv, axis=0).min() > 0.5


def test_seams_do_not_show_in_the_normals_of_the_file(tmp_path):
    mesh = _bake(_ball()).mesh
    outward = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    assert np.einsum("ij,ij->i", mesh.normals, outward).min() > 0.98  # cut vertices alone would lean
    write_glb(tmp_path / "ball.glb", mesh, "ball")
    stored = trimesh.load_mesh(tmp_path / "ball.glb", process=False)
    glb_outward = stored.vertices / np.linalg.norm(stored.vertices, axis=1, keepdims=True)
    assert np.einsum("ij,ij->i", stored.vertex_normals, glb_outward).min() > 0.98
    assert np.allclose(read_glb(tmp_path / "ball.glb").vertices, mesh.vertices, atol=1e-6)


def test_the_same_surface_gives_the_same_mesh():
    first, second = (_bake(_ball(4)).mesh for _ in range(2))
    for name in ("vertices", "faces", "uv", "texture"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
