# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture test: the scene rendered through its own camera, and how near it comes to the still."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
import numpy as np
from numpy.typing import NDArray


def render_still(scene: bpy.types.Scene, path: Path, width: int, samples: int, engine: str = "CYCLES") -> None:
    """Write a PNG `width` pixels wide; the scene's own render settings are put back afterwards.

    The one operator of this package: bpy offers no other way to render.
    """
    render, cycles = scene.render, scene.cycles
    kept = [(render, key, getattr(render, key)) for key in ("engine", "filepath", "resolution_percentage",
                                                           "resolution_x", "resolution_y", "use_file_extension",
                                                           "use_compositing", "use_sequencer")]  # fmt: skip
    settings = ("samples", "use_denoising", "seed", "use_adaptive_sampling")
    kept += [(cycles, key, getattr(cycles, key)) for key in settings]
    kept += [(render.image_settings, key, getattr(render.image_settings, key)) for key in ("file_format", "color_mode")]
    height = max(1, round(render.resolution_y * width / render.resolution_x))
    try:
        render.engine = engine
        render.resolution_x, render.resolution_y, render.resolution_percentage = width, height, 100
        render.use_compositing = render.use_sequencer = False
        render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGB"
        render.filepath, render.use_file_extension = str(path), False
        cycles.samples, cycles.seed = samples, 0
        cycles.use_denoising = False  # not every build has a denoiser, and emission needs none
        cycles.use_adaptive_sampling = False
        bpy.ops.render.render(write_still=True, scene=scene.name)
    finally:
        for owner, key, value in reversed(kept):
            setattr(owner, key, value)


def psnr(first: Path, second: Path) -> float:
    """dB between two 8-bit pictures as displayed, the larger averaged down to the smaller's size."""
    a, b = _pixels(first), _pixels(second)
    if a.shape[1] < b.shape[1]:
        a, b = b, a
    a = _reduced(a, b.shape[0], b.shape[1])
    error = float(((a - b) ** 2).mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def _pixels(path: Path) -> NDArray[np.float32]:
    image = bpy.data.images.load(str(path))
    try:
        image.colorspace_settings.name = "Non-Color"  # the bytes, not their light
        values = np.empty(len(image.pixels), np.float32)
        image.pixels.foreach_get(values)
        return values.reshape(image.size[1], image.size[0], -1)[..., :3]
    finally:
        bpy.data.images.remove(image)


def _reduced(pixels: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Exact area average to any smaller size, along one axis after the other."""
    for axis, size in ((0, height), (1, width)):
        length = pixels.shape[axis]
        if length == size:
            continue
        edges = np.linspace(0, length, size + 1)
        total = np.concatenate([np.zeros_like(pixels.take([0], axis)), pixels.cumsum(axis, dtype=np.float64)], axis)
        low = np.minimum(edges.astype(int), length - 1)
        part = (edges - low).reshape([-1 if i == axis else 1 for i in range(3)])
        at = total.take(low, axis) + part * pixels.take(low, axis)
        pixels = (np.diff(at, axis=axis) * size / length).astype(np.float32)
    return pixels
