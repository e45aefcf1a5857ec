"""OpenEXR: scene-linear pictures in and out.

Reading gives linear Rec.709 of the display window, whatever layer, primaries or channel layout the file has.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR

from worker.arrays import F32, Bool
from worker.formats.refusals import refuse
from worker.formats.srgb import rec709_from
from worker.session.atomic import replacing

HALF_MAX = 65504.0
BACKDROP = 0.18  # linear grey that transparent pixels are laid over
MAX_CHANNEL_BYTES = 1_500_000_000  # the library reads all channels at once
_LAYERS = ("", "rgba", "rgb", "beauty", "combined", "image", "color", "colour")  # first choice first


@dataclass
class ExrPicture:
    """`linear` (H, W, 3) float32 Rec.709, finite; `remarks` are (code, params) for the plate's notices."""

    linear: F32
    bits: int
    colour_space: str
    mode: str
    has_alpha: bool
    label_texts: list[tuple[str, Any]] = field(default_factory=list)
    xmp: str | bytes | None = None
    remarks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


def write_exr(path: Path, linear: F32, *, half: bool = True, attributes: dict[str, str] | None = None) -> None:
    """(H, W, 3) scene-linear Rec.709, ZIP-compressed, chromaticities written. Half clips at +-65504."""
    pixels = np.ascontiguousarray(np.clip(linear, -HALF_MAX, HALF_MAX) if half else linear)
    header: dict[str, Any] = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "chromaticities": (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290),
        **(attributes or {}),
    }
    with replacing(path) as part:
        OpenEXR.File(header, {"RGB": pixels.astype(np.float16 if half else np.float32)}).write(str(part))


def read_exr(path: Path) -> F32:
    """(H, W, 3) float32 of a file that `write_exr` (or a like-minded program) wrote: channels R, G, B as they are."""
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    return np.stack([channels[name].pixels for name in "RGB"], axis=-1).astype(np.float32)


