"""Pixels as a file stores them, decoded whole, and their way to linear Rec.709.

Eight-bit and odd modes are Pillow's; 16-bit RGB and float TIFF, which Pillow would cut to eight bits or refuse, are
OpenCV's. Everything stays in its stored depth until `Raster.linear` makes floats of the part that is wanted.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, TiffImagePlugin, UnidentifiedImageError

from worker.arrays import F32, U8
from worker.formats import icc, png_colour
from worker.formats.exif import ORIENTATION, ContentLabel, FileLens, content_label, exif_texts, file_lens, upright
from worker.formats.icc import SRGB, BrokenProfile, ColourModel
from worker.formats.refusals import refuse
from worker.formats.srgb import srgb8_from_linear

Remark = tuple[str, dict[str, Any]]

BACKDROP = 118  # 8-bit sRGB of 18 % grey: what transparent pixels are laid over, as in exr.py
READABLE = ("JPEG", "MPO", "PNG", "TIFF", "WEBP", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
LINEAR = ColourModel("scene-linear Rec.709", (lambda value: np.asarray(value, dtype=np.float32),) * 3, hdr=True)
warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow mutters about odd tags is no user's business
_FAILURES = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    MemoryError,
    OverflowError,
    struct.error,
)


@dataclass
class Raster:
    """`pixels` (H, W, 1 or 3), upright: uint8, uint16 or float32, the integers encoded as `model` says."""

    pixels: NDArray[Any]
    model: ColourModel

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[0]

    def linear(self, box: tuple[int, int, int, int], size: tuple[int, int]) -> F32:
        """(h, w, 3) linear Rec.709 of `box` (x, y, width, height), area-averaged to `size` (w, h) in linear light."""
        x, y, width, height = box
        part = self.pixels[y : y + height, x : x + width]
        out = np.empty((size[1], size[0], 3), dtype=np.float32)
        for index, curve in enumerate(self.model.curves):
            channel = part[..., min(index, part.shape[2] - 1)]
            values = self._decode(channel, curve)
            if (width, height) != size:
                values = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
            out[..., index] = values
        if self.model.matrix is not None:
            matrix = self.model.matrix.T.astype(np.float32)
            for band in range(0, len(out), 512):
                out[band : band + 512] = out[band : band + 512] @ matrix
        return out

    def grey8(self, exposure: float = 1.0) -> U8:
        """(H, W) encoded mean of the channels: what bars and blank pictures are looked for in."""
        if self.pixels.dtype == np.uint8:
            planes = [self.pixels[..., c] for c in range(self.pixels.shape[2])]
        elif self.pixels.dtype == np.uint16:
            planes = [(self.pixels[..., c] >> 8).astype(np.uint8) for c in range(self.pixels.shape[2])]
        else:
            factor = np.float32(exposure)
            planes = [srgb8_from_linear(self.pixels[..., c] * factor) for c in range(self.pixels.shape[2])]
        if len(planes) == 1:
            return np.ascontiguousarray(planes[0])
        grey = cv2.addWeighted(planes[0], 0.5, planes[2], 0.5, 0)
        return np.asarray(cv2.addWeighted(grey, 2 / 3, planes[1], 1 / 3, 0))

    @staticmethod
    def _decode(channel: NDArray[Any], curve: Callable[[F32], F32]) -> F32:
        if channel.dtype.kind == "f":
            return np.ascontiguousarray(curve(channel))
        most = np.iinfo(channel.dtype).max
        table = curve(np.arange(most + 1, dtype=np.float32) / np.float32(most))
        return np.take(table, channel)


@dataclass
class Decoded:
    """A raster and what its file says beside it. `remarks` are (code, params) for the plate's notices."""

    raster: Raster
    format: str
    mode: str
    bits: int
    has_alpha: bool = False
    orientation: int = 1
    lens: FileLens | None = None
    label: ContentLabel = field(default_factory=ContentLabel)
    remarks: list[Remark] = field(default_factory=list)


def size_of(path: Path) -> tuple[int, int]:
    """Width and height as the header gives them (before EXIF turns them), without decoding."""
    tags = tiff_tags(path)
    if tags and 256 in tags and 257 in tags:
        return int(tags[256]), int(tags[257])
    with _opened(path) as image:
        return image.size


