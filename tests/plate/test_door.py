"""Who is turned away, and with what: one sentence in each language, a stable code, nothing written."""

from __future__ import annotations

import gzip
import io
import logging
import os
import struct
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.plate.conftest import png_chunk, scene
from worker.errors import ExitCode, InputError
from worker.formats import still
from worker.session.layout import SessionFolder
from worker.session.model import InputRecord, Session
from worker.session.options import Options
from worker.stages import plate
from worker.stages.base import StageContext


def encoded(kind, **options):
    stream = io.BytesIO()
    Image.fromarray(scene(120, 90)).save(stream, kind, **options)
    return stream.getvalue()


def png_header(width, height, depth=8, colour=2):
    """A PNG that claims a size and holds nearly nothing: the decompression bomb's shape."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", head)
        + png_chunk(b"IDAT", b"x\x9c\x03\0\0\0\0\1")
        + png_chunk(b"IEND", b"")
    )


def archive():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a.txt", "hello")
    return stream.getvalue()


def tiff_with(tags):
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0"


BAD = {
    "empty.png": (b"", "input.empty"),
    "zip.png": (archive(), "input.not_a_picture"),
    "text.png": (b"this is not a picture\n" * 20, "input.not_a_picture"),
    "chinese.png": ("这不是图片。\n" * 500).encode(),
    "page.png": b"<html><body>404</body></html>",
    "noise.png": np.random.default_rng(3).integers(128, 256, 4096, dtype=np.uint8).tobytes(),
    "gzip.png": gzip.compress(b"x" * 100),
    "movie.png": b"\0\0\0\x20ftypisom" + bytes(100),
    "movie.webp": b"RIFF\x10\0\0\0AVI " + bytes(100),
    "phone.png": (b"\0\0\0\x18ftypheic" + bytes(100), "input.unsupported"),
    "psd.png": (b"8BPS" + bytes(100), "input.unsupported"),
    "scan.dpx": (b"SDPX" + bytes(100), "input.unsupported"),
    "sky.hdr": (b"#?RADIANCE\n" + bytes(100), "input.unsupported"),
    "raw.dng": (tiff_with({256: 4000, 257: 3000, 50706: 0x0401}), "input.unsupported"),
    "raw.nef": (tiff_with({254: 1, 256: 160, 257: 120, 330: 900}), "input.unsupported"),
    "dot.png": (encoded("PNG")[:60], "input.truncated"),
    "magic_only.png": (b"\x89PNG\r\n\x1a\n", "input.truncated"),
    "magic_only.tif": (b"II*\0", "input.truncated"),
    "magic_only.bmp": (b"BM", "input.truncated"),
    "magic_only.exr": (b"\x76\x2f\x31\x01", "input.truncated"),
    "magic_only.jpg": (b"\xff\xd8\xff", "input.truncated"),
    "bomb.png": (png_header(60_000, 60_000), "input.too_large"),
    "bomb_by_far.png": (png_header(2**31 - 1, 2**31 - 1), "input.too_large"),
    "pixel.png": (png_header(1, 1), "input.too_small"),
    "ribbon.png": (png_header(40_000, 12), "input.ribbon"),
    "ribbon_down.png": (png_header(12, 40_000), "input.ribbon"),
    "sliver.png": (png_header(100, 20), "input.too_small"),
    "hollow.png": (png_header(640, 480), "input.truncated"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_end_in_one_sentence(tmp_path, name):
    data, code = BAD[name] if isinstance(BAD[name], tuple) else (BAD[name], "input.not_a_picture")
    path = tmp_path / name
    path.write_bytes(data)
    assert_refused(path, code)


def assert_refused(path, code):
    with pytest.raises(InputError) as caught:
        still.read_still(path)
    error = caught.value
    assert error.code == code, error.en
    assert error.exit_code == ExitCode.BAD_INPUT
    assert path.name in error.en and path.name in error.zh and error.zh != error.en
    assert "\n" not in error.en and error.en.endswith(".") and error.zh.endswith("。")
    assert error.en.rstrip(".").replace(path.name, "").count(". ") == 0  # one sentence


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {}),
        ("BMP", {}),
        ("GIF", {}),
        ("PPM", {}),
    ],
)
@pytest.mark.parametrize("share", [0.15, 0.5, 0.9])
def test_every_format_cut_short_is_refused(tmp_path, kind, options, share):
    data = encoded(kind, **options)
    path = tmp_path / "cut.png"
    path.write_bytes(data[: int(len(data) * share)])
    assert_refused(path, "input.truncated")


def test_sixteen_bit_png_cut_short(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), scene(120, 90).astype(np.uint16) * 257)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) * 2 // 3])
    assert_refused(tmp_path / "cut.png", "input.truncated")


def test_missing_folder_and_pipe(tmp_path):
    assert_refused(tmp_path / "nowhere.png", "input.missing")
    assert_refused(tmp_path, "input.folder")
    with pytest.raises(InputError, match="no file"):
        still.read_still(tmp_path / ("x" * 5000))
    with pytest.raises(InputError, match="no file"):
        still.read_still(type(tmp_path)("a\0b.png"))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        assert_refused(tmp_path / "pipe.png", "input.not_a_file")


def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "locked.png"
    path.write_bytes(encoded("PNG"))
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        path.chmod(0)
    else:  # the superuser may read everything: let the open itself say no

        def refused(self, *args, **kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(type(path), "open", refused)
    assert_refused(path, "input.no_permission")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"]),
    st.integers(0, 10**6),
    st.binary(min_size=1, max_size=40),
)
def test_damaged_files_give_a_still_or_a_sentence(tmp_path, kind, position, noise):
    data = bytearray(encoded(kind))
    position %= len(data)
    data[position : position + len(noise)] = noise
    path = tmp_path / "damaged.bin"
    path.write_bytes(data)
    try:
        result = still.read_still(path)
    except InputError as error:
        assert error.zh and "\n" not in error.en
    else:
        assert result.view.dtype == np.uint8 and np.isfinite(result.linear).all()


# --- the stage -------------------------------------------------------------------------------------------------------
def context(tmp_path, source, **options):
    record = InputRecord(
        name="A.png",
        sha256="",
        bytes=0,
        format="",
        width=0,
        height=0,
        mode="",
        bit_depth=0,
        color_space="",
        crop=(0, 0, 0, 0),
    )
    session = Session.model_construct(stages={}, options={}, input=record)
    return StageContext(
        SessionFolder(tmp_path / "out"),
        session,
        Options(**options),
        source,
        lambda f, n: None,
        plate.NOTICES,
        log=logging.getLogger("test"),
    )


def test_the_stage_writes_both_plates_alike(tmp_path):
    image = scene(320, 240)
    image[:30], image[-30:] = 0, 0
    Image.fromarray(image).save(tmp_path / "a.png")
    from worker.formats.exr import read_exr
    from worker.formats.image import read_rgb
    from worker.formats.srgb import srgb8_from_linear

    ctx = context(tmp_path, tmp_path / "a.png", lens_mm=50)
    result = plate.run(ctx)
    view, linear = read_rgb(ctx.folder.still), read_exr(ctx.folder.linear)
    assert (view == image[30:-30]).all() and linear.shape == view.shape
    assert np.abs(srgb8_from_linear(linear).astype(int) - view).max() <= 1  # half floats
    assert result.outputs == [ctx.folder.still, ctx.folder.linear]
    assert result.input.name == "A.png" and result.input.lens.source == "user"
    assert result.input.crop == (0, 30, 320, 180)
    assert result.details["input"] == result.input.model_dump(mode="json")
    assert [w.code for w in ctx.warnings] == ["plate.bars_cropped", "plate.small"]
    assert "30" in ctx.warnings[0].en and "30" in ctx.warnings[0].zh


def test_the_stage_repeats_itself(tmp_path):
    Image.fromarray(scene()).save(tmp_path / "a.png")
    runs = []
    for name in ("one", "two"):
        ctx = context(tmp_path / name, tmp_path / "a.png")
        plate.run(ctx)
        runs.append((ctx.folder.still.read_bytes(), ctx.folder.linear.read_bytes()))
    assert runs[0] == runs[1]


def test_a_refused_file_leaves_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded("PNG")[:-300])
    with pytest.raises(InputError):
        plate.run(context(tmp_path, tmp_path / "a.png"))
    assert not (tmp_path / "out").exists()


def test_every_remark_has_both_sentences():
    """Codes used in the readers, found in their source, are in the table; both languages take the same fields."""
    import re
    import string
    from pathlib import Path

    used = set()
    for name in ("still", "raster", "exr"):
        used |= set(
            re.findall(r'"(plate\.\w+)"', Path(sys.modules[f"worker.formats.{name}"].__file__).read_text("utf-8"))
        )
    assert used <= plate.NOTICES.keys()
    for en, zh in plate.NOTICES.values():
        fields = [{f for _, f, _, _ in string.Formatter().parse(text) if f} for text in (en, zh)]
        assert fields[0] == fields[1] and any("\u4e00" <= c <= "\u9fff" for c in zh)
