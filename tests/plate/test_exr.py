"""Scene-linear files: layers, primaries, windows, broken samples, exposure."""

from __future__ import annotations

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plate.conftest import scene
from worker.errors import InputError
from worker.formats import exr, still
from worker.formats.srgb import LINEAR_OF_CODE, srgb8_from_linear


def linear_scene(width=160, height=120):
    return LINEAR_OF_CODE[scene(width, height)]


def store(path, channels, **header):
    base = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File({**base, **header}, channels).write(str(path))
    return path


def split(image, prefix="", dtype=np.float16):
    return {f"{prefix}{name}": np.ascontiguousarray(image[..., i]).astype(dtype) for i, name in enumerate("RGB")}


def codes(result):
    return {code for code, _ in result.remarks}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_values_are_kept_unclipped(tmp_path, dtype):
    image = linear_scene()
    image[:20, :20] = 12.5
    image[-20:, -20:] = -0.25
    result = still.read_still(store(tmp_path / "a.exr", split(image, dtype=dtype)))
    assert np.array_equal(result.linear, image.astype(dtype).astype(np.float32))
    assert (result.view == srgb8_from_linear(result.linear)).all() and result.view[0, 0, 0] == 255
    record = result.record
    assert record.hdr and record.format == "EXR" and record.bit_depth == 8 * np.dtype(dtype).itemsize
    assert record.view_exposure == 1.0 and codes(result) == {"plate.small"}


def test_our_own_writer_reads_back_and_repeats(tmp_path):
    image = linear_scene() * 7
    exr.write_exr(tmp_path / "a.exr", image)
    exr.write_exr(tmp_path / "b.exr", image)
    assert (tmp_path / "a.exr").read_bytes() == (tmp_path / "b.exr").read_bytes()
    assert np.array_equal(exr.read_exr(tmp_path / "a.exr"), image.astype(np.float16).astype(np.float32))
    exr.write_exr(tmp_path / "f.exr", image, half=False)
    assert np.array_equal(exr.read_exr(tmp_path / "f.exr"), image)
    exr.write_exr(tmp_path / "h.exr", np.full((2, 2, 3), 1e9, np.float32))
    assert exr.read_exr(tmp_path / "h.exr").max() == 65504


@pytest.mark.parametrize("prefix", ["beauty.", "ViewLayer.Combined.", "left."])
def test_a_layer_is_found_and_told(tmp_path, prefix):
    image = linear_scene()
    channels = {**split(image, prefix), **split(image * 0.1, "zdiffuse."), "Z": image[..., 0].astype(np.float32)}
    result = still.read_still(store(tmp_path / "a.exr", channels))
    assert ("plate.exr_layer", {"layer": prefix[:-1]}) in result.remarks
    assert np.allclose(result.linear, image, atol=1e-3)


def test_plain_channels_win_over_layers(tmp_path):
    image = linear_scene()
    result = still.read_still(store(tmp_path / "a.exr", {**split(image * 0.3, "beauty."), **split(image)}))
    assert np.allclose(result.linear, image, atol=1e-3) and "plate.exr_layer" not in codes(result)


def test_luminance_only(tmp_path):
    image = linear_scene()[..., 1]
    result = still.read_still(store(tmp_path / "a.exr", {"Y": image.astype(np.float16)}))
    assert np.allclose(result.linear, image[..., None], atol=1e-3)


def test_luminance_and_chroma(tmp_path):
    """OpenEXR's own way to store colour: RY = (R - Y) / Y, BY = (B - Y) / Y with Rec.709 luminance."""
    image = linear_scene() + 0.05
    luma = image @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    channels = {"Y": luma, "RY": (image[..., 0] - luma) / luma, "BY": (image[..., 2] - luma) / luma}
    path = store(tmp_path / "a.exr", {name: plane.astype(np.float32) for name, plane in channels.items()})
    assert np.allclose(still.read_still(path).linear, image, atol=1e-4)


