"""Colour as PNG's own chunks tell it: cICP (PQ, HLG, Display P3), gAMA and cHRM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from worker.arrays import F32
from worker.formats.icc import SRGB, ColourModel
from worker.formats.srgb import REC2020, rec709_from


def code_points(path: Path) -> tuple[int, int] | None:
    """Primaries and transfer function of a PNG's cICP chunk (PNG 3rd ed., section 11.3.2.6), full range only."""
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    start = head.find(b"cICP", 0, head.find(b"IDAT") if b"IDAT" in head else None)
    if start < 0 or len(head) < start + 8 or head[start + 7] != 1:
        return None
    return head[start + 4], head[start + 5]


def _pq(value: F32) -> F32:
    """SMPTE ST 2084 to linear, 1.0 at the 203 cd/m2 of BT.2408's reference white."""
    power = np.power(np.clip(np.asarray(value, dtype=np.float64), 0, 1), 32 / 2523)
    light = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
    return (np.power(light, 16384 / 2610) * (10_000 / 203)).astype(np.float32)


def _hlg(value: F32) -> F32:
    """Hybrid log-gamma to scene light (BT.2100-2 table 5), 1.0 at the signal of 75 % that BT.2408 gives white."""
    signal = np.clip(np.asarray(value, dtype=np.float64), 0, 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    white = (np.exp((0.75 - c) / a) + b) / 12
    return (light / white).astype(np.float32)


_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290))
CODE_POINTS = {  # ITU-T H.273: (primaries, transfer)
    (1, 13): SRGB,
    (12, 13): ColourModel("Display P3", SRGB.curves, rec709_from(_P3)),
    (9, 16): ColourModel("Rec.2100 PQ", (_pq,) * 3, rec709_from(REC2020), hdr=True),
    (12, 16): ColourModel("P3 PQ", (_pq,) * 3, rec709_from(_P3), hdr=True),
    (9, 18): ColourModel("Rec.2100 HLG", (_hlg,) * 3, rec709_from(REC2020), hdr=True),
}


def model(image: Image.Image) -> ColourModel:
    """By cICP; else by gAMA and cHRM where they say something else than sRGB (PNG 3rd ed., 11.3.2.1 and 11.3.2.2)."""
    if (points := image.info.get("cicp")) in CODE_POINTS:
        return CODE_POINTS[points]
    gamma, white_first = image.info.get("gamma"), image.info.get("chromaticity")
    if image.format != "PNG" or "srgb" in image.info or not (gamma or white_first):
        return SRGB
    curves, matrix, name = SRGB.curves, None, "sRGB"
    if gamma and 0.1 < gamma <= 1.0 and abs(gamma - 1 / 2.2) > 0.02:
        power = 1 / gamma
        name = f"gamma {power:.3g}"
        curves = (lambda value: np.power(np.maximum(value, 0), power).astype(np.float32),) * 3
    if white_first and len(white_first) == 8:
        w, r, g, b = (tuple(white_first[i : i + 2]) for i in (0, 2, 4, 6))
        try:
            candidate = rec709_from((r, g, b, w))
        except (ValueError, np.linalg.LinAlgError):
            candidate = np.eye(3)
        if np.abs(candidate - np.eye(3)).max() > 0.01:
            matrix, name = candidate, f"{name}, primaries by cHRM"
    return SRGB if name == "sRGB" else ColourModel(name, curves, matrix)
