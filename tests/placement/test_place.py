"""Bodies in random canonical poses find their place in a still whose depth is exact."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.props.conftest import Shot, box, l_shape, shoot
from worker.formats.mesh import TexturedMesh
from worker.formats.silhouette import rasterise
from worker.placement import pose as poses
from worker.placement.place import Made, Surroundings, place, push_apart
from worker.placement.pose import Pose

GREY = np.full((4, 4, 3), 128, np.uint8)


def surroundings(shot: Shot, **more: object) -> Surroundings:
    plane = (shot.plane[0].astype(float), shot.plane[1])
    return Surroundings(shot.points, np.ones(shot.alpha.shape, bool), shot.image, shot.intrinsics.astype(float),
                        -shot.gravity.astype(float), plane, **more)


def generated(solid: trimesh.Trimesh, yaw: float, size: float = 1.0) -> tuple[TexturedMesh, np.ndarray]:
    """The solid as a generator gives it: any heading, longest side `size`, no texture; 4x4 canonical_from_solid."""
    turn = trimesh.transformations.rotation_matrix(np.radians(yaw), [0, 0, 1])
    turn[:3] *= size / np.ptp(trimesh.transform_points(solid.vertices, turn), axis=0).max()
    vertices = trimesh.transform_points(solid.vertices, turn)
    turn[2, 3] = -vertices[:, 2].min()
    vertices[:, 2] += turn[2, 3]
    uv = np.zeros((len(vertices), 2), np.float32)
    return TexturedMesh(vertices.astype(np.float32), solid.faces.astype(np.int32), uv, GREY), turn


def unexpected(item: Made, error: Exception) -> None:
    raise AssertionError(f"{item.id}: {error}")


@given(st.floats(0, 360), st.floats(0, 360), st.floats(8, 35), st.floats(0.2, 5))
@example(25.0, 140.0, 22.0, 0.4)
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_heading_and_size_is_found(yaw: float, canonical: float, pitch: float, size: float) -> None:
    shot = shoot(l_shape(), pitch, yaw)
    mesh, turn = generated(l_shape(), canonical, size)
    [item] = place([Made("a", "thing", shot.alpha >= 128, mesh)], surroundings(shot), unexpected)
    found = item.pose.matrix @ turn
    scale = np.cbrt(np.linalg.det(found[:3, :3]))
    assert scale == pytest.approx(1, abs=0.04)
    error = found[:3, :3] / scale @ shot.pose[:3, :3].T
    assert np.degrees(np.arccos(np.clip((np.trace(error) - 1) / 2, -1, 1))) < 8
    np.testing.assert_allclose(found[:3, 3], shot.pose[:3, 3], atol=0.15)
    assert item.found.iou > 0.93 and item.grounded
    tall = np.ptp(item.vertices @ -shot.gravity)
    assert abs(item.gap(-shot.gravity.astype(float))) < 0.02 * tall


def test_upright_unless_the_picture_insists() -> None:
    """A slatted thing invites a tilt that fits a coarse picture as well; gravity decides."""
    slats = trimesh.util.concatenate([box(1.6, 0.08, 0.05, (0, y, 0.4)) for y in np.linspace(-0.25, 0.25, 4)]
                                     + [box(0.06, 0.5, 0.4, (x, 0, 0.2)) for x in (-0.7, 0.7)])
    shot = shoot(slats, 12, 35)
    mesh, _ = generated(slats, 200)
    [item] = place([Made("a", "bench", shot.alpha >= 128, mesh)], surroundings(shot), unexpected)
    assert not poses.leaning(item.pose, -shot.gravity.astype(float))
    assert item.found.iou > 0.85


def test_what_a_nearer_prop_hides_is_not_held_against_a_pose() -> None:
    shot = shoot(box(1.2, 0.5, 0.8), 15, 20)
    mask = shot.alpha >= 128
    cover = np.zeros_like(mask)
    cover[:, :150] = mask[:, :150]
    near = shot.points.copy()
    near[cover] *= 0.8
    shot.points = near
    mesh, turn = generated(box(1.2, 0.5, 0.8), 0)
    pose = shot.pose @ np.linalg.inv(turn)
    front, _ = generated(box(0.2, 0.2, 0.2), 0)
    items = place([Made("front", "cover", cover, front), Made("back", "thing", mask & ~cover, mesh, pose, True)],
                  surroundings(shot), unexpected)
    assert [item.made.id for item in items] == ["front", "back"]
    assert items[1].found.iou > 0.97 and items[1].steps[0]["kept"]


def test_what_stands_on_a_moved_prop_moves_along() -> None:
    """A table whose depth was measured 8 % too far is set on the floor; so is, by its top, the box on it."""
    table, crate = box(1.6, 0.9, 0.7), box(0.4, 0.3, 0.35, (0.1, 0, 0.525))
    both = shoot(trimesh.util.concatenate([table, crate]), 25, 15)
    split = len(table.vertices)
    up = -both.gravity.astype(float)

    def alone(solid: trimesh.Trimesh) -> np.ndarray:
        lift = np.eye(4)
        lift[2, 3] = 0.35
        camera = trimesh.transform_points(solid.vertices, both.pose)
        return rasterise(camera, solid.faces, both.intrinsics, *both.alpha.shape).mask

    top = alone(crate)
    under = alone(table) & ~top
    both.points[under | top] *= 1.08
    made = []
    for name, solid, mask in (("table", table, under), ("crate", crate, top)):
        mesh, turn = generated(solid, 0)
        pose = both.pose @ np.linalg.inv(turn)
        pose[:3] *= 1.08
        made.append(Made(name, name, mask, mesh, pose, True))
    first, second = place(made, surroundings(both), unexpected)
    assert first.grounded and second.grounded and second.support.source == "points"
    true = both.vertices[split:]
    assert (second.vertices @ up).min() == pytest.approx((true @ up).min(), abs=0.03)
    np.testing.assert_allclose(second.vertices.mean(axis=0), true.mean(axis=0), atol=0.08)


def test_an_empty_mask_is_told_and_the_others_are_placed() -> None:
    shot = shoot(box(), 20, 30)
    mesh, _ = generated(box(), 10)
    told = []
    made = [Made("none", "x", np.zeros(shot.alpha.shape, bool), mesh), Made("good", "y", shot.alpha >= 128, mesh)]
    placed = place(made, surroundings(shot), lambda item, error: told.append((item.id, str(error))))
    assert [item.made.id for item in placed] == ["good"] and told == [("none", "its mask is empty")]


def test_intersecting_props_are_told() -> None:
    shot = shoot(box(), 20, 30)
    mesh, turn = generated(box(), 0)
    pose = shot.pose @ np.linalg.inv(turn)
    made = [Made(name, name, shot.alpha >= 128, mesh, pose, True) for name in "ab"]
    placed = place(made, surroundings(shot), unexpected)
    placed[1].pose = Pose(placed[1].pose.matrix).moved(np.array([0.3, 0, 0]))
    [(first, second, share)] = push_apart(placed, -shot.gravity.astype(float))
    assert (first, second) == ("a", "b") and 0.2 < share < 1


def two_of_a_kind(second_colour: tuple[int, int, int]) -> tuple[Surroundings, list[np.ndarray], list[np.ndarray]]:
    """Two desks side by side on one floor, turned differently, painted; their masks and true poses."""
    lifted = l_shape()
    lifted.apply_translation([0, 0, -lifted.bounds[0][2]])
    parts, turns = [], []
    for x, yaw in ((-1.1, 30), (1.1, 75)):
        turn = trimesh.transformations.rotation_matrix(np.radians(yaw), [0, 0, 1])
        turn[0, 3] = x
        turns.append(turn)
        parts.append(trimesh.Trimesh(trimesh.transform_points(lifted.vertices, turn), lifted.faces, process=False))
    shot = shoot(trimesh.util.concatenate(parts), 25, 0, distance=6.0)
    raster = rasterise(shot.vertices, shot.faces, shot.intrinsics, *shot.alpha.shape)
    split = len(lifted.faces)
    masks = [raster.mask & (raster.face < split), raster.mask & (raster.face >= split)]
    for mask, colour in zip(masks, ((180, 120, 60), second_colour), strict=True):
        shot.image[mask] = np.clip(np.array(colour) + shot.image[mask].mean(axis=1, keepdims=True) / 8 - 15, 0, 255)
    return surroundings(shot), masks, [shot.pose @ turn for turn in turns]


@pytest.mark.parametrize(("colour", "shared"), [((180, 120, 60), True), ((40, 90, 200), False)])
def test_near_identical_props_share_a_mesh(colour: tuple[int, int, int], shared: bool) -> None:
    around, masks, poses_ = two_of_a_kind(colour)
    meshes = [generated(l_shape(), yaw) for yaw in (140, 310)]
    made = [Made(f"p{k}", "desk", mask, meshes[k][0]) for k, mask in enumerate(masks)]
    placed = place(made, around, unexpected)
    instances = [item for item in placed if item.instance_of is not None]
    assert len(instances) == shared
    for item in instances:
        source = next(k for k in range(2) if f"p{k}" == item.instance_of)
        assert item.made.mesh is meshes[source][0]
        found = item.pose.matrix @ meshes[source][1]
        true = poses_[1 - source]
        turn = found[:3, :3] / np.cbrt(np.linalg.det(found[:3, :3])) @ true[:3, :3].T
        assert np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))) < 15