def decode(path: Path) -> Decoded:
    """Decode the whole first frame.

    Raises:
        InputError: no picture, truncated, damaged, or of a kind that is not read.
    """
    tags = tiff_tags(path)
    if tags and _first(tags.get(284), 1) == 2 and _first(tags.get(277), 1) > 1 and _first(tags.get(258), 8) != 8:
        # Both decoders mistake such planes for pixels and give noise.
        refusal = {"what_en": "a deep TIFF with separate colour planes", "what_zh": "分平面存储的高位深 TIFF"}
        raise refuse("input.unsupported", path, **refusal)
    if tags and _is_float(tags):
        return _decode_float_tiff(path, tags)
    try:
        with _opened(path) as image:
            return _decode_pillow(path, image, tags)
    except _FAILURES as error:
        raise refuse("input.truncated", path) from error


def _opened(path: Path) -> ImageFile.ImageFile:
    Image.init()
    guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # still.py has the say on how many pixels
    try:
        return Image.open(path, formats=[name for name in READABLE if name in Image.OPEN])  # type: ignore[return-value]
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise refuse("input.truncated", path) from error
    finally:
        Image.MAX_IMAGE_PIXELS = guard


def tiff_tags(path: Path) -> dict[int, Any] | None:
    """First directory of a TIFF, by Pillow's tag reader, which also knows files that Pillow cannot decode."""
    with path.open("rb") as stream:
        head = stream.read(8)
        if head[:4] not in (b"II*\0", b"MM\0*"):
            return None
        try:
            directory = TiffImagePlugin.ImageFileDirectory_v2(head)
            stream.seek(directory.next)
            directory.load(stream)
            return dict(directory)
        except _FAILURES as error:
            raise refuse("input.truncated", path) from error


def _first(value: Any, default: int) -> int:
    if isinstance(value, tuple):
        value = value[0] if value else default
    return int(value) if value is not None else default


def _is_float(tags: dict[int, Any]) -> bool:
    return _first(tags.get(339), 1) == 3


def _decode_pillow(path: Path, image: ImageFile.ImageFile, tags: dict[int, Any] | None) -> Decoded:
    raw_mode = str(image.tile[0].args) if image.tile else ""  # asking a PNG for EXIF already decodes it
    exif = image.getexif()
    orientation = exif.get(ORIENTATION, 1)
    orientation = orientation if orientation in range(1, 9) else 1
    found = Decoded(Raster(np.empty((0, 0, 3)), SRGB), image.format or "?", image.mode, 8, orientation=orientation)
    if getattr(image, "is_animated", False) and image.format != "MPO":
        image.seek(0)
        found.remarks.append(("plate.first_frame", {"frames": getattr(image, "n_frames", 2)}))
    image.load()
    turned = image.getexif().get(ORIENTATION) is None  # Pillow turns TIFF by itself while loading
    profile = image.info.get("icc_profile") or None
    if image.format == "PNG" and (points := png_colour.code_points(path)) in png_colour.CODE_POINTS:
        image.info["cicp"], profile = points, None  # the standard gives cICP precedence over iCCP
    texts = [(str(key), value) for key, value in image.info.items() if isinstance(value, str | bytes)]
    found.label = content_label(image.info.get("xmp") or image.info.get("XML:com.adobe.xmp"), texts + exif_texts(exif))

    deep = ";16" in raw_mode and not image.mode.startswith("I")
    colours = image.mode in ("RGB", "RGBA", "LA", "RGBX", "RGBa")  # CMYK stays Pillow's
    pixels = _deep_pixels(path, tags) if colours and (deep or image.format == "JPEG2000") else None
    if pixels is not None:
        found.bits = 16
        found.mode = f"{image.mode};16"
        found.raster = Raster(upright(_opaque(found, pixels), orientation), _model(found, profile, image, pixels))
    else:
        if deep:
            found.remarks.append(("plate.precision_reduced", {"bits": 16}))
        pixels, model = _shallow_pixels(found, image, profile, tags)
        found.raster = Raster(pixels if turned else upright(pixels, orientation), model)
    found.lens, ignored = file_lens(exif, *found.raster.size)
    if ignored:
        found.remarks.append(("plate.lens_ignored", {}))
    return found


