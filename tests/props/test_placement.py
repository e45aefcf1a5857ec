from __future__ import annotations

import numpy as np
import pytest
import trimesh

from tests.props.conftest import UP_TURN, Shot, box, l_shape, mug, shoot
from worker.formats.mesh import TexturedMesh
from worker.placement import pose as poses
from worker.placement.evidence import Evidence, compare
from worker.placement.overlap import shared_volume
from worker.placement.pose import Pose
from worker.placement.support import Ground, Support, find_support, snap_factor


def as_generated(solid: trimesh.Trimesh, yaw: float, scale: float) -> tuple[TexturedMesh, np.ndarray]:
    """The solid as a generator would give it: any heading, any size, no texture; and generated_from_solid."""
    turn = UP_TURN(np.radians(yaw), [0, 0, 1])
    turn[:3, :3] *= scale
    vertices = trimesh.transform_points(solid.vertices, turn).astype(np.float32)
    grey = np.full((4, 4, 3), 128, np.uint8)
    return TexturedMesh(vertices, solid.faces.astype(np.int32), np.zeros((len(vertices), 2), np.float32), grey), turn


def evidence_of(shot: Shot, relief: bool = True, longest: int = 112) -> Evidence:
    every = np.ones(shot.alpha.shape, bool)
    return Evidence.around(shot.alpha >= 128, shot.points, every, shot.image, shot.intrinsics, relief, longest)


@pytest.mark.parametrize(("name", "yaw", "pitch", "canonical", "scale", "relief"), [
    ("l", 25, 22, 140, 0.4, True),
    ("l", 200, 12, 77, 2.5, False),
    ("mug", 40, 25, 310, 1.7, True),
    ("box", 30, 30, 0, 0.5, True),
])  # fmt: skip
def test_search_finds_yaw_size_and_place(name, yaw, pitch, canonical, scale, relief) -> None:
    solid = {"l": l_shape, "mug": mug, "box": box}[name]()
    shot = shoot(solid, pitch, yaw)
    mesh, turn = as_generated(solid, canonical, scale)
    evidence, up = evidence_of(shot, relief), -shot.gravity.astype(float)
    pose, _ = poses.to_pointmap(*poses.find(mesh, evidence_of(shot, relief, 64), evidence, up))
    found = compare(pose.apply(mesh.vertices.astype(float)), mesh.faces, evidence_of(shot, relief, 240))
    assert found.iou > 0.95
    assert pose.scale * scale == pytest.approx(1, abs=0.03)
    error = pose.matrix[:3, :3] / pose.scale @ (shot.pose[:3, :3] @ turn[:3, :3].T / scale).T
    angle = np.degrees(np.arccos(np.clip((np.trace(error) - 1) / 2, -1, 1)))
    assert min(angle, 180 - angle if name == "box" else 180) < 15  # a box looks the same from behind
    truth = trimesh.transform_points(solid.vertices, shot.pose).mean(axis=0)
    np.testing.assert_allclose(pose.apply(mesh.vertices.astype(float)).mean(axis=0), truth, atol=0.08)


def test_colour_tells_front_from_back() -> None:
    """A box red in front and blue behind looks alike in outline both ways; without relief only colour decides."""
    solid = box(1.0, 1.0, 1.0)
    shot = shoot(solid, 15, 0)
    shot.image[...] = (190, 60, 50)
    shot.image[:120] = (150, 110, 60)
    evidence = evidence_of(shot, relief=False)
    vertices = trimesh.transform_points(solid.vertices, shot.pose)
    rng = np.random.default_rng(0)
    good = np.where((solid.triangles_center[:, 2:] > 0.4), [[0.6, 0.4, 0.2]], [[0.75, 0.2, 0.2]])
    right = compare(vertices, solid.faces, evidence, good.astype(np.float32))
    wrong = compare(vertices, solid.faces, evidence, rng.random(good.shape).astype(np.float32))
    assert right.color > wrong.color and right.score > wrong.score


