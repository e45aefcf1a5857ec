"""The reference rasteriser against closed forms and against textbook splatting, one splat at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from worker.formats import rasteriser
from worker.formats.gaussians import GaussianCloud
from worker.formats.rasteriser import psnr_db, render

K = np.array([[40.0, 0, 16], [0, 44.0, 12], [0, 0, 1]], np.float32)
SIZE = (24, 32)


def splat(position, scale=(0.1, 0.1, 0.1), opacity=0.8, color=(1.0, 0.5, 0.25), turn=(1, 0, 0, 0)) -> GaussianCloud:
    return GaussianCloud(*(np.asarray([v], np.float32) for v in (position, scale, turn)),
                         np.float32([opacity]), np.float32([color]))  # fmt: skip


def by_hand(cloud: GaussianCloud, dilation: float) -> np.ndarray:
    """Textbook EWA splatting, one splat at a time over the whole picture, nearest first."""
    out, through = np.zeros((*SIZE, 4)), np.ones(SIZE)
    centres = np.stack(np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5), axis=-1)
    for n in np.argsort(cloud.position[:, 2], kind="stable"):
        x, y, z = cloud.position[n].astype(float)
        R = Rotation.from_quat(cloud.rotation[n], scalar_first=True).as_matrix()
        sigma = R @ np.diag(cloud.scale[n].astype(float) ** 2) @ R.T
        J = np.array([[K[0, 0] / z, 0, -K[0, 0] * x / z**2], [0, K[1, 1] / z, -K[1, 1] * y / z**2]])
        inverse = np.linalg.inv(J @ sigma @ J.T + dilation * np.eye(2))
        d = centres - (K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2])
        alpha = np.minimum(0.99, cloud.opacity[n] * np.exp(-0.5 * np.einsum("hwi,ij,hwj->hw", d, inverse, d)))
        alpha[alpha < 1 / 255] = 0
        out += (through * alpha)[..., None] * np.append(cloud.color[n], 1.0)
        through *= 1 - alpha
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3]))
def test_equals_the_textbook(seed: int, dilation: float) -> None:
    rng = np.random.default_rng(seed)
    count = 12
    z = rng.uniform(1, 5, count)
    turn = rng.normal(size=(count, 4))
    cloud = GaussianCloud(
        np.column_stack([rng.uniform(-0.3, 0.3, (count, 2)) * z[:, None], z]).astype(np.float32),
        rng.uniform(0.01, 0.3, (count, 3)).astype(np.float32),
        (turn / np.linalg.norm(turn, axis=1, keepdims=True)).astype(np.float32),
        rng.uniform(0.1, 1.0, count).astype(np.float32),
        rng.uniform(0, 1, (count, 3)).astype(np.float32),
    )
    expected = by_hand(cloud, dilation)
    picture = render(cloud, np.eye(4), K, SIZE, dilation)
    assert np.allclose(picture.color, expected[..., :3], atol=2e-3)
    assert np.allclose(picture.alpha, expected[..., 3], atol=2e-3)


def test_one_splat_in_closed_form() -> None:
    picture = render(splat((0.5 / 40 * 2, 0.5 / 44 * 2, 2.0)), np.eye(4), K, SIZE, dilation=0.0)
    assert picture.alpha[12, 16] == pytest.approx(0.8, abs=1e-4)  # projects to the centre of pixel (16, 12)
    # One pixel aside: sigma = 40 * 0.1 / 2 = 2 px, so 0.8 exp(-1/8) = 0.70600 (off-axis terms are below 1e-3).
    assert picture.alpha[12, 17] == pytest.approx(0.8 * np.exp(-1 / 8), abs=1e-3)
    assert picture.depth[12, 16] == pytest.approx(2.0, abs=1e-4)
    assert np.allclose(picture.color[12, 16], np.array([1, 0.5, 0.25]) * 0.8, atol=1e-3)


def test_the_nearer_hides_the_farther_whatever_the_file_order() -> None:
    near, far = splat((0, 0, 1), color=(1, 0, 0), opacity=0.99), splat((0, 0, 2), (1, 1, 1), 0.99, (0, 1, 0))
    one = render(GaussianCloud.joined([near, far]), np.eye(4), K, SIZE)
    other = render(GaussianCloud.joined([far, near]), np.eye(4), K, SIZE)
    assert np.array_equal(one.color, other.color)
    assert one.color[12, 16, 0] > 0.9 > 0.1 > one.color[12, 16, 1]


def test_how_many_are_projected_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    cloud = GaussianCloud.joined(
        [
            splat(rng.uniform((-1, -1, 0.5), (1, 1, 4)), rng.uniform(0.01, 0.3, 3), rng.uniform(0.1, 1),
                  rng.uniform(size=3), Rotation.random(random_state=index).as_quat())
            for index in range(100)
        ]
    )  # fmt: skip
    whole = render(cloud, np.eye(4), K, SIZE)
    monkeypatch.setattr(rasteriser, "_SPLATS", 7)
    pieces = render(cloud, np.eye(4), K, SIZE)
    assert whole.alpha.any()
    assert all(np.array_equal(getattr(whole, part), getattr(pieces, part)) for part in ("color", "alpha", "depth"))


def test_camera_moves_the_picture() -> None:
    pose = np.eye(4)
    pose[0, 3] = 0.2  # the scene 0.2 to the right at depth 2: 40 * 0.2 / 2 = 4 px
    still, moved = (render(splat((0, 0, 2)), p, K, SIZE).alpha for p in (np.eye(4), pose))
    assert np.allclose(still[:, :-4], moved[:, 4:], atol=0.02)


def test_nothing_in_sight() -> None:
    behind = render(splat((0, 0, -1)), np.eye(4), K, SIZE)
    aside = render(splat((100, 0, 1)), np.eye(4), K, SIZE)
    none = render(GaussianCloud(*(np.zeros((0, n), np.float32) for n in (3, 3, 4)),
                                np.zeros(0, np.float32), np.zeros((0, 3), np.float32)), np.eye(4), K, SIZE)  # fmt: skip
    assert not behind.alpha.any() and not aside.alpha.any() and not none.alpha.any()


def test_psnr() -> None:
    flat = np.full((4, 4, 3), 0.5)
    assert psnr_db(flat + 0.1, flat) == pytest.approx(20.0, abs=1e-6)  # 10 log10(1 / 0.01)
    assert psnr_db(flat, flat) == 99.0
