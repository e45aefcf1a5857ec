"""Weights that mean nothing but are the same everywhere: drawn from one seed by each tensor's name.

So upstream's code and ours can be given equal numbers without any checkpoint, whatever order either asks in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def draw(name: str, shape: Iterable[int], seed: int = 0, gain: float = 1.0) -> NDArray[np.float32]:
    """One tensor, float32. Matrices and kernels: normal, std = gain / sqrt(fan-in). Vectors: normal with std 0.02,
    around one where the name says it multiplies (a norm's weight, a LayerScale's gamma), else around zero.
    """
    shape = tuple(shape)
    key = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:16], "little")
    values = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        return values * np.float32(gain / np.sqrt(max(1, int(np.prod(shape[1:])))))
    values *= np.float32(0.02)
    return values + np.float32(1) if name.endswith(("weight", "gamma")) else values
