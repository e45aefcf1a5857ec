"""sRGB and scene-linear Rec.709, exactly as IEC 61966-2-1 writes them, and the matrices between RGB spaces."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from worker.arrays import F32, F64, U8

Chromaticities = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""CIE 1931 xy of red, green, blue and white."""

REC709: Chromaticities = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290))
REC2020: Chromaticities = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), (0.3127, 0.3290))
D50_XYZ: F64 = np.array([0.9642, 1.0, 0.8249])  # the ICC connection space's white, ICC.1:2022 section 7.2.16
LUMINANCE: F32 = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # Rec.709

_BRADFORD: F64 = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def linear_from_srgb(encoded: ArrayLike) -> F32:
    """0..1 encoded to linear; odd-symmetric below 0, and the power law goes on above 1."""
    value = np.asarray(encoded, dtype=np.float32)
    size = np.abs(value)
    linear = np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    return np.copysign(linear, value).astype(np.float32)


def srgb_from_linear(linear: ArrayLike) -> F32:
    """Inverse of `linear_from_srgb`; nothing is clipped."""
    value = np.asarray(linear, dtype=np.float32)
    size = np.abs(value)
    encoded = np.where(size <= 0.0031308, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)
    return np.copysign(encoded, value).astype(np.float32)


LINEAR_OF_CODE: F32 = linear_from_srgb(np.arange(256) / 255.0)
"""Linear value of each 8-bit code: `LINEAR_OF_CODE[image]` is the fast way for pictures."""


def srgb8_from_linear(linear: F32) -> U8:
    """Clipped to 0..1, encoded, rounded: (H, W, 3) uint8. The exact inverse of `LINEAR_OF_CODE`."""
    out = np.empty(linear.shape, dtype=np.uint8)
    for band in range(0, len(linear), 256):  # temporaries stay small for big pictures
        rows = slice(band, band + 256)
        out[rows] = np.rint(srgb_from_linear(np.clip(linear[rows], 0, 1)) * 255).astype(np.uint8)
    return out


def luminance(linear: F32) -> F32:
    """(..., 3) linear Rec.709 to relative luminance."""
    return np.asarray(linear @ LUMINANCE, dtype=np.float32)


def _white_xyz(xy: tuple[float, float]) -> F64:
    x, y = xy
    return np.array([x / y, 1.0, (1 - x - y) / y])


def adapt_white(source: F64, target: F64) -> F64:
    """3x3 Bradford adaptation of XYZ under `source` white to XYZ under `target` white (Lam 1985; ICC.1 Annex E)."""
    scale = np.diag((_BRADFORD @ target) / (_BRADFORD @ source))
    return np.asarray(np.linalg.inv(_BRADFORD) @ scale @ _BRADFORD)


def xyz_from_rgb(space: Chromaticities) -> F64:
    """3x3, linear RGB of `space` to XYZ under its own white, white at Y = 1.

    Raises:
        ValueError: primaries on one line or a white with y <= 0.
    """
    points = np.array(space, dtype=np.float64)
    if not np.isfinite(points).all() or points[3, 1] <= 1e-6:
        raise ValueError("chromaticities without a luminance")
    primaries = np.stack([(x, y, 1 - x - y) for x, y in points[:3]], axis=1)  # AP0's blue has y < 0
    if abs(np.linalg.det(primaries)) < 1e-6:
        raise ValueError("chromaticities on one line")
    return np.asarray(primaries * np.linalg.solve(primaries, _white_xyz(space[3])))


def rec709_from(space: Chromaticities) -> F64:
    """3x3, linear RGB of `space` to linear Rec.709, whites adapted; ValueError as `xyz_from_rgb`."""
    to_xyz = xyz_from_rgb(space)
    adapt = adapt_white(_white_xyz(space[3]), _white_xyz(REC709[3]))
    return np.asarray(np.linalg.inv(xyz_from_rgb(REC709)) @ adapt @ to_xyz)


def rec709_from_d50() -> F64:
    """3x3, ICC connection-space XYZ (D50) to linear Rec.709."""
    adapt = adapt_white(D50_XYZ, _white_xyz(REC709[3]))
    return np.asarray(np.linalg.inv(xyz_from_rgb(REC709)) @ adapt)
