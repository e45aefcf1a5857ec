"""The GPU's rasteriser against the reference; on the CPU here, where its arithmetic is the same."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from worker.formats import rasteriser
from worker.formats.gaussians import GaussianCloud

torch = pytest.importorskip("torch")

from worker.formats import rasteriser_gpu  # noqa: E402

K = np.array([[90, 0, 50], [0, 95, 31], [0, 0, 1]], np.float32)
SIZE = (60, 100)


def cloud(count: int, seed: int = 0) -> GaussianCloud:
    """Splats of every size and opacity around the frame, some behind the camera, some far larger than the picture."""
    rng = np.random.default_rng(seed)
    position = rng.normal(size=(count, 3)) * [1.5, 1.0, 2.0] + [0, 0, 3]
    return GaussianCloud(
        position.astype(np.float32),
        np.exp(rng.normal(-3.5, 1.2, (count, 3))).astype(np.float32),
        Rotation.random(count, rng=seed).as_quat(scalar_first=True).astype(np.float32),
        rng.uniform(0, 1, count).astype(np.float32),
        rng.uniform(0, 1, (count, 3)).astype(np.float32),
    )


@pytest.mark.parametrize("pairs", [6_000_000, 5_000], ids=["whole", "bands"])
@pytest.mark.parametrize("dilation", [0.3, 0.0])
def test_it_shows_what_the_reference_shows(monkeypatch: pytest.MonkeyPatch, pairs: int, dilation: float) -> None:
    monkeypatch.setattr(rasteriser_gpu, "_PAIRS", pairs)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", [3, -5, 2], degrees=True).as_matrix()
    pose[:3, 3] = (0.1, -0.05, 0.2)
    expected = rasteriser.render(cloud(3000), pose, K, SIZE, dilation)
    found = rasteriser_gpu.render(cloud(3000), pose, K, SIZE, dilation, device="cpu")
    assert expected.alpha.mean() > 0.9
    for name in ("color", "alpha", "depth"):
        a, b = getattr(found, name), getattr(expected, name)
        # A splat whose alpha is at the limit may count here and not there: 1/255 of its colour.
        assert np.abs(a - b).max() < 0.02 * max(1, b.max()) and np.abs(a - b).mean() < 2e-5 * max(1, b.max()), name
        assert a.dtype == np.float32


def test_the_same_scene_gives_the_same_bytes() -> None:
    first, again = (rasteriser_gpu.render(cloud(500), np.eye(4), K, SIZE, device="cpu") for _ in range(2))
    assert first.color.tobytes() == again.color.tobytes()


def test_nothing_in_view() -> None:
    behind = cloud(20)
    behind.position[:, 2] = -5
    assert not rasteriser_gpu.render(behind, np.eye(4), K, SIZE, device="cpu").alpha.any()
    assert not rasteriser_gpu.render(cloud(0), np.eye(4), K, SIZE, device="cpu").alpha.any()
