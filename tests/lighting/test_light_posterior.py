"""Known light over synthetic rooms and open ground is found again, and the posterior is an honest probability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lighting.test_lighting import degrees_between
from worker.engines.contract import LightingRequest
from worker.engines.embedded.key_light import Cue
from worker.engines.embedded.light_cues import EVEN_BACKLIT, Falloff, falloff, openness
from worker.engines.embedded.light_posterior import WITHIN_DEG, posterior
from worker.engines.embedded.lighting import LEAST_CONFIDENCE, EmbeddedLighting
from worker.formats import equirect as sphere
from worker.formats.pointmap import intrinsics_from_hfov, pixel_rays

SIZE = (108, 192)
K = intrinsics_from_hfov(SIZE[1], SIZE[0], 60.0)
LEVEL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # of a level camera
ROOM = {"half": 2.5, "depth": 5.0, "eye": 1.5, "ceiling": 1.3}


def room(lamp=None, half=ROOM["half"], depth=ROOM["depth"]):
    """(points, normals) of a box seen from inside, camera frame; and its picture under a bare lamp, inverse square."""
    rays = pixel_rays(*SIZE, K).astype(float)
    x, y = rays[..., 0], rays[..., 1]
    distance = np.stack([
        half / np.maximum(np.abs(x), 1e-9),
        np.where(y > 0, ROOM["eye"], ROOM["ceiling"]) / np.maximum(np.abs(y), 1e-9),
        np.full(SIZE, depth),
    ])  # fmt: skip
    hit = distance.argmin(axis=0)
    zero = np.zeros(SIZE)
    normals = np.choose(hit[..., None], [
        np.stack([-np.sign(x), zero, zero], -1), np.stack([zero, -np.sign(y), zero], -1),
        np.stack([zero, zero, zero - 1], -1),
    ])  # fmt: skip
    points = rays * distance.min(axis=0)[..., None]
    if lamp is None:
        return points.astype(np.float32), normals.astype(np.float32), None
    toward = np.asarray(lamp) - points
    far = np.linalg.norm(toward, axis=-1)
    light = 0.1 + 2 * np.maximum((toward * normals).sum(-1) / far, 0) / far**2
    picture = np.repeat((0.5 * light)[..., None], 3, axis=-1).clip(0, 0.95).astype(np.float32)
    return points.astype(np.float32), normals.astype(np.float32), picture


EVERYWHERE = np.ones(SIZE, dtype=bool)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([-1, 1]), st.floats(0.6, 2.2), st.floats(-0.6, 1.0), st.floats(0.5, 3.0))
def test_a_lamp_aside_is_found_on_its_side(side, aside, up, ahead) -> None:
    """A bare lamp anywhere in the right or left half of a room, in or out of the frame, low or high."""
    points, normals, picture = room((side * aside, -up, ahead))
    slope = falloff(picture, points, normals, EVERYWHERE, LEVEL)
    assert np.sign(slope.floor[0]) == side
    assert np.sign(posterior(slope, 0.0, None, None).direction[0]) == side


@pytest.mark.parametrize("side", [-1, 1])
def test_a_window_aside_is_named_and_lights_from_there(side) -> None:
    """A light in the side wall, outside the frame, seen from a point in the room before the camera."""
    lamp = np.array([side * 2.4, -0.6, 1.8])
    points, normals, picture = room(lamp)
    request = LightingRequest(picture, K, np.float32([0, 1, 0]), 1.0, points, normals, EVERYWHERE, ~EVERYWHERE)
    result = EmbeddedLighting().run(request, lambda fraction: None)
    assert degrees_between(result.key_direction, lamp - [0, 0, 1.5]) < 35
    right = sphere.irradiance(result.sh9.astype(float), np.array([1.0, 0, 0])).sum()
    left = sphere.irradiance(result.sh9.astype(float), np.array([-1.0, 0, 0])).sum()
    assert (right / left) ** side > 1.5, "the probe shades from that side too"


def test_a_room_is_no_street() -> None:
    points, normals, _ = room()
    assert openness(points, normals, EVERYWHERE, None, LEVEL) < 0.2
    ahead = np.abs(pixel_rays(*SIZE, K)[..., 1]) < 0.15
    far = points * np.where(ahead, 12, 1)[..., None].astype(np.float32)  # the far end of a street
    street = np.where((normals[..., 1] > 0)[..., None], np.float32([0, 0, -1]), normals)  # no ceiling
    sky = pixel_rays(*SIZE, K)[..., 1] < -0.2
    assert openness(far, street, ~sky, sky, LEVEL) > 0.8


def test_paint_and_size_do_not_move_the_falloff() -> None:
    """Twice the room, half the light: the slope is of log luminance over the scene's own spread."""
    points, normals, picture = room((1.8, -1.0, 2.0))
    first = falloff(picture, points, normals, EVERYWHERE, LEVEL)
    second = falloff(0.5 * picture, 2 * points, normals, EVERYWHERE, LEVEL)
    assert np.allclose(first.floor, second.floor, atol=1e-3) and first.wall == pytest.approx(second.wall, abs=1e-3)


