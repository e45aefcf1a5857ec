"""PNG files: the pixels come back, and speed is not bought with size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worker.formats.image import read_grey, read_rgb, write_png


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4), (1, 1, 3)])
def test_pixels_come_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_png(tmp_path / "a.png", pixels)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_masks_are_black_and_white(tmp_path: Path) -> None:
    mask = np.arange(12).reshape(3, 4) % 3 == 0
    write_png(tmp_path / "a.png", mask)
    assert np.array_equal(read_grey(tmp_path / "a.png"), np.where(mask, 255, 0))


def test_files_are_no_larger_than_pillows_own(tmp_path: Path, examples_dir: Path) -> None:
    still = read_rgb(examples_dir / "tabletop.png")
    write_png(tmp_path / "a.png", still)
    usual = io.BytesIO()
    Image.fromarray(still).save(usual, format="PNG")
    assert (tmp_path / "a.png").stat().st_size < 1.02 * len(usual.getvalue())
