"""Surface extraction on a GPU: the same triangles as on the CPU, milliseconds and memory at real sizes.

    python -m bench.gpu.mesh            # under two minutes; JSON to $OUT/mesh.json where OUT is set
    python -m bench.gpu.mesh --tiny     # tries itself on a CPU
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.parity.flexicubes import compare, draw
from worker.nn.flexicubes import CORNERS, extract


def shell(resolution: int, radii: tuple[float, ...], device: str) -> tuple[torch.Tensor, ...]:
    """Raw numbers of concentric spheres as a decoder gives them: whole 4^3 blocks of voxels near the surfaces."""
    coarse = resolution // 4
    grid = np.stack(np.meshgrid(*[np.arange(coarse)] * 3, indexing="ij"), -1).reshape(-1, 3)
    away = np.linalg.norm((grid + 0.5) / coarse - 0.5, axis=1)
    near = np.min([np.abs(away - radius) for radius in radii], axis=0) < 1.2 / coarse
    inner = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(1, -1, 3)
    coords = torch.from_numpy((grid[near][:, None] * 4 + inner).reshape(-1, 3)).to(device)
    corners = (coords[:, None] + torch.tensor(CORNERS, device=device)).float() / resolution - 0.5
    away_there = corners.norm(dim=-1)
    sdf = torch.stack([away_there - radius for radius in radii]).abs().amin(dim=0) - 1.0 / resolution
    n = len(coords)
    zeros = [torch.zeros(n, *shape, device=device) for shape in ((8, 3), (21,), (8, 6))]
    return coords, sdf, *zeros


def same(resolution: int, device: str) -> dict[str, Any]:
    given = draw(resolution, "noise", seed=3)
    there = extract(*(part.to(device) for part in given), resolution=resolution)
    return compare(tuple(part.cpu() for part in there), extract(*given, resolution=resolution))


def timed(resolution: int, radii: tuple[float, ...], device: str) -> dict[str, Any]:
    given = shell(resolution, radii, device)
    cuda = device == "cuda"
    milliseconds, faces = [], 0
    for _ in range(4):
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() if cuda else 0
        started = time.perf_counter()
        _, made, _ = extract(*given, resolution=resolution)
        if cuda:
            torch.cuda.synchronize()
        milliseconds.append(1000 * (time.perf_counter() - started))
        faces = len(made)
    peak = (torch.cuda.max_memory_allocated() - held) / 2**20 if cuda else None
    return {"voxels": len(given[0]), "triangles": faces, "ms": round(min(milliseconds[1:]), 1),
            "first_ms": round(milliseconds[0], 1), "extra_mb": peak and round(peak)}  # fmt: skip


def main() -> None:
    tiny = "--tiny" in sys.argv
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 32 if tiny else 256
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "same as on the CPU": lambda: same(8 if tiny else 64, device),
        "20k voxels": lambda: timed(size, (0.41,), device),
        "100k voxels": lambda: timed(size, (0.49, 0.45, 0.41, 0.37, 0.33, 0.29), device),
    }
    results: dict[str, Any] = {"machine": torch.cuda.get_device_name() if device == "cuda" else "cpu"}
    for name, part in parts.items():
        try:
            results[name] = part()
        except Exception:
            traceback.print_exc()
            results[name] = {"failed": traceback.format_exc(limit=1).splitlines()[-1]}
        print(f"{name:20s} {results[name]}", flush=True)
    if out := os.environ.get("OUT"):
        (Path(out) / "mesh.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
