# SPDX-License-Identifier: GPL-3.0-or-later
"""The board of jobs inside Blender: one timer that polls on the main thread and never waits.

The timer is persistent, so loading another file does not stop it; jobs belong to the worker, so nothing is lost when
Blender ends. Finished stills are imported by the import operator, which makes them one undo step.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import bpy

from ..core import client, worker
from ..core.errors import AddonError
from ..core.jobs import Board, Job, Link
from . import preferences

_state: dict[str, object] = {}
slowest_tick_s = 0.0  # the most processor time that one look ever took; it never waits, so this is what a user feels


def board() -> Board:
    if "board" not in _state:
        _state["board"] = Board(_find)
    made = _state["board"]
    assert isinstance(made, Board)
    return made


def _find() -> client.Worker | None:
    chosen = preferences.get()
    if chosen.url:
        return client.entered(chosen.url, chosen.token, bpy.app.online_access)
    return client.announced(state_dir())


def state_dir() -> Path:
    said = os.environ.get("ASSETIZE_STATE_DIR", "").strip()
    return Path(said) if said else client.default_state_dir()


def output_root() -> Path:
    chosen = preferences.get().output_root
    return Path(bpy.path.abspath(chosen)) if chosen else Path.home() / "Assetize"


def log_file() -> Path:
    return state_dir() / "worker.log"


def start_worker() -> None:
    """Start a worker unless one answers or is coming up. Raises WorkerMissing."""
    held = board()
    if held.link is not Link.ABSENT:
        return
    command = worker.find_worker(preferences.get().worker)
    root = output_root()
    root.mkdir(parents=True, exist_ok=True)
    arguments = ["--output_root", str(root), "--state_dir", str(state_dir())]
    if preferences.get().end_with_blender:
        arguments += ["--parent_pid", str(os.getpid())]
    _state["process"] = worker.serve(command, arguments, log_file())
    held.expect_worker()


def stop_worker() -> None:
    board().stop_worker()


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "IMAGE_EDITOR"}:
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


def tick() -> float:
    """One look at the worker; returns when to come again."""
    global slowest_tick_s
    started = time.thread_time()
    held = board()
    changed = held.tick()
    process = _state.get("process")
    if process is not None and process.poll() is not None:  # type: ignore[attr-defined]
        _state.pop("process")
        if held.link is Link.STARTING:
            held.link = Link.ABSENT
            held.problem = AddonError(
                "worker.died",
                "The worker ended at once. Its log tells why.",
                "工作进程启动后立即退出。原因见其日志。",
                fix="assetize.worker_log",
            )
            changed = True
    slowest_tick_s = max(slowest_tick_s, time.thread_time() - started)
    for job in held.take_finished():
        _finished(job)
        changed = True
    if changed:
        _redraw()
    return held.next_tick_s()


def _finished(job: Job) -> None:
    held = board()
    if job.id not in held.mine or not job.folder or job.state not in ("done", "partial"):
        return
    held.mine.discard(job.id)
    if preferences.get().auto_import and Path(job.folder).is_dir():
        window = bpy.context.window_manager.windows[0] if bpy.context.window_manager.windows else None
        with bpy.context.temp_override(window=window):
            try:
                bpy.ops.assetize.import_session("EXEC_DEFAULT", True, directory=job.folder)
            except RuntimeError as error:  # an operator's report; nobody would see it from a timer
                held.problem = AddonError("import.failed", str(error).removeprefix("Error: ").strip())


def start() -> None:
    # In background a script holds the main thread and timers never fire; there nothing polls.
    if not bpy.app.background and not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=0.5, persistent=True)


def stop() -> None:
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    if "board" in _state:
        board().close()
    _state.clear()
