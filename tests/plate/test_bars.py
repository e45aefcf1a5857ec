"""Bars as they come: noisy, grey, compressed, lopsided; and dark pictures that have none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.plate.conftest import scene
from worker.formats.bars import find_bars


def framed(margins, level=0, noise=0.0, width=640, height=360, seed=0):
    left, top, right, bottom = margins
    rng = np.random.default_rng(seed)
    picture = scene(width, height, seed).astype(np.float32)
    out = level + rng.normal(0, noise, picture.shape) if noise else np.full(picture.shape, float(level))
    out[top : height - bottom, left : width - right] = picture[top : height - bottom, left : width - right]
    return np.clip(out, 0, 255).astype(np.uint8)


def grey(image):
    return image.astype(np.float32).mean(-1).round().astype(np.uint8)


def assert_box(found, margins, width=640, height=360, within=1):
    x, y, w, h = found
    got = (x, y, width - x - w, height - y - h)
    assert np.abs(np.subtract(got, margins)).max() <= within, (got, margins)


@pytest.mark.parametrize(
    "margins",
    [
        (0, 0, 0, 0),
        (0, 45, 0, 45),
        (80, 0, 80, 0),
        (60, 30, 60, 30),
        (0, 44, 0, 52),
        (0, 0, 0, 20),
        (33, 0, 0, 0),
        (0, 3, 0, 3),
        (0, 100, 0, 100),
    ],
)
@pytest.mark.parametrize(("level", "noise"), [(0, 0), (16, 0), (6, 2.5), (24, 4)])
def test_bars_are_found_to_the_pixel(margins, level, noise):
    assert_box(find_bars(grey(framed(margins, level, noise))), margins)


@pytest.mark.parametrize("quality", [50, 75, 92])
def test_bars_in_jpeg(quality):
    margins = (0, 45, 0, 43)
    stream = io.BytesIO()
    Image.fromarray(framed(margins)).save(stream, "JPEG", quality=quality)
    assert_box(find_bars(np.asarray(Image.open(stream).convert("L"))), margins)


def test_bars_in_a_rescaled_frame():
    image = Image.fromarray(framed((0, 50, 0, 50))).resize((640 * 3 // 4, 270), Image.Resampling.LANCZOS)
    assert_box(find_bars(np.asarray(image.convert("L"))), (0, 37.5, 0, 37.5), 480, 270, within=1)


def whole(image):
    height, width = image.shape[:2]
    return (0, 0, width, height)


def night(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:360, 0:640]
    sky = 4 + 8 * (y / 360) ** 2 + rng.normal(0, 1.5, (360, 640))
    skyline = 150 + 40 * np.sin(x[0] / 37) + 30 * (rng.random(640) > 0.5)
    houses = y > skyline
    lamps = (rng.random((360, 640)) > 0.995) & houses
    return np.clip(np.where(houses, 2 + rng.normal(0, 1, y.shape), sky) + 200 * lamps, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_night_scenes_are_left_alone(seed):
    image = night(seed)
    assert find_bars(image) == whole(image)


def test_clipped_night_sky_over_a_ragged_skyline():
    image = night(1)
    image[image < 14] = 0
    assert find_bars(image) == whole(image)


def test_a_ball_before_black_is_left_alone():
    y, x = np.mgrid[0:360, 0:640]
    ball = ((x - 320) ** 2 + (y - 180) ** 2) < 140**2
    image = np.where(ball, 180, 0).astype(np.uint8)
    assert find_bars(image) == whole(image)


def test_vignette_is_left_alone():
    y, x = np.mgrid[-1:1:360j, -1:1:640j]
    image = (200 * np.clip(1.05 - (x**2 + y**2), 0, 1)).astype(np.uint8)
    assert find_bars(image) == whole(image)


@pytest.mark.parametrize("level", [0, 9, 255])
def test_one_tone_is_left_alone(level):
    image = np.full((120, 200), level, np.uint8)
    assert find_bars(image) == whole(image)


def test_a_bright_frame_line_is_no_bar():
    image = grey(framed((0, 45, 0, 45), level=120))
    assert find_bars(image) == whole(image)


def test_bars_around_a_dim_scene():
    image = framed((0, 45, 0, 45)).astype(np.float32)
    image[45:-45] *= 0.12  # a night interior, black still sharply beside it
    assert_box(find_bars(grey(image.astype(np.uint8))), (0, 45, 0, 45))
