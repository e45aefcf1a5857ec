"""The extension in a real window: press the button, watch, reorder, cancel, kill the worker, undo, reopen, render.

Run with: ASSETIZE_BLENDER=... pytest tests/window -m window
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.window, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
# The button, in pixels of Blender's default scale from the panel's upper right corner: below tab, thumbnail and path.
BUTTON_FROM_RIGHT, BUTTON_FROM_TOP = 120, 178
NAMES = "sorted(item.name for item in bpy.data.objects)"
STATES = "{job.name: job.state for job in board.jobs}"
OURS = "sorted(item.name for item in bpy.data.objects if item.get('assetize_session'))"


def kill(process: subprocess.Popen[bytes]) -> None:
    """As a crash does it: at once, with everything it started."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in family:
        each.kill()
    process.wait(20)


def stills(real: Any, *names: str) -> list[Path]:
    for name in names:
        shutil.copy(ROOT / "examples" / f"{name}.png", real.work)
    return [real.work / f"{name}.png" for name in names]


def test_press_watch_reorder_cancel_and_see_the_scene(real: Any, serve: Any) -> None:
    first, second, third = stills(real, "tabletop", "street", "interior")
    real.install(real.build())
    serve()
    window = real.open()
    try:
        window.ask(f"bpy.data.batch_remove(list(bpy.data.objects)); scene.assetize.source = {str(first)!r}")
        assert real.wait(lambda: window.ask("board.link.value") == "ready", 60)
        if real.can_click:
            left, top, width, _height = window.place("panel")
            window.x("sleep 1")
            window.shot("panel")
            window.click(left + width - BUTTON_FROM_RIGHT, top + BUTTON_FROM_TOP)
        else:
            window.ask("bpy.ops.assetize.image()")
        assert real.wait(lambda: first.name in window.ask(STATES), 30), window.seen[-1:]
        for still in (second, third):
            window.ask(f"bpy.ops.assetize.image(filepath={str(still)!r})")
        assert real.wait(lambda: len(window.ask(STATES)) == 3, 30)
        waiting = "[job.name for job in sorted(board.jobs, key=lambda job: job.position or 0) if job.state == 'queued']"
        assert window.ask(waiting) == [second.name, third.name]
        by_name = "{job.name: job.id for job in board.jobs}"
        ids = window.ask(by_name)
        window.ask(f"bpy.ops.assetize.job_up(job_id={ids[third.name]!r})")
        assert real.wait(lambda: window.ask(waiting) == [third.name, second.name], 20)
        window.shot("jobs")
        for still in (second, third):
            window.ask(f"bpy.ops.assetize.cancel(job_id={ids[still.name]!r})")
        assert real.wait(lambda: window.ask(STATES)[third.name] == "cancelled", 30)
        assert real.wait(lambda: "tabletop camera" in window.ask(NAMES), 400), window.seen[-1:]
        assert window.ask(STATES) == {first.name: "done", second.name: "cancelled", third.name: "cancelled"}
        fractions = [fraction for line in window.seen for name, _, fraction, _ in line["jobs"] if name == first.name]
        assert fractions == sorted(fractions) and len(set(fractions)) > 5  # progress, and never backwards
        assert not any(line["problem"] for line in window.seen)
        assert window.seen[-1]["tick_ms"] < 30, window.seen[-1]
        window.x("sleep 4") if real.can_click else None
        window.shot("scene")
        assert "Traceback" not in window.log
    finally:
        window.close()


