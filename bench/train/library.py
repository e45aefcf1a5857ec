"""What a scene may place, and the sizes of the rows that describe it (see raycast.cu)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

INST, LIGHT, SCENE, MAX_LIGHTS = 40, 12, 64, 8


@dataclass
class Library:
    """What a scene may place. `mesh` numbers index `half` (half extents) and `name`; sizes are metres."""

    name: list[str]
    category: list[str]
    size: np.ndarray
    top: np.ndarray
    elevation: np.ndarray
    shape: dict[str, list[int]]
    tiling: list[int]
    printed: dict[str, list[int]]
    material: dict[str, list[int]]  # tiling textures by what they are made of
    skies: int
