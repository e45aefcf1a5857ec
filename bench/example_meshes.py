"""The example props' meshes, for benches that need them: CACHE/examples/NAME_meshes.npz, as bench.scenes writes them.

python -m bench.example_meshes --cache DIR      (a Python with bpy; no picture is rendered)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import bpy
import numpy as np

from examples.make import truth
from examples.make.sets import SETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    folder = parser.parse_args().cache / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in SETS.items():
        build()
        meshes = {}
        for thing in bpy.context.scene.objects:
            if thing.pass_index and thing.get("kind") == "prop":
                vertices, triangles = truth.object_mesh(thing)
                meshes[f"o{thing.pass_index}_vertices"] = vertices.astype(np.float32)
                meshes[f"o{thing.pass_index}_triangles"] = triangles
        np.savez_compressed(folder / f"{name}_meshes.npz", **meshes)
        print(name, len(meshes) // 2, "meshes")


if __name__ == "__main__":
    main()
