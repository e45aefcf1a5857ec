from __future__ import annotations

import cv2
import numpy as np
import pytest

from worker.engines.contract import CleanPlateRequest
from worker.engines.embedded.inpaint import EmbeddedInpaint
from worker.engines.embedded.patchmatch import membrane


@pytest.fixture(scope="module")
def engine() -> EmbeddedInpaint:
    engine = EmbeddedInpaint()
    engine.load("cpu", "full")
    return engine


def fill(engine: EmbeddedInpaint, image: np.ndarray, hole: np.ndarray, seed: int = 0):
    return engine.run(CleanPlateRequest(image, hole, seed), lambda f: None)


def planks(height: int = 180, width: int = 260) -> np.ndarray:
    """A wall over a floor of planks: two surfaces that continue sideways, with seams and grain."""
    rng = np.random.default_rng(5)
    rows = np.repeat(np.arange(height)[:, None], width, axis=1)
    image = np.where((rows < 80)[..., None], (120, 140, 150), (150, 100, 60)).astype(np.float64)
    image[(rows >= 80) & (rows % 20 < 2)] = (70, 45, 25)
    return (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def test_continues_two_surfaces_better_than_diffusion(engine) -> None:
    truth = planks()
    hole = np.zeros(truth.shape[:2], dtype=bool)
    hole[50:140, 100:160] = True
    spoilt = truth.copy()
    spoilt[hole] = (255, 0, 255)
    result = fill(engine, spoilt, hole).image
    telea = cv2.inpaint(spoilt, hole.astype(np.uint8), 5, cv2.INPAINT_TELEA)
    ours = psnr(result[hole], truth[hole])
    assert ours > 23
    assert ours > psnr(telea[hole], truth[hole]) + 3


def test_grain_comes_along(engine) -> None:
    truth = planks()
    hole = np.zeros(truth.shape[:2], dtype=bool)
    hole[20:60, 100:140] = True
    result = fill(engine, truth, hole).image
    inner = np.s_[26:54, 106:134]
    assert result[inner].astype(float).std(axis=(0, 1)).mean() > 2  # the wall's own grain is 4


def test_outside_stays_and_the_prop_does_not_bleed(engine) -> None:
    image = planks()
    hole = np.zeros(image.shape[:2], dtype=bool)
    hole[60:120, 30:90] = True
    hole[70:130, 150:200] = True
    image[hole] = (255, 0, 255)
    result = fill(engine, image, hole).image
    assert (result[~hole] == image[~hole]).all()
    magenta = np.minimum(result[..., 0], result[..., 2]).astype(int) - result[..., 1]
    assert magenta[hole].max() < 60


def test_same_seed_same_bytes(engine) -> None:
    image, hole = planks(), np.zeros((180, 260), dtype=bool)
    hole[60:120, 30:90] = True
    assert (fill(engine, image, hole, 7).image == fill(engine, image, hole, 7).image).all()


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (12, 400), (64, 48)])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_odd_sizes_and_whole_frames_do_not_fail(engine, shape, share) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    hole = np.zeros(shape, dtype=bool)
    hole[:, : max(1, int(shape[1] * share))] = True
    result = fill(engine, image, hole)
    assert result.image.shape == image.shape
    if share == 1.0:
        assert {"clean_plate.large", "clean_plate.smooth"} == {n.code for n in result.notices}


def test_membrane_keeps_what_is_known_and_stays_between() -> None:
    image = np.zeros((40, 60, 3), dtype=np.float32)
    image[:, 30:] = 1
    unknown = np.zeros((40, 60), dtype=bool)
    unknown[:, 10:50] = True
    full = membrane(image, unknown)
    assert np.allclose(full[~unknown], image[~unknown])
    assert full.min() >= 0 and full.max() <= 1 + 1e-6
    assert full[20, 12].mean() < 0.35 and full[20, 47].mean() > 0.65
