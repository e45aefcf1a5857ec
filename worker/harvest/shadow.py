"""The dark rim a prop leaves on what it stands on: contact shadow, to be removed together with the prop."""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, U8, Bool

LONG_SIDE = 640
DARKER = 0.8  # of what the surroundings predict, in linear light
REACH = 0.22  # of the prop's smaller side: how far a contact shadow is looked for


def contact_shadow(image: U8, mask: Bool, others: Bool) -> Bool:
    """Pixels near the prop's lower half that are darker than the surroundings beyond and join onto it.

    Args:
        image: (H, W, 3) uint8 sRGB.
        mask: (H, W) the prop.
        others: (H, W) other props, which are neither shadow nor surroundings.
    """
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    reach = max(4, round(REACH * min(w, h)))
    x0, y0 = max(0, x - 2 * reach), max(0, y + h // 3 - reach)
    x1, y1 = min(mask.shape[1], x + w + 2 * reach), min(mask.shape[0], y + h + 2 * reach)
    window = np.s_[y0:y1, x0:x1]
    scale = min(1.0, LONG_SIDE / max(x1 - x0, y1 - y0))
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    prop, other = (
        np.asarray(cv2.resize(m[window].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST), np.uint8)
        for m in (mask, others)
    )
    light = _luminance(np.asarray(cv2.resize(image[window], size, interpolation=cv2.INTER_AREA), np.uint8))

    near = _ellipse(prop, max(2, round(reach * scale)))
    beyond = (near == 0) & (other == 0)
    if not beyond.any():
        return np.zeros_like(mask)
    expected = _smooth_from(light, beyond)
    dark = (light < DARKER * expected) & (near > 0) & (other == 0) & (prop == 0)
    # Seams between planks and other dark lines that run into the prop are not its shadow.
    thin = max(3, round(0.35 * reach * scale)) | 1
    dark = cv2.morphologyEx(dark.astype(np.uint8), cv2.MORPH_OPEN, np.ones((thin, thin), np.uint8))
    # Upwards of the prop's lower part darkness is the wall's own affair.
    lower = np.arange(size[1])[:, None] / scale + y0 > y + 0.55 * h
    dark = dark.astype(bool) & lower
    count, labels = cv2.connectedComponents(dark.astype(np.uint8))
    touching = np.unique(labels[(cv2.dilate(prop, np.ones((5, 5), np.uint8)) > 0) & dark])
    joined = np.isin(labels, touching[touching > 0]) if count > 1 else np.zeros_like(dark)
    found = np.zeros_like(mask)
    found[window] = cv2.resize(joined.astype(np.uint8), (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST) > 0
    return found & ~mask & ~others


def _luminance(image: U8) -> F32:
    linear = (np.divide(image, 255, dtype=np.float32)) ** 2.2  # near enough to sRGB for a ratio
    return np.asarray(linear @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32), np.float32) + 1e-3


def _smooth_from(values: F32, known: Bool) -> F32:
    """Wide average of the known pixels around each pixel."""
    sigma = 0.12 * max(values.shape)
    weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), sigma)
    return np.asarray(cv2.GaussianBlur(values * known, (0, 0), sigma) / np.maximum(weight, 1e-6), np.float32)


def _ellipse(mask: U8, radius: int) -> U8:
    """Dilation by a flat ellipse: shadows lie on floors, which are seen at a slant."""
    shape = (2 * radius + 1, 2 * max(1, radius // 2) + 1)
    return np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, shape)), np.uint8)
