"""The two-layer lift: it shows the still, nothing flies between surfaces, and a step aside finds no hole."""

from __future__ import annotations

import numpy as np
import pytest

from worker.engines.contract import SceneRequest
from worker.engines.embedded.splats import BASELINE, EmbeddedSplats, snapped
from worker.formats.pointmap import intrinsics_from_hfov, pixel_rays
from worker.formats.rasteriser import psnr_db, render
from worker.pointmaps.background import fill_behind
from worker.pointmaps.membrane import membrane

HEIGHT, WIDTH = 120, 200
NEAR, FAR = 2.0, 6.0
BOX = np.s_[40:90, 70:120]


def request(box: bool = True, sky_rows: int = 0, **changes) -> SceneRequest:
    """A red box in front of a softly patterned grey wall."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    still = np.stack([110 + 60 * np.sin(u / 9), 110 + 60 * np.cos(v / 7), 120 + 40 * np.sin((u + v) / 11)], axis=-1)
    depth = np.full((HEIGHT, WIDTH), FAR)
    if box:
        still[BOX] = (200, 30, 20)
        depth[BOX] = NEAR
    K = intrinsics_from_hfov(WIDTH, HEIGHT, 60.0)
    sky = v < sky_rows
    fields = dict(
        still=still.astype(np.uint8), clean=None, removed=None,
        points=(pixel_rays(HEIGHT, WIDTH, K) * depth[..., None]).astype(np.float32), mask=~sky,
        confidence=np.ones((HEIGHT, WIDTH), np.float32), sky=sky, intrinsics=K,
        gravity=np.float32([0, 1, 0]), keep_props=True,
    )  # fmt: skip
    return SceneRequest(**(fields | changes))


def lift(req: SceneRequest):
    engine = EmbeddedSplats()
    engine.load("cpu", "full")
    return engine.run(req, lambda fraction: None)


def test_it_shows_the_still() -> None:
    req = request()
    picture = render(lift(req).gaussians, np.eye(4), req.intrinsics, (HEIGHT, WIDTH))
    assert psnr_db(picture.color, req.still / 255) > 32
    assert picture.alpha.min() > 0.95


def test_no_splat_flies_between_the_surfaces() -> None:
    depth = lift(request()).gaussians.position[:, 2]
    assert (np.isclose(depth, NEAR, rtol=0.01) | np.isclose(depth, FAR, rtol=0.01)).all()
    assert 100 < np.isclose(depth, NEAR, rtol=0.01).sum() <= 50 * 50


def test_a_step_aside_uncovers_wall_not_void() -> None:
    req = request()
    cloud = lift(req).gaussians
    pose = np.eye(4)
    # Half the design move (the median depth is the wall's): the box moves 14 px of 200, and bands end at 8 %.
    pose[0, 3] = -0.5 * BASELINE * FAR
    picture = render(cloud, pose, req.intrinsics, (HEIGHT, WIDTH))
    assert (picture.alpha[:, 10:-10] < 0.95).mean() < 0.002
    # The strip beside the box that was hidden is wall: not red, and at the wall's depth.
    focal = float(req.intrinsics[0, 0])
    right_edge = int(120 + focal * pose[0, 3] / NEAR)
    strip = np.s_[50:80, right_edge + 3 : right_edge + 8]
    assert np.allclose(picture.depth[strip], FAR, rtol=0.05)
    assert picture.color[strip][..., 0].mean() < 0.72


def test_without_the_hidden_layer_there_would_be_a_hole() -> None:
    """The test above can fail: the same move over layer 0 alone shows void."""
    req = request()
    cloud = lift(req).gaussians
    behind = np.isclose(cloud.position[:, 2], FAR, rtol=0.05)
    u = cloud.position[:, 0] / cloud.position[:, 2] * req.intrinsics[0, 0] + req.intrinsics[0, 2]
    v = cloud.position[:, 1] / cloud.position[:, 2] * req.intrinsics[1, 1] + req.intrinsics[1, 2]
    inside = behind & (u > 72) & (u < 118) & (v > 42) & (v < 88)
    assert inside.sum() > 300


@pytest.mark.parametrize("length", [0.999, 1.0, 1.0005, 0.0])
def test_normals_need_not_be_quite_unit(length: float) -> None:
    """Half floats and means are not; facing the camera head-on, at a grazing angle and away from it."""
    req = request()
    sight = req.points / np.linalg.norm(req.points, axis=-1, keepdims=True)
    rng = np.random.default_rng(0)
    normals = -sight + rng.choice([0.0, 1e-3, 1.0, 30.0], (HEIGHT, WIDTH, 1)) * rng.normal(size=sight.shape)
    normals *= length / np.linalg.norm(normals, axis=-1, keepdims=True)
    req.normals = normals.astype(np.float16).astype(np.float32)
    cloud = lift(req).gaussians
    assert np.isfinite(cloud.rotation).all() and np.isfinite(cloud.scale).all()
    picture = render(cloud, np.eye(4), req.intrinsics, (HEIGHT, WIDTH), dilation=0.0)
    assert psnr_db(picture.color, req.still / 255) > 30, "whatever its tilt, a splat looks one pixel wide"


def test_props_are_gone_and_the_wall_goes_on_behind_them() -> None:
    with_box, bare = request(), request(box=False)
    removed = np.zeros((HEIGHT, WIDTH), dtype=bool)
    removed[36:94, 66:124] = True
    req = request(clean=bare.still, removed=removed, keep_props=False)
    result = lift(req)
    assert np.allclose(result.background_points[..., 2], FAR, rtol=0.01)
    assert not np.allclose(with_box.points[..., 2], FAR)
    picture = render(result.gaussians, np.eye(4), req.intrinsics, (HEIGHT, WIDTH))
    assert psnr_db(picture.color, bare.still / 255) > 32


def test_the_sky_is_a_far_dome() -> None:
    result = lift(request(sky_rows=30))
    distance = np.linalg.norm(result.gaussians.position, axis=1)
    v = result.gaussians.position[:, 1] / result.gaussians.position[:, 2]
    top = v < v.min() * 0.7
    assert (distance[top] > 15 * FAR).all()
    assert np.ptp(distance[top]) < 0.01 * distance[top].mean(), "round: corners are no farther"


def test_everything_sky_is_said() -> None:
    result = lift(request(box=False, sky_rows=HEIGHT))
    assert [(n.code, n.degraded) for n in result.notices] == [("scene.flat", True)]
    assert np.isfinite(result.gaussians.position).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 300), (64, 48)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    height, width = size
    K = intrinsics_from_hfov(width, height, 60)
    points = pixel_rays(height, width, K) * 3
    req = SceneRequest(
        np.full((height, width, 3), 128, np.uint8), None, None, points, np.ones(size, bool), np.ones(size, np.float32),
        np.zeros(size, bool), K, np.float32([0, 1, 0]),
    )  # fmt: skip
    assert len(lift(req).gaussians) > 0


def test_splats_are_well_formed_and_repeatable() -> None:
    one, two = lift(request()).gaussians, lift(request()).gaussians
    for name in ("position", "scale", "rotation", "opacity", "color"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert np.allclose(np.linalg.norm(one.rotation, axis=1), 1, atol=1e-5)
    assert (one.scale > 0).all() and one.color.min() >= 0 and one.color.max() <= 1


def test_ramps_are_snapped_to_a_side_and_slopes_are_not() -> None:
    ramp = np.tile(np.float32([1, 1, 1, 0.9, 0.5, 0.2, 0.1, 0.1, 0.1]), (9, 1))
    assert set(np.unique(snapped(ramp, 100.0))) <= {np.float32(1), np.float32(0.1)}
    slope = np.tile(np.linspace(0.1, 0.2, 100, dtype=np.float32), (9, 1))
    assert np.array_equal(snapped(slope, 100.0), slope)


def test_a_room_corner_is_continued_behind_a_prop() -> None:
    """Floor and wall meet at row 60; the hole spans the crease. Truth: 1/z is affine on each, the nearer wins."""
    v, u = np.mgrid[:120, :160].astype(np.float32)
    truth = np.maximum(0.2 + 0.0004 * (u - 80), 0.2 + 0.004 * (v - 60)).astype(np.float32)
    removed = (np.abs(u - 70) < 25) & (np.abs(v - 62) < 30)
    seen = np.where(removed, 0.9, truth).astype(np.float32)
    filled, sky = fill_behind(seen, removed, np.zeros_like(removed), 1e-3, seed=0)
    assert not sky.any() and np.array_equal(filled[~removed], seen[~removed])
    assert np.abs(filled / truth - 1)[removed].max() < 0.03


def test_the_background_is_never_in_front_of_the_prop() -> None:
    rng = np.random.default_rng(0)
    disparity = rng.uniform(0.1, 1.0, (60, 80)).astype(np.float32)
    removed = np.zeros((60, 80), dtype=bool)
    removed[20:40, 30:50] = True
    filled, _ = fill_behind(disparity, removed, np.zeros_like(removed), 0.01, seed=0)
    assert (filled <= disparity + 1e-6).all() and (filled > 0).all()


def test_membrane_is_harmonic() -> None:
    """A plane solves Laplace's equation: given its rim, the inside must come back."""
    v, u = np.mgrid[:40, :50].astype(np.float32)
    plane = 2 * u - 3 * v + 5
    rim = np.ones(plane.shape, dtype=bool)
    rim[1:-1, 1:-1] = False
    assert np.abs(membrane(plane, rim, sweeps=60) - plane).max() < 0.05 * np.ptp(plane)
