"""What baking costs: a mug of 560,000 triangles from an analytic distance, reduced, unwrapped, textured and written.

    python -m bench.bake            # needs torch for the surface; figures are processor seconds
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from worker.baking import bake
from worker.formats.glb import write_glb
from worker.nn.flexicubes import CORNERS, extract


def mug(p: np.ndarray) -> np.ndarray:
    """Signed distance, about, of a mug with a wavy wall and a handle; p (..., 3)."""
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    r = np.hypot(x, y) + 0.004 * np.sin(40 * z) * np.sin(14 * np.arctan2(y, x))
    wall = np.maximum(np.maximum(r - 0.3, np.abs(z) - 0.38), -np.maximum(r - 0.27, -(z + 0.34)))
    handle = np.hypot(np.hypot(x - 0.3, z) - 0.15, y) - 0.03
    return np.minimum(wall, np.maximum(handle, -(r - 0.285)))


def dense(resolution: int = 256) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces, colours as a decoder would give them: voxels near the surface, each of four finer a side."""
    coarse = np.stack(np.meshgrid(*[np.arange(64)] * 3, indexing="ij"), -1).reshape(-1, 3)
    active = coarse[np.abs(mug((coarse + 0.5) / 64 - 0.5)) < 1.2 / 64]
    k = resolution // 64
    inner = np.stack(np.meshgrid(*[np.arange(k)] * 3, indexing="ij"), -1).reshape(1, -1, 3)
    coords = (active[:, None] * k + inner).reshape(-1, 3)
    place = (coords[:, None] + np.array(CORNERS)) / resolution - 0.5
    colour = np.clip(np.concatenate([place + 0.5, 0 * place + 0.5], axis=-1), 0.01, 0.99)
    n = len(coords)
    vertices, faces, attributes = extract(
        torch.from_numpy(coords), torch.from_numpy(mug(place) + 1 / resolution).float(), torch.zeros(n, 8, 3),
        torch.zeros(n, 21), torch.from_numpy(np.log(colour / (1 - colour))).float(), resolution=resolution,
    )  # fmt: skip
    return vertices.numpy(), faces.numpy(), attributes.numpy()[:, :3]


def main() -> None:
    started = time.process_time()
    vertices, faces, colours = dense()
    surfaced = time.process_time()
    baked = bake(vertices, faces, colours, 20_000)
    done = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        write_glb(Path(folder) / "mug.glb", baked.mesh, "mug")
    print(json.dumps({
        "dense_triangles": len(faces), "triangles": len(baked.mesh.faces), "closed": baked.closed,
        "texture": len(baked.mesh.texture), "cpu_s": {
            "surface": round(surfaced - started, 1), "bake": round(done - surfaced, 1),
            "write": round(time.process_time() - done, 1),
        },
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