def test_second_part_of_a_multipart_file(tmp_path):
    image = linear_scene()
    depth = OpenEXR.Part({"name": "depth", "type": OpenEXR.scanlineimage}, {"Z": image[..., 0].astype(np.float32)})
    colour = OpenEXR.Part({"name": "colour", "type": OpenEXR.scanlineimage}, split(image))
    OpenEXR.File([depth, colour]).write(str(tmp_path / "a.exr"))
    assert np.allclose(still.read_still(tmp_path / "a.exr").linear, image, atol=1e-3)


def test_aces_primaries_are_honoured(tmp_path):
    """ACEScg (1, 0, 0) in Rec.709 is 1.7050, -0.1303, -0.0240 (ACES project's AP1 to Rec.709, Bradford)."""
    image = linear_scene()
    image[:60, :80] = (1, 0, 0)
    image[60:, 80:] = 0.18
    ap1 = (0.713, 0.293, 0.165, 0.83, 0.128, 0.044, 0.32168, 0.33767)
    result = still.read_still(store(tmp_path / "a.exr", split(image), chromaticities=ap1))
    assert np.allclose(result.linear[10, 10], [1.7050, -0.1303, -0.0240], atol=2e-3)
    assert np.allclose(result.linear[100, 120], 0.18, atol=1e-3)  # neutral stays neutral
    assert result.record.color_space == "scene-linear ACEScg (AP1)"


def test_senseless_primaries_are_a_remark(tmp_path):
    path = store(tmp_path / "a.exr", split(linear_scene()), chromaticities=(0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.3))
    assert "plate.chromaticities_broken" in codes(still.read_still(path))


def test_nan_and_infinity_are_mended(tmp_path):
    image = np.full((120, 160, 3), 0.4, np.float32) * np.linspace(0.5, 1, 160)[None, :, None].astype(np.float32)
    image[50:53, 60:63] = np.nan
    image[10, 10, 1] = -np.inf
    image[80, 100] = np.inf
    result = still.read_still(store(tmp_path / "a.exr", split(image, dtype=np.float32)))
    assert ("plate.nonfinite_repaired", {"count": 11}) in result.remarks
    assert np.isfinite(result.linear).all()
    assert np.allclose(result.linear[51, 61], image[51, 70], atol=0.03)  # like its neighbours
    assert result.linear[80, 100].min() >= 0.4  # infinity is bright, not dark


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_repair_always_ends_finite(seed, share):
    rng = np.random.default_rng(seed)
    image = rng.random((17, 23, 3)).astype(np.float32)
    hit = rng.random(image.shape) < share
    image[hit] = rng.choice(np.array([np.nan, np.inf, -np.inf], np.float32), int(hit.sum()))
    untouched = ~hit.any(-1)
    before = image[untouched].copy()
    assert exr.repair_nonfinite(image) == int(hit.any(-1).sum())
    assert np.isfinite(image).all() and np.array_equal(image[untouched], before)


def test_nothing_but_nan_is_a_blank_still(tmp_path):
    path = store(tmp_path / "a.exr", split(np.full((64, 64, 3), np.nan, np.float32), dtype=np.float32))
    result = still.read_still(path)
    assert np.isfinite(result.linear).all() and "plate.blank" in codes(result)


def test_premultiplied_alpha_over_mid_grey(tmp_path):
    image = np.zeros((64, 64, 3), np.float32)
    image[:, :32] = (0.5, 0.25, 0.125)
    alpha = np.zeros((64, 64), np.float16)
    alpha[:, :32] = 0.5
    result = still.read_still(store(tmp_path / "a.exr", {**split(image), "A": alpha}))
    assert np.allclose(result.linear[5, 5], [0.59, 0.34, 0.215], atol=1e-3)
    assert np.allclose(result.linear[5, 50], 0.18, atol=1e-3)
    assert result.record.has_alpha and "plate.alpha_composited" in codes(result)


def test_an_alpha_of_zeros_is_ignored(tmp_path):
    image = linear_scene()
    result = still.read_still(store(tmp_path / "a.exr", {**split(image), "A": np.zeros(image.shape[:2], np.float16)}))
    assert np.allclose(result.linear, image, atol=1e-3)


