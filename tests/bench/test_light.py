"""Equirect sampling and the two balls against cases known on paper."""

from __future__ import annotations

import numpy as np
import pytest

from bench import light

LEVEL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # a level camera: right, forward, up from right, down, forward


def test_sampling_gives_back_every_texel() -> None:
    picture = np.random.default_rng(0).random((32, 64, 3))
    np.testing.assert_array_equal(light.sample(picture, light.directions(32, 64)), picture)


@pytest.mark.parametrize(("way", "texel"), [((0, 0, 1), (16, 32)), ((1, 0, 0), (16, 48)), ((-1, 0, 0), (16, 16))])
def test_middle_is_forward_and_right_is_right(way: tuple, texel: tuple) -> None:
    picture = np.arange(32 * 64.0).reshape(32, 64, 1)
    assert light.sample(picture, np.array(way, float)) == picture[texel]


def test_up_is_the_top_row() -> None:
    picture = np.zeros((32, 64, 3))
    picture[0] = 1
    assert light.sample(picture, np.array([0.0, -1, 0]))[0] == 1
    assert light.sample(picture, np.array([0.0, 1, 0]))[0] == 0


def test_a_level_camera_sees_the_level_probe_unchanged() -> None:
    picture = np.random.default_rng(0).random((64, 128, 3))
    np.testing.assert_array_equal(light.camera_equirect(picture, LEVEL), picture)


def test_a_camera_looking_down_finds_the_zenith_above_it_in_its_frame() -> None:
    picture = np.zeros((64, 128, 3))
    picture[:3] = 1
    c, s = np.cos(0.6), np.sin(0.6)
    down = LEVEL @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])  # the camera's forward points 0.6 rad below the horizon
    seen = light.camera_equirect(picture, down)
    up = down.T @ np.array([0.0, 0, 1])
    bright = light.directions(64, 128)[seen[..., 0] > 0]
    assert (bright @ up > np.cos(np.radians(12))).all() and up[1] < 0 and up[2] < 0


def test_shrinking_keeps_a_suns_energy() -> None:
    picture = np.zeros((256, 512, 3))
    picture[100, 100] = 5000
    assert light.shrink(picture).mean() == pytest.approx(picture.mean())


def test_balls_under_even_light() -> None:
    mirror, grey, inside = light.balls(np.full((64, 128, 3), 0.7))
    np.testing.assert_allclose(mirror[inside], 0.7)
    # A white Lambert surface under even light L has the radiance L; 64 rows integrate it to half a per cent.
    np.testing.assert_allclose(grey[inside], 0.7, rtol=5e-3)
    assert inside.mean() == pytest.approx(np.pi / 4 * 0.98, abs=0.01)


def test_balls_show_where_the_light_is() -> None:
    picture = np.zeros((64, 128, 3))
    picture[30:34, 94:98] = 100  # to the right
    mirror, grey, inside = light.balls(picture)
    columns = np.nonzero(mirror[..., 0] > 0)[1]
    assert columns.min() > 40  # the reflection of the right stands at 0.71 of the radius, right of the middle
    assert grey[32, 62, 0] > 5 * grey[32, 34, 0] and grey[32, 5, 0] == pytest.approx(0, abs=1e-6)
    assert not mirror[~inside].any()
