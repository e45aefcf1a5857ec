from __future__ import annotations

import cv2
import numpy as np
import pytest
import trimesh

from tests.props.conftest import Shot, bottle, box, mug, shoot
from worker.engines.contract import PropResult
from worker.engines.embedded.prop_outline import EmptyOutline, solid_alpha, triangulate
from worker.engines.embedded.props import EmbeddedProps
from worker.formats.mesh import sample_texture
from worker.formats.silhouette import iou, project, rasterise

SOLIDS = {
    "bottle": (bottle(), 10, 0),
    "mug": (mug(), 20, 20),
    "box": (box(), 20, 35),
    "ball": (trimesh.creation.icosphere(3, 0.5), 25, 0),
    "bottle from below": (bottle(), -15, 0),
    "from above": (box(), 80, 35),
}


@pytest.fixture(scope="module")
def engine() -> EmbeddedProps:
    engine = EmbeddedProps()
    engine.load("cpu", "full")
    return engine


def build(engine: EmbeddedProps, shot: Shot, **more: object) -> PropResult:
    return engine.run(shot.request(**more), lambda fraction: None)


def in_camera(result: PropResult) -> np.ndarray:
    pose = result.camera_from_prop.astype(np.float64)
    return result.mesh.vertices @ pose[:3, :3].T + pose[:3, 3]


