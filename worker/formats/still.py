"""The front door: any picture file to a linear Rec.709 still, its sRGB view and the record of what came in.

The file's bytes decide what it is, never its name. Everything is decoded before anything is returned, so a file that
breaks off is refused before a session exists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from worker.arrays import F32, U8
from worker.formats import bars, door, exr, raster
from worker.formats.exif import ContentLabel, lens_record
from worker.formats.refusals import refuse, shown
from worker.formats.srgb import luminance, srgb8_from_linear
from worker.session.atomic import sha256_of
from worker.session.model import InputRecord

Remark = tuple[str, dict[str, Any]]

LONGEST_SIDE = 4096  # DCI 4K passes pixel for pixel,
MOST_PIXELS = 4096 * 2160  # and nothing larger: eight float pictures of this size still fit in a gigabyte
READ_AT_MOST = 120_000_000  # pixels of the file; a 100-megapixel back fits
SHORTEST_SIDE = 32
LONGEST_RATIO = 12
SMALL_SIDE = 240  # below this a result is possible but poor


@dataclass
class Still:
    """`linear` (h, w, 3) scene-linear Rec.709, unclipped; `view` the same pixels as 8-bit sRGB."""

    linear: F32
    view: U8
    record: InputRecord
    remarks: list[Remark] = field(default_factory=list)


def check(path: Path) -> None:
    """Everything that can be said against a file without decoding it; milliseconds.

    Raises:
        InputError: one sentence.
    """
    kind = door.knock(path)
    if kind == "TIFF":
        _refuse_camera_raw(path)
    width, height = exr.size_of(path) if kind == "EXR" else raster.size_of(path)
    long, short = max(width, height), max(min(width, height), 0)
    if long * short > READ_AT_MOST:
        raise refuse("input.too_large", path, width=width, height=height, most=READ_AT_MOST // 1_000_000)
    if long > LONGEST_RATIO * max(short, 1) and long > SHORTEST_SIDE:
        raise refuse("input.ribbon", path, width=width, height=height, most=LONGEST_RATIO)
    if short < SHORTEST_SIDE:
        raise refuse("input.too_small", path, width=width, height=height, least=SHORTEST_SIDE)


def read_still(path: Path, hfov_deg: float | None = None, lens_mm: float | None = None) -> Still:
    """Decode, turn upright, crop bars, reduce a huge picture; `hfov_deg` or `lens_mm` is the user's own word.

    Raises:
        InputError: see `check`; also files that turn out broken while being decoded.
    """
    check(path)
    remarks: list[Remark] = []
    label, lens, orientation = ContentLabel(), None, 1
    pixels, facts = _read(path, remarks)
    if isinstance(facts, raster.Decoded):
        label, lens, orientation = facts.label, facts.lens, facts.orientation
    else:
        label = raster.content_label(facts.xmp, facts.label_texts)
    width, height = pixels.size
    floating = pixels.pixels.dtype.kind == "f"

    exposure = view_exposure(pixels.pixels) if floating else 1.0
    crop = bars.find_bars(pixels.grey8(exposure))
    size = working_size(crop[2], crop[3])
    linear = pixels.linear(crop, size)
    hdr = pixels.model.hdr or floating
    exposure = view_exposure(linear) if hdr else 1.0
    view = srgb8_from_linear(linear * exposure if exposure != 1.0 else linear)

    record = InputRecord(
        name=shown(path.name),
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        format=facts.format if isinstance(facts, raster.Decoded) else "EXR",
        width=width,
        height=height,
        mode=facts.mode,
        bit_depth=facts.bits,
        color_space=pixels.model.name,
        has_alpha=facts.has_alpha,
        exif_orientation=orientation,
        crop=crop,
        scale=size[0] / crop[2],
        hdr=hdr,
        view_exposure=exposure,
        lens=lens_record(lens, crop[2], hfov_deg, lens_mm),
        aigc_label=label.aigc,
    )
    remarks += _remarks_on(record, view, label)
    return Still(linear, view, record, remarks)


def working_size(width: int, height: int) -> tuple[int, int]:
    """The picture's own size up to DCI 4K, else the largest of its shape within that."""
    scale = min(1.0, LONGEST_SIDE / max(width, height), (MOST_PIXELS / (width * height)) ** 0.5)
    return max(1, int(width * scale + 1e-9)), max(1, int(height * scale + 1e-9))


