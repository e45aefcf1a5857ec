"""Votes for objects' boxes drawn from the truth: what a perfect network would say (worker/pointmaps/object_box.py).

The same encoding as the network's truth in training (bench/train), in numpy, so that the gain from boxes can be
measured apart from the network.
"""

from __future__ import annotations

import numpy as np

from bench.metrics import Array, Mask

CELL = 12  # pixels of a still of 960 per vote: about the network's own eighth


def encode(point: Array, up: Array, centre: Array, first: Array, sides: Array, heading: bool) -> Array:
    """(9, n) what (n, 3) points say of one box: centre, unit first side (camera frame), sides along it, across, up."""
    distance = np.linalg.norm(point, axis=1)
    forward = point - (point @ up)[:, None] * up
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, up)
    off = (centre - point) / np.linalg.norm(sides)
    c, s = forward @ first, right @ first
    a, b, tall = (np.log(side / distance) for side in sides)
    turn = heading * np.exp(4j * np.arctan2(s, c))
    return np.stack([
        (off * forward).sum(1), (off * right).sum(1), off @ up, tall,
        a * c * c + b * s * s, (a - b) * c * s, a * s * s + b * c * c, turn.real, turn.imag,
    ])


def votes_of(things: list[tuple[Mask, Array, Array, Array, bool]], points: Array, up: Array, cell: int = CELL) -> Array:
    """(10, h, w) float32 votes. `things`: mask, centre, unit first side, sides (first, second, height), heading known.

    Every place speaks of the thing at its middle pixel; where there is none it says nothing in particular, unsurely.
    """
    height, width = points.shape[:2]
    shape = (max(1, round(height / cell)), max(1, round(width / cell)))
    rows = ((np.arange(shape[0]) + 0.5) * height / shape[0]).astype(int)
    columns = ((np.arange(shape[1]) + 0.5) * width / shape[1]).astype(int)
    out = np.zeros((10, *shape), np.float32)
    out[9] = 1.0
    there = points[np.ix_(rows, columns)].astype(np.float64)
    for mask, centre, first, sides, heading in things:
        spoken = mask[np.ix_(rows, columns)]
        out[:9, spoken] = encode(there[spoken], up, centre, first, sides, heading)
        out[9, spoken] = np.log(0.02)
    return out
