"""Eight-bit pictures in and out, whole or not at all."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from worker.arrays import U8, Bool
from worker.session.atomic import replacing


def read_rgb(path: Path) -> U8:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_grey(path: Path) -> U8:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def write_png(path: Path, pixels: U8 | Bool) -> None:
    """Grey, RGB or RGBA by shape; bool becomes 0/255.

    Filtered rows of a picture hardly ever repeat, but they have runs: looking for runs alone takes a third of the time
    of Pillow's default and gives no larger files.
    """
    array = np.where(pixels, 255, 0).astype(np.uint8) if pixels.dtype == bool else pixels
    with replacing(path) as part:
        picture = Image.fromarray(np.ascontiguousarray(array))
        picture.save(part, format="PNG", compress_level=1, compress_type=zlib.Z_RLE)
