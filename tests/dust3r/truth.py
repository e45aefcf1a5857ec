"""A pointmap network that knows the truth, so that what is made of a pointmap can be judged without any weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from worker.engines.dust3r import tiles
from worker.engines.dust3r.engine import Dust3rEngine
from worker.engines.dust3r.view import look

HEIGHT, WIDTH, FOCAL = 432, 720, 612.0  # of the room's still

Depth = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of slopes x / z and y / z


def room_depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A box room: back wall at 5, walls 1.5 to the sides, floor and ceiling 1.2 away; a thin post at 2."""
    depth = np.minimum(np.minimum(1.5 / np.maximum(np.abs(x), 1e-9), 1.2 / np.maximum(np.abs(y), 1e-9)), 5.0)
    return np.where((np.abs(x - 0.11) < 0.02) & (y > -0.3), 2.0, depth)


def room_picture(height: int = HEIGHT, width: int = WIDTH, focal: float = FOCAL) -> np.ndarray:
    x = (np.arange(width) + 0.5 - width / 2) / focal
    y = (np.arange(height)[:, None] + 0.5 - height / 2) / focal
    depth = room_depth(x, y)
    shade = np.where(depth == 2.0, 60, 70 + 30 * depth)
    return np.repeat(np.clip(shade, 0, 255)[..., None], 3, axis=2).astype(np.uint8)


class TruthNetwork:
    """Answers the passes in the order they come: the whole still, then each of its tiles.

    `spoil(points, conf, number)` may damage an answer; number 0 is the whole still.
    """

    def __init__(self, still: np.ndarray, depth: Depth, focal: float, scale: float = 1.0, spoil=None) -> None:
        self.shape, self.depth, self.focal, self.scale, self.spoil = still.shape[:2], depth, focal, scale, spoil
        height, width = self.shape
        self.windows = [tiles.Window(0, 0, width, height), *tiles.windows(height, width)]
        self.calls = 0

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        window = self.windows[self.calls]
        across, down = look(np.zeros((window.height, window.width, 3), np.uint8)).offsets()
        height, width = self.shape
        x = (across + window.left + window.width / 2 - width / 2) / self.focal
        y = (down[:, None] + window.top + window.height / 2 - height / 2) / self.focal
        z = self.depth(*np.broadcast_arrays(x, y)) * self.scale
        # A tile is a picture of its own: its rays start from its own middle.
        points = np.stack([z * across / self.focal, z * down[:, None] / self.focal, z], -1).astype(np.float32)
        conf = np.full(z.shape, 5.0, np.float32)
        assert points.shape[:2] == image.shape[1:]
        if self.spoil is not None:
            self.spoil(points, conf, self.calls)
        self.calls += 1
        return points, conf


def truth_engine(still, depth: Depth = room_depth, focal: float = FOCAL, kind=Dust3rEngine, **how) -> Dust3rEngine:
    engine = kind()
    engine.network = TruthNetwork(still, depth, focal, **how)
    return engine
