"""What of the training can be tried without its assets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

TRAIN = Path(__file__).parents[2] / "bench" / "train"
SHIPPED = Path(__file__).parents[2] / "worker" / "engines" / "embedded" / "weights" / "geometry.onnx"


@pytest.fixture(autouse=True)
def flat_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The training scripts import each other by file name; leave nothing of that behind."""
    monkeypatch.syspath_prepend(str(TRAIN))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if (TRAIN / f"{name}.py").is_file():
            del sys.modules[name]


def test_ranks_draw_other_scenes_of_the_same_shape() -> None:
    from feeder import SHAPES, jobs

    one, two = (list(islice(jobs((5 * 64 + rank) * 100_000, 50, 5), 300)) for rank in (0, 1))
    assert [job[2] for job in one] == [job[2] for job in two]
    assert not {job[0] for job in one} & {job[0] for job in two}
    share = np.bincount([job[2] for job in one], minlength=len(SHAPES)) / len(one)
    assert np.abs(share - [s[2] for s in SHAPES]).max() < 0.08
    assert all(h % 32 == 0 and w % 32 == 0 for h, w, _ in SHAPES)


def test_pictures_are_drawn_without_opencv() -> None:
    from pictures import ellipse, halve, polygon

    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :2] = 200
    assert halve(picture).tolist() == [[[200] * 3, [0] * 3], [[0] * 3, [0] * 3]]
    square = polygon(16, np.array([[2, 2], [10, 2], [10, 8], [2, 8]]))
    assert square.sum() == 8 * 6 and square[2, 2] and not square[8, 10]
    turned = ellipse(32, np.array([16, 16]), np.array([10, 3]), np.pi / 2)
    assert turned[25, 16] and not turned[16, 25]


def test_gradients_are_clipped_and_a_bad_step_is_none() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("PIL")
    from loop import Averager

    q = [torch.zeros(3, requires_grad=True), torch.zeros(2, 2, requires_grad=True)]
    average = Averager(q, 1)
    q[0].grad, q[1].grad = torch.full((3,), 3.0), torch.full((2, 2), 4.0)
    norm = float(average())
    assert norm == pytest.approx(np.sqrt(3 * 9 + 4 * 16))
    assert float(torch.cat([x.grad.flatten() for x in q]).norm()) == pytest.approx(1, abs=1e-5)
    q[0].grad, q[1].grad = torch.tensor([1.0, float("inf"), float("nan")]), torch.ones(2, 2)
    assert not np.isfinite(float(average()))
    assert all(bool((x.grad == 0).all()) for x in q)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from checkpoint import load, save
    from model import GeometryNet

    torch.manual_seed(1)
    one, two = GeometryNet(), GeometryNet()
    save(one, tmp_path, 7)
    assert load(two, tmp_path) == 7
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert all(f.stat().st_size < 16 * 2**20 for f in tmp_path.iterdir())
    (tmp_path / "weights_heads.pt").write_bytes((tmp_path / "weights_encoder.pt").read_bytes())
    with pytest.raises(ValueError, match="lacks"):
        load(two, tmp_path)


def test_the_shipped_file_holds_every_weight_of_the_network() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from model import GeometryNet
    from warm_start import read_weights

    found = read_weights(SHIPPED)
    for name, module in GeometryNet().named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | torch.nn.LayerNorm):
            assert found[name]["weight"].size == module.weight.numel(), name


def test_the_clock_is_a_share_of_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("PIL")
    import loop

    now = [100.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(time=lambda: now[0]))
    clock = loop.Clock(300.0, torch.device("cpu"), 1)
    now[0] = 150.0
    assert clock.look() == pytest.approx(0.25)