def read_picture(path: Path) -> ExrPicture:
    """Any scene-linear EXR as linear Rec.709.

    Raises:
        InputError: truncated or broken files, deep data, no colour channels, more layers than memory holds.
    """
    part_index, layer, names = _choose(path)
    try:
        file = OpenEXR.File(str(path), separate_channels=True)
        part = file.parts[part_index]
        header, channels = part.header, part.channels
        planes = {name: channels[stored].pixels for name, stored in names.items()}
    except (RuntimeError, ValueError, IndexError, KeyError, OSError, MemoryError) as error:
        raise refuse("input.truncated", path) from error
    bits = max(plane.dtype.itemsize * 8 for plane in planes.values())
    height, width = planes["R" if "R" in planes else "Y"].shape
    del file, part, channels
    rgb = _rgb(planes, height, width)
    alpha = planes.pop("A", None)
    planes.clear()

    picture = ExrPicture(rgb, bits, "scene-linear Rec.709", "RGB", alpha is not None)
    if layer:
        picture.remarks.append(("plate.exr_layer", {"layer": layer}))
    repaired = repair_nonfinite(picture.linear)
    if repaired:
        picture.remarks.append(("plate.nonfinite_repaired", {"count": repaired}))
    if alpha is not None:
        picture.mode = "RGBA"
        cover = np.nan_to_num(np.asarray(alpha, dtype=np.float32), nan=1.0).clip(0, 1)
        if cover.min() < 0.999 and cover.max() > 0:  # an alpha of nothing but zeros was never meant
            picture.linear += ((1 - cover) * BACKDROP)[..., None]
            picture.remarks.append(("plate.alpha_composited", {}))
    _to_rec709(picture, header.get("chromaticities"))
    picture.linear = _display_window(picture.linear, header)
    _unsqueeze(picture, header)
    picture.label_texts = [(key, value) for key, value in header.items() if isinstance(value, str)]
    picture.xmp = header.get("xmp") if isinstance(header.get("xmp"), str | bytes) else None
    return picture


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of the display window, from the header alone."""
    return _window_size(_headers(path)[0]["displayWindow"])


def repair_nonfinite(linear: F32) -> int:
    """Fill NaN and -inf from their finite surroundings and +inf with the brightest finite value, in place.

    Returns how many pixels were touched. Fireflies and dead samples are small, so a growing box mean is enough.
    """
    bad: Bool = np.asarray(~np.isfinite(linear).all(axis=-1))
    count = int(bad.sum())
    if count == 0:
        return 0
    good = ~bad
    top = float(np.abs(linear[good]).max()) if good.any() else 1.0
    bright = (linear == np.inf).any(axis=-1)
    linear[bad] = 0
    weight, source = good.astype(np.float32), linear.copy()
    missing = bad & ~bright
    size = 3
    while missing.any() and good.any():
        size = min(size, 2 * max(linear.shape[:2]) + 1)
        total = cv2.blur(weight, (size, size), borderType=cv2.BORDER_CONSTANT)
        mean = cv2.blur(source, (size, size), borderType=cv2.BORDER_CONSTANT)
        ready = missing & (total > 1e-9)
        linear[ready] = mean[ready] / total[ready][:, None]
        missing &= ~ready
        size = size * 2 + 1
    linear[bright] = max(top, 1.0)
    return count


def _headers(path: Path) -> list[dict[str, Any]]:
    try:
        parts = OpenEXR.File(str(path), header_only=True).parts
    except (RuntimeError, ValueError, OSError) as error:
        raise refuse("input.truncated", path) from error
    if not parts:
        raise refuse("input.truncated", path)
    return [part.header for part in parts]


def _window_size(window: Any) -> tuple[int, int]:
    low, high = window
    return int(high[0]) - int(low[0]) + 1, int(high[1]) - int(low[1]) + 1


def _choose(path: Path) -> tuple[int, str, dict[str, str]]:
    """Part, layer name and the stored names of R, G, B (or Y, RY, BY) and A."""
    headers = _headers(path)
    flat = [i for i, header in enumerate(headers) if "deep" not in str(header.get("type", ""))]
    if not flat:
        raise refuse("input.exr_deep", path)
    stored = 0
    for header in headers:
        width, height = _window_size(header["dataWindow"])
        stored += max(width, 0) * max(height, 0) * len(header["channels"]) * 4
    candidates = []
    for index in flat:
        for layer, names in _colour_layers([channel.name for channel in headers[index]["channels"]]).items():
            short = layer.lower().rpartition(".")[2]
            rank = _LAYERS.index(short) if short in _LAYERS else len(_LAYERS)
            candidates.append(((len(names) < 3, rank, index, layer), index, layer, names))
    if not candidates:
        raise refuse("input.exr_no_colour", path)
    if stored > MAX_CHANNEL_BYTES:
        raise refuse("input.too_many_layers", path, gigabytes=stored / 1e9)
    if os.name != "nt" or path.as_posix().isascii():  # the older reader opens by narrow names
        _refuse_incomplete(path)
    _, index, layer, names = min(candidates)
    return index, layer, names


def _refuse_incomplete(path: Path) -> None:
    try:
        if not OpenEXR.InputFile(str(path)).isComplete():
            raise refuse("input.truncated", path)
    except (RuntimeError, ValueError, OSError, TypeError) as error:
        raise refuse("input.truncated", path) from error


def _colour_layers(channels: list[str]) -> dict[str, dict[str, str]]:
    """Layer -> {R: stored name, ...}; a layer counts with R, G and B, or with Y."""
    layers: dict[str, dict[str, str]] = {}
    for channel in channels:
        layer, _, leaf = channel.rpartition(".")
        key = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}.get(leaf.lower(), leaf.upper())
        if key in ("R", "G", "B", "A", "Y", "RY", "BY"):
            layers.setdefault(layer, {})[key] = channel
    usable = {}
    for layer, names in sorted(layers.items()):
        if {"R", "G", "B"} <= names.keys():
            usable[layer] = {key: name for key, name in names.items() if key in "RGBA"}
        elif "Y" in names:
            usable[layer] = {key: name for key, name in names.items() if key in ("Y", "RY", "BY", "A")}
    return usable


def _rgb(planes: dict[str, Any], height: int, width: int) -> F32:
    """R, G, B as stored; luminance with chroma by OpenEXR's own definition (RY = (R-Y)/Y, BY = (B-Y)/Y)."""
    rgb = np.empty((height, width, 3), dtype=np.float32)
    if "R" in planes:
        for index, name in enumerate("RGB"):
            rgb[..., index] = planes[name]
        return rgb
    luma = np.asarray(planes["Y"], dtype=np.float32)
    rgb[:] = luma[..., None]
    if "RY" in planes and "BY" in planes:
        red, blue = (
            cv2.resize(np.asarray(planes[name], dtype=np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
            for name in ("RY", "BY")
        )
        rgb[..., 0] = (red + 1) * luma
        rgb[..., 2] = (blue + 1) * luma
        rgb[..., 1] = (luma - 0.2126 * rgb[..., 0] - 0.0722 * rgb[..., 2]) / 0.7152
    return rgb


def _to_rec709(picture: ExrPicture, chromaticities: Any) -> None:
    if not chromaticities or len(chromaticities) != 8:
        return
    x = [float(value) for value in chromaticities]
    try:
        matrix = rec709_from(((x[0], x[1]), (x[2], x[3]), (x[4], x[5]), (x[6], x[7])))
    except (ValueError, np.linalg.LinAlgError):
        picture.remarks.append(("plate.chromaticities_broken", {}))
        return
    if np.abs(matrix - np.eye(3)).max() > 1e-3:
        picture.linear = picture.linear @ matrix.T.astype(np.float32)
        known = {
            "0.713,0.293": "ACEScg (AP1)",
            "0.735,0.265": "ACES2065-1 (AP0)",
            "0.680,0.320": "P3",
            "0.708,0.292": "Rec.2020",
        }
        name = known.get(f"{x[0]:.3f},{x[1]:.3f}", f"primaries {x[0]:.3f},{x[1]:.3f} …")
        picture.colour_space = f"scene-linear {name}"


def _display_window(linear: F32, header: dict[str, Any]) -> F32:
    """What the picture shows: overscan cut off, the rest of a partial render black."""
    (left, top), _ = header["dataWindow"]
    (x0, y0), (x1, y1) = header["displayWindow"]
    dx, dy, width, height = int(left - x0), int(top - y0), int(x1 - x0 + 1), int(y1 - y0 + 1)
    if (dx, dy) == (0, 0) and linear.shape[:2] == (height, width):
        return linear
    shown = np.zeros((height, width, 3), dtype=np.float32)
    part = linear[max(-dy, 0) : max(height - dy, 0), max(-dx, 0) : max(width - dx, 0)]
    dy, dx = max(dy, 0), max(dx, 0)
    shown[dy : dy + len(part), dx : dx + part.shape[1]] = part
    return shown


def _unsqueeze(picture: ExrPicture, header: dict[str, Any]) -> None:
    """Anamorphic files: everything after this works with square pixels."""
    aspect = float(header.get("pixelAspectRatio", 1.0))
    if not 0.2 < aspect < 5.0 or abs(aspect - 1) < 0.01:
        return
    height, width = picture.linear.shape[:2]
    square = cv2.resize(picture.linear, (round(width * aspect), height), interpolation=cv2.INTER_CUBIC)
    picture.linear = np.asarray(square, dtype=np.float32)
    picture.remarks.append(("plate.unsqueezed", {"aspect": round(aspect, 4)}))
