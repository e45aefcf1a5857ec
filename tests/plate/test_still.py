"""Every kind of picture file, by its values: colours, precision, orientation, lens, labels."""

from __future__ import annotations

import json
import math
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from tests.plate.conftest import png_chunk, raw_png, scene
from worker.errors import InputError
from worker.formats import icc, still
from worker.formats.raster import BACKDROP
from worker.formats.srgb import D50_XYZ, LINEAR_OF_CODE, REC709, linear_from_srgb, rec709_from_d50, srgb8_from_linear
from worker.session.model import InputRecord

PATCHES = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 60), (30, 90, 150), (128, 128, 128), (250, 250, 240)]


def patches(colours=PATCHES, cell=40):
    row = np.repeat(np.asarray(colours, np.uint8), cell, axis=0)
    return np.tile(row, (64, 1, 1))


def at(image, index, cell=40):
    return image[32, index * cell + cell // 2]


def codes(result):
    return {code for code, _ in result.remarks}


def save(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


# --- containers and modes --------------------------------------------------------------------------------------------
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


# --- colour ----------------------------------------------------------------------------------------------------------
def matrix_profile(primaries=((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), gamma=563, white_d50=True, curve=None):
    """A v2 RGB matrix profile by hand; the default is Adobe RGB (1998), gamma 563/256. Colorants from that standard."""
    colorants = {
        b"rXYZ": (0.60974, 0.31111, 0.01947),
        b"gXYZ": (0.20528, 0.62567, 0.06087),
        b"bXYZ": (0.14919, 0.06322, 0.74457),
    }
    xyz = {
        k: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values)) for k, values in colorants.items()
    }
    trc = curve or b"curv\0\0\0\0" + struct.pack(">IH", 1, gamma) + b"\0\0"
    text = b"Adobe-like\0"
    desc = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 78
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    blobs = {
        b"desc": desc + b"\0" * (-len(desc) % 4),
        b"wtpt": white,
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        **xyz,
        b"rTRC": trc,
        b"gTRC": trc,
        b"bTRC": trc,
    }
    offset = 128 + 4 + 12 * len(blobs)
    table, body = struct.pack(">I", len(blobs)), b""
    for name, blob in blobs.items():
        table += struct.pack(">4sII", name, offset + len(body), len(blob))
        body += blob
    head = bytearray(128)
    head[8:12], head[12:16], head[16:20], head[20:24] = b"\x02\x40\0\0", b"mntr", b"RGB ", b"XYZ "
    head[36:40] = b"acsp"
    head[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    head[0:4] = struct.pack(">I", 128 + len(table) + len(body))
    return bytes(head) + table + body


SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_adobe_rgb_agrees_with_littlecms(tmp_path):
    profile = matrix_profile()
    image = Image.fromarray(patches())
    result = still.read_still(save(tmp_path, image, "a.png", icc_profile=profile))
    reference = np.asarray(icc.convert(image, profile))
    for index in range(len(PATCHES)):
        assert np.abs(at(result.view, index).astype(int) - at(reference, index)).max() <= 1, index
    assert result.record.color_space == "Adobe-like"
    # Adobe RGB's own green lies outside Rec.709: red of (0, 255, 0) is negative there and stays so in the linear plate.
    assert at(result.linear, 1)[0] < -0.3 and at(result.view, 1).tolist()[0] == 0


def test_adobe_rgb_in_sixteen_bits(tmp_path):
    ramp = np.tile(np.linspace(20000, 24000, 256).astype(np.uint16), (64, 1))
    data = raw_png(np.stack([ramp] * 3, -1), 16, 2, png_chunk(b"iCCP", b"x\0\0" + zlib.compress(matrix_profile())))
    (tmp_path / "a.png").write_bytes(data)
    result = still.read_still(tmp_path / "a.png")
    assert np.allclose(result.linear[..., 1], (ramp / 65535.0) ** (563 / 256), atol=2e-4)
    assert len(np.unique(result.linear[0, :, 1])) == 256


def test_srgb_profile_changes_nothing(tmp_path, picture):
    result = still.read_still(save(tmp_path, Image.fromarray(picture), "a.png", icc_profile=SRGB_PROFILE))
    assert (result.view == picture).all() and result.record.color_space == "sRGB"


@pytest.mark.parametrize(
    ("form", "numbers", "function"),
    [
        (0, (2.0,), lambda x: x**2),
        (1, (2.0, 0.9, 0.1), lambda x: (0.9 * x + 0.1) ** 2),
        (2, (2.0, 0.8, 0.1, 0.05), lambda x: (0.8 * x + 0.1) ** 2 + 0.05),
        (3, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045), linear_from_srgb),
        (
            4,
            (2.0, 0.9, 0.05, 0.5, 0.2, 0.01, 0.02),
            lambda x: np.where(x >= 0.2, (0.9 * x + 0.05) ** 2 + 0.01, 0.5 * x + 0.02),
        ),
    ],
)
def test_parametric_curves(form, numbers, function):
    tag = (
        b"para\0\0\0\0"
        + struct.pack(">HH", form, 0)
        + struct.pack(f">{len(numbers)}i", *(round(n * 65536) for n in numbers))
    )
    model = icc.matrix_model(matrix_profile(curve=tag))
    x = np.linspace(0, 1, 33, dtype=np.float32)
    assert np.allclose(model.curves[0](x), function(x), atol=1e-3)


def test_table_curve():
    table = (np.linspace(0, 1, 1024) ** 1.8 * 65535).astype(">u2")
    model = icc.matrix_model(matrix_profile(curve=b"curv\0\0\0\0" + struct.pack(">I", 1024) + table.tobytes()))
    assert float(model.curves[2](np.float32(0.5))) == pytest.approx(0.5**1.8, abs=1e-3)


@pytest.mark.parametrize("profile", [b"rubbish" * 40, SRGB_PROFILE[:150], matrix_profile()[:300]])
def test_a_broken_profile_is_a_remark_not_an_end(tmp_path, picture, profile):
    result = still.read_still(save(tmp_path, Image.fromarray(picture), "a.png", icc_profile=profile))
    assert (result.view == picture).all() and "plate.profile_broken" in codes(result)


@given(st.binary(max_size=600), st.integers(0, 500))
def test_no_profile_bytes_crash_the_reader(noise, position):
    profile = bytearray(matrix_profile())
    position = min(position, len(profile))
    profile[position : position + len(noise)] = noise
    try:
        model = icc.matrix_model(bytes(profile))
        if model is not None:
            assert model.curves[0](np.linspace(0, 1, 5, dtype=np.float32)).shape == (5,)
    except icc.BrokenProfile:
        pass


def test_a_profile_for_other_channels_is_a_remark(tmp_path, picture):
    result = still.read_still(
        save(tmp_path, Image.fromarray(picture).convert("CMYK"), "a.tif", icc_profile=SRGB_PROFILE)
    )
    assert {"plate.profile_broken", "plate.cmyk_unprofiled"} <= codes(result)


def test_srgb_profile_on_grey(tmp_path, picture):
    grey = Image.fromarray(picture).convert("L")
    result = still.read_still(save(tmp_path, grey, "a.png", icc_profile=SRGB_PROFILE))
    assert (result.view == np.asarray(grey)[..., None]).all() and "plate.profile_broken" not in codes(result)


def table_profile(space, corner_lab):
    """A v2 profile whose A2B0 table (lut8Type, ICC.1:2001-04 section 6.5.8) has the given Lab at each ink corner."""
    inks = len(next(iter(corner_lab)))
    corners = [tuple(int(bit) for bit in f"{index:0{inks}b}") for index in range(2**inks)]
    lab = b"".join(
        bytes((round(corner_lab[c][0] * 2.55), round(corner_lab[c][1] + 128), round(corner_lab[c][2] + 128)))
        for c in corners
    )
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes((inks, 3, 2, 0)) + matrix + ramp * inks + lab + ramp * 3
    text = b"Table\0"
    desc = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 78
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    blobs = {b"desc": desc, b"wtpt": white, b"cprt": b"text\0\0\0\0none\0", b"A2B0": lut, b"A2B1": lut}
    table, body = struct.pack(">I", len(blobs)), b""
    for name, blob in blobs.items():
        table += struct.pack(">4sII", name, 132 + 12 * len(blobs) + len(body), len(blob))
        body += blob + b"\0" * (-len(blob) % 4)
    head = bytearray(128)
    head[0:4] = struct.pack(">I", 128 + len(table) + len(body))
    head[8:12], head[12:16], head[16:20], head[20:24], head[36:40] = b"\x02\x40\0\0", b"prtr", space, b"Lab ", b"acsp"
    head[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    return bytes(head) + table + body


def srgb_of_lab(lab):
    """CIE 15: L*a*b* under D50 to sRGB codes."""
    fy = (lab[0] + 16) / 116
    f = np.array([fy + lab[1] / 500, fy, fy - lab[2] / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * D50_XYZ
    return srgb8_from_linear((rec709_from_d50() @ xyz).astype(np.float32).reshape(1, 1, 3))[0, 0]


CYAN, MAGENTA, YELLOW = (62, -25, -35), (52, 60, -2), (88, -5, 70)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_with_a_profile(tmp_path, name):
    """The inks' own colours, not the naive complement; relative colorimetric keeps the profile's Lab as it stands."""
    lab = {c: (0.0, 0.0, 0.0) for c in np.ndindex(2, 2, 2, 2)}
    lab |= {(0, 0, 0, 0): (100, 0, 0), (1, 0, 0, 0): CYAN, (0, 1, 0, 0): MAGENTA, (0, 0, 1, 0): YELLOW}
    inks = np.array([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 0, 255), (0, 0, 255, 0)], np.uint8)
    image = Image.fromarray(np.tile(np.repeat(inks, 40, 0), (64, 1, 1)), mode="CMYK")
    options = {"quality": 98, "subsampling": 0} if "j" in name else {}
    path = save(tmp_path, image, name, icc_profile=table_profile(b"CMYK", lab), **options)
    result = still.read_still(path)
    for index, wanted in enumerate([(100, 0, 0), CYAN, MAGENTA, (0, 0, 0), YELLOW]):
        assert np.abs(at(result.view, index).astype(int) - srgb_of_lab(wanted)).max() <= 6, index
    assert not codes(result) & {"plate.cmyk_unprofiled", "plate.profile_broken"}
    assert result.record.mode == "CMYK (Table)"


def test_rgb_profile_by_tables(tmp_path):
    lab = {c: (100.0 * sum(c) / 3, 0.0, 0.0) for c in np.ndindex(2, 2, 2)} | {(1, 0, 0): MAGENTA, (0, 1, 0): CYAN}
    colours = [(255, 0, 0), (0, 0, 0), (0, 255, 0), (255, 255, 255)]
    profile = table_profile(b"RGB ", lab)
    result = still.read_still(save(tmp_path, Image.fromarray(patches(colours)), "a.png", icc_profile=profile))
    for index, wanted in enumerate([MAGENTA, (0, 0, 0), CYAN, (100, 0, 0)]):
        assert np.abs(at(result.view, index).astype(int) - srgb_of_lab(wanted)).max() <= 3, index
    deep = patches(colours).astype(np.uint16) * 257
    data = raw_png(deep, 16, 2, png_chunk(b"iCCP", b"x\0\0" + zlib.compress(profile)))
    (tmp_path / "deep.png").write_bytes(data)
    assert "plate.profile_tables" in codes(still.read_still(tmp_path / "deep.png"))


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path, name):
    """Full cyan, magenta, yellow, black ink and bare paper, without a profile."""
    inks = np.array([(255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (0, 0, 0, 0)], np.uint8)
    image = Image.fromarray(np.tile(np.repeat(inks, 40, 0), (64, 1, 1)), mode="CMYK")
    result = still.read_still(save(tmp_path, image, name, **({"quality": 98, "subsampling": 0} if "j" in name else {})))
    wanted = [(0, 255, 255), (255, 0, 255), (255, 255, 0), (0, 0, 0), (255, 255, 255)]
    for index, colour in enumerate(wanted):
        assert np.abs(at(result.view, index).astype(int) - colour).max() <= 6, index
    assert "plate.cmyk_unprofiled" in codes(result)


def test_lab_tiff(tmp_path):
    """CIE L* 53.24, a* 80.09, b* 67.20 is sRGB red under D65; Pillow stores L*a*b* under D50: 54.29, 80.81, 69.89."""
    lab = np.zeros((64, 64, 3), np.uint8)
    lab[:] = (round(54.29 * 2.55), 81 % 256, 70 % 256)
    result = still.read_still(save(tmp_path, Image.fromarray(lab, mode="LAB"), "lab.tif"))
    assert np.abs(result.view[5, 5].astype(int) - (255, 0, 0)).max() <= 12


def test_png_gamma_chunk(tmp_path):
    """gAMA 100000 says the samples are linear light: code 55 is 0.2157, and shows as sRGB code 128."""
    data = raw_png(np.full((64, 64, 3), 55, np.uint8), 8, 2, png_chunk(b"gAMA", struct.pack(">I", 100000)))
    (tmp_path / "a.png").write_bytes(data)
    result = still.read_still(tmp_path / "a.png")
    assert result.linear[0, 0, 0] == pytest.approx(55 / 255, abs=1e-4) and result.view[0, 0, 0] == 128


def with_code_points(tmp_path, code, primaries, transfer):
    image = np.zeros((64, 64, 3), np.uint16)
    image[:] = round(code * 65535)
    image[:, :32] = round(0.3 * 65535)
    data = raw_png(image, 16, 2, png_chunk(b"cICP", bytes((primaries, transfer, 0, 1))))
    (tmp_path / "a.png").write_bytes(data)
    return still.read_still(tmp_path / "a.png")


def test_png_in_pq(tmp_path):
    """BT.2408: 58 % PQ is the 203 cd/m2 of reference white; 75.18 % PQ is 1000 cd/m2 (ST 2084)."""
    result = with_code_points(tmp_path, 0.5807, 9, 16)
    assert np.allclose(result.linear[5, 50], 1.0, atol=0.01) and result.record.hdr
    assert result.record.color_space == "Rec.2100 PQ" and result.record.bit_depth == 16
    assert with_code_points(tmp_path, 0.7518, 9, 16).linear[5, 50, 1] == pytest.approx(1000 / 203, rel=0.01)


def test_png_in_hlg(tmp_path):
    """BT.2408: 75 % is white; BT.2100: half signal is a twelfth of the peak, and the peak 12/3.17955 of white."""
    assert with_code_points(tmp_path, 0.75, 9, 18).linear[5, 50, 0] == pytest.approx(1.0, abs=1e-3)
    assert with_code_points(tmp_path, 1.0, 9, 18).linear[5, 50, 0] == pytest.approx(3.774, abs=5e-3)


def test_png_in_display_p3_and_srgb(tmp_path):
    assert with_code_points(tmp_path, 0.5, 12, 13).record.color_space == "Display P3"
    result = with_code_points(tmp_path, 0.5, 1, 13)
    assert result.record.color_space == "sRGB" and not result.record.hdr


def test_png_of_srgb_gamma_is_untouched(tmp_path, picture):
    (tmp_path / "a.png").write_bytes(raw_png(picture, 8, 2, png_chunk(b"gAMA", struct.pack(">I", 45455))))
    assert (still.read_still(tmp_path / "a.png").view == picture).all()


# --- orientation and lens --------------------------------------------------------------------------------------------
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


def exif_with(**fields):
    exif = Image.Exif()
    exif[34665] = fields.pop("ifd")
    for key, value in fields.items():
        exif[int(key[1:])] = value
    return exif


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


# --- size ------------------------------------------------------------------------------------------------------------
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


@given(st.integers(0, 300), st.integers(0, 200), st.integers(1, 400), st.integers(1, 300))
def test_boxes_follow_crop_and_scale(x, y, w, h):
    record = InputRecord(
        name="a",
        sha256="0",
        bytes=1,
        format="PNG",
        width=400,
        height=300,
        mode="RGB",
        bit_depth=8,
        color_space="sRGB",
        crop=(40, 30, 320, 240),
        scale=0.5,
    )
    box = record.to_still_box((x, y, w, h))
    overlap = min(x + w, 360) > max(x, 40) and min(y + h, 270) > max(y, 30)
    assert (box is not None) == overlap
    if box:
        bx, by, bw, bh = box
        assert bx >= 0 and by >= 0 and bx + bw <= 160 and by + bh <= 120 and bw >= 1 and bh >= 1
        assert bx * 2 + 40 <= max(x, 40) and (bx + bw) * 2 + 40 >= min(x + w, 360)


def test_boxes_of_a_reduced_still():
    record = InputRecord(
        name="a",
        sha256="0",
        bytes=1,
        format="PNG",
        width=4000,
        height=2000,
        mode="RGB",
        bit_depth=8,
        color_space="sRGB",
        crop=(0, 100, 4000, 1800),
        scale=0.5,
    )
    assert record.to_still_box((100, 300, 200, 100)) == (50, 100, 100, 50)
    assert record.to_still_box((3900, 1700, 900, 900)) == (1950, 800, 50, 100)


# --- labels ----------------------------------------------------------------------------------------------------------
LABEL = '{"Label":"1","ContentProducer":"某工作室","ProduceID":"42","ReservedCode1":""}'
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/" TC260:AIGC="{}"/></rdf:RDF></x:xmpmeta>'
).format(LABEL.replace('"', "&quot;"))


def test_a_label_in_xmp_is_carried_word_for_word(tmp_path, picture):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP)
    image = Image.fromarray(picture)
    for path in (
        save(tmp_path, image, "a.png", pnginfo=info),
        save(tmp_path, image, "a.jpg", xmp=XMP.encode()),
        save(tmp_path, image, "a.webp", xmp=XMP.encode()),
        save(tmp_path, image, "a.tif", tiffinfo={700: XMP.encode()}),
    ):
        result = still.read_still(path)
        assert result.record.aigc_label == LABEL, path.name
        assert "plate.aigc_label" in codes(result)


def test_a_label_in_text_fields(tmp_path, picture):
    info = PngImagePlugin.PngInfo()
    info.add_text("AIGC", LABEL)
    assert still.read_still(save(tmp_path, Image.fromarray(picture), "a.png", pnginfo=info)).record.aigc_label == LABEL
    comment = b"ASCII\0\0\0" + json.dumps({"AIGC": {"Label": "2", "ContentProducer": "x"}}).encode()
    result = still.read_still(save(tmp_path, Image.fromarray(picture), "b.jpg", exif=exif_with(ifd={0x9286: comment})))
    assert json.loads(result.record.aigc_label) == {"Label": "2", "ContentProducer": "x"}


def test_iptc_source_type_is_told(tmp_path, picture):
    xmp = XMP.replace("TC260:AIGC", "TC260:Other").replace(
        "<rdf:Description ",
        '<rdf:Description xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        'i:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia" ',
    )
    result = still.read_still(save(tmp_path, Image.fromarray(picture), "a.jpg", xmp=xmp.encode()))
    assert ("plate.ai_source", {"type": "trainedAlgorithmicMedia"}) in result.remarks


@pytest.mark.parametrize("xmp", [b"<x:xmpmeta", b"\xff\xfe junk", b'<!DOCTYPE a [<!ENTITY b "c">]>' + XMP.encode()])
def test_broken_xmp_is_nothing(tmp_path, picture, xmp):
    assert still.read_still(save(tmp_path, Image.fromarray(picture), "a.jpg", xmp=xmp)).record.aigc_label is None


def test_view_is_the_linear_plate_encoded(tmp_path, picture):
    result = still.read_still(save(tmp_path, Image.fromarray(picture), "a.png"))
    assert (srgb8_from_linear(result.linear) == result.view).all()
    assert REC709[3] == (0.3127, 0.3290)
