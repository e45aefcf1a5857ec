"""The set builders' shapes: closed, facing outward, of the volume that geometry says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.make import shapes
from examples.make.shapes import Shape


def _volume(shape: Shape) -> float:
    v, total = shape.vertices, 0.0
    for f in shape.faces:
        for i in range(1, len(f) - 1):
            total += float(v[f[0]] @ np.cross(v[f[i]], v[f[i + 1]]))
    return total / 6


def _assert_closed(shape: Shape) -> None:
    """Every edge is walked once in each direction: watertight and consistently wound."""
    edges = [(a, b) for f in shape.faces for a, b in zip(f, (*f[1:], f[0]), strict=True)]
    assert len(set(edges)) == len(edges)
    assert {(b, a) for a, b in edges} == set(edges)


@given(st.tuples(*[st.floats(0.05, 3)] * 3), st.floats(0.001, 0.02), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_rounded_box(size: tuple, radius: float, segments: int, grid: int) -> None:
    box = shapes.rounded_box(size, radius, segments, grid=grid)
    _assert_closed(box)
    np.testing.assert_allclose(np.ptp(box.vertices, axis=0), size, rtol=1e-6)
    # Three boxes crossed, each full along one axis and short of the rounding along the others, lie inside it.
    full, short = np.array(size), np.array(size) - 2 * radius
    crossed = np.prod(short) + sum((full - short)[i] * np.prod(np.delete(short, i)) for i in range(3))
    assert crossed - 1e-9 <= _volume(box) < np.prod(size)


def test_a_cushion_swells_and_stays_closed() -> None:
    flat, puffed = (shapes.rounded_box((0.6, 0.6, 0.2), 0.05, puff=p, grid=6) for p in (0.0, 0.03))
    _assert_closed(puffed)
    assert _volume(puffed) > 1.05 * _volume(flat)


@pytest.mark.parametrize(("shape", "volume", "tolerance"), [
    (shapes.lathe([(0, 0), (1, 0), (1, 2), (0, 2)], 96), 2 * np.pi, 0.01),
    (shapes.lathe([(0, 0), (1, 0), (0, 1)], 96), np.pi / 3, 0.01),
    # A cup: outer cylinder less the hollow that the profile comes back down.
    (shapes.lathe([(0, 0), (1, 0), (1, 2), (0.8, 2), (0.8, 0.2), (0, 0.2)], 96), np.pi * (2 - 0.64 * 1.8), 0.01),
    (shapes.ball(1.0, 64, 32), 4 / 3 * np.pi, 0.01),
    (shapes.ring(1.0, 0.2, 96, 48), 2 * np.pi**2 * 0.04, 0.01),
    (shapes.tube([(0, 0, 0), (0, 0, 1), (0, 0, 3)], 0.5, 64), 0.75 * np.pi, 0.01),
    (shapes.prism([(0, 0), (2, 0), (2, 1), (0, 1)], 3.0), 6.0, 1e-9),
])
def test_solids(shape: Shape, volume: float, tolerance: float) -> None:
    _assert_closed(shape)
    assert _volume(shape) == pytest.approx(volume, rel=tolerance)


def test_a_bent_tube_does_not_twist() -> None:
    path = shapes.smooth_curve([(0, 0, 0), (1, 0, 0.5), (1, 1, 1), (0, 1, 2)], 10)
    tube = shapes.tube(path, 0.1, 16)
    _assert_closed(tube)
    rings = tube.vertices.reshape(len(path), 16, 3) - path[:, None]
    np.testing.assert_allclose(np.linalg.norm(rings, axis=-1), 0.1, rtol=1e-6)
    turn = (rings[1:, 0] * rings[:-1, 0]).sum(-1) / 0.01
    assert turn.min() > np.cos(np.radians(25))  # neighbours point the same way, but for the path's own bend


def test_curves_go_through_their_points() -> None:
    points = np.random.default_rng(0).random((6, 3))
    np.testing.assert_allclose(shapes.smooth_curve(points, 5)[::5], points)
    assert len(shapes.smooth_curve(points, 5, closed=True)) == 30


def test_rotation_is_blenders_xyz_order() -> None:
    # Turning x to y (90 about z) after y to z (90 about x): y ends as z, then z stays.
    np.testing.assert_allclose(shapes.rotation((90, 0, 90)) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(shapes.rotation((90, 0, 90)) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
