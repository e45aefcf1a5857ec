"""Stills in every colour space, by their values: profiles, gamma, PQ, HLG, CMYK, Lab."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tests.plate.conftest import PATCHES, at, codes, patches, png_chunk, raw_png, save
from worker.formats import icc, still
from worker.formats.srgb import D50_XYZ, REC709, linear_from_srgb, rec709_from_d50, srgb8_from_linear


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


def test_view_is_the_linear_plate_encoded(tmp_path, picture):
    result = still.read_still(save(tmp_path, Image.fromarray(picture), "a.png"))
    assert (srgb8_from_linear(result.linear) == result.view).all()
    assert REC709[3] == (0.3127, 0.3290)
