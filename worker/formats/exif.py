"""What a file tells beside its pixels: which way is up, the lens, an AI-content label."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from worker.session.model import Lens

ORIENTATION = 0x0112
_EXIF_IFD = 0x8769
_FOCAL, _FOCAL_35 = 0x920A, 0xA405
_PLANE_X, _PLANE_UNIT = 0xA20E, 0xA210
_WIDTH, _HEIGHT = 0xA002, 0xA003
_USER_COMMENT = 0x9286
_DIAGONAL_35 = math.hypot(36.0, 24.0)
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}

AIGC_NAMESPACE = "http://www.tc260.org.cn/ns/AIGC/1.0/"
DIGITAL_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn stored rows and columns as EXIF 2.32 tag 274 (1..8) says; other values leave them."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


@dataclass(frozen=True)
class FileLens:
    """`focal_px` is the focal length in pixels of the upright, uncropped still."""

    focal_px: float
    focal_mm: float | None
    focal_35mm: float | None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def file_lens(exif: Any, width: int, height: int) -> tuple[FileLens | None, bool]:
    """Lens by EXIF for a picture of `width` x `height` pixels, and whether a lens entry had to be left aside.

    The 35 mm equivalent is one of diagonals (CIPA DCG-001). A file whose shape differs from the one the camera
    recorded was cropped after the shot, and its lens entry no longer tells the angle of view.
    """
    entries: Mapping[int, Any] = exif.get_ifd(_EXIF_IFD) if exif else {}
    focal_mm, focal_35 = _number(entries.get(_FOCAL)), _number(entries.get(_FOCAL_35))
    shot = _number(entries.get(_WIDTH)), _number(entries.get(_HEIGHT))
    long, short = max(width, height), min(width, height)
    focal_px = None
    if focal_35 is not None:
        focal_px = focal_35 / _DIAGONAL_35 * math.hypot(width, height)
    elif focal_mm is not None:
        per_unit, unit = _number(entries.get(_PLANE_X)), _MM_PER_UNIT.get(entries.get(_PLANE_UNIT, 2))
        if per_unit and unit and shot[0]:
            focal_px = focal_mm * per_unit / unit * long / max(shot[0], shot[1] or 0)
    if focal_px is None:
        return None, False
    hfov = math.degrees(2 * math.atan(width / (2 * focal_px)))
    cropped = bool(shot[0] and shot[1]) and abs(max(shot) / min(shot) / (long / short) - 1) > 0.03  # type: ignore[type-var, operator]
    if cropped or not 1.0 < hfov < 170.0:
        return None, True
    return FileLens(focal_px, focal_mm, focal_35), False


def lens_record(lens: FileLens | None, crop_width: int, hfov_deg: float | None, lens_mm: float | None) -> Lens:
    """The still's lens: the user's word first, then the file's. `hfov_deg` is that of the cropped picture."""
    if lens_mm is not None:
        hfov_deg = math.degrees(2 * math.atan(18.0 / lens_mm))
    focal_mm, focal_35 = (lens.focal_mm, lens.focal_35mm) if lens else (None, None)
    if hfov_deg is not None:
        return Lens(hfov_deg=hfov_deg, focal_mm=focal_mm, focal_35mm=focal_35, source="user")
    if lens is None:
        return Lens()
    hfov = math.degrees(2 * math.atan(crop_width / (2 * lens.focal_px)))
    return Lens(hfov_deg=hfov, focal_mm=focal_mm, focal_35mm=focal_35, source="exif")


@dataclass(frozen=True)
class ContentLabel:
    """`aigc` is the label's own text, word for word; `source_type` the last part of an IPTC digitalSourceType URI."""

    aigc: str | None = None
    source_type: str | None = None


def content_label(xmp: bytes | str | None, texts: Iterable[tuple[str, Any]]) -> ContentLabel:
    """Look for an AI-content label in an XMP packet (TC260:AIGC, IPTC) and in plain text fields (name, value)."""
    aigc, source_type = _label_in_xmp(xmp)
    for name, value in texts:
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        aigc = aigc or _label_in_text(name, text)
    return ContentLabel(aigc, source_type)


def exif_texts(exif: Any) -> list[tuple[str, Any]]:
    """The free-text EXIF fields in which providers leave labels."""
    if not exif:
        return []
    comment = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    if isinstance(comment, bytes):
        head, body = comment[:8], comment[8:]
        comment = body.decode("utf-16", "replace") if head.startswith(b"UNICODE") else body.decode("utf-8", "replace")
    return [("UserComment", comment), ("ImageDescription", exif.get(0x010E, "")), ("Software", exif.get(0x0131, ""))]


def _label_in_text(name: str, text: str) -> str | None:
    text = text.strip("\0 \t\r\n")
    if name.upper() == "AIGC":
        return text or None
    if '"AIGC"' not in text and '"Label"' not in text:
        return None
    try:
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except ValueError:
        return None
    inner = found.get("AIGC") if isinstance(found, dict) else None
    if isinstance(inner, dict):
        return json.dumps(inner, ensure_ascii=False, separators=(",", ":"))
    if isinstance(inner, str):
        return inner
    return text if isinstance(found, dict) and {"Label", "ContentProducer"} <= found.keys() else None


def _label_in_xmp(xmp: bytes | str | None) -> tuple[str | None, str | None]:
    if not xmp:
        return None, None
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else xmp
    if "<!" in text:  # XMP has no DTD; refusing one closes the door on entity bombs
        return None, None
    match = re.search(r"<(\w+:)?(xmpmeta|RDF)\b.*</(\w+:)?\2>", text, re.DOTALL)
    try:
        root = ElementTree.fromstring(match.group(0)) if match else None
    except ElementTree.ParseError:
        root = None
    if root is None:
        return None, None
    aigc = source_type = None
    wanted = f"{{{AIGC_NAMESPACE}}}AIGC"
    for element in root.iter():
        values = [(element.tag, "".join(element.itertext())), *element.attrib.items()]
        for key, value in values:
            value = value.strip()
            if key == wanted and value and aigc is None:
                aigc = value
            elif str(key).lower().endswith("digitalsourcetype") and value.startswith(DIGITAL_SOURCE_TYPES):
                source_type = value.removeprefix(DIGITAL_SOURCE_TYPES)
    return aigc, source_type
