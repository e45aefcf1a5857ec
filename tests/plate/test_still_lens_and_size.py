"""Stills turned, with a lens, with bars, too large, too small; boxes that follow."""

from __future__ import annotations

import math
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.plate.conftest import codes, exif_with, save, scene
from worker.formats import still
from worker.formats.srgb import linear_from_srgb
from worker.session.model import InputRecord


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations(tmp_path, name, orientation):
    """Corner colours: the EXIF definition says where the stored first row and column belong (EXIF 2.32, tag 274)."""
    upright = np.full((64, 96, 3), 128, np.uint8)
    upright[:24, :24], upright[:24, -24:], upright[-24:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    options = {"exif": exif, **({"quality": 98, "subsampling": 0} if "jpg" in name else {})}
    if "webp" in name:
        options["lossless"] = True
    result = still.read_still(save(tmp_path, Image.fromarray(np.ascontiguousarray(stored)), name, **options))
    assert result.view.shape == upright.shape
    assert np.abs(result.view.astype(int) - upright)[4:20, 4:20].max() < 8
    assert np.abs(result.view.astype(int) - upright)[4:20, -20:-4].max() < 8
    assert np.abs(result.view.astype(int) - upright)[-20:-4, 4:20].max() < 8
    assert result.record.exif_orientation == orientation and (result.record.width, result.record.height) == (96, 64)


def test_orientation_of_a_sixteen_bit_tiff(tmp_path):
    image = np.zeros((64, 96, 3), np.uint16)
    image[:32] = 30001
    cv2.imwrite(str(tmp_path / "a.tif"), image)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    # Turn the PlanarConfiguration entry (value 1, the default anyway) into Orientation 6.
    entry = data.index(struct.pack("<HHI", 284, 3, 1))
    data[entry : entry + 10] = struct.pack("<HHIH", 274, 3, 1, 6)
    (tmp_path / "a.tif").write_bytes(data)
    result = still.read_still(tmp_path / "a.tif")
    assert result.view.shape == (96, 64, 3)
    assert result.linear[0, -1, 0] == pytest.approx(float(linear_from_srgb(30001 / 65535)), abs=1e-5)
    assert result.linear[0, 0, 0] == 0


def test_lens_from_35mm_equivalent(tmp_path, picture):
    """On a 3:2 frame the equivalent is exact: 35 mm on 36 mm is 54.43 degrees wide."""
    image = Image.fromarray(scene(360, 240))
    lens = still.read_still(save(tmp_path, image, "a.jpg", exif=exif_with(ifd={0xA405: 35}))).record.lens
    assert lens.source == "exif" and lens.focal_35mm == 35
    assert lens.hfov_deg == pytest.approx(2 * math.degrees(math.atan(18 / 35)), abs=1e-6)


def test_lens_of_an_upright_phone_picture(tmp_path):
    """Turned to portrait, the field of view goes with the short side."""
    exif = exif_with(ifd={0xA405: 26, 0xA002: 360, 0xA003: 240}, t274=6)
    result = still.read_still(save(tmp_path, Image.fromarray(scene(360, 240)), "a.jpg", exif=exif))
    assert result.record.width == 240
    assert result.record.lens.hfov_deg == pytest.approx(2 * math.degrees(math.atan(12 / 26)), abs=1e-6)


def test_lens_from_the_focal_plane(tmp_path):
    """50 mm behind 10 pixels a millimetre (FocalPlaneXResolution 100 per cm), 360 pixels wide: 36 mm of sensor."""
    exif = exif_with(ifd={0x920A: 50.0, 0xA20E: 100.0, 0xA210: 3, 0xA002: 360, 0xA003: 240})
    lens = still.read_still(save(tmp_path, Image.fromarray(scene(360, 240)), "a.jpg", exif=exif)).record.lens
    assert lens.hfov_deg == pytest.approx(2 * math.degrees(math.atan(18 / 50)), abs=1e-4) and lens.focal_mm == 50


@pytest.mark.parametrize("ifd", [{0xA405: 35, 0xA002: 6000, 0xA003: 1000}, {0xA405: 65535}])
def test_a_lens_that_does_not_fit_is_ignored(tmp_path, picture, ifd):
    result = still.read_still(save(tmp_path, Image.fromarray(picture), "a.jpg", exif=exif_with(ifd=ifd)))
    assert result.record.lens.source == "none" and "plate.lens_ignored" in codes(result)


@pytest.mark.parametrize("ifd", [{0xA405: 0}, {0x920A: 50.0}, {}])
def test_no_lens_is_no_remark(tmp_path, picture, ifd):
    result = still.read_still(save(tmp_path, Image.fromarray(picture), "a.jpg", exif=exif_with(ifd=ifd)))
    assert result.record.lens.source == "none" and "plate.lens_ignored" not in codes(result)


def test_the_users_lens_wins(tmp_path, picture):
    path = save(tmp_path, Image.fromarray(picture), "a.jpg", exif=exif_with(ifd={0xA405: 35}))
    assert still.read_still(path, hfov_deg=40).record.lens.hfov_deg == 40
    lens = still.read_still(path, lens_mm=50).record.lens
    assert lens.source == "user" and lens.hfov_deg == pytest.approx(39.5978, abs=1e-3)  # Blender's 50 mm


def test_cropped_bars_narrow_the_lens(tmp_path):
    image = scene(360, 240)
    image[:, :60] = image[:, -60:] = 0
    result = still.read_still(save(tmp_path, Image.fromarray(image), "a.png", exif=exif_with(ifd={0xA405: 36})))
    assert result.record.crop == (60, 0, 240, 240)
    assert result.record.lens.hfov_deg == pytest.approx(2 * math.degrees(math.atan(120 / 360)), abs=1e-6)


def test_bars_are_cropped_and_told(tmp_path):
    image = scene(640, 360)
    image[:40], image[-44:] = 3, 3
    result = still.read_still(save(tmp_path, Image.fromarray(image), "a.png"))
    assert result.record.crop == (0, 40, 640, 276)
    assert (result.view == image[40:-44]).all()
    assert ("plate.bars_cropped", {"left": 0, "top": 40, "right": 0, "bottom": 44}) in result.remarks


def test_a_large_still_is_reduced_in_linear_light(tmp_path):
    """Black and white columns average to linear 0.5, sRGB 188; averaging the codes would give 128."""
    image = np.full((640, 6144, 3), 90, np.uint8)
    image[:, 0::2], image[:, 1::2] = 0, 255
    image[:, :1500] = 77
    result = still.read_still(save(tmp_path, Image.fromarray(image), "a.png"))
    assert result.view.shape == (426, 4096, 3) and result.record.scale == pytest.approx(4096 / 6144)
    assert abs(float(result.linear[100:300, 2000:4000].mean()) - 0.5) < 2e-3
    assert (result.view[50, :900] == 77).all()
    assert "plate.reduced" in codes(result)


@given(st.integers(1, 20000), st.integers(1, 20000))
def test_working_size(width, height):
    w, h = still.working_size(width, height)
    assert w <= still.LONGEST_SIDE and h <= still.LONGEST_SIDE and w * h <= still.MOST_PIXELS
    if max(width, height) <= 4096 and width * height <= still.MOST_PIXELS:
        assert (w, h) == (width, height)
    else:  # no smaller than needed: one more pixel of width would break a limit
        grown = (w + 1) * max(height / width, 1 / 20000)
        assert w + 1 > 4096 or grown > 4095 or (w + 1) * (grown - 1) > still.MOST_PIXELS * 0.99 or min(w, h) < 50


def test_a_small_still_is_warned_about(tmp_path):
    result = still.read_still(save(tmp_path, Image.fromarray(scene(64, 48)), "a.png"))
    assert result.view.shape == (48, 64, 3) and "plate.small" in codes(result)


def test_all_black_is_a_still(tmp_path):
    result = still.read_still(save(tmp_path, Image.new("RGB", (320, 240)), "a.png"))
    assert result.record.crop == (0, 0, 320, 240) and "plate.blank" in codes(result)


def halved(width: int, height: int, crop: tuple[int, int, int, int]) -> InputRecord:
    """A still of which `crop` is kept at half its size."""
    return InputRecord(
        name="a",
        sha256="0",
        bytes=1,
        format="PNG",
        width=width,
        height=height,
        mode="RGB",
        bit_depth=8,
        color_space="sRGB",
        crop=crop,
        scale=0.5,
    )


@given(st.integers(0, 300), st.integers(0, 200), st.integers(1, 400), st.integers(1, 300))
def test_boxes_follow_crop_and_scale(x, y, w, h):
    record = halved(400, 300, (40, 30, 320, 240))
    box = record.to_still_box((x, y, w, h))
    overlap = min(x + w, 360) > max(x, 40) and min(y + h, 270) > max(y, 30)
    assert (box is not None) == overlap
    if box:
        bx, by, bw, bh = box
        assert bx >= 0 and by >= 0 and bx + bw <= 160 and by + bh <= 120 and bw >= 1 and bh >= 1
        assert bx * 2 + 40 <= max(x, 40) and (bx + bw) * 2 + 40 >= min(x + w, 360)


def test_boxes_of_a_reduced_still():
    record = halved(4000, 2000, (0, 100, 4000, 1800))
    assert record.to_still_box((100, 300, 200, 100)) == (50, 100, 100, 50)
    assert record.to_still_box((3900, 1700, 900, 900)) == (1950, 800, 50, 100)
