"""From the network's space into the session's frame and scale, and what the engine says of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.sharp.twin import TinySharp, write_weights  # noqa: E402
from worker.engines.contract import SceneRequest  # noqa: E402
from worker.engines.sharp.compose import Gaussians  # noqa: E402
from worker.engines.sharp.network import Execution, Overflow, SharpNetwork  # noqa: E402
from worker.engines.sharp.session_frame import agreement, camera_from_network, unprojected  # noqa: E402
from worker.formats.pointmap import intrinsics_from_hfov, pixel_rays  # noqa: E402
from worker.stages import scene  # noqa: E402

SIZE = (90, 160)


def request(depth: np.ndarray | float = 6.0, **changes) -> SceneRequest:
    K = intrinsics_from_hfov(SIZE[1], SIZE[0], 60.0)
    everywhere = np.ones(SIZE, bool)
    points = (pixel_rays(*SIZE, K) * np.broadcast_to(depth, SIZE)[..., None]).astype(np.float32)
    picture = np.random.default_rng(0).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    values = {
        "still": picture, "clean": None, "removed": None, "points": points, "mask": everywhere,
        "confidence": np.ones(SIZE, np.float32), "sky": ~everywhere, "intrinsics": K,
        "gravity": np.array([0, 1, 0], np.float32), **changes,
    }  # fmt: skip
    return SceneRequest(**values)


def test_scale_is_the_median_whatever_a_third_of_the_places_says() -> None:
    depth = np.full((64, 64), 2.0, np.float32)
    depth[:20] = 50.0
    found = agreement(depth, request(), None)
    assert found is not None and found.scale == pytest.approx(3.0) and found.spread == pytest.approx(0, abs=1e-6)
    assert found.pixels == 64 * 64


def test_only_places_that_both_show_are_compared() -> None:
    removed, sky = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    removed[:, :100], sky[:50, 100:] = True, True
    depth = np.full((64, 64), 9.0, np.float32)
    depth[36:, 40:] = 2.0  # where neither sky nor a taken prop is
    found = agreement(depth, request(sky=sky, removed=removed), removed)
    assert found is not None and found.scale == pytest.approx(3.0)
    assert agreement(depth, request(mask=np.zeros(SIZE, bool)), None) is None


def test_a_lens_that_is_not_centred_is_followed() -> None:
    """The pixel a Gaussian came from is the pixel it projects to."""
    K = np.array([[120, 0, 70], [0, 130, 50], [0, 0, 1]], np.float32)
    ndc, z = torch.tensor([[-0.75, 0.5], [0.25, -0.125]]), torch.tensor([2.0, 40.0])
    position = torch.cat([ndc * z[:, None], z[:, None]], dim=1)
    turn = torch.tensor([[1.0, 0, 0, 0], [0.3, -2.0, 0.1, 0.7]])
    dots = Gaussians(position, torch.tensor([[0.01, 0.02, 0.03], [1.0, 0.1, 0.001]]), turn, position, z)
    camera = camera_from_network(K, 160, 90)
    found, lengths, quaternions = unprojected(dots, camera)
    pixels = found.numpy() @ K.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    np.testing.assert_allclose(pixels, (ndc.numpy() + 1) / 2 * [160, 90], atol=1e-4)
    # The first is not turned: its covariance is the camera's matrix on either side of its own.
    from scipy.spatial.transform import Rotation

    axes = Rotation.from_quat(quaternions[0].numpy(), scalar_first=True).as_matrix() * lengths[0].numpy()
    expected = camera @ np.diag([0.01, 0.02, 0.03]) ** 2 @ camera.T
    np.testing.assert_allclose(axes @ axes.T, expected, atol=1e-9)
    assert (lengths.diff(dim=1) <= 0).all()


@pytest.fixture
def engine(tmp_path: Path) -> TinySharp:
    made = TinySharp()
    made.load_from(write_weights(tmp_path), "cpu", Execution())
    return made


def test_background_and_scale_come_with_the_cloud(engine: TinySharp) -> None:
    removed = np.zeros(SIZE, bool)
    removed[40:60, 60:90] = True
    depth = np.where(removed, 2.0, 6.0)
    still = request(depth).still
    result = engine.run(request(depth, removed=removed, clean=255 - still), lambda share: None)
    assert result.background_points is not None
    np.testing.assert_allclose(result.background_points[..., 2], 6.0, rtol=0.01)
    assert {"scale", "scale_spread", "scale_pixels", "precision"} == set(result.details)
    kept = engine.run(request(depth, removed=removed, clean=255 - still, keep_props=True), lambda share: None)
    assert not np.allclose(kept.gaussians.color, result.gaussians.color, atol=0.1), "the still, not the clean plate"
    unknown = engine.run(request(mask=np.zeros(SIZE, bool)), lambda share: None)
    assert [(n.code, n.degraded) for n in unknown.notices] == [("scene.own_scale", True)]
    for notice in (*result.notices, *unknown.notices):
        assert all(text.format(**notice.params) for text in scene.NOTICES[notice.code])


def test_an_overflow_is_done_again_in_bfloat16_and_said(engine: TinySharp, monkeypatch: pytest.MonkeyPatch) -> None:
    real = SharpNetwork.forward

    def narrow(self, *args):
        if self.execution.precision == torch.float16:
            raise Overflow("too large")
        return real(self, *args)

    monkeypatch.setattr(SharpNetwork, "forward", narrow)
    engine.load_from(engine.weights, "cpu", Execution(torch.float16, tiles_at_once=9))
    first = engine.run(request(), lambda share: None)
    assert first.notices[0].code == "scene.coarser_numbers" and first.details["precision"] == "bfloat16"
    assert engine.network.execution == Execution(torch.bfloat16, tiles_at_once=9)
    again = engine.run(request(), lambda share: None)
    assert "scene.coarser_numbers" not in {notice.code for notice in again.notices}
    assert again.gaussians.position.tobytes() == first.gaussians.position.tobytes()
