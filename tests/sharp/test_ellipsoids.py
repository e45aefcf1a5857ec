"""Axes of a million ellipsoids in float32, judged by float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

torch = pytest.importorskip("torch")

from worker.engines.sharp.ellipsoids import principal_axes, rotations_of  # noqa: E402

EPS = float(np.finfo(np.float32).eps)


def shapes(scales: np.ndarray, seed: int = 0) -> np.ndarray:
    """Camera map times rotation times scales, as unprojection makes them, float32."""
    turn = Rotation.random(len(scales), rng=seed).as_matrix()
    return (np.array([[0.6, 0, 0.03], [0, 0.35, -0.02], [0, 0, 1]]) @ turn * scales[:, None, :]).astype(np.float32)


def judge(matrices: np.ndarray, tolerance: float = 30 * EPS) -> None:
    """Lengths to relative precision each, unit quaternions, and the ellipsoid itself put together again."""
    lengths, quaternions = (part.numpy().astype(np.float64) for part in principal_axes(torch.from_numpy(matrices)))
    exact = matrices.astype(np.float64)
    expected = np.linalg.svd(exact, compute_uv=False)
    floor = 1e-30 + np.finfo(np.float32).tiny
    assert np.all(np.diff(lengths, axis=1) <= 0)
    assert np.allclose(np.linalg.norm(quaternions, axis=1), 1, atol=4 * EPS) and (quaternions[:, 0] >= 0).all()
    np.testing.assert_array_less(np.abs(lengths - expected), tolerance * expected + floor)
    axes = Rotation.from_quat(quaternions, scalar_first=True).as_matrix() * lengths[:, None, :]
    again, covariance = axes @ axes.swapaxes(1, 2), exact @ exact.swapaxes(1, 2)
    size = expected[:, :1, None] ** 2 + floor
    assert np.abs(again - covariance).max(initial=0) < np.inf
    np.testing.assert_array_less(np.abs(again - covariance) / size, tolerance)
    values = np.linalg.eigvalsh(covariance)[:, ::-1]
    assert np.allclose(lengths**2, values, rtol=0, atol=tolerance * values[:, :1].max(initial=1))


@pytest.mark.parametrize(
    "ratio",
    [(1, 1, 1), (1, 1, 1 + 1e-6), (1, 1, 1e-3), (1, 1e-3, 1e-3), (1, 1e-4, 1e-6), (1, 1e-6, 1e-12), (1, 0.5, 0.25)],
    ids=["sphere", "nearly", "disc", "needle", "blade", "hair", "plain"],
)
@pytest.mark.parametrize("size", [1.0, 1e-12, 1e9])
def test_shapes_of_every_kind(ratio: tuple[float, ...], size: float) -> None:
    judge(shapes(np.tile(ratio, (2000, 1)) * size))


def test_a_needle_keeps_the_digits_of_its_thin_side() -> None:
    """Through the covariance, float32 would leave nothing of it: 1e-6 squared is below the rounding of 1."""
    matrices = shapes(np.tile([1.0, 1e-6, 1e-6], (500, 1)))
    lengths, _ = principal_axes(torch.from_numpy(matrices))
    expected = np.linalg.svd(matrices.astype(np.float64), compute_uv=False)
    assert np.abs(lengths.numpy() / expected - 1).max() < 30 * EPS
    thin = np.linalg.eigvalsh(matrices @ matrices.swapaxes(1, 2))[:, 0]
    assert np.abs(np.sqrt(np.abs(thin)) / expected[:, 2] - 1).max() > 1


def test_axes_that_vanish_leave_a_rotation_all_the_same() -> None:
    cases = np.zeros((4, 3, 3), np.float32)
    cases[1, :, 0] = (1, 2, 2)
    cases[2, :, 1] = (0, 0, -3)
    cases[3, :, 0], cases[3, :, 2] = (1, 0, 0), (0, 1, 0)
    lengths, quaternions = principal_axes(torch.from_numpy(cases))
    assert lengths.tolist() == [[0, 0, 0], [3, 0, 0], [3, 0, 0], [1, 1, 0]]
    turn = rotations_of(quaternions)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).expand(4, 3, 3))
    assert torch.allclose(torch.linalg.det(turn), torch.ones(4))
    assert torch.allclose(turn[1, :, 0].abs(), torch.tensor([1, 2, 2]) / 3)


@given(st.lists(st.floats(-1, 1, width=32), min_size=9, max_size=9), st.floats(-20, 20))
def test_any_matrix(entries: list[float], exponent: float) -> None:
    matrix = (np.array(entries).reshape(1, 3, 3) * 10**exponent).astype(np.float32)
    lengths, quaternions = (part.numpy().astype(np.float64) for part in principal_axes(torch.from_numpy(matrix)))
    axes = Rotation.from_quat(quaternions, scalar_first=True).as_matrix() * lengths[:, None, :]
    exact = matrix.astype(np.float64)
    size = max(np.abs(exact).max() ** 2, 1e-60)
    assert np.abs(axes @ axes.swapaxes(1, 2) - exact @ exact.swapaxes(1, 2)).max() < 60 * EPS * size


def test_quaternions_of_every_turn() -> None:
    """Half turns too, where the real part vanishes."""
    turns = np.concatenate([Rotation.random(3000, rng=1).as_matrix(), np.diag([1.0, -1, -1])[None],
                            np.diag([-1.0, -1, 1])[None], np.diag([-1.0, 1, -1])[None]])  # fmt: skip
    matrices = torch.from_numpy((turns * np.array([3.0, 2.0, 1.0])).astype(np.float32))
    lengths, quaternions = principal_axes(matrices)
    assert torch.allclose(lengths, torch.tensor([3.0, 2.0, 1.0]).expand_as(lengths), rtol=1e-6)
    cosines = (rotations_of(quaternions) * torch.from_numpy(turns).float()).sum(dim=1)
    assert torch.allclose(cosines.abs(), torch.ones(()), atol=1e-5)
