"""Pictures made on the spot; no test file is anybody's photograph."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image


def scene(width: int = 320, height: int = 240, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 with gradients, edges and noise: nothing flat, nothing black at the margins."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    red = 90 + 80 * np.sin(x / 17) + 40 * (y / height)
    green = 100 + 70 * np.cos(y / 13 + x / 41)
    blue = 120 + 60 * ((x // 20 + y // 20) % 2)
    return np.clip(np.stack([red, green, blue], -1) + rng.normal(0, 3, (height, width, 3)), 30, 255).astype(np.uint8)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(pixels: np.ndarray, depth: int, colour_type: int, extra: bytes = b"") -> bytes:
    """A PNG by hand (RFC 2083): what Pillow cannot write, such as 16-bit RGB or grey with alpha."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2" if depth == 16 else np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", zlib.compress(raw, 1))
        + png_chunk(b"IEND", b"")
    )


PATCHES = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 60), (30, 90, 150), (128, 128, 128), (250, 250, 240)]


def patches(colours=PATCHES, cell=40):
    row = np.repeat(np.asarray(colours, np.uint8), cell, axis=0)
    return np.tile(row, (64, 1, 1))


def at(image, index, cell=40):
    return image[32, index * cell + cell // 2]


def codes(result):
    return {code for code, _ in result.remarks}


def save(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def exif_with(**fields):
    exif = Image.Exif()
    exif[34665] = fields.pop("ifd")
    for key, value in fields.items():
        exif[int(key[1:])] = value
    return exif


@pytest.fixture
def picture() -> np.ndarray:
    return scene()
