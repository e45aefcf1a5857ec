"""ICC profiles: matrix profiles read into curves and a matrix (full precision), all others handed to LittleCMS.

Reading matrix profiles here keeps 16-bit files 16-bit and wide-gamut colours unclipped in the linear plate;
LittleCMS as Pillow wraps it works on eight bits only.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

from worker.arrays import F32, F64
from worker.formats.srgb import linear_from_srgb, rec709_from_d50

Curve = Callable[[F32], F32]
"""Encoded 0..1 to linear 0..1."""


@dataclass(frozen=True)
class ColourModel:
    """How stored values become linear Rec.709: one curve a channel, then a 3x3 matrix (None: already Rec.709).

    `hdr`: values above 1 are meant, and the 8-bit view is a choice.
    """

    name: str
    curves: tuple[Curve, Curve, Curve]
    matrix: F64 | None = None
    hdr: bool = False


SRGB = ColourModel("sRGB", (linear_from_srgb,) * 3)


class BrokenProfile(ValueError):
    """The profile cannot be used; the picture still can."""


def profile_name(profile: bytes) -> str:
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (OSError, ImageCms.PyCMSError) as error:
        raise BrokenProfile(str(error)) from error
    return " ".join(name.split()) or "unnamed profile"


def profile_space(profile: bytes) -> str:
    """Four-character signature of the device space, "RGB ", "GRAY", "CMYK", ... (ICC.1:2022 table 19)."""
    if len(profile) < 132 or profile[36:40] != b"acsp":
        raise BrokenProfile("not an ICC profile")
    return profile[16:20].decode("latin-1")


def matrix_model(profile: bytes) -> ColourModel | None:
    """The profile as curves and matrix, or None where it works by tables (or is no RGB/grey input profile).

    Raises:
        BrokenProfile: the tags cannot be read.
    """
    space = profile_space(profile)
    try:
        tags = _tags(profile)
        if profile[20:24] != b"XYZ " or "A2B0" in tags:
            return None
        if space == "GRAY" and "kTRC" in tags:
            curve = _curve(tags["kTRC"])
            return ColourModel(profile_name(profile), (curve, curve, curve))
        if space == "RGB " and {"rXYZ", "gXYZ", "bXYZ", "rTRC", "gTRC", "bTRC"} <= tags.keys():
            curves = (_curve(tags["rTRC"]), _curve(tags["gTRC"]), _curve(tags["bTRC"]))
            columns = [_xyz(tags[name]) for name in ("rXYZ", "gXYZ", "bXYZ")]
            matrix = rec709_from_d50() @ np.stack(columns, axis=1)
            if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6:
                raise BrokenProfile("colorants on one line")
            return _as_srgb(ColourModel(profile_name(profile), curves, matrix))
    except (struct.error, IndexError, ValueError) as error:
        raise BrokenProfile(str(error)) from error
    return None


def convert(image: Image.Image, profile: bytes) -> Image.Image:
    """8-bit sRGB by LittleCMS: relative colorimetric with black point compensation, as print houses proof.

    Raises:
        BrokenProfile: LittleCMS refuses the profile for this picture's mode.
    """
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            image.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        converted = ImageCms.applyTransform(image, transform)
    except (OSError, ImageCms.PyCMSError, ValueError) as error:
        raise BrokenProfile(str(error)) from error
    if converted is None:
        raise BrokenProfile("LittleCMS gave no picture")
    return converted


def _as_srgb(model: ColourModel) -> ColourModel:
    """sRGB itself where the profile is one of its many near copies: their rounding must not shift untouched pixels."""
    ramp = np.linspace(0, 1, 65, dtype=np.float32)
    assert model.matrix is not None
    near = np.abs(model.matrix - np.eye(3)).max() < 4e-3
    near = near and all(np.abs(curve(ramp) - linear_from_srgb(ramp)).max() < 2e-3 for curve in model.curves)
    return SRGB if near else model


def _tags(profile: bytes) -> dict[str, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 200:
        raise BrokenProfile("too many tags")
    tags = {}
    for index in range(count):
        signature, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if offset + size > len(profile):
            raise BrokenProfile("a tag points outside the profile")
        tags[signature.decode("latin-1")] = profile[offset : offset + size]
    return tags


def _xyz(tag: bytes) -> F64:
    return np.array(struct.unpack_from(">3i", tag, 8), dtype=np.float64) / 65536


def _curve(tag: bytes) -> Curve:
    """curveType and parametricCurveType, ICC.1:2022 sections 10.6 and 10.18."""
    kind = tag[:4]
    if kind == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return lambda value: np.asarray(value, dtype=np.float32)
        if count == 1:
            gamma = struct.unpack_from(">H", tag, 12)[0] / 256
            return lambda value: np.power(np.maximum(value, 0), gamma).astype(np.float32)
        table = np.frombuffer(tag, ">u2", count, 12).astype(np.float64) / 65535
        knots = np.linspace(0, 1, count)
        return lambda value: np.interp(value, knots, table).astype(np.float32)
    if kind == b"para":
        (form,) = struct.unpack_from(">H", tag, 8)
        size = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}.get(form)
        if size is None:
            raise BrokenProfile("unknown parametric curve")
        return _parametric(form, [value / 65536 for value in struct.unpack_from(f">{size}i", tag, 12)])
    raise BrokenProfile("unknown curve type")


def _parametric(form: int, given: list[float]) -> Curve:
    g, a, b, c, d, e, f = given + [0.0] * (7 - len(given))
    if form == 0:
        a, b, d = 1.0, 0.0, -1.0
    elif form in (1, 2):
        offset = c if form == 2 else 0.0
        d = -b / a if a else 0.0
        c, e, f = 0.0, offset, offset
    elif form == 3:
        e = f = 0.0

    def curve(value: F32) -> F32:
        value = np.asarray(value, dtype=np.float64)
        power = np.power(np.maximum(a * value + b, 0), g) + e
        return np.where(value >= d, power, c * value + f).astype(np.float32)

    return curve