def test_mirrored_pictures_have_mirrored_light() -> None:
    points, normals, picture = room((1.8, -1.0, 2.0))
    flip = np.float32([-1, 1, 1])
    there = falloff(picture, points, normals, EVERYWHERE, LEVEL)
    back = falloff(picture[:, ::-1], points[:, ::-1] * flip, normals[:, ::-1] * flip, EVERYWHERE, LEVEL)
    assert back.floor[0] == pytest.approx(-there.floor[0], abs=0.02)
    assert back.wall == pytest.approx(-there.wall, abs=0.02)


def test_in_the_open_the_darker_side_is_the_suns() -> None:
    slope = Falloff(np.array([0.6, 0.0]), 0.0)
    assert posterior(slope, 0.02, None, None).direction[0] > 0.7
    assert posterior(slope, 0.98, None, None).direction[0] < -0.5


@settings(max_examples=40, deadline=None)
@given(st.floats(-180, 180), st.floats(20, 50), st.floats(0, 1))
def test_shading_moves_the_answer_as_far_as_it_is_sure(azimuth, elevation, open_air) -> None:
    a, e = np.radians(azimuth), np.radians(elevation)
    toward = np.array([np.cos(e) * np.sin(a), np.cos(e) * np.cos(a), np.sin(e)])
    sure = posterior(None, open_air, Cue(toward, 0.9), None)
    assert degrees_between(sure.direction, toward) < 20
    assert posterior(None, open_air, Cue(toward, 0.05), None).confidence < sure.confidence


@settings(max_examples=30, deadline=None)
@given(st.floats(-2, 2), st.floats(0, 1), st.floats(0, 1))
def test_it_is_a_probability_and_the_confidence_is_of_it(slope, open_air, trust) -> None:
    found = posterior(Falloff(np.array([slope, 0]), 0.0), open_air, Cue(np.array([0.6, -0.64, 0.48]), trust), None)
    omega = sphere.solid_angles(*found.density.shape)
    assert (found.density * omega).sum() == pytest.approx(1, abs=1e-6)
    near = sphere.directions(*found.density.shape) @ found.direction > np.cos(np.radians(WITHIN_DEG))
    assert (found.density * omega)[near].sum() == pytest.approx(found.confidence, abs=0.1)
    assert found.direction[2] > 0, "named above the horizon"


@pytest.mark.parametrize("open_air", [0.0, 0.5, 1.0])
def test_the_prior_alone_names_no_key(open_air) -> None:
    assert posterior(None, open_air, None, None).confidence < LEAST_CONFIDENCE


def test_dark_fronts_over_bright_ground_put_the_sun_ahead() -> None:
    """A wall across bright ground, its face in shade; and the same lit from behind the camera."""
    points, normals, _ = room()
    facing = normals[..., 2] < -0.5
    for shade, sign in ((0.05, 1), (1.5, -1)):
        picture = np.repeat(np.where(facing, 0.4 * shade, 0.4)[..., None], 3, axis=-1).astype(np.float32)
        slope = falloff(picture, points, normals, normals[..., 2] < 2, LEVEL)
        assert np.sign(slope.backlit - EVEN_BACKLIT) == sign
        assert sign * posterior(slope, 1.0, None, None).direction[1] > 0.5
    assert posterior(slope, 0.0, None, None).confidence < LEAST_CONFIDENCE, "in a room it says nothing"
