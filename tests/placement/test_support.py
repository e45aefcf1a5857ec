"""Which surface carries a prop: the floor, even where its depth is wrong, or the table above it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.formats.pointmap import intrinsics_from_hfov, pixel_rays
from worker.placement.support import Ground, find_support

HEIGHT, WIDTH, EYE = 180, 240, 1.5
UP = np.array([0.0, -1.0, 0.0])
K = intrinsics_from_hfov(WIDTH, HEIGHT, 50)
RAYS = pixel_rays(HEIGHT, WIDTH, K).astype(np.float64)
EVERY = np.ones((HEIGHT, WIDTH), bool)


def floor(height: float = EYE) -> np.ndarray:
    """Points of a level floor `height` below the camera; a far wall at 12 above the horizon."""
    fall = np.maximum(RAYS[..., 1], height / 12.0)
    return RAYS * (height / fall)[..., None]


def standing(row: int) -> tuple[np.ndarray, np.ndarray]:
    """A mask of a thing whose foot is at `row`, and the ray of its lowest point."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[row - 40 : row, 100:140] = True
    return mask, RAYS[row - 1, 120] * 5


@given(st.floats(0.0, 0.08), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_ground_measures_the_noise_of_its_points(noise: float, seed: int) -> None:
    points = floor() * np.exp(np.random.default_rng(seed).normal(0, noise, (HEIGHT, WIDTH)))[..., None]
    found = Ground.of((UP, EYE), points.astype(np.float32), RAYS[..., 1] > 0.2, ~EVERY)
    assert found.noise == pytest.approx(noise, rel=0.15, abs=1e-4)


def test_where_both_agree_the_plane_is_believed() -> None:
    mask, foot = standing(150)
    points = (floor() * np.exp(np.random.default_rng(0).normal(0, 0.03, (HEIGHT, WIDTH)))[..., None]).astype(np.float32)
    points[150:170] *= 1.05
    support = find_support(mask, points, EVERY, UP, Ground.of((UP, EYE), points, EVERY, mask), foot)
    assert support.source == "ground_plane" and support.sure
    assert support.height == pytest.approx(-EYE, abs=1e-3)


def test_depth_smeared_at_the_foot_is_no_pedestal() -> None:
    """A band below the foot measured 8 % too near, with a step at its end, on a floor with 2 % noise."""
    mask, foot = standing(150)
    points = floor().astype(np.float32)
    points[150:166] *= 0.92
    assert find_support(mask, points, EVERY, UP, Ground(UP, EYE, 0.02), foot).source == "ground_plane"
    assert find_support(mask, points, EVERY, UP, Ground(UP, EYE, 0.005), foot).source == "points"


def test_with_exact_depth_a_kerb_is_not_the_road() -> None:
    """12 cm are a twelfth of the camera's height: noise would hide them, exact depth shows them."""
    mask, foot = standing(150)
    points = floor().astype(np.float32)
    points[140:160] = floor(EYE - 0.12)[140:160].astype(np.float32)
    support = find_support(mask, points, EVERY, UP, Ground.of((UP, EYE), points, EVERY, mask), foot)
    assert support.source == "points" and support.height == pytest.approx(-EYE + 0.12, abs=0.01)


def test_floor_whose_depth_drifts_is_still_the_floor() -> None:
    """Far off the floor is measured a fifth too near, growing slowly: no step leads up to it."""
    mask, foot = standing(130)
    row = np.arange(HEIGHT)[:, None]
    drift = 1 - 0.22 * np.clip((175 - row) / 45.0, 0, 1)
    points = (floor() * drift[..., None]).astype(np.float32)
    ground = Ground(UP, EYE, 0.02)
    assert find_support(mask, points, EVERY, UP, ground, foot).source == "ground_plane"


def test_table_before_the_floor_is_a_table() -> None:
    """The same change of height, but as a step: the table's edge."""
    mask, foot = standing(130)
    points = floor().astype(np.float32)
    points[90:155] = floor(EYE - 0.7)[90:155].astype(np.float32)
    support = find_support(mask, points, EVERY, UP, Ground(UP, EYE, 0.02), foot)
    assert support.source == "points" and support.height == pytest.approx(-EYE + 0.7, abs=0.01)
