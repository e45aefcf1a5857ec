"""Sphere maths against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.formats import equirect as sphere

unit = st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1)).filter(lambda v: np.linalg.norm(v) > 0.1)


def constant(value: float = 1.0, height: int = 64) -> np.ndarray:
    return np.full((height, 2 * height, 3), value, np.float32)


def test_orientation() -> None:
    rays = sphere.directions(64, 128)
    assert rays[0, 7, 2] > 0.99, "top row zenith"
    assert np.allclose(rays[31:33, 63:65].mean(axis=(0, 1)), [0, 1, 0], atol=1e-3), "middle column ahead"
    assert rays[32, 96, 0] > 0.99, "columns to the right turn right"
    assert sphere.solid_angles(64, 128).sum() == pytest.approx(4 * np.pi, rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(unit)
def test_lookup_inverts_directions(v) -> None:
    v = np.asarray(v) / np.linalg.norm(v)
    found = sphere.lookup(sphere.directions(64, 128).astype(np.float32), v[None, None])[0, 0]
    if np.hypot(v[0], v[1]) > 0.1:  # at the poles a pixel holds all azimuths
        assert np.degrees(np.arccos(np.clip(found @ v / np.linalg.norm(found), -1, 1))) < 1.5


def test_sh_basis_is_orthonormal() -> None:
    basis = sphere.sh_basis(sphere.directions(128, 256)).reshape(-1, 9)
    gram = (basis * sphere.solid_angles(128, 256).reshape(-1, 1)).T @ basis
    assert np.abs(gram - np.eye(9)).max() < 2e-3


def test_uniform_light() -> None:
    """Radiance 1 from everywhere: l0 = sqrt(4 pi) = 3.5449, irradiance pi on any surface."""
    sh9 = sphere.project_sh9(constant())
    assert sh9[0] == pytest.approx([3.5449] * 3, rel=1e-3) and np.abs(sh9[1:]).max() < 5e-3
    assert sphere.irradiance(sh9, np.array([0.6, 0, 0.8])) == pytest.approx([np.pi] * 3, rel=2e-3)


@settings(max_examples=20, deadline=None)
@given(unit, unit)
def test_irradiance_equals_the_integral(light, normal) -> None:
    """A wide soft light: nine coefficients against brute force, within the paper's few percent."""
    light, normal = (np.asarray(v) / np.linalg.norm(v) for v in (light, normal))
    rays, omega = sphere.directions(48, 96), sphere.solid_angles(48, 96)
    radiance = (1 + np.maximum(rays @ light, 0) ** 2)[..., None] * np.ones(3)
    brute = (radiance[..., 0] * np.maximum(rays @ normal, 0) * omega).sum()
    sh9 = sphere.project_sh9(radiance.astype(np.float32))
    assert sphere.irradiance(sh9, normal)[0] == pytest.approx(brute, rel=0.03)


@pytest.mark.parametrize("where", [(32, 1), (2, 40), (61, 100)])
def test_blur_keeps_energy_and_crosses_seam_and_poles(where) -> None:
    picture = np.zeros((64, 128, 3), np.float32)
    picture[where] = 100
    soft = sphere.blurred(picture, 10.0)
    assert soft.min() > -1e-3 and np.isfinite(soft).all()
    omega = sphere.solid_angles(64, 128)
    if where[0] == 32:
        assert (soft[..., 0] * omega).sum() == pytest.approx((picture[..., 0] * omega).sum(), rel=0.02)
        assert soft[32, -1, 0] > 0.8 * soft[32, 3, 0], "over the seam"
    else:
        row = 0 if where[0] < 32 else 63
        assert soft[row].max() < 3 * max(soft[row].mean(), 1e-9), "at a pole all azimuths meet"
    assert np.allclose(sphere.blurred(constant(2.0), 20.0), 2.0, atol=1e-4)
