"""A camera's own perspective field gives its up direction back, and noise on it averages out."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.pointmaps.perspective_field import fit_up


def field(width: int, height: int, log_focal: float, up: np.ndarray, columns: int = 64):
    rows = round(columns * height / width)
    y, x = np.mgrid[0:rows, 0:columns].astype(float)
    focal = np.exp(log_focal) * np.hypot(width, height)
    x, y = ((x + 0.5) / columns - 0.5) * width / focal, ((y + 0.5) / rows - 0.5) * height / focal
    elevation = (up[0] * x + up[1] * y + up[2]) / np.sqrt(x * x + y * y + 1)
    seen = np.stack([up[0] - up[2] * x, up[1] - up[2] * y])
    return elevation.astype(np.float32), (seen / np.linalg.norm(seen, axis=0)).astype(np.float32)


def up_of(pitch: float, roll: float) -> np.ndarray:
    return np.array([np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), np.sin(pitch)])


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


cameras = st.tuples(st.floats(-0.8, 0.8), st.floats(-50, 40).map(np.radians), st.floats(-20, 20).map(np.radians))
shapes = st.sampled_from([(1280, 720), (720, 1280), (1600, 670)])


@settings(max_examples=25, deadline=None)
@given(cameras, shapes)
def test_a_true_field_gives_its_up_back(camera, shape):
    log_focal, pitch, roll = camera
    up = up_of(pitch, roll)
    fitted = fit_up(*field(*shape, log_focal, up), *shape, log_focal, up_of(pitch + 0.2, roll - 0.2))
    assert apart(fitted, up) < 0.1


def test_noise_averages_out_and_what_is_read_all_wrong_is_left():
    rng, up = np.random.default_rng(0), up_of(-0.3, 0.05)
    elevation, seen = field(1280, 720, 0.1, up)
    elevation += rng.normal(0, 0.05, elevation.shape).astype(np.float32)
    seen += rng.normal(0, 0.05, seen.shape).astype(np.float32)
    elevation[:6] = 0.9
    assert apart(fit_up(elevation, seen, 1280, 720, 0.1, up_of(-0.2, 0.0)), up) < 0.7


def test_a_wrong_lens_costs_little():
    up = up_of(-0.3, 0.05)
    assert apart(fit_up(*field(1280, 720, 0.1, up), 1280, 720, 0.3, up), up) < 6