@pytest.mark.parametrize("depth", [True, False])
@pytest.mark.parametrize("name", SOLIDS)
def test_body_is_closed_outward_and_covers_the_silhouette(engine, name, depth) -> None:
    solid, pitch, yaw = SOLIDS[name]
    shot = shoot(solid, pitch, yaw)
    result = build(engine, shot, depth=depth)
    mesh = trimesh.Trimesh(result.mesh.vertices, result.mesh.faces, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    assert 1000 < len(mesh.faces) < 20_000
    assert (mesh.area_faces > 0).mean() > 0.99
    assert result.mesh.uv.min() >= 0 and result.mesh.uv.max() <= 1
    seen = rasterise(in_camera(result), result.mesh.faces, shot.intrinsics, *shot.alpha.shape)
    assert iou(seen.mask, shot.alpha >= 128) > 0.98
    normals = trimesh.Trimesh(in_camera(result), result.mesh.faces, process=False).face_normals
    toward = np.einsum("ij,ij->i", normals, in_camera(result)[result.mesh.faces[:, 0]]) < 0
    assert toward[seen.face[seen.mask]].mean() > 0.99  # what the camera sees faces it


def test_handle_stays_a_handle(engine) -> None:
    result = build(engine, shoot(mug(), 20, 20))
    assert trimesh.Trimesh(result.mesh.vertices, result.mesh.faces, process=False).euler_number == 0


@pytest.mark.parametrize(("name", "tolerance"), [("bottle", 0.15), ("ball", 0.15), ("mug", 0.25)])
def test_guessed_body_has_the_solid_s_proportions(engine, name, tolerance) -> None:
    """No depth at all: width, depth and height come from outline, gravity and floor alone."""
    solid, pitch, yaw = SOLIDS[name]
    result = build(engine, shoot(solid, pitch, yaw), depth=False)
    assert result.metric
    np.testing.assert_allclose(np.ptp(result.mesh.vertices, axis=0), solid.extents, rtol=tolerance)


@pytest.mark.parametrize("name", ["bottle", "box", "ball"])
def test_front_follows_measured_depth(engine, name) -> None:
    solid, pitch, yaw = SOLIDS[name]
    shot = shoot(solid, pitch, yaw)
    result = build(engine, shot)
    assert not result.notices
    seen = rasterise(in_camera(result), result.mesh.faces, shot.intrinsics, *shot.alpha.shape)
    inner = cv2.erode((shot.alpha == 255).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    error = np.abs(seen.depth - shot.points[..., 2])[inner & seen.mask]
    assert np.median(error) < 0.02 * solid.extents.max()


def test_flat_card_is_inflated_and_told(engine) -> None:
    shot = shoot(bottle(), 10)
    request = shot.request()
    request.points[...] *= (4.0 / request.points[..., 2])[..., None]
    assert [n.code for n in engine.run(request, lambda f: None).notices] == ["props.flat_depth"]
    request.relief = False
    assert not engine.run(request, lambda f: None).notices


def test_prop_frame_stands_on_its_foot_and_faces_the_camera(engine) -> None:
    shot = shoot(box(), 25, 30)
    result = build(engine, shot)
    pose = result.camera_from_prop.astype(np.float64)
    np.testing.assert_allclose(pose[:3, :3] @ [0, 0, 1], -shot.gravity, atol=1e-6)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1, abs=1e-6)
    camera = np.linalg.inv(pose)[:3, 3]
    assert camera[1] < 0 and abs(camera[0]) < 0.35 * -camera[1]
    low = result.mesh.vertices[result.mesh.vertices[:, 2] < 0.02]
    assert result.mesh.vertices[:, 2].min() == pytest.approx(0, abs=1e-5)
    assert np.abs(low[:, :2].mean(axis=0)).max() < 0.3


def test_texture_shows_the_picture(engine) -> None:
    """Each front vertex takes the colour of the pixel it projects to."""
    shot = shoot(mug(), 20, 20)
    rng = np.random.default_rng(5)
    shot.image[...] = cv2.GaussianBlur(rng.integers(0, 255, shot.image.shape).astype(np.uint8), (0, 0), 4)
    result = build(engine, shot)
    front = slice(0, len(result.mesh.vertices) // 2)
    pixel = project(in_camera(result)[front], shot.intrinsics)
    column, row = (pixel - 0.5).round().astype(int).T
    inner = cv2.erode((shot.alpha == 255).astype(np.uint8), np.ones((5, 5), np.uint8))[row, column] > 0
    found = sample_texture(result.mesh.texture, result.mesh.uv[front])[inner].astype(int)
    assert np.abs(found - shot.image[row, column][inner]).mean() < 4


def test_no_background_bleeds_into_the_texture(engine) -> None:
    shot = shoot(bottle(), 10)
    shot.image[shot.alpha < 255] = (0, 255, 0)
    shot.image[shot.alpha == 255] = (200, 30, 30)
    texture = build(engine, shot).mesh.texture.astype(int)
    assert (texture[..., 1] < 60).all()


def test_gaussians_lie_on_the_surface_with_its_colours(engine) -> None:
    shot = shoot(bottle(), 10)
    shot.image[...] = (200, 30, 30)
    cloud = build(engine, shot).gaussians
    result = build(engine, shot)
    mesh = trimesh.Trimesh(result.mesh.vertices, result.mesh.faces, process=False)
    nearest = trimesh.proximity.closest_point(mesh, cloud.position[::200])
    assert nearest[1].max() < 1e-4
    np.testing.assert_allclose(np.linalg.norm(cloud.rotation, axis=1), 1, atol=1e-5)
    w, x, y, z = cloud.rotation[::200].astype(float).T
    disc = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], axis=1)  # its third axis
    assert np.einsum("ij,ij->i", disc, mesh.face_normals[nearest[2]]).min() > 0.9
    assert np.abs(cloud.color - np.array([200, 30, 30]) / 255).max() < 0.02
    np.testing.assert_array_equal(cloud.position, result.gaussians.position)


def test_budget_is_kept(engine) -> None:
    result = build(engine, shoot(mug(), 20, 20), triangle_budget=1500)
    assert len(result.mesh.faces) <= 1500


def test_empty_crop_is_refused(engine) -> None:
    shot = shoot(box())
    request = shot.request()
    request.crop = np.zeros_like(request.crop)
    with pytest.raises(EmptyOutline):
        engine.run(request, lambda f: None)


