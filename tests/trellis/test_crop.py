"""Crops for TRELLIS: upstream's own numbers where it has any, and what it does not do (small, cut, empty)."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from worker.engines.contract import PropRequest
from worker.engines.trellis.crop import GOOD_SIDE, SIDE, crop
from worker.errors import StageError


def _request(rgba: np.ndarray, **more) -> PropRequest:
    return PropRequest(rgba, (0, 0, *rgba.shape[1::-1]), None, None, np.eye(3, dtype=np.float32),
                       np.array([0, 1, 0], np.float32), None, "thing", **more)  # fmt: skip


def _disc(size: int, radius: float, soft: float = 1.0) -> np.ndarray:
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    alpha = np.clip((radius - np.hypot(x, y)) / soft + 0.5, 0, 1)
    colour = np.stack([x / size + 0.5, y / size + 0.5, np.full_like(x, 0.6)], axis=-1)
    return np.round(np.dstack([colour, alpha]) * 255).astype(np.uint8)


def _upstream(rgba: np.ndarray) -> np.ndarray:
    """The published recipe: box of alpha > 0.8, 1.2 times its longer side, Lanczos on RGBA, times alpha."""
    solid = np.argwhere(rgba[..., 3] > 0.8 * 255)
    (top, left), (bottom, right) = solid.min(axis=0), solid.max(axis=0)
    middle, size = ((left + right) / 2, (top + bottom) / 2), int(max(right - left, bottom - top) * 1.2)
    square = Image.fromarray(rgba).crop((middle[0] - size // 2, middle[1] - size // 2,
                                         middle[0] + size // 2, middle[1] + size // 2))  # fmt: skip
    values = np.array(square.resize((518, 518), Image.Resampling.LANCZOS)).astype(np.float32) / 255
    return (values[..., :3] * values[..., 3:4] * 255).astype(np.uint8)


@pytest.mark.parametrize("size, radius", [(1100, 401.3), (900, 260.0), (700, 345.0)])
def test_large_crops_are_upstreams_to_the_byte(size, radius):
    rgba = _disc(size, radius, soft=5)
    assert np.array_equal(crop(_request(rgba)).image, _upstream(rgba))


def test_the_prop_is_centred_with_its_margin():
    image = crop(_request(np.pad(_disc(300, 100), ((0, 80), (200, 0), (0, 0))))).image
    rows, columns = np.nonzero(image.sum(axis=-1) > 60)
    for low, high in ((rows.min(), rows.max()), (columns.min(), columns.max())):
        assert (low + high) / 2 == pytest.approx(SIDE / 2, abs=4)
        assert high - low == pytest.approx(SIDE / 1.2, rel=0.03)


def test_black_around_and_soft_at_the_edge():
    found = crop(_request(_disc(800, 300, soft=20)))
    assert found.image.shape == (SIDE, SIDE, 3)
    assert not found.image[:20].any() and not found.image[:, -20:].any()
    edge = found.image[SIDE // 2, :, 2]
    assert len(np.unique(edge[(edge > 5) & (edge < 145)])) > 5  # blue falls off through many values, not one step


def test_a_small_crop_comes_nearer_to_the_large_one_than_lanczos_does():
    small = _disc(94, 40)  # fills its own square: nothing is cut off, so the truth is the same disc drawn large
    drawn = _disc(SIDE, 40 * SIDE / 94) / 255
    truth = 255 * drawn[..., :3] * drawn[..., 3:]
    ours = crop(_request(small))
    error, plain = (np.square(image - truth).mean() for image in (ours.image.astype(float), _upstream(small)))
    assert error < 0.8 * plain
    assert [notice.code for notice in ours.notices] == ["props.small_crop"]
    assert ours.image.max() <= small[small[..., 3] > 0].max()  # sharpening drew no halo


def test_the_score_falls_with_size_cut_and_cover():
    large, small = _disc(600, 250), _disc(100, 40)
    whole = crop(_request(large)).score
    assert whole == 1.0
    assert crop(_request(small)).score == pytest.approx(79 / GOOD_SIDE, abs=0.01)
    cut, hidden = crop(_request(large, truncated=True)), crop(_request(large, occluded=True))
    assert cut.score < whole and hidden.score < whole
    assert [n.code for n in cut.notices + hidden.notices] == ["props.truncated", "props.occluded"]


@pytest.mark.parametrize("alpha", [0, 150])
def test_an_empty_mask_is_refused_with_a_sentence(alpha):
    with pytest.raises(StageError) as refusal:
        crop(_request(np.full((50, 60, 4), alpha, np.uint8)))
    assert "nothing solid" in refusal.value.en and "实体" in refusal.value.zh


def test_a_single_solid_speck_is_refused():
    rgba = np.zeros((50, 60, 4), np.uint8)
    rgba[20, 20] = 255
    with pytest.raises(StageError):
        crop(_request(rgba))
