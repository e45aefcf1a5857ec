"""Names that claim no more than was seen: a colour, a shape, "prop". Nothing here knows what a thing is."""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, U8, Bool

# Hue bounds in OpenCV's half degrees; brown is a dark orange.
_HUES = (
    (8, "red", "红色"),
    (22, "orange", "橙色"),
    (34, "yellow", "黄色"),
    (80, "green", "绿色"),
    (100, "teal", "青色"),
    (130, "blue", "蓝色"),
    (155, "purple", "紫色"),
    (172, "pink", "粉色"),
    (180, "red", "红色"),
)


def describe(image: U8, mask: Bool) -> tuple[str, str]:
    """("tall green prop", "绿色高道具"): from the median colour and the outline, in English and Chinese."""
    color_en, color_zh = _color(image[mask], _illuminant(image))
    shape_en, shape_zh = _shape(mask)
    return " ".join(filter(None, (shape_en, color_en, "prop"))), f"{color_zh}{shape_zh}道具"


def _illuminant(image: U8) -> F32:
    """Colour of the light, largest channel 1: shades of grey (Finlayson and Trezzi 2004, sixth norm), taken half.

    A white cup by candlelight is white to whoever looks at the picture.
    """
    norm = np.mean((image[::4, ::4].astype(np.float64) / 255) ** 6, axis=(0, 1)) ** (1 / 6) + 1e-6
    return np.asarray(np.sqrt(norm / norm.max()), np.float32)


def _color(pixels: U8, illuminant: F32) -> tuple[str, str]:
    median = np.median(pixels, axis=0) / illuminant
    balanced = np.clip(np.round(median), 0, 255).astype(np.uint8).reshape(1, 1, 3)
    hue, saturation, value = (int(v) for v in cv2.cvtColor(balanced, cv2.COLOR_RGB2HSV)[0, 0])
    if value < 45:
        return "black", "黑色"
    if saturation < 60:
        return ("white", "白色") if value > 185 else ("grey", "灰色")
    _, name, chinese = next(h for h in _HUES if hue <= h[0])
    if hue <= 22 and (value < 165 or saturation < 110) and saturation < 200:
        return "brown", "棕色"
    return name, chinese


def _shape(mask: Bool) -> tuple[str, str]:
    _, _, w, h = cv2.boundingRect(mask.astype(np.uint8))
    fill = mask.sum() / (w * h)
    if h > 1.8 * w:
        return "tall", "高"
    if w > 1.8 * h:
        return "wide", "宽"
    if abs(fill - np.pi / 4) < 0.06 and 0.8 < w / h < 1.25:
        return "round", "圆"
    return "", ""