def test_roll_of_the_camera_does_not_matter(engine) -> None:
    """A picture turned by 30 degrees gives the same body."""
    shot = shoot(bottle(), 10)
    matrix = cv2.getRotationMatrix2D((160, 120), 30, 1.0)
    turn = np.eye(3)
    turn[:2, :2] = matrix[:, :2]
    shot.alpha = cv2.warpAffine(shot.alpha, matrix, (320, 240))
    upright = build(engine, shoot(bottle(), 10), depth=False)
    shot.gravity = (turn @ shot.gravity).astype(np.float32)
    shot.plane = (-shot.gravity, *shot.plane[1:])
    rolled = build(engine, shot, depth=False)
    sizes = [np.ptp(r.mesh.vertices, axis=0) for r in (upright, rolled)]
    np.testing.assert_allclose(sizes[1], sizes[0], rtol=0.12)


@pytest.mark.parametrize("seed", range(12))
def test_any_outline_becomes_a_closed_sheet(seed) -> None:
    """Random blobs with holes, pinches and specks: every rim vertex has exactly one way in and one way out."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random((90, 120)).astype(np.float32), (0, 0), rng.uniform(1.5, 6))
    noise = (noise - noise.mean()) / noise.std()
    alpha = np.clip(128 + 200 * noise, 0, 255).astype(np.uint8)
    solid = solid_alpha(alpha)
    sheet = triangulate(alpha, solid, float(rng.uniform(2, 8)))
    assert np.bincount(sheet.rim[:, 0]).max() == 1 and np.bincount(sheet.rim[:, 1]).max() == 1
    assert set(sheet.rim[:, 0]) == set(sheet.rim[:, 1])
    a, b, c = (sheet.points[sheet.faces[:, i]] for i in range(3))
    area = 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    assert (area > 0).all()
    assert area.sum() == pytest.approx(solid.sum(), rel=0.12)


@pytest.mark.parametrize("name", ["bottle", "mug", "ball"])
def test_depth_smeared_across_the_outline_does_not_smear_the_body(engine, name) -> None:
    """As networks give it: no step at the outline, the rim runs off into the background."""
    solid, pitch, yaw = SOLIDS[name]
    shot = shoot(solid, pitch, yaw)
    z = shot.points[..., 2].copy()
    smeared = cv2.GaussianBlur(z, (0, 0), 9)
    shot.points *= (smeared / z)[..., None]
    result = build(engine, shot)
    width, depth, height = np.ptp(result.mesh.vertices, axis=0) / solid.extents
    assert 0.6 < depth / width < 1.4 and 0.75 < height / width < 1.25  # proportions; smeared depth has no true size


def four_legged() -> trimesh.Trimesh:
    legs = [box(0.08, 0.08, 0.7, (x, y, 0.35)) for x in (-0.6, 0.6) for y in (-0.45, 0.45)]
    return trimesh.util.concatenate([box(1.4, 1.0, 0.25, (0, 0, 0.8)), *legs])


def test_legs_stand_apart_in_depth_as_their_feet_show(engine) -> None:
    """No depth at all: the front legs end lower in the picture than the back ones, so they stand nearer."""
    shot = shoot(four_legged(), 22, 12)
    result = build(engine, shot, depth=False)
    low = result.mesh.vertices[result.mesh.vertices[:, 2] < 0.45]  # all legs, prop frame: -Y is the front
    assert np.ptp(low[:, 1]) > 0.5
    width, depth, _ = np.ptp(result.mesh.vertices, axis=0)
    assert 0.6 < depth / width < 1.1


def test_one_stem_stays_under_the_middle(engine) -> None:
    lamp = trimesh.util.concatenate([
        trimesh.creation.cylinder(0.35, 0.4, transform=trimesh.transformations.translation_matrix([0, 0, 1.3])),
        trimesh.creation.cylinder(0.03, 1.1, transform=trimesh.transformations.translation_matrix([0, 0, 0.55])),
    ])
    result = build(engine, shoot(lamp, 10), depth=False)
    vertices = result.mesh.vertices
    stem, shade = vertices[vertices[:, 2] < 0.6], vertices[vertices[:, 2] > 1.2]
    middles = [0.5 * (part[:, 1].min() + part[:, 1].max()) for part in (stem, shade)]
    assert abs(middles[0] - middles[1]) < 0.12 * np.ptp(shade[:, 0])
