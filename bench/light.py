"""Equirect light: sampling it by direction, and what a mirror ball and a grey ball look like under it."""

from __future__ import annotations

import numpy as np

from bench.metrics import Array, Mask


def directions(height: int, width: int) -> Array:
    """(H, W, 3) unit camera-axes directions of an equirect whose middle looks forward (+z), top row up (-y)."""
    longitude = (np.arange(width) + 0.5) / width * 2 * np.pi - np.pi
    latitude = np.pi / 2 - (np.arange(height) + 0.5) / height * np.pi
    c = np.cos(latitude)[:, None]
    down = np.broadcast_to(-np.sin(latitude)[:, None], (height, width))
    return np.stack([np.sin(longitude) * c, down, np.cos(longitude) * c], -1)


def sample(equirect: Array, way: Array) -> Array:
    """Nearest texel of an equirect (H, W, 3), laid out as `directions`, for unit camera-axes directions (..., 3)."""
    h, w = equirect.shape[:2]
    column = ((np.arctan2(way[..., 0], way[..., 2]) / (2 * np.pi) + 0.5) * w).astype(int) % w
    row = np.clip(((0.5 + np.arcsin(np.clip(way[..., 1], -1, 1)) / np.pi) * h).astype(int), 0, h - 1)
    return equirect[row, column]


def camera_equirect(level_equirect: Array, level_from_camera: Array, height: int = 64) -> Array:
    """Resample a level-frame equirect (x right, y forward, z up; middle column forward) into camera axes."""
    level = directions(height, 2 * height) @ np.asarray(level_from_camera).T
    # The level frame's (right, forward, up) are the equirect's own (x, z, -y).
    return sample(level_equirect, np.stack([level[..., 0], -level[..., 2], level[..., 1]], -1))


def shrink(equirect: Array, height: int = 64) -> Array:
    """Box-filter to `height` x 2 `height`, so that a one-pixel sun keeps its energy whatever the file's size."""
    h, w = equirect.shape[:2]
    if h < height or h % height or w % (2 * height):
        return equirect
    return equirect.reshape(height, h // height, 2 * height, w // (2 * height), -1).mean((1, 3))


def balls(equirect: Array, size: int = 64) -> tuple[Array, Array, Mask]:
    """(mirror, grey, where): a chrome and a white Lambert ball seen along +z under a camera-axes equirect."""
    x, y = np.meshgrid((np.arange(size) + 0.5) / size * 2 - 1, (np.arange(size) + 0.5) / size * 2 - 1)
    inside = x**2 + y**2 < 0.98
    normal = np.stack([x, y, -np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))], -1)
    view = np.array([0.0, 0.0, 1.0])
    mirror = sample(equirect, view - 2 * (normal @ view)[..., None] * normal)
    h, w = equirect.shape[:2]
    way = directions(h, w).reshape(-1, 3)
    latitude = np.pi / 2 - (np.arange(h) + 0.5) / h * np.pi
    solid = np.repeat(np.cos(latitude) * (np.pi / h) * (2 * np.pi / w), w)
    # In blocks: the full table of pixels by texels would be hundreds of megabytes.
    light = equirect.reshape(-1, 3) * solid[:, None]
    flat = normal.reshape(-1, 3)
    grey = np.concatenate([np.clip(block @ way.T, 0, None) @ light for block in np.array_split(flat, 16)]) / np.pi
    return np.where(inside[..., None], mirror, 0), np.where(inside[..., None], grey.reshape(size, size, 3), 0), inside
