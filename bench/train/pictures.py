"""Decoding and resizing of small pictures without OpenCV, which a training machine may lack."""

from __future__ import annotations

import io

import numpy as np


def decode(data: bytes) -> np.ndarray:
    """JPEG or PNG -> uint8 (H, W, 3) RGB, or (H, W) where the file is grey."""
    try:
        from PIL import Image

        picture = Image.open(io.BytesIO(data))
        return np.array(picture if picture.mode == "L" else picture.convert("RGB"))
    except ImportError:
        import torch
        from torchvision.io import decode_image

        planes = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8)).numpy()
        return planes[0] if len(planes) == 1 else planes[:3].transpose(1, 2, 0).copy()


def halve(picture: np.ndarray) -> np.ndarray:
    """uint8 (2h, 2w, c) -> (h, w, c): the mean of every four pixels."""
    h, w, c = picture.shape
    blocks = picture.reshape(h // 2, 2, w // 2, 2, c).astype(np.uint16).sum((1, 3))
    return ((blocks + 2) // 4).astype(np.uint8)


def polygon(size: int, corners: np.ndarray) -> np.ndarray:
    """Bool (size, size): inside the polygon with the given (n, 2) corners (x, y), by the even-odd rule."""
    y, x = np.mgrid[:size, :size]
    inside = np.zeros((size, size), bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, 0), strict=True):
        if ay == by:
            continue
        crosses = ((y >= ay) != (y >= by)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
        inside ^= crosses
    return inside


def ellipse(size: int, center: np.ndarray, axes: np.ndarray, angle: float) -> np.ndarray:
    """Bool (size, size): inside an ellipse with half axes `axes`, turned by `angle` (radians)."""
    y, x = np.mgrid[:size, :size]
    u, v = x - center[0], y - center[1]
    c, s = np.cos(angle), np.sin(angle)
    return ((u * c + v * s) / axes[0]) ** 2 + ((v * c - u * s) / axes[1]) ** 2 <= 1
