"""How long Blender takes to import 1.2 million Gaussians. Run with a Python that has bpy:

    .venv-bpy/bin/python bench/blender_import.py [count]

Prints one JSON line: seconds on the wall and of processor time, for reading with writing attributes, and for the
first evaluation at draft level.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path

import bpy
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from blender_addon.scene.splats import add_splats  # noqa: E402


def write(path: Path, count: int) -> None:
    spec = importlib.util.spec_from_file_location("make_session", ROOT / "tests/blender/make_session.py")
    assert spec is not None and spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    rng = np.random.default_rng(0)
    place = rng.normal((0.0, 0.0, 5.0), 1.0, (count, 3))
    maker.gaussians(path, place, rng.uniform(0.001, 0.01, (count, 3)), rng.uniform(0, 1, (count, 3)))


def main(count: int) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    collection = bpy.context.scene.collection
    eye = bpy.data.objects.new("eye", None)
    collection.objects.link(eye)
    told: dict[str, object] = {"blender": bpy.app.version_string, "count": count}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "splats.ply"
        write(path, count)
        for name, work in (("import", lambda: add_splats(path, "splats", collection, None, np.eye(4), eye)),
                           ("draft", lambda: bpy.context.view_layer.update())):  # fmt: skip
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            told[f"{name}_wall_s"] = round(time.perf_counter() - wall, 3)
            told[f"{name}_cpu_s"] = round(time.process_time() - cpu, 3)
    print(json.dumps(told))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_179_648)
