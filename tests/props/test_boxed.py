"""Bodies that know their object's box fill it, take its heading, and still cover their silhouette."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from bench.box_votes import votes_of
from tests.props.conftest import Shot, box, mug, shoot
from tests.props.test_engine import build, in_camera
from tests.props.test_stages import both, embedded, session  # noqa: F401  (a fixture)
from worker.engines.embedded.props import EmbeddedProps
from worker.formats.glb import read_glb
from worker.formats.pointmap import read_pointmap, write_pointmap
from worker.formats.silhouette import iou, rasterise
from worker.pointmaps.object_box import ObjectBox


@pytest.fixture(scope="module")
def engine() -> EmbeddedProps:
    return embedded()


def box_of_solid(shot: Shot, solid: trimesh.Trimesh) -> ObjectBox:
    centre = trimesh.transform_points([solid.bounds.mean(axis=0)], shot.pose)[0]
    return ObjectBox(centre, shot.pose[:3, :3], solid.extents, True, 0.9)


def chair() -> trimesh.Trimesh:
    legs = [box(0.06, 0.06, 0.45, (x, y, -0.25)) for x in (-0.25, 0.25) for y in (-0.25, 0.25)]
    return trimesh.util.concatenate([box(0.6, 0.6, 0.06), box(0.6, 0.06, 0.6, (0, 0.27, 0.3)), *legs])


SOLIDS = {
    "box": (box(1.0, 0.6, 0.7), 20, 35, 0.05),
    "long box": (box(1.5, 0.4, 0.5), 12, -60, 0.07),
    "chair": (chair(), 20, 30, 0.12),
    "mug": (mug(), 20, 0, 0.15),
}


@pytest.mark.parametrize("depth", [True, False])
@pytest.mark.parametrize("name", SOLIDS)
def test_the_body_fills_the_box_and_the_silhouette(engine, name, depth) -> None:
    solid, pitch, yaw, tolerance = SOLIDS[name]
    shot = shoot(solid, pitch, yaw)
    known = box_of_solid(shot, solid)
    request = shot.request(object_box=known)
    if not depth:  # a flat card at the right distance tells nothing of the shape
        request.points[...] *= (known.centre[2] / request.points[..., 2])[..., None]
    result = engine.run(request, lambda f: None)
    assert result.measured == {"in_box": 1.0} and not result.notices
    mesh = trimesh.Trimesh(in_camera(result), result.mesh.faces, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    seen = rasterise(mesh.vertices, mesh.faces, shot.intrinsics, *shot.alpha.shape)
    assert iou(seen.mask, shot.alpha >= 128) > 0.97
    own = (mesh.vertices - known.centre) @ known.axes / known.sides
    assert np.abs(own).max() < 0.5 + 0.03, "next to nothing sticks out of the box"
    np.testing.assert_allclose(np.ptp(own, axis=0), 1, atol=tolerance if depth else 2 * tolerance)
    across = np.abs(result.camera_from_prop[:3, :3].T @ known.axes)
    np.testing.assert_allclose(np.sort(across, axis=0)[-1], 1, atol=1e-5)
    camera = np.linalg.inv(result.camera_from_prop.astype(float))[:3, 3]
    assert camera[1] < 0 and abs(camera[0]) < 1.01 * -camera[1], "the side that faces the camera most is the front"


def test_it_is_nearer_the_solid_than_a_guess(engine) -> None:
    """Volume shared with the true solid, on a grid: the box must gain what it promises."""
    solid, pitch, yaw, *_ = SOLIDS["long box"]
    shot = shoot(solid, pitch, yaw)
    truth = box_of_solid(shot, solid)
    extents = []
    for known in (None, truth):
        body = in_camera(build(engine, shot, object_box=known))
        extents.append(np.ptp((body - truth.centre) @ truth.axes / truth.sides, axis=0))
    off = [np.abs(np.log(e)).max() for e in extents]
    assert off[0] > 0.3 and off[1] < 0.07


def test_a_seat_does_not_fill_the_room_below_it(engine) -> None:
    solid, pitch, yaw, *_ = SOLIDS["chair"]
    shot = shoot(solid, pitch, yaw)
    result = build(engine, shot, object_box=box_of_solid(shot, solid))
    mesh = trimesh.Trimesh(result.mesh.vertices, result.mesh.faces, process=False)
    assert mesh.volume < 0.35 * np.prod(mesh.extents)


@pytest.mark.parametrize("why", ["elsewhere", "no heading"])
def test_a_box_of_no_use_changes_nothing(engine, why) -> None:
    solid, pitch, yaw, *_ = SOLIDS["box"]
    shot = shoot(solid, pitch, yaw)
    useless = ObjectBox(np.array([3.0, 0, 4]), np.eye(3), np.ones(3), True, 0.9)
    if why == "no heading":
        useless = replace(box_of_solid(shot, solid), heading_known=False)
    result, plain = build(engine, shot, object_box=useless), build(engine, shot)
    assert result.measured == {"in_box": 0.0}
    np.testing.assert_array_equal(result.mesh.vertices, plain.mesh.vertices)


@pytest.mark.parametrize("told", [True, False])
def test_a_prop_without_its_feet_stands_where_its_box_does(session, told) -> None:  # noqa: F811
    """The mask's lower third is missing and the depth on the thing is a tenth too far; the floor is right. Only the
    box's underside tells that what is left hangs in the air, and how near it is.
    """
    solid = box(0.5, 0.4, 1.4)
    shot = shoot(solid, 12, 30)
    whole, truth = shot.alpha >= 128, box_of_solid(shot, solid)
    shot.points[whole] *= 1.1
    further = 1.1 * truth.centre
    up = -shot.gravity.astype(float)
    votes = votes_of([(whole, further, truth.axes[:, 0], 1.1 * truth.sides, True)], shot.points, up, 6)
    rows = np.flatnonzero(whole.any(axis=1))
    shot.alpha[rows[0] + 2 * len(rows) // 3 :] = 0
    folder, record = session(shot)
    pointmap = read_pointmap(folder.pointmap)
    pointmap.box_votes = votes if told else None
    write_pointmap(folder.pointmap, pointmap)
    _, _, scene = both(folder, record, embedded())
    below = record.stages["props"].details["props"]["prop_01"]["below"]
    pose, prop = np.array(scene.props[0].camera_from_prop), scene.props[0]
    level = np.eye(3) - np.outer(up, up)
    body = trimesh.transform_points(read_glb(folder.root / prop.glb).vertices, pose) @ level
    distance = np.linalg.norm(body.min(axis=0) + body.max(axis=0)) / np.linalg.norm(2 * level @ truth.centre)
    if told:
        assert 0.1 * truth.sides[2] < below < 0.5 * truth.sides[2] and prop.grounded
        foot = float(pose[:3, 3] @ up) - below * np.cbrt(np.linalg.det(pose[:3, :3]))
        assert foot == pytest.approx(-shot.plane[1], abs=0.02)
        assert distance == pytest.approx(1, abs=0.04)
    else:
        assert below == 0 and distance > 1.06


@pytest.mark.parametrize("state", ["none", "known", "off the mask", "unsure", "unclear"])
def test_the_session_says_what_became_of_the_box(session, state) -> None:  # noqa: F811
    solid, pitch, yaw, *_ = SOLIDS["box"]
    shot = shoot(solid, pitch, yaw)
    folder, record = session(shot)
    mask, truth = shot.alpha >= 128, box_of_solid(shot, solid)
    up = -shot.gravity.astype(float)
    aside = 0.9 * truth.axes[:, 0] if state == "off the mask" else 0.0
    votes = votes_of([(mask, truth.centre + aside, truth.axes[:, 0], truth.sides, True)], shot.points, up, 6)
    if state == "unsure":
        votes[9] = 0.5
    if state == "unclear":
        votes[:3] = np.random.default_rng(0).normal(0, 1, votes[:3].shape)
    pointmap = read_pointmap(folder.pointmap)
    pointmap.box_votes = None if state == "none" else votes
    write_pointmap(folder.pointmap, pointmap)
    _, _, scene = both(folder, record, embedded())
    facts = record.stages["props"].details["props"]["prop_01"]
    assert facts["box"]["state"] == state
    assert facts["measured"] == ({"in_box": 1.0} if state == "known" else {})
    size = scene.props[0].dimensions
    fits = np.allclose(sorted((size.width, size.depth)), np.sort(solid.extents[:2]), rtol=0.06)
    assert fits == (state == "known")
