"""Runs inside Blender's window, for the window tests: opens the panel, does what the test asks, writes what it sees.

The test puts `ask-N.py` into the work folder; its last expression's value comes back as `answer-N.json`.
"""

import ast
import importlib
import json
import sys
import time
import traceback
from pathlib import Path

import bpy

(work,) = map(Path, sys.argv[sys.argv.index("--") + 1 :])
bpy.context.preferences.view.show_splash = False
started = time.monotonic()
names = {"bpy": bpy, "Path": Path, "json": json}


def jobs():
    return importlib.import_module("bl_ext.user_default.assetize.ui.jobs")


def areas():
    return [area for area in bpy.context.window_manager.windows[0].screen.areas if area.type == "VIEW_3D"]


def open_tab():
    for area in areas():
        area.spaces.active.show_region_ui = True
        for region in area.regions:
            if region.type == "UI":
                try:
                    region.active_panel_category = "Assetize"
                except (AttributeError, TypeError):  # not drawn yet
                    return 0.5
                where = {"panel": [region.x, region.y, region.width, region.height]}
                body = next(each for each in area.regions if each.type == "WINDOW")
                where["view"] = [body.x, body.y, body.width, body.height]
                (work / "ready.json").write_text(json.dumps(where))
    return None


def answer(path):
    """Run one request; the value of its last expression, or the error."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    names.update(jobs=jobs(), board=jobs().board(), D=bpy.data, scene=bpy.context.scene)
    try:
        with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=areas()[0]):
            exec(compile(tree, path.name, "exec"), names)
            value = eval(compile(ast.Expression(last.value), path.name, "eval"), names) if last else None
        said = {"value": value}
    except BaseException:
        said = {"error": traceback.format_exc()}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(said, default=str), encoding="utf-8")
    part.replace(path.with_name(path.stem.replace("ask", "answer") + ".json"))


def listen():
    for path in sorted(work.glob("ask-*.py")):
        if not path.with_name(path.stem.replace("ask", "answer") + ".json").exists():
            answer(path)
            break
    return 0.2


def watch():
    board = jobs().board()
    line = {
        "t": round(time.monotonic() - started, 1),
        "link": board.link.value,
        "jobs": [[job.name, job.state, job.fraction, job.stage] for job in board.jobs],
        "problem": board.problem and board.problem.code,
        "tick_ms": round(1000 * jobs().slowest_tick_s, 1),
        "import_ms": round(1000 * jobs().slowest_import_s, 1),
    }
    with (work / "watch.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    return 1.0


bpy.app.timers.register(open_tab, first_interval=3.0, persistent=True)
bpy.app.timers.register(listen, first_interval=4.0, persistent=True)
bpy.app.timers.register(watch, first_interval=4.0, persistent=True)
