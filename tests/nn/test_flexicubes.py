"""Surface extraction: analytic bodies are closed, outward and of the right genus; a golden case is upstream's own."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

torch = pytest.importorskip("torch")

from bench.parity.flexicubes import draw  # noqa: E402
from worker.nn.dual_cells import EDGES, tables  # noqa: E402
from worker.nn.flexicubes import CORNERS, extract  # noqa: E402


def _voxels(res, distance, depth=np.inf):
    """Active voxels inside and just outside `distance`'s zero, with its values (less the decoder's bias) at corners.

    Within more than `depth` cells there are none, as in what a decoder makes of a surface.
    """
    grid = np.stack(np.meshgrid(*[np.arange(res)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    middle = distance((grid + 0.5) / res - 0.5)
    coords = grid[(middle < 1.5 / res) & (middle > -depth / res)]
    sdf = distance((coords[:, None] + np.array(CORNERS)) / res - 0.5) + 1 / res
    return torch.from_numpy(coords), torch.from_numpy(sdf).float()


def _mesh(res, coords, sdf, **given):
    n = len(coords)
    zeros = {"deform": (n, 8, 3), "weights": (n, 21), "colour": (n, 8, 6)}
    parts = {name: given.get(name, torch.zeros(shape)) for name, shape in zeros.items()}
    vertices, faces, attrs = extract(coords, sdf, **parts, resolution=res)
    return trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False), attrs.numpy()


def _sphere(radius, centre=(0.0, 0.0, 0.0)):
    return lambda p: np.linalg.norm(p - np.array(centre), axis=-1) - radius


def _torus(large, small):
    return lambda p: np.hypot(np.hypot(p[..., 0], p[..., 1]) - large, p[..., 2]) - small


@pytest.mark.parametrize("radius, centre", [(0.37, (0, 0, 0)), (0.25, (0.1, -0.05, 0.07)), (0.25, (0, 0, 0))])
def test_a_sphere_is_closed_outward_and_round(radius, centre):
    mesh, _ = _mesh(48, *_voxels(48, _sphere(radius, centre)))
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.euler_number == 2
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)  # negative if it were inside out
    assert np.abs(np.linalg.norm(mesh.vertices - np.array(centre), axis=1) - radius).max() < 0.2 / 48


def test_a_torus_keeps_its_hole():
    mesh, _ = _mesh(48, *_voxels(48, _torus(0.3, 0.11)))
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.euler_number == 0
    assert mesh.volume == pytest.approx(2 * np.pi**2 * 0.3 * 0.11**2, rel=0.03)


def test_where_the_voxels_end_inside_a_cavity_is_left():
    mesh, _ = _mesh(48, *_voxels(48, _sphere(0.37), depth=3))
    outer, inner = sorted(mesh.split(only_watertight=True), key=lambda part: -part.volume)
    assert outer.volume == pytest.approx(4 / 3 * np.pi * 0.37**3, rel=0.01)
    assert inner.volume < 0  # it faces the hollow


def test_colours_are_those_of_the_corners_nearby():
    coords, sdf = _voxels(32, _sphere(0.3))
    place = (coords[:, None] + torch.tensor(CORNERS)) / 32
    wanted = torch.cat([place, 1 - place], dim=-1)
    mesh, attrs = _mesh(32, coords, sdf, colour=torch.logit(wanted.clamp(1e-4, 1 - 1e-4)))
    assert np.abs(attrs[:, :3] - (mesh.vertices + 0.5)).max() < 1e-4  # linear colour comes out linear
    assert np.abs(attrs[:, 3:] - (0.5 - mesh.vertices)).max() < 1e-4


def test_corners_move_by_half_a_cell_at_most():
    coords, sdf = _voxels(32, _sphere(0.3))
    still, _ = _mesh(32, coords, sdf)
    pushed, _ = _mesh(32, coords, sdf, deform=torch.tensor([20.0, -20.0, 20.0]).expand(len(coords), 8, 3))
    assert np.allclose(pushed.vertices - still.vertices, np.array([1, -1, 1]) / 64, atol=1e-6)


def test_gamma_chooses_the_diagonal():
    """Two triangles share the diagonal whose ends weigh more, so raising gamma in one slab leaves vertices alone."""
    coords, sdf = _voxels(16, _sphere(0.3))
    weights = torch.zeros(len(coords), 21)
    weights[:, 20] = torch.where(coords.sum(dim=1) % 2 == 0, 4.0, -4.0)
    plain, _ = _mesh(16, coords, sdf)
    cut, _ = _mesh(16, coords, sdf, weights=weights)
    assert np.array_equal(plain.vertices, cut.vertices)
    assert not np.array_equal(plain.faces, cut.faces)
    assert cut.is_watertight and cut.euler_number == 2


@pytest.mark.parametrize("seed", range(4))
def test_any_signs_give_a_closed_surface(seed):
    """Random signs provoke every ambiguous configuration; the margin keeps the surface off the grid's border."""
    random = np.random.default_rng(seed)
    res, inner = 12, np.stack(np.meshgrid(*[np.arange(1, 11)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    field = np.full((res + 1,) * 3, 1.0)
    field[2:-2, 2:-2, 2:-2] = random.standard_normal((res - 3,) * 3)
    corner = inner[:, None] + np.array(CORNERS)
    sdf = torch.from_numpy(field[corner[..., 0], corner[..., 1], corner[..., 2]] + 1 / res).float()
    mesh, _ = _mesh(res, torch.from_numpy(inner), sdf)
    edges = np.sort(mesh.edges, axis=1)
    _, shared = np.unique(edges, axis=0, return_counts=True)
    assert (shared % 2 == 0).all()
    assert mesh.is_winding_consistent
    assert mesh.volume > 0


def test_two_sheets_do_not_touch_across_an_ambiguous_face():
    """Cases 61 and its mirror image meet face to face: both are inverted, so no edge is shared by four triangles."""
    known = tables()
    assert known.ambiguous.sum() == 36
    case = 61
    assert known.towards[case].tolist() == [1, 0, 0]
    field = np.full((6, 6, 6), 1.0)
    for corner, (x, y, z) in enumerate(CORNERS):
        if case >> corner & 1:
            field[1 + x, 2 + y, 2 + z] = -1.0
            field[3 - x, 2 + y, 2 + z] = -1.0
    coords = np.array([[1, 2, 2], [2, 2, 2]])
    corner = coords[:, None] + np.array(CORNERS)
    sdf = torch.from_numpy(field[corner[..., 0], corner[..., 1], corner[..., 2]] + 1 / 5).float()
    mesh, _ = _mesh(5, torch.from_numpy(coords), sdf)
    _, shared = np.unique(np.sort(mesh.edges, axis=1), axis=0, return_counts=True)
    assert (shared == 2).all()


@pytest.mark.parametrize("kind, vertices, triangles, positions, attributes, volume, area", [
    ("shell", 188, 372, 109.35030733066378, 566.8478100001812, 0.2209944142456847, 1.9442116883499483),
    ("noise", 693, 1104, 521.600797567924, 2079.35669849813, 0.08841926830071199, 5.354827327848957),
])  # fmt: skip
def test_golden(kind, vertices, triangles, positions, attributes, volume, area):
    """Figures of MaxtirError/FlexiCubes @815e075, its dense path, by bench/parity/flexicubes.py (CPU)."""
    points, faces, attrs = extract(*draw(8, kind, seed=8), resolution=8)
    assert (len(points), len(faces)) == (vertices, triangles)
    assert points.double().abs().sum().item() == pytest.approx(positions, rel=1e-6)
    assert attrs.double().sum().item() == pytest.approx(attributes, rel=1e-6)
    corner = points.double()[faces]
    assert torch.linalg.det(corner).sum().item() / 6 == pytest.approx(volume, rel=1e-5)
    cross = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    assert cross.norm(dim=1).sum().item() / 2 == pytest.approx(area, rel=1e-5)


def test_chunks_change_nothing():
    given = draw(16, "noise", seed=1)
    whole, pieces = (extract(*given, resolution=16, chunk=chunk) for chunk in (1 << 18, 1001))
    assert all(torch.equal(a, b) for a, b in zip(whole, pieces, strict=True))


@pytest.mark.parametrize("count", [0, 3])
def test_nothing_inside_gives_an_empty_mesh(count):
    coords = torch.arange(3 * count).reshape(count, 3)
    mesh = extract(coords, torch.ones(count, 8), torch.zeros(count, 8, 3), torch.zeros(count, 21),
                   torch.zeros(count, 8, 6), resolution=16)  # fmt: skip
    assert [tuple(part.shape) for part in mesh] == [(0, 3), (0, 3), (0, 6)]
    assert mesh[1].dtype == torch.int64


def test_a_body_that_leaves_the_grid_is_open_there():
    mesh, _ = _mesh(24, *_voxels(24, _sphere(0.6)))
    assert len(mesh.faces) and not mesh.is_watertight


def test_half_precision_outputs_are_taken():
    coords, sdf = _voxels(24, _sphere(0.3))
    zeros = [torch.zeros(len(coords), *shape, dtype=torch.float16) for shape in ((8, 3), (21,), (8, 6))]
    vertices, _, _ = extract(coords.int(), sdf.half(), *zeros, resolution=24)
    assert vertices.dtype == torch.float32 and len(vertices)


def test_every_edge_belongs_to_one_patch():
    known = tables()
    for case in range(256):
        crossed = [e for e, (a, b) in enumerate(EDGES) if (case >> a & 1) != (case >> b & 1)]
        assert np.flatnonzero(known.patch[case] >= 0).tolist() == crossed
        assert known.count[case] == known.patch[case].max() + 1


@pytest.mark.gpu
def test_the_gpu_draws_the_same_surface():
    given = draw(48, "shell", seed=2)
    ours, theirs = extract(*given, resolution=48), extract(*(part.cuda() for part in given), resolution=48)
    assert torch.equal(ours[1], theirs[1].cpu())
    assert torch.allclose(ours[0], theirs[0].cpu(), atol=1e-5) and torch.allclose(ours[2], theirs[2].cpu(), atol=1e-4)
