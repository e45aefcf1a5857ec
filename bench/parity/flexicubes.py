"""Our sparse surface extraction against the dense original, run as a black box.

    python -m bench.parity.flexicubes path/to/FlexiCubes [resolution ...]

The checkout is github.com/MaxtirError/FlexiCubes at 815e075 (Apache-2.0; versions before eac4970 carry another
licence). Of kaolin it needs one assertion helper, which is stood in for here.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worker.nn import dual_cells
from worker.nn.flexicubes import CORNERS, extract


def load_original(checkout: Path) -> Any:
    """The modules `flexicubes` and `tables` of a checkout."""
    kaolin = types.ModuleType("kaolin.utils.testing")
    kaolin.check_tensor = lambda *_, **__: True  # type: ignore[attr-defined]
    sys.modules.update({"kaolin": types.ModuleType("kaolin"), "kaolin.utils": types.ModuleType("kaolin.utils")})
    sys.modules["kaolin.utils.testing"] = kaolin
    package = types.ModuleType("flexicubes_original")
    package.__path__ = [str(checkout)]
    sys.modules[package.__name__] = package
    return importlib.import_module("flexicubes_original.flexicubes")


def dense(original: Any, coords: Tensor, sdf: Tensor, deform: Tensor, weights: Tensor, colour: Tensor, res: int) -> Any:
    """The dense path: every cube of the grid, empty space at distance +1, other attributes zero."""
    side = res + 1
    corner = coords[:, None] + torch.tensor(CORNERS)
    key = ((corner[..., 0] * side + corner[..., 1]) * side + corner[..., 2]).reshape(-1)
    attributes = torch.cat([sdf[..., None] - 1.0 / res, deform, colour], dim=-1).reshape(-1, 10)
    total = torch.zeros(side**3, 10).index_add_(0, key, attributes)
    met = torch.zeros(side**3).index_add_(0, key, torch.ones(len(key)))
    total /= met.clamp(min=1)[:, None]
    total[met == 0, 0] = 1.0
    grid = torch.stack(torch.meshgrid(*[torch.arange(side)] * 3, indexing="ij"), dim=-1).reshape(-1, 3)
    low = torch.arange(side**3).reshape(side, side, side)[:res, :res, :res].reshape(-1)
    cubes = low[:, None] + torch.tensor([(x * side + y) * side + z for x, y, z in CORNERS])
    cube_weights = torch.zeros(res**3, 21)
    cube_weights[(coords[:, 0] * res + coords[:, 1]) * res + coords[:, 2]] = weights
    place = grid / res - 0.5 + (1 - 1e-8) / (2 * res) * torch.tanh(total[:, 1:4])
    vertices, faces, _, attrs = original.FlexiCubes(device="cpu")(
        place, total[:, 0], cubes, res, beta=cube_weights[:, :12], alpha=cube_weights[:, 12:20],
        gamma_f=cube_weights[:, 20], voxelgrid_colors=total[:, 4:], training=False,
    )  # fmt: skip
    return vertices, faces, attrs


def draw(res: int, kind: str, seed: int) -> tuple[Tensor, ...]:
    """Random voxels about a shell (`kind` "shell") or anywhere, random signs ("noise": every ambiguous case)."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(res)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    stretch = np.array([1.0, 1.2, 1.5])
    if kind == "shell":
        coords = grid[np.abs(np.linalg.norm(((grid + 0.5) / res - 0.5) * stretch, axis=1) - 0.35) < 2.5 / res]
    else:
        coords = grid[random.random(len(grid)) < 0.6]
    n = len(coords)
    corner = (coords[:, None] + np.array(CORNERS)) / res - 0.5
    sdf = np.linalg.norm(corner * stretch, axis=-1) - 0.35 + 0.3 / res * random.standard_normal((n, 8))
    sdf = sdf if kind == "shell" else random.standard_normal((n, 8))
    rest = [random.standard_normal(shape) for shape in ((n, 8, 3), (n, 21), (n, 8, 6))]
    return torch.from_numpy(coords), *(torch.from_numpy(part).float() for part in (sdf, *rest))


def compare(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> dict[str, float | int | bool]:
    """Both meshes as sets: vertices matched by position, triangles by their matched corners with their winding."""
    from scipy.spatial import cKDTree

    vertices, faces, attrs = (part.numpy() for part in ours)
    other, other_faces, other_attrs = (part.numpy() for part in theirs)
    if len(vertices) != len(other):
        return {"same": False, "vertices": len(vertices), "their_vertices": len(other)}
    key = np.concatenate([vertices, attrs], axis=1)
    far, partner = cKDTree(key).query(np.concatenate([other, other_attrs], axis=1))

    def wound(triangles: np.ndarray) -> np.ndarray:
        first = triangles.argmin(axis=1)[:, None]
        turned = np.take_along_axis(triangles, (first + np.arange(3)) % 3, axis=1)
        return turned[np.lexsort(turned.T[::-1])]

    one_to_one = len(np.unique(partner)) == len(partner)
    return {
        "same": bool(one_to_one and np.array_equal(wound(faces), wound(partner[other_faces]))),
        "vertices": len(vertices),
        "triangles": len(faces),
        "largest_difference": float(far.max()) if len(far) else 0.0,
    }


def tables_agree(original_tables: Any) -> bool:
    """Our derived tables and the listed ones name the same groups of edges, counts and repairs for all 256 cases."""
    ours = dual_cells.tables()
    for case in range(256):
        listed = sorted(sorted(e for e in group if e >= 0) for group in original_tables.dmc_table[case])
        listed = [group for group in listed if group]
        mine = sorted(np.flatnonzero(ours.patch[case] == i).tolist() for i in range(ours.count[case]))
        check = original_tables.check_table[case]
        repair = [1, *ours.towards[case].tolist(), 255 - case] if ours.ambiguous[case] else [0, 0, 0, 0, 0]
        if mine != listed or ((check[0] or repair[0]) and list(check) != repair):
            return False
    return True


def main() -> None:
    original = load_original(Path(sys.argv[1]))
    results: dict[str, Any] = {"tables": tables_agree(sys.modules["flexicubes_original.tables"])}
    for res in map(int, sys.argv[2:] or ("16", "32", "64")):
        for kind in ("shell", "noise") if res <= 64 else ("shell",):
            given = draw(res, kind, seed=res)
            results[f"{kind} {res}"] = compare(extract(*given, resolution=res), dense(original, *given, res))
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
