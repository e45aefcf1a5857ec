"""Scenes made by worker processes a bounded number ahead. Imports no torch: every worker starts in a moment."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
from collections.abc import Iterator

import numpy as np

# Height and width of a training batch, and how often. Few and fixed: for every new shape cuDNN plans for seconds.
SHAPES = (
    (384, 512, 0.3),
    (480, 640, 0.18),
    (288, 512, 0.24),
    (256, 608, 0.12),
    (448, 320, 0.16),
)
BATCH_AREA = 384 * 512  # a batch of another shape holds as many pixels as one of this
_kit = None


def start_worker(library) -> None:
    global _kit
    from kit import Kit

    _kit = Kit(library)


def work(job: tuple[int, int, int]) -> tuple[int, list[dict[str, np.ndarray]]]:
    """Make `count` scenes; a recipe that trips over its own dice is skipped, not fatal."""
    from scenes import make_scene

    seed, count, shape = job
    aspect = SHAPES[shape][1] / SHAPES[shape][0]
    scenes: list[dict[str, np.ndarray]] = []
    k = 0
    while len(scenes) < count:
        with contextlib.suppress(ValueError, IndexError, ZeroDivisionError):
            scenes.append(make_scene(_kit, seed * 1000 + k, aspect))
        k += 1
        if k > 20 * count:
            raise RuntimeError("Hardly any scene can be made: a recipe is broken.")
    return shape, scenes


def jobs(first: int, count: int, seed: int) -> Iterator[tuple[int, int, int]]:
    """(scene seed, scenes, shape) for ever; ranks that share `seed` draw the same shapes at the same steps."""
    weights = np.array([a[2] for a in SHAPES])
    rng = np.random.default_rng(seed)
    while True:
        yield first, count, int(rng.choice(len(SHAPES), p=weights / weights.sum()))
        first += 1


class Feeder:
    def __init__(self, library, processes: int, count: int, seed: int, rank: int):
        context = mp.get_context("spawn")
        kept = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
        self.pool = context.Pool(processes, start_worker, (library,))
        os.environ.pop("OPENBLAS_NUM_THREADS")
        os.environ.pop("OMP_NUM_THREADS")
        if kept:
            os.environ["OMP_NUM_THREADS"] = kept
        self.jobs = jobs((seed * 64 + rank) * 100_000, count, seed)
        self.ready = [self.pool.apply_async(work, (next(self.jobs),)) for _ in range(processes * 2)]

    def get(self) -> tuple[int, list[dict[str, np.ndarray]]]:
        self.ready.append(self.pool.apply_async(work, (next(self.jobs),)))
        return self.ready.pop(0).get(timeout=120)
