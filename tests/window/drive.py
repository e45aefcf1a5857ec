"""Runs inside Blender's window, for test_window.py: opens the panel, writes down once a second what it shows."""

import importlib
import json
import sys
import time
from pathlib import Path

import bpy

work, first, second = map(Path, sys.argv[sys.argv.index("--") + 1 :])
bpy.context.preferences.view.show_splash = False
started = time.monotonic()
seen = {"second": False, "cancelled": False, "undone": False}


def jobs():
    return importlib.import_module("bl_ext.user_default.assetize.ui.jobs")


def areas():
    return [area for area in bpy.context.window_manager.windows[0].screen.areas if area.type == "VIEW_3D"]


def prepare():
    bpy.data.batch_remove(list(bpy.data.objects))
    bpy.context.scene.assetize.source = str(first)
    for area in areas():
        area.spaces.active.show_region_ui = True


def open_tab():
    for area in areas():
        for region in area.regions:
            if region.type == "UI":
                try:
                    region.active_panel_category = "Assetize"
                except AttributeError:  # not drawn yet
                    return 0.5
                where = [region.x, region.y, region.width, region.height]
                (work / "ready.json").write_text(json.dumps(where))
    return None


def watch():
    board = jobs().board()
    states = {job.name: job.state for job in board.jobs}
    if first.name in states and not seen["second"]:
        seen["second"] = True
        bpy.ops.assetize.image(filepath=str(second))
    waiting = next((job for job in board.jobs if job.name == second.name and not job.final), None)
    if waiting is not None and not seen["cancelled"]:
        seen["cancelled"] = True
        bpy.ops.assetize.cancel(job_id=waiting.id)
    line = {
        "t": round(time.monotonic() - started, 1),
        "link": board.link.value,
        "jobs": [[job.name, job.state, job.fraction, job.stage] for job in board.jobs],
        "problem": board.problem and board.problem.code,
        "tick_ms": round(1000 * jobs().slowest_tick_s, 1),
        "objects": sorted(item.name for item in bpy.data.objects),
    }
    with (work / "watch.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    return 1.0


for function, after in ((prepare, 2.0), (open_tab, 4.0), (watch, 5.0)):
    bpy.app.timers.register(function, first_interval=after)
