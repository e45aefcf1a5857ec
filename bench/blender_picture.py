"""How near the imported scene comes to its still through the matched camera. Run with a Python that has bpy:

    .venv-bpy/bin/python bench/blender_picture.py SESSION [SESSION ...] [--engine CYCLES] [--width 640] [--samples 16]

One JSON line per session and display, in dB of 8-bit sRGB pixels, Standard view transform:
set_db    the background alone against the clean plate, whole frame;
still_db  background and props against the still, whole frame;
still_where_unmoved_db  the same, only where no prop was removed: there nothing was painted and nothing placed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path

import bpy
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from blender_addon.core.session import CLEAN, STILL  # noqa: E402
from blender_addon.scene import render, sets, splats  # noqa: E402
from blender_addon.scene.build import Imported, import_session  # noqa: E402


def eevee() -> str:
    names = [item.identifier for item in bpy.types.RenderSettings.bl_rna.properties["engine"].enum_items]
    return next((name for name in ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE") if name in names),
                "BLENDER_EEVEE" if bpy.app.version >= (5, 0) else "BLENDER_EEVEE_NEXT")  # fmt: skip


def decibel(first: Path, second: Path, mask: np.ndarray | None = None) -> float:
    """`mask` (H, W) of the second picture's pixels that count; the second is averaged down to the first's size."""
    a, b = render._pixels(first), render._pixels(second)
    weight = np.ones((*b.shape[:2], 1), np.float32) if mask is None else mask[..., None].astype(np.float32)
    b, weight = (render._reduced(each, *a.shape[:2]) for each in (b, weight))
    counted = weight[..., 0] > 0.999
    return round(-10 * math.log10(max(float(((a - b)[counted] ** 2).mean()), 1e-10)), 2)


def measure(folder: Path, engine: str, width: int, samples: int, displays: list[str]) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    made: Imported = import_session(folder, scene)
    scene.eevee.taa_render_samples = samples
    removed = render._pixels(folder / "plate/removed_mask.png")[..., 0] > 0
    splats.set_level(made.by_role["splats"], "FULL")
    with tempfile.TemporaryDirectory() as scratch:
        for display in displays:
            sets.show(made.by_role, display)
            row: dict[str, object] = {"session": folder.name, "display": display, "engine": engine, "width": width,
                                      "samples": samples, "blender": bpy.app.version_string}  # fmt: skip
            for props in (False, True):
                for item in made.props:
                    item.hide_render = not props or item.name.endswith(" splats")
                picture, started = Path(scratch) / "picture.png", time.process_time()
                render.render_still(scene, picture, width, samples, engine)
                row["cpu_s"] = round(time.process_time() - started, 1)
                if props:
                    row["still_db"] = decibel(picture, folder / STILL)
                    row["still_where_unmoved_db"] = decibel(picture, folder / STILL, ~removed)
                else:
                    plate = folder / CLEAN
                    row["set_db"] = decibel(picture, plate if plate.is_file() else folder / STILL)
            print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("session", nargs="+", type=Path)
    parser.add_argument("--engine", choices=["CYCLES", "EEVEE"], default="CYCLES")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--display", action="append", choices=["PROXY", "SPLATS"])
    parser.add_argument("--samples", type=int, default=16)
    said = parser.parse_args()
    for folder in said.session:
        engine = eevee() if said.engine == "EEVEE" else said.engine
        measure(folder, engine, said.width, said.samples, said.display or ["PROXY", "SPLATS"])


if __name__ == "__main__":
    main()
