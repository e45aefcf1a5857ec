"""Directions, solid angles and spherical harmonics of an equirectangular light probe.

Everything is in the level frame (session/frames.py): x right, y ahead, z up. Top row zenith, middle column ahead,
columns to the right turn right. Spherical harmonics: real, orders 0 to 2 as l0; y z x; xy yz 3z2-1 xz x2-y2
(Ramamoorthi and Hanrahan, "An Efficient Representation for Irradiance Environment Maps", 2001).
"""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, F64

SH_ORDER = ("1", "y", "z", "x", "xy", "yz", "3z2-1", "xz", "x2-y2")
COSINE_LOBE = np.array([np.pi] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5)  # A_l of their equation 8


def directions(height: int, width: int) -> F64:
    """(h, w, 3) unit vectors through pixel centres."""
    azimuth = (np.arange(width) + 0.5) / width * 2 * np.pi - np.pi
    elevation = np.pi / 2 - (np.arange(height) + 0.5) / height * np.pi
    flat = np.cos(elevation)[:, None]
    return np.stack(
        [flat * np.sin(azimuth), flat * np.cos(azimuth), np.broadcast_to(np.sin(elevation)[:, None], (height, width))],
        axis=-1,
    )


def solid_angles(height: int, width: int) -> F64:
    """(h, w) steradians of each pixel; they sum to 4 pi."""
    edges = np.sin(np.pi / 2 - np.arange(height + 1) / height * np.pi)
    return np.repeat((edges[:-1] - edges[1:])[:, None] * (2 * np.pi / width), width, axis=1)


def lookup(equirect: F32, direction: F64) -> F32:
    """Radiance (H, W, 3) along unit vectors (H, W, 3), bilinear, seamless across the back."""
    height, width = equirect.shape[:2]
    u = (np.arctan2(direction[..., 0], direction[..., 1]) / (2 * np.pi) + 0.5) * width - 0.5 + 1
    v = (0.5 - np.arcsin(np.clip(direction[..., 2], -1, 1)) / np.pi) * height - 0.5
    wrapped = np.concatenate([equirect[:, -1:], equirect, equirect[:, :1]], axis=1)
    found = cv2.remap(wrapped, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def sh_basis(direction: F64) -> F64:
    """(..., 9) real spherical harmonics of unit vectors (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(direction, dtype=np.float64), -1, 0)
    return np.stack(
        [
            np.full_like(x, 0.282095),
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        axis=-1,
    )


def project_sh9(equirect: F32) -> F64:
    """(9, 3) radiance coefficients of an equirect (h, 2h, 3)."""
    height, width = equirect.shape[:2]
    weight = sh_basis(directions(height, width)) * solid_angles(height, width)[..., None]
    return np.tensordot(weight, equirect.astype(np.float64), axes=([0, 1], [0, 1]))


def irradiance(sh9: F64, normal: F64) -> F64:
    """(..., 3) irradiance on surfaces with unit `normal` (..., 3); a white card there shows irradiance / pi.

    Nine coefficients ring where a small light is strong; negative light is cut to a hundredth of the mean.
    """
    value = (sh_basis(normal) * COSINE_LOBE) @ np.asarray(sh9, dtype=np.float64)
    mean = COSINE_LOBE[0] * 0.282095 * np.maximum(np.asarray(sh9, dtype=np.float64)[0], 0)
    return np.maximum(value, 0.01 * mean)


def blurred(equirect: F32, sigma_deg: float) -> F32:
    """Gaussian blur of light by an angle, by FFT: along rows, wider towards the poles, and across the poles."""
    height, width = equirect.shape[:2]
    sigma = sigma_deg / 180 * height
    elevation = np.pi / 2 - (np.arange(height) + 0.5) / height * np.pi
    frequency = np.arange(width // 2 + 1) / width
    # Beyond the equator's own circumference a row is constant anyway; the cap only keeps numbers small.
    row_sigma = np.minimum(sigma / np.maximum(np.cos(elevation), 1e-3), width)
    transfer = np.exp(-2 * (np.pi * frequency[None] * row_sigma[:, None]) ** 2)
    rows = np.fft.irfft(np.fft.rfft(equirect, axis=1) * transfer[..., None], n=width, axis=1)
    # Over a pole the picture goes on upside down, half a turn away: a meridian and its other half close a circle.
    circle = np.concatenate([rows, np.roll(rows, width // 2, axis=1)[::-1]])
    transfer = np.exp(-2 * (np.pi * np.arange(height + 1) / (2 * height) * sigma) ** 2)
    smooth = np.fft.irfft(np.fft.rfft(circle, axis=0) * transfer[:, None, None], n=2 * height, axis=0)[:height]
    return np.maximum(smooth, 0).astype(np.float32)
