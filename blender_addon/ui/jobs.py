# SPDX-License-Identifier: GPL-3.0-or-later
"""The board of jobs inside Blender: one timer that polls on the main thread and never waits.

The timer is persistent, so loading another file does not stop it; jobs belong to the worker, so nothing is lost when
Blender ends. A finished still is imported by the import operator, which makes it one undo step: by itself into the
file that it was sent from, by a click into any other.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import bpy

from ..core import client, worker
from ..core.errors import AddonError
from ..core.far_disk import within
from ..core.jobs import Board, Job, Link
from ..core.waiting import Waiting
from . import preferences

_state: dict[str, object] = {}
_fetched: list[Job] = []  # their sessions have come from a worker elsewhere and wait for a quiet moment
slowest_tick_s = 0.0  # the most processor time that one look ever took; it never waits, so this is what a user feels
slowest_import_s = 0.0


def board() -> Board:
    if "board" not in _state:
        _state["board"] = Board(_find, mine=Waiting(_remembered()))
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


def _remembered() -> Path | None:
    """Where jobs are remembered: the extension's own folder, which goes when the extension is removed."""
    try:
        return Path(bpy.utils.extension_path_user(preferences.PACKAGE, create=False)) / "waiting.json"
    except ValueError:  # no extension: a script that registers the package by itself
        return None


def output_root() -> Path:
    chosen = preferences.get().output_root
    return Path(bpy.path.abspath(chosen)) if chosen else Path.home() / "Assetize"


def log_file() -> Path:
    return state_dir() / "worker.log"


def start_worker() -> None:
    """Start a worker unless one answers or is coming up, or one elsewhere was named. Raises AddonError, OSError."""
    held = board()
    if held.link is not Link.ABSENT or preferences.get().url:
        held.look_again()
        return
    command = find_worker()
    root = output_root()
    within(root, lambda: root.mkdir(parents=True, exist_ok=True))
    arguments = ["--output_root", str(root), "--state_dir", str(state_dir())]
    if preferences.get().end_with_blender:
        arguments += ["--parent_pid", str(os.getpid())]
    _state["process"] = worker.serve(command, arguments, log_file())
    held.expect_worker()


def find_worker() -> worker.WorkerCommand:
    """The worker that the preferences, or the system, name. Raises WorkerMissing, AddonError."""
    said = preferences.get().worker
    place = said or os.environ.get("ASSETIZE_WORKER", "") or Path(worker.__file__).parents[2]
    return within(place, lambda: worker.find_worker(said))


def stop_worker() -> None:
    board().stop_worker()


def origin() -> dict[str, str]:
    """What a job is sent from: the file that is open, by its path and by a mark of this very opening of it."""
    return {"file": str(_state.setdefault("file", uuid.uuid4().hex)), "blend": bpy.data.filepath}


def _sent_from_here(job: Job) -> bool:
    sent, now = board().mine.get(job.id) or {}, origin()
    return sent.get("file") == now["file"] or (sent.get("blend", "") == now["blend"] != "")


def offered() -> list[Job]:
    """Jobs of ours whose scenes are there and were not imported: sent from another file, or by the user's choice."""
    held = board()
    return [job for job in held.jobs if job.id in held.mine and job.folder and job.state in ("done", "partial")]


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "IMAGE_EDITOR"}:
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()
            elif area.type == "PREFERENCES":
                area.tag_redraw()


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
    if changed:
        _redraw()
    slowest_tick_s = max(slowest_tick_s, time.thread_time() - started)
    if (held.finished or _fetched) and not _occupied():
        for job in held.take_finished():
            _finished(job)
        while _fetched:
            import_job(_fetched.pop())
        _redraw()
    return held.next_tick_s()


def _occupied() -> bool:
    """Whether the user is in the middle of something that new objects would disturb: an edit, a drag, a render."""
    if bpy.context.mode != "OBJECT" or bpy.app.is_job_running("RENDER"):
        return True
    modal = [operator for window in bpy.context.window_manager.windows for operator in window.modal_operators]
    return any(operator.bl_idname.startswith("TRANSFORM_OT_") for operator in modal)


def _finished(job: Job) -> None:
    held = board()
    if job.id not in held.mine:
        return
    if job.state not in ("done", "partial") or not job.folder:
        del held.mine[job.id]
    elif preferences.get().auto_import and _sent_from_here(job):
        import_job(job)


def import_job(job: Job) -> None:
    """Import a finished job's session; from a worker on another machine it is fetched first."""
    held = board()
    if job.here is None and job.folder and held.worker is not None and held.worker.is_own:
        job.here = Path(job.folder)
    if job.here is None:
        held.bring(job, output_root() / _place(held.worker), _fetched.append)
        return
    held.mine.pop(job.id, None)
    _import(job.here)


def _place(elsewhere: client.Worker | None) -> str:
    return f"{elsewhere.host}-{elsewhere.port}".replace(":", "_") if elsewhere is not None else "elsewhere"


def _import(folder: Path) -> None:
    global slowest_import_s
    started = time.thread_time()
    window = bpy.context.window_manager.windows[0] if bpy.context.window_manager.windows else None
    with bpy.context.temp_override(window=window):
        try:
            bpy.ops.assetize.import_session("EXEC_DEFAULT", True, directory=str(folder))
        except RuntimeError as error:  # an operator's report; nobody would see it from a timer
            board().problem = AddonError("import.failed", str(error).removeprefix("Error: ").strip())
    slowest_import_s = max(slowest_import_s, time.thread_time() - started)


@bpy.app.handlers.persistent
def _opened(*_: object) -> None:
    """Another file is open: jobs that were sent from it earlier, and are done, come into it now."""
    _state["file"] = uuid.uuid4().hex
    held = board()
    held.finished += [job for job in offered() if _sent_from_here(job) and job not in held.finished]


def start() -> None:
    # In background a script holds the main thread and timers never fire; there nothing polls.
    if not bpy.app.background and not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=0.5, persistent=True)
    if _opened not in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.append(_opened)


def stop() -> None:
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    if _opened in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_opened)
    if "board" in _state:
        board().close()
    _state.clear()
    _fetched.clear()