def test_what_an_unkind_script_does(real: Any, serve: Any) -> None:
    """Kill the worker in the middle, undo by keys, close and reopen, import again, render both engines, read all."""
    (still,) = stills(real, "tabletop")
    real.install(real.build())
    service = serve()
    window = real.open()
    blend = real.work / "shot.blend"
    try:
        window.ask("bpy.data.batch_remove(list(bpy.data.objects))")
        window.ask(f"bpy.ops.wm.save_as_mainfile(filepath={str(blend)!r})")
        window.ask(f"bpy.ops.assetize.image(filepath={str(still)!r})")
        stage = "next((job.stage for job in board.jobs if job.state == 'running'), '')"
        assert real.wait(lambda: window.ask(stage) in ("harvest", "clean_plate", "scene"), 120), window.seen[-1:]
        kill(service)
        assert real.wait(lambda: window.ask("board.problem and board.problem.code") == "worker.lost", 60)
        window.shot("worker_lost")
        assert window.ask(STATES)[still.name] == "running" and window.ask("board.link.value") == "absent"
        serve()
        assert real.wait(lambda: "tabletop camera" in window.ask(NAMES), 400), window.seen[-1:]
        before = window.ask(OURS)
        assert window.ask("board.problem") is None and len(before) > 8

        if real.can_click:  # undo and redo as a user does it: keys over the viewport
            x, y, width, height = window.place("view")
            for keys, there in (("ctrl+z", False), ("ctrl+shift+z", True)):
                window.x(f"xdotool mousemove {x + width // 2} {y + height // 2}; sleep 0.5; xdotool key {keys}")
                assert real.wait(lambda: ("tabletop camera" in window.ask(NAMES)) is there, 20), keys  # noqa: B023
        assert window.ask(OURS) == before
        window.ask("bpy.ops.wm.save_mainfile()")
    finally:
        window.close()

    window = real.open(str(blend))
    try:
        assert window.ask(OURS) == before
        assert real.wait(lambda: window.ask(STATES) == {still.name: "done"}, 60)  # attached to the worker again
        assert window.ask("[job.name for job in jobs.offered()]") == []
        folder = window.ask("board.jobs[0].folder")
        again = f"bpy.ops.assetize.import_session('EXEC_DEFAULT', True, directory={folder!r})"
        assert window.ask(again) == str({"FINISHED"})
        assert window.ask(OURS) == before and window.ask(NAMES) == before
        records = window.ask("[[item.name, dict((k, item[k]) for k in item.keys() if isinstance(item[k], (str, int, "
                             "float)))] for item in bpy.data.objects]")  # fmt: skip
        for name, properties in records:
            record = json.loads(properties["assetize_record"])
            assert record["session"]["id"] == properties["assetize_session_id"], name
            assert properties["assetize_role"] and record["stages"], name
            assert record["role"] in ("set", "camera", "shadow catcher") or properties["assetize_engine"], name
        engines = "[e.identifier for e in bpy.types.RenderSettings.bl_rna.properties['engine'].enum_items]"
        names = window.ask(engines)
        eevee = next((name for name in names if "EEVEE" in name), "BLENDER_EEVEE_NEXT")
        render = ("import importlib; R = importlib.import_module('bl_ext.user_default.assetize.scene.render')\n"
                  "scene.eevee.taa_render_samples = 4\n"
                  "R.render_still(scene, Path({path!r}), 320, 4, {engine!r})\n"
                  "round(R.psnr(Path({path!r}), Path({still!r})), 1)")  # fmt: skip
        measured = {}
        for engine in ("CYCLES", eevee):
            path = str(real.work / f"render_{engine.lower()}.png")
            code = render.format(path=path, engine=engine, still=folder + "/plate/still.png")
            measured[engine] = window.ask(code, 400)
        assert min(measured.values()) > 24, measured
        assert "Traceback" not in window.log
    finally:
        window.close()


def test_blender_starts_its_worker_and_takes_it_along(real: Any) -> None:
    """Started by the panel's button, killed, started again by the button that mends it, ended with Blender."""
    if not (ROOT / ".venv").exists():
        pytest.skip("no .venv in the checkout to start the worker from")
    (still,) = stills(real, "tabletop")
    real.install(real.build())
    window = real.open()
    try:
        window.ask("bpy.ops.assetize.worker_start()")
        if not real.wait(lambda: window.ask("board.link.value") != "starting", 90) or window.ask("board.problem"):
            log = real.state / "worker.log"
            pytest.skip(f"the worker's Python does not run in this root: {log.read_text()[-500:]}")
        first = window.ask("board.worker.pid")
        window.ask(f"bpy.ops.assetize.image(filepath={str(still)!r})")
        assert real.wait(lambda: "running" in window.ask(STATES).values(), 60)
        for each in [*psutil.Process(first).children(recursive=True), psutil.Process(first)]:
            each.kill()
        assert real.wait(lambda: window.ask("board.problem and board.problem.fix") == "assetize.worker_start", 60)
        window.ask("bpy.ops.assetize.worker_start()")
        assert real.wait(lambda: window.ask("board.link.value") == "ready", 90)
        second = window.ask("board.worker.pid")
        assert second != first
        assert real.wait(lambda: "running" in window.ask(STATES).values(), 60)  # it goes on by itself
        hosts = psutil.Process(second).children(recursive=True)
    finally:
        window.close()
    assert real.wait(lambda: not psutil.pid_exists(second), 30)
    assert real.wait(lambda: not any(host.is_running() for host in hosts), 10)


def test_a_picture_dropped_onto_the_view(real: Any, serve: Any) -> None:
    """Dragged from another window by the mouse, as from a file manager."""
    if not real.can_click:
        pytest.skip("needs the wrapper's mouse")
    (still,) = stills(real, "street")
    shutil.copy(Path(__file__).with_name("drag.py"), real.work)
    real.install(real.build())
    serve()
    window = real.open()
    try:
        assert real.wait(lambda: window.ask("board.link.value") == "ready", 60)
        window.x("python3 -c 'import gi; gi.require_version(\"Gtk\", \"3.0\")' 2>/dev/null && touch has_gtk || true")
        if not (real.work / "has_gtk").exists():
            pytest.skip("no GTK in Blender's root to drag from")
        window.x(f"python3 drag.py {still} >drag.log 2>&1 & sleep 3")
        x, y, width, height = window.place("view")
        moves = "; ".join(f"xdotool mousemove {130 + (x + width // 2 - 130) * n // 10} "
                          f"{675 + (y + height // 3 - 675) * n // 10}; sleep 0.3" for n in range(11))  # fmt: skip
        window.x(f"xdotool mousemove 130 675; sleep 0.5; xdotool mousedown 1; sleep 0.5; {moves}; sleep 1; "
                 "import -window root drag.png; xdotool mouseup 1; sleep 2")  # fmt: skip
        window.shot("dropped")  # Blender asks what the picture is for; our line's letter is I
        window.x("xdotool key i; sleep 1")
        assert real.wait(lambda: still.name in window.ask(STATES), 30), window.log
    finally:
        window.close()
