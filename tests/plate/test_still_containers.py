"""Every kind of picture file, by its values: containers, modes, precision."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.plate.conftest import codes, png_chunk, raw_png, save, scene
from worker.errors import InputError
from worker.formats import still
from worker.formats.raster import BACKDROP
from worker.formats.srgb import LINEAR_OF_CODE, linear_from_srgb


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.tif", {}),
        ("a.tiff", {"compression": "tiff_lzw"}),
        ("a.webp", {"lossless": True}),
        ("a.ppm", {}),
        ("a.gif.png", {}),
        ("a.tif", {"compression": "tiff_deflate"}),
    ],
)
def test_lossless_files_keep_every_code(tmp_path, picture, name, options):
    result = still.read_still(save(tmp_path, Image.fromarray(picture), name, **options))
    assert (result.view == picture).all()
    assert np.array_equal(result.linear, LINEAR_OF_CODE[picture])
    assert result.record.bit_depth == 8 and not result.record.hdr and result.record.scale == 1.0
    assert (result.record.width, result.record.height) == (320, 240) and result.record.crop == (0, 0, 320, 240)


def test_jpeg(tmp_path, picture):
    result = still.read_still(save(tmp_path, Image.fromarray(picture), "a.jpg", quality=95, subsampling=0))
    assert np.abs(result.view.astype(int) - picture).mean() < 3
    assert result.record.format == "JPEG"


def test_the_name_does_not_decide(tmp_path, picture):
    path = tmp_path / "still.jpg"
    Image.fromarray(picture).save(path, format="PNG")
    assert still.read_still(path).record.format == "PNG"


@pytest.mark.parametrize("name", ["-rf.png", "a b.png", "a.b.c.png", "剧照 第一场.png", "é.png", "no_suffix", "🎬.jpg"])
def test_odd_names(tmp_path, picture, name):
    path = tmp_path / name
    Image.fromarray(picture[:64, :64]).save(path, format="PNG")
    assert still.read_still(path).record.name == name


def test_an_undecodable_name_is_escaped(tmp_path, picture):
    import os
    import sys

    if sys.platform != "linux":
        pytest.skip("file names are text there")
    path = os.path.join(os.fsencode(tmp_path), b"a\xff\n.png")  # noqa: PTH118
    with open(path, "wb") as stream:  # noqa: PTH123
        Image.fromarray(picture).save(stream, format="PNG")
    record = still.read_still(type(tmp_path)(os.fsdecode(path))).record
    assert record.name == "a\\udcff\\n.png"
    record.model_dump_json().encode()


def test_grey_palette_bilevel(tmp_path, picture):
    grey = Image.fromarray(picture).convert("L")
    result = still.read_still(save(tmp_path, grey, "l.png"))
    assert (result.view == np.asarray(grey)[..., None]).all()
    palette = Image.fromarray(picture).quantize(16)
    result = still.read_still(save(tmp_path, palette, "p.png"))
    assert (result.view == np.asarray(palette.convert("RGB"))).all()
    bilevel = grey.convert("1")
    for name in ("b.png", "b.tif", "b.bmp"):
        result = still.read_still(save(tmp_path, bilevel, name))
        assert (result.view == np.asarray(bilevel)[..., None] * 255).all() and result.record.bit_depth == 1


def test_alpha_lies_over_mid_grey(tmp_path):
    image = np.zeros((64, 96, 4), np.uint8)
    image[..., 0] = 200
    image[:, :32, 3], image[:, 32:64, 3], image[:, 64:, 3] = 0, 128, 255
    result = still.read_still(save(tmp_path, Image.fromarray(image), "a.png"))
    half = 128 / 255
    assert result.view[5, 5].tolist() == [BACKDROP] * 3
    assert result.view[5, 40].tolist() == [
        round(200 * half + BACKDROP * (1 - half)),
        *[round(BACKDROP * (1 - half))] * 2,
    ]
    assert result.view[5, 80].tolist() == [200, 0, 0]
    assert result.record.has_alpha and "plate.alpha_composited" in codes(result)


def test_opaque_alpha_is_no_remark(tmp_path, picture):
    image = Image.fromarray(picture)
    image.putalpha(255)
    result = still.read_still(save(tmp_path, image, "a.png"))
    assert (result.view == picture).all() and "plate.alpha_composited" not in codes(result)


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (64, 64), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (32, 0, 64, 64))
    result = still.read_still(save(tmp_path, image, "p.png", transparency=0))
    assert result.view[3, 3].tolist() == [BACKDROP] * 3 and result.view[3, 40].tolist() == [0, 255, 0]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_reach_the_linear_plate(tmp_path, name):
    ramp = np.tile(np.linspace(20000, 24000, 256).astype(np.uint16), (64, 1))
    image = np.stack([ramp, ramp // 2, 65535 - ramp], -1)
    cv2.imwrite(str(tmp_path / name), image[..., ::-1])
    result = still.read_still(tmp_path / name)
    assert np.allclose(result.linear, linear_from_srgb(image / 65535.0), atol=2e-6)
    assert len(np.unique(result.linear[..., 0])) == 256  # eight bits would leave 17
    assert result.record.bit_depth == 16
    assert np.abs(result.view.astype(int) - np.rint(image / 257.0)).max() <= 1


def test_sixteen_bit_grey_and_alpha_png(tmp_path):
    ramp = np.tile(np.linspace(30000, 31000, 128).astype(np.uint16), (64, 1))
    (tmp_path / "l.png").write_bytes(raw_png(ramp, 16, 0))
    result = still.read_still(tmp_path / "l.png")
    assert len(np.unique(result.linear[..., 1])) == 128 and result.record.bit_depth == 16
    (tmp_path / "la.png").write_bytes(raw_png(np.stack([ramp, np.full_like(ramp, 65535)], -1), 16, 4))
    again = still.read_still(tmp_path / "la.png")
    assert np.allclose(again.linear, result.linear, atol=1e-6) and again.record.has_alpha


def test_sixteen_bit_jpeg_2000(tmp_path, picture):
    cv2.imwrite(str(tmp_path / "a.jp2"), picture[..., ::-1].astype(np.uint16) * 257 + 13)
    result = still.read_still(tmp_path / "a.jp2")
    assert result.record.bit_depth == 16 and np.abs(result.view.astype(int) - picture).mean() < 2


def test_what_is_read_with_fewer_bits_says_so(tmp_path, picture):
    tifffile = pytest.importorskip("tifffile")
    deep = np.dstack([255 - picture, np.zeros(picture.shape[:2], np.uint8)]).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="separated")
    result = still.read_still(tmp_path / "a.tif")
    assert np.abs(result.view.astype(int) - picture).max() <= 1
    assert ("plate.precision_reduced", {"bits": 16}) in result.remarks
    planes = np.moveaxis(picture.astype(np.uint16) * 257, -1, 0)
    tifffile.imwrite(tmp_path / "p.tif", planes, planarconfig="separate", photometric="rgb")
    with pytest.raises(InputError, match="separate colour planes"):
        still.read_still(tmp_path / "p.tif")
    tifffile.imwrite(tmp_path / "q.tif", np.moveaxis(picture, -1, 0), planarconfig="separate", photometric="rgb")
    assert (still.read_still(tmp_path / "q.tif").view == picture).all()


@pytest.mark.parametrize("least", [0, 140])
def test_thirty_two_bit_grey(tmp_path, least):
    tifffile = pytest.importorskip("tifffile")
    grey = np.maximum(scene()[..., 0], least)
    tifffile.imwrite(tmp_path / "a.tif", grey.astype(np.uint32) * 0x01010101)
    result = still.read_still(tmp_path / "a.tif")
    assert (result.view == grey[..., None]).all() and result.record.bit_depth == 32


@pytest.mark.parametrize("bits", [8, 16])
def test_associated_alpha_is_divided_out(tmp_path, picture, bits):
    """Half transparent, colours stored at half: over the backdrop they come out at half and half."""
    tifffile = pytest.importorskip("tifffile")
    alpha = np.full(picture.shape[:2], 128, np.uint8)
    stored = np.dstack([np.rint(picture * (128 / 255)).astype(np.uint8), alpha])
    if bits == 16:
        stored = stored.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    result = still.read_still(tmp_path / "a.tif")
    wanted = picture * (128 / 255) + BACKDROP * (127 / 255)
    assert np.abs(result.view - wanted).max() < 2 and "plate.alpha_composited" in codes(result)


def test_float_tiff_with_alpha_and_in_grey(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    image = np.full((64, 96, 4), (0.4, 0.2, 0.1, 0.5), np.float32)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extrasamples=["unassalpha"])
    result = still.read_still(tmp_path / "a.tif")
    assert np.allclose(result.linear, [0.29, 0.19, 0.14], atol=1e-6) and result.record.has_alpha
    tifffile.imwrite(tmp_path / "g.tif", np.linspace(0, 2, 64 * 96, dtype=np.float32).reshape(64, 96))
    result = still.read_still(tmp_path / "g.tif")
    assert result.linear.max() == 2.0 and (result.linear[..., 0] == result.linear[..., 2]).all()
    tifffile.imwrite(tmp_path / "h.tif", image.astype(np.float16), photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(InputError, match="16-bit float TIFF"):
        still.read_still(tmp_path / "h.tif")


def test_png_primaries_chunk(tmp_path):
    """cHRM of Rec.2020 (times 100000, white first): its red lies outside Rec.709 by 1.66 (BT.2087)."""
    chunk = struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600)
    image = np.full((64, 64, 3), 90, np.uint8)
    image[:, 32:] = (255, 0, 0)
    gamma = png_chunk(b"gAMA", struct.pack(">I", 45455))
    (tmp_path / "a.png").write_bytes(raw_png(image, 8, 2, gamma + png_chunk(b"cHRM", chunk)))
    result = still.read_still(tmp_path / "a.png")
    assert np.allclose(result.linear[5, 50], [1.6605, -0.1246, -0.0182], atol=2e-3)
    assert (np.abs(result.view[5, 5].astype(int) - 90) <= 1).all()


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_sixteen_bit_grey_tiff(tmp_path, white_is_zero):
    ramp = np.tile(np.linspace(30000, 31000, 128).astype(np.uint16), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "g.tif", tiffinfo={262: 0 if white_is_zero else 1})
    data = (tmp_path / "g.tif").read_bytes()
    if white_is_zero and struct.pack("<HHIH", 262, 3, 1, 0) not in data:
        at_tag = data.index(struct.pack("<HHI", 262, 3, 1)) + 8
        (tmp_path / "g.tif").write_bytes(data[:at_tag] + b"\0\0" + data[at_tag + 2 :])
    result = still.read_still(tmp_path / "g.tif")
    wanted = 65535 - ramp if white_is_zero else ramp
    assert np.allclose(result.linear[..., 0], linear_from_srgb(wanted / 65535.0), atol=1e-5)


def test_float_tiff_is_scene_linear(tmp_path):
    image = np.full((64, 96, 3), (0.18, 0.5, 4.0), np.float32)
    image[:, :48] *= 0.25
    cv2.imwrite(str(tmp_path / "f.tif"), image[..., ::-1])
    result = still.read_still(tmp_path / "f.tif")
    assert np.array_equal(result.linear, image)
    assert result.record.hdr and "plate.float_is_linear" in codes(result)


def test_animation_gives_its_first_frame(tmp_path, picture):
    frames = [Image.fromarray(np.roll(picture, 40 * i, 1)) for i in range(3)]
    path = save(tmp_path, frames[0], "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    result = still.read_still(path)
    assert (result.view == picture).all()
    assert ("plate.first_frame", {"frames": 3}) in result.remarks