def test_overscan_is_cut_and_a_crop_render_is_padded(tmp_path):
    image = linear_scene(160, 120)
    window = lambda x0, y0, x1, y1: (np.array([x0, y0], np.int32), np.array([x1, y1], np.int32))  # noqa: E731
    path = store(
        tmp_path / "o.exr", split(image), dataWindow=window(-10, -5, 149, 114), displayWindow=window(0, 0, 139, 99)
    )
    result = still.read_still(path)
    assert np.allclose(result.linear, image[5:105, 10:150], atol=1e-3)
    path = store(
        tmp_path / "c.exr", split(image), dataWindow=window(20, 10, 179, 129), displayWindow=window(0, 0, 199, 199)
    )
    picture = exr.read_picture(path)
    assert picture.linear.shape == (200, 200, 3) and (picture.linear[:10] == 0).all()
    assert np.allclose(picture.linear[10:130, 20:180], image, atol=1e-3)


def test_anamorphic_pixels_become_square(tmp_path):
    image = linear_scene(160, 120)
    result = still.read_still(store(tmp_path / "a.exr", split(image), pixelAspectRatio=2.0))
    assert result.linear.shape == (120, 320, 3) and ("plate.unsqueezed", {"aspect": 2.0}) in result.remarks
    assert np.allclose(result.linear.mean(), image.mean(), rtol=0.01)


@pytest.mark.parametrize("factor", [1 / 5000, 400.0])
def test_exposure_of_the_view(tmp_path, factor):
    """Camera-native or nit values: the view shows them and the factor is recorded; the linear plate is untouched."""
    image = (linear_scene() * factor).astype(np.float32)
    result = still.read_still(store(tmp_path / "a.exr", split(image, dtype=np.float32)))
    assert np.array_equal(result.linear, image)
    found = result.record.view_exposure
    assert (result.view == srgb8_from_linear(result.linear * found)).all()
    bright = image @ np.array([0.2126, 0.7152, 0.0722])
    if factor < 1:
        assert found * np.exp(np.log(bright).mean()) == pytest.approx(0.18, rel=0.02)
    else:
        assert found * np.quantile(bright, 0.95) == pytest.approx(1, rel=0.02)
    assert "plate.exposure" in codes(result)


def test_a_burnt_out_sky_is_brought_back(tmp_path):
    """Half the frame at 3.0 and half at 0.3: 1 / 3 shows both; the linear plate keeps its values."""
    image = np.full((120, 160, 3), 0.3, np.float32)
    image[:60] = 3.0
    result = still.read_still(store(tmp_path / "a.exr", split(image)))
    assert result.record.view_exposure == pytest.approx(1 / 3, rel=1e-3)
    assert result.view[:60].max() >= 254 and result.view[100, 80, 0] == 89  # sRGB code of linear 0.1
    assert result.linear.max() == 3.0 and "plate.exposure" in codes(result)


def test_a_night_scene_stays_dark(tmp_path):
    image = linear_scene() * np.float32(0.01)
    image[50:60, 50:70] = 3.0
    result = still.read_still(store(tmp_path / "a.exr", split(image)))
    assert result.record.view_exposure == 1.0


def test_deep_and_colourless_files_are_refused(tmp_path):
    path = store(tmp_path / "z.exr", {"Z": np.ones((64, 64), np.float32)})
    with pytest.raises(InputError, match="colour channels") as caught:
        still.read_still(path)
    assert caught.value.code == "input.exr_no_colour"


def test_every_truncation_is_refused(tmp_path):
    data = store(tmp_path / "a.exr", split(linear_scene())).read_bytes()
    path = tmp_path / "t.exr"
    for share in (0.001, 0.005, 0.02, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(data[: max(5, int(len(data) * share))])
        with pytest.raises(InputError) as caught:
            still.read_still(path)
        assert caught.value.code == "input.truncated", share


def test_a_label_attribute_is_carried(tmp_path):
    result = still.read_still(store(tmp_path / "a.exr", split(linear_scene()), AIGC='{"Label":"1"}'))
    assert result.record.aigc_label == '{"Label":"1"}'


def test_memory_limit_on_layers(tmp_path, monkeypatch):
    monkeypatch.setattr(exr, "MAX_CHANNEL_BYTES", 1000)
    with pytest.raises(InputError, match="beauty layer"):
        still.read_still(store(tmp_path / "a.exr", split(linear_scene())))
