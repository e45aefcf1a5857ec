"""Every metric against cases whose answer is known on paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from bench import metrics as m

ALL = np.ones((20, 30), bool)


def _depth(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 10, (20, 30))


def test_angle() -> None:
    assert m.angle_degrees([1, 0, 0], [0, 2, 0]) == pytest.approx(90)
    assert m.angle_degrees([1, 0, 0], [-3, 0, 0]) == pytest.approx(180)
    assert m.angle_degrees([1, 0, 0], [1, 1e-9, 0]) == pytest.approx(np.degrees(1e-9), rel=1e-6)
    with pytest.raises(ValueError):
        m.angle_degrees([0, 0, 0], [1, 0, 0])


@given(st.floats(0.1, 10), st.floats(-0.02, 0.02))
@settings(max_examples=30, deadline=None)
def test_disparity_alignment_undoes_any_scale_and_shift(scale: float, shift: float) -> None:
    true = _depth()
    predicted = 1 / ((1 / true - shift) * scale)
    aligned = m.align_disparity(predicted, true, ALL)
    np.testing.assert_allclose(aligned, true, rtol=1e-6)


def test_scale_alignment_leaves_a_shift_in() -> None:
    true = _depth()
    np.testing.assert_allclose(m.align_scale(true * 7, true, ALL), true)
    assert m.abs_rel(m.align_scale(true + 3, true, ALL), true, ALL) > 0.1


def test_depth_errors() -> None:
    true = _depth()
    assert m.abs_rel(true * 1.1, true, ALL) == pytest.approx(0.1)
    assert m.delta_inliers(true * 1.24, true, ALL) == 1 and m.delta_inliers(true * 1.26, true, ALL) == 0
    assert m.delta_inliers(true / 1.24, true, ALL) == 1 and m.delta_inliers(true / 1.26, true, ALL) == 0


def test_order() -> None:
    true = _depth()
    assert m.ordinal_accuracy(true**3, true, ALL) == 1
    assert m.ordinal_accuracy(1 / true, true, ALL) == 0
    assert m.ordinal_accuracy(_depth(1), true, ALL) == pytest.approx(0.5, abs=0.05)
    assert np.isnan(m.ordinal_accuracy(true, np.ones_like(true), ALL))


def test_depth_edges_must_be_where_they_are_and_sharp() -> None:
    true = np.full((40, 60), 4.0)
    true[10:30, 20:40] = 2.0
    true[:5] = np.inf
    assert m.depth_boundary_f(true * 3, true) == pytest.approx(1)
    # One pixel aside: all 60 of the sky's edge and 38 of 40 along top and bottom stay, both sides of 20 are lost.
    assert m.depth_boundary_f(np.roll(true, 1, 1), true) == pytest.approx(98 / 140)
    smeared = np.where(np.isfinite(true), true, 40.0)
    smeared = ndimage.uniform_filter(smeared, 17)
    assert m.depth_boundary_f(smeared, true) < 0.6
    assert m.depth_boundary_f(np.ones_like(true), true) == 0


def test_mask_overlap() -> None:
    a, b = np.zeros((2, 10, 10), bool)
    a[:, :6], b[:, 3:9] = True, True
    assert m.iou(a, b) == pytest.approx(3 / 9)
    assert m.iou(a, ~a) == 0 and m.iou(a & ~a, a & ~a) == 1


def test_contour_tolerance() -> None:
    a, b = np.zeros((2, 60, 60), bool)
    a[20:40, 20:40] = True
    b[20:40, 22:42] = True
    assert m.boundary_f(a, a, 0.5) == 1
    assert m.boundary_f(a, b, 2) == 1
    assert 0.3 < m.boundary_f(a, b, 1) < 0.8
    assert m.boundary_f(a, np.zeros_like(a), 2) == 0


def test_matching_is_one_to_one_and_lets_ignored_things_pass() -> None:
    def block(x: int) -> np.ndarray:
        mask = np.zeros((10, 100), bool)
        mask[:, x : x + 10] = True
        return mask

    twice = m.match_masks([block(0), block(1)], [block(0), block(40)])
    assert [p[:2] for p in twice.pairs] == [(0, 0)] and twice.recall == 0.5 and twice.precision == 0.5
    waved = m.match_masks([block(0), block(70)], [block(0)], [block(71)])
    assert waved.precision == 1 and waved.recall == 1
    none = m.match_masks([], [block(0)])
    assert none.recall == 0 and np.isnan(none.precision)


def test_points() -> None:
    a = np.random.default_rng(0).random((500, 3))
    assert m.chamfer(a, a) == 0 and m.f_score(a, a, 1e-6) == 1
    line = np.stack([np.arange(100.0), np.zeros(100), np.zeros(100)], 1)
    assert m.chamfer(line, line + np.array([0.0, 0.25, 0])) == pytest.approx(0.25)
    aside = line + np.array([0, 0.25, 0])
    assert m.f_score(line, aside, 0.2) == 0 and m.f_score(line, aside, 0.3) == 1
    # Half of the prediction is right, all of the truth is found: precision 1/2, recall 1, F 2/3.
    assert m.f_score(np.concatenate([line, line + np.array([0, 50, 0])]), line, 0.1) == pytest.approx(2 / 3)


def test_surface_sampling_is_even() -> None:
    vertices = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]], float)
    p = m.sample_surface(vertices, np.array([[0, 1, 2], [0, 2, 3]]), 40_000)
    np.testing.assert_allclose(p.mean(0), [1, 0.5, 0], atol=0.02)
    np.testing.assert_allclose(p.var(0), [4 / 12, 1 / 12, 0], atol=0.01)


def _box(at: tuple[float, float, float], size: tuple[float, float, float], yaw: float = 0) -> m.Box:
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    pose = np.array([[c, -s, 0, at[0]], [s, c, 0, at[1]], [0, 0, 1, at[2]], [0, 0, 0, 1]])
    return m.Box(pose, -np.array(size) / 2, np.array(size) / 2)


def test_box_overlap() -> None:
    one = _box((0, 0, 0), (1, 1, 1))
    assert m.box_iou(one, one) == pytest.approx(1)
    assert m.box_iou(one, _box((0.5, 0, 0), (1, 1, 1))) == pytest.approx(1 / 3)
    assert m.box_iou(one, _box((0, 0, 0), (0.5, 0.5, 0.5))) == pytest.approx(1 / 8)
    assert m.box_iou(one, _box((2, 0, 0), (1, 1, 1))) == 0
    # A square against itself turned by 45 degrees overlaps in an octagon of area 2 (sqrt 2 - 1).
    octagon = 2 * (np.sqrt(2) - 1)
    assert m.box_iou(one, _box((0, 0, 0), (1, 1, 1), 45)) == pytest.approx(octagon / (2 - octagon))


@given(st.floats(-179, 179), st.floats(-179, 179))
@settings(max_examples=50, deadline=None)
def test_yaw(a: float, b: float) -> None:
    want = abs((a - b + 180) % 360 - 180)
    ra, rb = _box((0, 0, 0), (1, 1, 1), a).pose[:3, :3], _box((0, 0, 0), (1, 1, 1), b).pose[:3, :3]
    assert m.yaw_error(ra, rb, [0, 0, 1]) == pytest.approx(want, abs=1e-4)
    assert m.yaw_error(ra, rb, [0, 0, -1]) == pytest.approx(want, abs=1e-4)
    assert m.yaw_error(ra, rb, [0, 0, 1], fold=4) <= 45 + 1e-6


def test_half_a_turn_is_half_a_turn() -> None:
    assert m.yaw_error(np.diag([-1.0, -1, 1]), np.eye(3), [0, 0, 1]) == pytest.approx(180)
    assert m.yaw_error(np.diag([-1.0, -1, 1]), np.eye(3), [0, 0, 1], fold=2) == pytest.approx(0, abs=1e-6)


def test_ground() -> None:
    cube = np.random.default_rng(0).random((5000, 3))
    gap, sunk = m.ground_contact(cube + np.array([0, 0, 0.5]), [0, 0, 1], 0)
    assert gap == pytest.approx(0.5, abs=0.02) and sunk == 0
    gap, sunk = m.ground_contact(cube - np.array([0, 0, 0.2]), [0, 0, 1], 0)
    assert sunk == pytest.approx(0.2, abs=0.02) and gap == 0


def test_picture_distances() -> None:
    a = np.random.default_rng(0).random((32, 48, 3)) * 0.8
    assert m.psnr(a, a) == float("inf") and m.ssim(a, a) == pytest.approx(1)
    assert m.psnr(a, a + 0.1) == pytest.approx(20)
    assert m.ssim(a, np.random.default_rng(1).random(a.shape)) < 0.2
    half = np.zeros((32, 48), bool)
    half[:16] = True
    b = a.copy()
    b[16:] = 0
    assert m.psnr(a, b, half) == float("inf") and m.psnr(a, b) < 20


def test_ssim_is_the_one_everybody_uses() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a, b = np.random.default_rng(0).random((2, 64, 64, 3))
    b = 0.7 * a + 0.3 * b
    want, full = metrics.structural_similarity(
        a, b, channel_axis=-1, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    inner = np.zeros((64, 64), bool)
    inner[6:-6, 6:-6] = True  # scikit-image and scipy treat the border the same way only inside
    assert m.ssim(a, b, inner) == pytest.approx(full[inner].mean(), abs=1e-6)
    assert m.ssim(a, b) == pytest.approx(want, abs=0.01)


@given(arrays(float, (6, 6, 3), elements=st.floats(0.01, 5)), st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_light_up_to_exposure(image: np.ndarray, factor: float) -> None:
    assert m.scale_invariant_rmse(image * factor, image) == pytest.approx(0, abs=1e-6)
    assert m.rgb_angular_error(image * factor, image, np.ones((6, 6), bool)) == pytest.approx(0, abs=1e-4)


def test_wrong_light_costs() -> None:
    left, right = np.zeros((2, 8, 8, 3))
    left[:, :4], right[:, 4:] = 1, 1
    assert m.scale_invariant_rmse(left, right) == pytest.approx(1)


def test_gradient_similarity() -> None:
    rng = np.random.default_rng(0)
    edges = np.repeat(np.repeat(rng.random((8, 12, 1)), 16, 0), 16, 1).repeat(3, -1)
    assert m.gmsd(edges, edges) == pytest.approx(0, abs=1e-12)
    assert m.gmsd(edges, 0.95 * edges) < 0.01 < m.gmsd(edges, ndimage.gaussian_filter(edges, (4, 4, 0)))
    # Flat grey has no gradients at all: similarity falls to near nothing along the edges and is 1 elsewhere.
    assert m.gmsd(edges, np.full_like(edges, 0.5)) > 0.2