def test_moving_along_rays_keeps_the_silhouette() -> None:
    shot = shoot(l_shape(), 20, 40)
    vertices = shot.vertices
    evidence = evidence_of(shot)
    moved = Pose(np.eye(4)).along_rays(1.7).apply(vertices)
    before, after = compare(vertices, shot.faces, evidence), compare(moved, shot.faces, evidence)
    assert after.iou == before.iou
    assert after.depth_ratio == pytest.approx(before.depth_ratio / 1.7, rel=1e-5)
    assert before.depth_ratio == pytest.approx(1, abs=2e-3)


def test_support_is_the_floor_and_the_snap_reaches_it() -> None:
    shot = shoot(box(), 25, 30)
    up = -shot.gravity.astype(float)
    floor = -shot.plane[1]
    vertices = shot.vertices * 1.12  # too far, so too low
    foot = vertices[np.argmin(vertices @ up)]
    support = find_support(shot.alpha >= 128, shot.points, np.ones(shot.alpha.shape, bool), up, None, foot)
    assert support.source == "points" and support.height == pytest.approx(floor, abs=0.01)
    factor = snap_factor(foot, up, support)
    assert factor == pytest.approx(1 / 1.12, rel=0.02)
    assert (vertices * factor @ up).min() == pytest.approx(support.height, abs=1e-6)


def ground_of(shot: Shot, plane: tuple[np.ndarray, float]) -> Ground:
    return Ground.of(plane, shot.points, np.ones(shot.alpha.shape, bool), shot.alpha >= 128)


def test_table_top_counts_and_not_the_floor_far_below() -> None:
    """Points just below the outline lie 0.8 above the ground plane: the prop stands on them."""
    shot = shoot(box(), 25, 30)
    up = -shot.gravity.astype(float)
    ground = ground_of(shot, (up, shot.plane[1] + 0.8))
    foot = shot.vertices[np.argmin(shot.vertices @ up)]
    nothing = np.zeros(shot.alpha.shape, bool)
    support = find_support(shot.alpha >= 128, shot.points, ~nothing, up, ground, foot)
    assert support.source == "points" and support.height == pytest.approx(-shot.plane[1], abs=0.01)
    assert not support.sure
    blind = find_support(shot.alpha >= 128, shot.points, nothing, up, ground, foot)
    assert blind.source == "ground_plane" and blind.height == pytest.approx(-shot.plane[1] - 0.8, abs=1e-6)


def test_wall_behind_a_hanging_thing_is_no_support() -> None:
    shot = shoot(box(), 10)
    rows = np.linspace(-1, 1, 240)[:, None] + np.zeros(320)
    wall = np.stack([np.zeros_like(rows), rows, np.full_like(rows, 4.0)], axis=-1).astype(np.float32)
    nothing = np.zeros(shot.alpha.shape, bool)
    up = np.array([0, -1.0, 0])
    assert find_support(shot.alpha >= 128, wall, ~nothing, up, None, np.array([0, 0.5, 4.0])) is None


def test_no_snap_near_the_horizon_nor_across_it() -> None:
    up = np.array([0, -1.0, 0])
    assert snap_factor(np.array([0, 1.0, 3.0]), up, Support(-1.2, "points", 0)) == pytest.approx(1.2)
    assert snap_factor(np.array([0, 0.05, 3.0]), up, Support(-0.06, "points", 0)) is None  # near the horizon
    assert snap_factor(np.array([0, -1.0, 3.0]), up, Support(-1.0, "points", 0)) is None  # above the camera


def test_shared_volume_of_known_boxes() -> None:
    """Two unit cubes overlapping by a quarter share 0.25; touching or apart they share nothing."""
    def cube(x: float) -> tuple[np.ndarray, np.ndarray]:
        solid = box(1, 1, 1, (x, 0, 0.5))
        return solid.vertices, solid.faces

    assert shared_volume(cube(0), cube(0.75)) == pytest.approx(0.25, abs=0.04)
    assert shared_volume(cube(0), cube(1.0)) < 0.03
    assert shared_volume(cube(0), cube(3.0)) == 0
    high = box(1, 1, 1, (0, 0, 1.51))
    assert shared_volume(cube(0), (high.vertices, high.faces)) == 0