def view_exposure(linear: F32) -> float:
    """Factor from scene-linear to the 8-bit view: 1 where the file is exposed for viewing.

    A frame of which more than a twentieth would burn out is brought down until no more does, but its key (log average,
    Reinhard 2002) no lower than a stop under mid grey. A dark frame is brought up to mid grey, unless it has real
    highlights: then it is a night scene and stays one.
    """
    step = max(1, int((linear.shape[0] * linear.shape[1] / 500_000) ** 0.5))
    sample = np.nan_to_num(linear[::step, ::step], nan=0, posinf=exr.HALF_MAX, neginf=0)
    bright = luminance(sample) if sample.shape[2] == 3 else sample[..., 0]
    bright = bright[bright > 1e-6]
    if bright.size == 0:
        return 1.0
    key = float(np.exp(np.log(bright).mean()))
    high, highest = (float(value) for value in np.quantile(bright, (0.95, 0.995)))
    if key >= 0.02:
        return float(np.clip(1 / high, min(0.09 / key, 1.0), 1.0))
    if highest >= 0.25:
        return 1.0
    return float(min(0.18 / key, 2.0**20))


def _read(path: Path, remarks: list[Remark]) -> tuple[raster.Raster, raster.Decoded | exr.ExrPicture]:
    if door.knock(path) == "EXR":
        picture = exr.read_picture(path)
        remarks += picture.remarks
        linear, picture.linear = picture.linear, picture.linear[:0]
        model = raster.LINEAR
        if picture.colour_space != model.name:
            model = raster.ColourModel(picture.colour_space, model.curves, hdr=True)
        return raster.Raster(linear, model), picture
    decoded = raster.decode(path)
    remarks += decoded.remarks
    if decoded.raster.pixels.dtype.kind == "f" and (repaired := exr.repair_nonfinite(decoded.raster.pixels)):
        remarks.append(("plate.nonfinite_repaired", {"count": repaired}))
    return decoded.raster, decoded


def _remarks_on(record: InputRecord, view: U8, label: ContentLabel) -> list[Remark]:
    remarks: list[Remark] = []
    x, y, width, height = record.crop
    if (width, height) != (record.width, record.height):
        margins = {"left": x, "top": y, "right": record.width - x - width, "bottom": record.height - y - height}
        remarks.append(("plate.bars_cropped", margins))
    if record.scale < 1:
        remarks.append(
            ("plate.reduced", {"from_size": f"{width} x {height}", "to_size": f"{view.shape[1]} x {view.shape[0]}"})
        )
    if min(view.shape[:2]) < SMALL_SIDE:
        remarks.append(("plate.small", {"size": f"{view.shape[1]} x {view.shape[0]}"}))
    if record.view_exposure != 1.0:
        remarks.append(("plate.exposure", {"stops": round(float(np.log2(record.view_exposure)), 2)}))
    low, high = np.quantile(view[:: max(1, len(view) // 512)], (0.002, 0.998))
    if high - low <= 3:
        remarks.append(("plate.blank", {}))
    if label.aigc:
        remarks.append(("plate.aigc_label", {}))
    elif label.source_type and "lgorithmic" in label.source_type:
        remarks.append(("plate.ai_source", {"type": label.source_type}))
    return remarks


def _refuse_camera_raw(path: Path) -> None:
    """Raw files pose as TIFF and would be read as their thumbnail."""
    tags = raster.tiff_tags(path) or {}
    if door.first_bytes(path)[8:10] == b"CR" or 50706 in tags or (tags.get(254) == 1 and 330 in tags):
        raise refuse("input.unsupported", path, what_en="a camera raw file", what_zh="相机 RAW 文件")
