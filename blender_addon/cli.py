# SPDX-License-Identifier: GPL-3.0-or-later
"""Assetize without a window.

    blender --background --python blender_addon/cli.py -- --input STILL.png
    blender --background --python blender_addon/cli.py -- --input FOLDER_OF_STILLS
    blender --background --python blender_addon/cli.py -- --session DIR [--session DIR ...]
    blender --command assetize --session DIR --blend FILE.blend
    python blender_addon/cli.py -- --session DIR --blend FILE.blend --render OUT.png      (with the bpy wheel)

--input runs the worker first, with every option that is not listed here handed on to it. Each session becomes one
.blend: FILE where --blend names one, else scene.blend in the session folder. Exit codes are the worker's: 0 all done,
1 done in part, 2 unusable input, 3 worker or engine missing, 4 cancelled, 5 our fault.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

OK, PARTIAL, BAD_INPUT, INTERNAL = 0, 1, 2, 5


def parser() -> argparse.ArgumentParser:
    as_written = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser("assetize", description=__doc__, formatter_class=as_written)
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("--input", action="append", metavar="STILL", help="a still, or a folder of them; may be repeated")
    what.add_argument("--session", action="append", metavar="DIR", help="import this session only; may be repeated")
    made.add_argument("--blend", metavar="FILE", help="where to save (one session only)")
    made.add_argument("--output_root", "--output-root", default="outputs/pipeline_demo", help="where runs put sessions")
    made.add_argument("--worker", default="", help="the worker's Python, executable or folder")
    made.add_argument("--display", choices=["PROXY", "SPLATS", "POINTS"], default="PROXY", help="the background shown")
    made.add_argument("--skip", action="append", default=[], help="leave out a part",
                      choices=["proxy", "splats", "points", "props", "prop_splats", "light"])  # fmt: skip
    made.add_argument("--render", metavar="PNG", help="render through the matched camera and measure it")
    made.add_argument("--render_width", "--render-width", type=int, default=480)
    made.add_argument("--samples", type=int, default=16)
    made.add_argument("--stats", metavar="JSON", help="write what was made and measured to this file")
    return made


def main(argv: list[str]) -> int:
    """Do what the arguments say; sentences go to stderr, never a traceback for what a user can mend."""
    from .core.errors import AddonError

    try:
        arguments, for_worker = parser().parse_known_args(argv)
        if for_worker and arguments.session:
            parser().error(f"unknown arguments: {' '.join(for_worker)}")
        items = arguments.session or _stills(arguments.input)
        if arguments.blend and len(items) > 1:
            parser().error("--blend names one file; for several sessions leave it out")
        if arguments.render and len(items) > 1:
            parser().error("--render names one file; use it with one session")
    except SystemExit as stop:
        return OK if not stop.code else BAD_INPUT
    worst = OK if items else BAD_INPUT
    if not items:
        print("assetize: there is no still in that folder.", file=sys.stderr)
    for item in items:
        try:
            worst = max(worst, _one(item, arguments, for_worker))
        except AddonError as error:
            print(f"assetize: {error.en}", file=sys.stderr)
            worst = max(worst, error.exit_code)
        except OSError as error:
            print(f"assetize: {error.filename or item}: {error.strerror}.", file=sys.stderr)
            worst = max(worst, BAD_INPUT)
        except Exception:
            traceback.print_exc()
            print("assetize: something went wrong inside the add-on; the lines above tell where.", file=sys.stderr)
            worst = INTERNAL
    return worst


def _stills(inputs: list[str]) -> list[str]:
    """Folders become the stills in them, by name."""
    from .core.session import STILL_SUFFIXES

    found: list[str] = []
    for item in inputs:
        path = Path(item)
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found += [str(each) for each in inside if not path.is_dir() or each.suffix.lower() in STILL_SUFFIXES]
    return found


def _one(item: str, arguments: argparse.Namespace, for_worker: list[str]) -> int:
    code = OK
    folder = Path(item)
    if arguments.input:
        code, found = _run_still(item, arguments, for_worker)
        if found is None:
            return code or INTERNAL
        folder = found
    return max(code, build(folder, arguments))


def _run_still(still: str, arguments: argparse.Namespace, for_worker: list[str]) -> tuple[int, Path | None]:
    """Run the worker on one still; its exit code and the session folder it names, if it made one."""
    from .core.worker import find_worker, run_worker

    found: list[str] = []
    shown = -1

    def listen(event: dict[str, Any]) -> None:
        nonlocal shown
        if event.get("event") in ("session", "job.finished") and event.get("folder"):
            found.append(event["folder"])
        elif event.get("event") == "progress" and int(10 * event["fraction"]) > shown:
            shown = int(10 * event["fraction"])
            print(f"assetize: {10 * shown} % {event['stage']}", flush=True)

    line = ["run", "--input", still, "--output_root", arguments.output_root, "--no_blend", *for_worker]
    code = run_worker(find_worker(arguments.worker), line, listen)
    # a run that made part of a scene is still worth importing
    return code, Path(found[-1]) if found and code in (OK, PARTIAL) else None


def build(folder: Path, arguments: argparse.Namespace) -> int:
    """Import one session into an empty file, save it, render and measure if asked."""
    import bpy

    from .scene.build import Wanted, import_session
    from .scene.camera import look_through_camera
    from .scene.render import psnr, render_still

    started = time.perf_counter()
    print("assetize: step 0.1", flush=True)
    # an empty file; the preferences stay, and with them this add-on where it was called as a command
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    parts = {name: False for name in arguments.skip}
    made = import_session(folder, scene, Wanted(display=arguments.display, **parts))
    imported = time.perf_counter()
    for problem in made.problems:
        print(f"assetize: {problem.en}", file=sys.stderr)
    blend = Path(arguments.blend or made.session.root / "scene.blend").expanduser().resolve()
    print("assetize: step 0.4", flush=True)
    look_through_camera(bpy.data.screens)
    _save(blend)
    print("assetize: step 0.6", flush=True)
    saved = time.perf_counter()
    print(f"assetize: {blend}")
    stats: dict[str, Any] = {
        "blender": bpy.app.version_string,
        "objects": sorted(item.name for item in made.collection.all_objects),
        "problems": [{"code": problem.code, "en": problem.en, "zh": problem.zh} for problem in made.problems],
        "import_s": round(imported - started, 3),
        "save_s": round(saved - imported, 3),
    }
    if arguments.render:
        picture = Path(arguments.render).expanduser().resolve()
        picture.parent.mkdir(parents=True, exist_ok=True)
        render_still(scene, picture, min(arguments.render_width, made.session.width), arguments.samples)
        stats["render_s"] = round(time.perf_counter() - saved, 3)
        if made.session.still is not None:
            stats["psnr_db"] = round(min(psnr(picture, made.session.still), 99.0), 3)
            print(f"assetize: rendered through its camera, {stats['psnr_db']:.1f} dB from the still")
    if arguments.stats:
        Path(arguments.stats).write_text(json.dumps(stats, indent=2, ensure_ascii=False), encoding="utf-8")
    return PARTIAL if any(problem.code != "session.missing" for problem in made.problems) else OK


def _save(blend: Path) -> None:
    """Beside and renamed: whoever reads `blend` never sees half a file. No .blend1 is left."""
    import bpy

    blend.parent.mkdir(parents=True, exist_ok=True)
    part = blend.with_name(f".part-{os.getpid()}-{blend.name}")
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(part), compress=True, copy=True, check_existing=False)
        part.replace(blend)
    finally:
        part.unlink(missing_ok=True)


def _run_as_script() -> None:
    """Started by path, as `--python cli.py` or `python cli.py`: import this very package by its folder's name."""
    import importlib

    package = Path(__file__).resolve().parent
    sys.path.insert(0, str(package.parent))
    cli = importlib.import_module(f"{package.name}.cli")
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    code = cli.main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the bpy module of 4.x may crash while Python tears it down; the work is done and saved


if __name__ == "__main__":
    _run_as_script()