def _deep_pixels(path: Path, tags: dict[int, Any] | None) -> NDArray[Any] | None:
    """(H, W, 3 or 4) uint16 RGB(A) in stored order, straight alpha; None where OpenCV cannot."""
    pixels = _opencv(path)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        return None
    pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    if tags and pixels.shape[2] == 4 and _first(tags.get(338), 2) == 1:  # TIFF 6.0: 1 is associated alpha
        alpha = np.maximum(pixels[..., 3:].astype(np.float32), 1)
        pixels[..., :3] = np.clip(pixels[..., :3] * (65535 / alpha), 0, 65535).astype(np.uint16)
    return pixels


def _opencv(path: Path) -> NDArray[Any] | None:
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        data = np.fromfile(path, dtype=np.uint8)
        _forget_orientation(data)
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except (cv2.error, OSError, MemoryError):
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)


def _forget_orientation(data: U8) -> None:
    """Set a TIFF's orientation entry to 1, in place: OpenCV obeys it for some files and not for others."""
    if data[:4].tobytes() not in (b"II*\0", b"MM\0*"):
        return
    order = "<" if data[0] == ord("I") else ">"
    view = data.data  # the array's own memory
    try:
        (directory,) = struct.unpack_from(f"{order}I", view, 4)
        (count,) = struct.unpack_from(f"{order}H", view, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            if struct.unpack_from(f"{order}H", view, entry) == (ORIENTATION,):
                struct.pack_into(f"{order}H", view, entry + 8, 1)
    except struct.error:
        return  # a broken directory; the decoder will say so


def _shallow_pixels(
    found: Decoded, image: Image.Image, profile: bytes | None, tags: dict[int, Any] | None
) -> tuple[NDArray[Any], ColourModel]:
    mode = image.mode
    if mode.startswith("I"):
        return _deep_grey(found, image, tags), _model(found, profile, image, None)
    if mode == "F":
        found.bits = 32
        found.remarks.append(("plate.float_is_linear", {}))
        return np.asarray(image, dtype=np.float32)[..., None], LINEAR
    if mode == "1":
        found.bits = 1
        return np.asarray(image.convert("L"))[..., None], SRGB
    if mode in ("P", "PA"):
        image = image.convert("RGBA" if mode == "PA" or "transparency" in image.info else "RGB")
    elif mode in ("L", "RGB") and "transparency" in image.info:
        image = image.convert("RGBA")
    elif mode in ("La", "RGBa"):
        image = image.convert(mode[:-1] + "A")
    elif mode in ("RGBX", "YCbCr", "HSV"):
        image = image.convert("RGB")
    elif mode == "LAB" and profile is None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    if image.mode in ("CMYK", "LAB"):
        return _by_littlecms(found, image, profile), SRGB

    model = _model(found, profile, image, None)
    if model is None:  # a profile that works by tables
        alpha = image.getchannel("A") if image.mode.endswith("A") else None
        base = image.convert("RGB") if image.mode != "L" else image
        rgb = Image.fromarray(_by_littlecms(found, base, profile))
        if alpha is not None:
            rgb.putalpha(alpha)
        image, model = rgb, SRGB
    pixels = np.asarray(image)
    return _opaque(found, pixels if pixels.ndim == 3 else pixels[..., None]), model


def _deep_grey(found: Decoded, image: Image.Image, tags: dict[int, Any] | None) -> NDArray[Any]:
    """16- and 32-bit integer grey to (H, W, 1) uint16."""
    grey = np.asarray(image)
    found.bits = 16
    if grey.dtype != np.uint16:
        grey = np.ascontiguousarray(grey).view(np.uint32)  # Pillow's "I" is signed, the files' samples are not
        if int(grey.max()) > 65535:
            found.bits = 32
            grey = grey >> 16
    if tags and _first(tags.get(262), 1) == 0:  # WhiteIsZero, which Pillow does not turn for deep files
        grey = 65535 - grey
    return grey.astype(np.uint16)[..., None]


def _by_littlecms(found: Decoded, image: Image.Image, profile: bytes | None) -> U8:
    if profile is not None:
        try:
            converted = np.asarray(icc.convert(image, profile))
            found.mode = f"{found.mode} ({icc.profile_name(profile)})"
            return converted
        except BrokenProfile as error:
            found.remarks.append(("plate.profile_broken", {"reason": str(error)}))
    if image.mode == "CMYK":
        found.remarks.append(("plate.cmyk_unprofiled", {}))
    if image.mode == "LAB":
        raise ValueError("LAB without a usable profile")
    return np.asarray(image.convert("RGB"))


def _model(found: Decoded, profile: bytes | None, image: Image.Image, deep: Any) -> Any:
    """Colour model of an RGB or grey picture; None where only LittleCMS can (never for 16-bit pixels)."""
    if profile is None:
        return png_colour.model(image)
    grey = image.mode in ("L", "LA", "1", "I", "I;16", "I;16B", "I;16L")
    try:
        space = icc.profile_space(profile)
        if space not in ("RGB ", "GRAY") or (space == "GRAY" and not grey):
            raise BrokenProfile(f"a {space.strip()} profile on a {image.mode} picture")
        model = icc.matrix_model(profile)
        if model is None and deep is None and not image.mode.startswith("I"):
            icc.profile_name(profile)
            return None
    except BrokenProfile as error:
        found.remarks.append(("plate.profile_broken", {"reason": str(error)}))
        return SRGB
    if model is None:
        found.remarks.append(("plate.profile_tables", {"profile": icc.profile_name(profile)}))
        return SRGB
    return model


def _opaque(found: Decoded, pixels: NDArray[Any]) -> NDArray[Any]:
    """Lay straight alpha over the backdrop, in encoded values as picture viewers do; (H, W, 1 or 3)."""
    if pixels.shape[2] in (1, 3):
        return pixels
    found.has_alpha = True
    colours, alpha = pixels[..., :-1], pixels[..., -1:]
    most = np.iinfo(pixels.dtype).max
    if int(alpha.min()) == most:
        return np.ascontiguousarray(colours)
    found.remarks.append(("plate.alpha_composited", {}))
    backdrop = np.float32(BACKDROP / 255 * most)
    out = np.empty(colours.shape, dtype=pixels.dtype)
    for band in range(0, len(out), 512):
        cover = alpha[band : band + 512].astype(np.float32) / most
        mixed = colours[band : band + 512] * cover + backdrop * (1 - cover)
        out[band : band + 512] = np.rint(mixed).astype(pixels.dtype)
    return out


def _decode_float_tiff(path: Path, tags: dict[int, Any]) -> Decoded:
    pixels = _opencv(path)
    if pixels is None or pixels.dtype.kind != "f":
        bits = _first(tags.get(258), 32)
        if bits in (32, 64):
            raise refuse("input.truncated", path)
        raise refuse("input.unsupported", path, what_en=f"a {bits}-bit float TIFF", what_zh=f"{bits} 位浮点 TIFF")
    orientation = _first(tags.get(ORIENTATION), 1)
    found = Decoded(Raster(pixels, LINEAR), "TIFF", "F", _first(tags.get(258), 32), orientation=orientation)
    found.remarks.append(("plate.float_is_linear", {}))
    pixels = pixels.astype(np.float32)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] in (2, 4):
        cover = np.nan_to_num(pixels[..., -1:], nan=1.0).clip(0, 1)
        found.has_alpha = True
        straight = _first(tags.get(338), 2) != 1
        pixels = pixels[..., :-1] * (cover if straight else 1) + (1 - cover) * np.float32(0.18)
        if cover.min() < 0.999:
            found.remarks.append(("plate.alpha_composited", {}))
    if pixels.shape[2] == 3:
        found.mode = "RGB;F"
        pixels = pixels[..., ::-1]
    model = LINEAR
    profile = tags.get(34675)
    if isinstance(profile, bytes):
        try:
            model = icc.matrix_model(profile) or LINEAR
        except BrokenProfile as error:
            found.remarks.append(("plate.profile_broken", {"reason": str(error)}))
    found.raster = Raster(upright(np.ascontiguousarray(pixels), orientation), model)
    xmp = tags.get(700)
    found.label = content_label(xmp if isinstance(xmp, str | bytes) else None, [])
    return found
