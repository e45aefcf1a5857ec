# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators on stills and jobs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import bpy
from bpy.app.translations import pgettext_rpt as _

from ..core import far_disk
from ..core.errors import AddonError
from ..core.worker import run_worker, setup_command
from . import jobs, preferences, settings


def language() -> str:
    return str(bpy.app.translations.locale or "en")


def tell(operator: bpy.types.Operator, error: AddonError) -> set[str]:
    """An error as the operator's report, in the user's language."""
    operator.report({"ERROR"}, error.message(language()))
    return {"CANCELLED"}


def reference_image(context: bpy.types.Context) -> bpy.types.Image | None:
    """The picture in question: the Image Editor's, the active image empty's, the active camera's background."""
    space = context.space_data
    if space is not None and space.type == "IMAGE_EDITOR":
        return space.image if space.image and space.image.type == "IMAGE" else None
    active = context.object
    if active is not None and active.type == "EMPTY" and isinstance(active.data, bpy.types.Image):
        return active.data
    camera = active if active is not None and active.type == "CAMERA" else context.scene.camera
    if camera is not None and camera.type == "CAMERA":
        for background in camera.data.background_images:
            if background.source == "IMAGE" and background.image:
                return background.image
    return None


def image_file(image: bpy.types.Image, scratch: Path) -> Path:
    """The image's file; pictures that live in the .blend alone are written to `scratch` first."""
    path = Path(bpy.path.abspath(image.filepath_raw)) if image.filepath_raw else None
    if path is not None and not image.is_dirty and far_disk.within(path, path.is_file):
        return path
    suffix = ".exr" if image.is_float else ".png"
    target = scratch / (bpy.path.clean_name(Path(image.name).stem) + suffix)
    if image.packed_file is not None and not image.is_dirty:
        data = bytes(image.packed_file.data)
        target = target.with_suffix(Path(image.filepath_raw).suffix or suffix)
        target.write_bytes(data)
        return target
    copy = image.copy()
    try:
        copy.file_format = "OPEN_EXR" if image.is_float else "PNG"
        copy.save(filepath=str(target))
    finally:
        bpy.data.images.remove(copy)
    return target


class ASSETIZE_OT_image(bpy.types.Operator):
    """Make a scene from a film still: camera, background, props, light"""

    bl_idname = "assetize.image"
    bl_label = "Assetize Image"
    bl_options = {"REGISTER"}

    filepath: bpy.props.StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    wait: bpy.props.BoolProperty(
        default=False, options={"SKIP_SAVE"}, description="Run to the end before returning; always so in background"
    )
    fresh: bpy.props.BoolProperty(default=False, options={"SKIP_SAVE"}, description="Do every stage anew")

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            with tempfile.TemporaryDirectory() as scratch:
                source = self._source(context, Path(scratch))
                if self.wait or bpy.app.background:
                    return self._run(context, source)
                # what lies in the scratch folder is gone in a moment; other files are read as they are sent
                data = source.read_bytes() if source.parent == Path(scratch) else source
            jobs.start_worker()
        except AddonError as error:
            return tell(self, error)
        except OSError as error:
            self.report({"ERROR"}, f"{error.filename}: {error.strerror}")
            return {"CANCELLED"}
        jobs.board().submit(source.name, data, self._options(context, source.name), None, self.fresh, jobs.origin())
        self.report({"INFO"}, _("%s is on its way") % source.name)
        return {"FINISHED"}

    def _source(self, context: bpy.types.Context, scratch: Path) -> Path:
        said = self.filepath or context.scene.assetize.source
        if said:
            path = Path(bpy.path.abspath(said))
            if not far_disk.within(path, path.is_file):
                raise AddonError("still.missing", f"{path} does not exist.", f"{path} 不存在。")
            return path
        image = reference_image(context)
        if image is None:
            raise AddonError(
                "still.none",
                "No picture is chosen. Open one in the Image Editor, select an image empty, or enter a file.",
                "未选择图片。请在图像编辑器中打开、选中图像空物体，或填写文件。",
            )
        return image_file(image, scratch)

    def _options(self, context: bpy.types.Context, name: str) -> dict[str, Any]:
        return settings.options(context.scene.assetize, preferences.get().studio(), language(), name)

    def _run(self, context: bpy.types.Context, source: Path) -> set[str]:
        """The whole way at once, through the worker's command line."""
        chosen = self._options(context, source.name)
        arguments = ["run", "--input", str(source), "--output_root", str(jobs.output_root()), "--no_blend",
                     "--max_props", str(chosen["max_props"]), "--seed", str(chosen["seed"])]  # fmt: skip
        arguments += [f"--{key}" for key in ("skip_scene", "skip_geometry", "geometry_tiles") if chosen[key]]
        arguments += [word for box in chosen["rois"] for word in ("--roi", ",".join(map(str, box)))]
        arguments += [word for stage, name in chosen["engines"].items() for word in ("--engine", f"{stage}={name}")]
        arguments += ["--lens_mm", str(chosen["lens_mm"])] if "lens_mm" in chosen else []
        arguments += ["--fresh"] if self.fresh else []
        folders: list[str] = []
        sentences: list[str] = []

        def listen(event: dict[str, Any]) -> None:
            if event.get("event") in ("session", "job.finished") and event.get("folder"):
                folders.append(event["folder"])
            if event.get("error"):
                sentences.append(event["error"].get("zh" if language().startswith("zh") else "en") or "")

        code = run_worker(jobs.find_worker(), arguments, listen)
        if code not in (0, 1) or not folders:
            return tell(self, _ended(code, sentences))
        for sentence in sentences:
            self.report({"WARNING"}, sentence)
        return bpy.ops.assetize.import_session("EXEC_DEFAULT", directory=folders[-1])


def _ended(code: int, sentences: list[str]) -> AddonError:
    """Why a run that was waited for brought no scene: the worker's last sentence, else how it ended."""
    if sentences:
        return AddonError("run.failed", sentences[-1])
    return AddonError(
        "run.ended",
        f"The worker ended before its time (exit code {code}). Run the still again: finished stages are kept.",
        f"工作进程提前退出（退出码 {code}）。请重新运行该静帧：已完成的阶段会保留。",
    )


class _OnJob:
    """Operators on one job of the list."""

    bl_options = {"REGISTER"}
    job_id: bpy.props.StringProperty(options={"SKIP_SAVE"})
    verb = ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        if jobs.board().job(self.job_id) is None:
            self.report({"ERROR"}, _("There is no such job"))
            return {"CANCELLED"}
        jobs.board().act(self.job_id, self.verb, jobs.origin())
        return {"FINISHED"}


class ASSETIZE_OT_cancel(_OnJob, bpy.types.Operator):
    """Stop this job; finished stages are kept"""

    bl_idname = "assetize.cancel"
    bl_label = "Cancel"
    verb = "cancel"


class ASSETIZE_OT_retry(_OnJob, bpy.types.Operator):
    """Run this job again from its first unfinished stage"""

    bl_idname = "assetize.retry"
    bl_label = "Retry"
    verb = "retry"


class ASSETIZE_OT_remove(_OnJob, bpy.types.Operator):
    """Take this job off the list; its session folder stays"""

    bl_idname = "assetize.remove"
    bl_label = "Remove"
    verb = "remove"


class ASSETIZE_OT_job_up(_OnJob, bpy.types.Operator):
    """Let this job run earlier"""

    bl_idname = "assetize.job_up"
    bl_label = "Earlier"
    verb = "up"


class ASSETIZE_OT_job_down(_OnJob, bpy.types.Operator):
    """Let this job run later"""

    bl_idname = "assetize.job_down"
    bl_label = "Later"
    verb = "down"


class ASSETIZE_OT_import_job(bpy.types.Operator):
    """Build the scene of this job; from a worker on another machine its files are fetched first"""

    bl_idname = "assetize.import_job"
    bl_label = "Import"
    bl_options = {"REGISTER"}

    job_id: bpy.props.StringProperty(options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = jobs.board().job(self.job_id)
        if job is None or not job.folder:
            self.report({"ERROR"}, _("There is no such job"))
            return {"CANCELLED"}
        jobs.import_job(job)
        return {"FINISHED"}


class ASSETIZE_OT_engines(bpy.types.Operator):
    """Ask the worker again which engines it has"""

    bl_idname = "assetize.engines"
    bl_label = "Refresh Engines"

    def execute(self, context: bpy.types.Context) -> set[str]:
        jobs.board().ask_engines()
        return {"FINISHED"}


def as_typed(command: str, folder: Path | None, windows: bool = sys.platform == "win32") -> str:
    """`assetize ...` as it is typed in a checkout, where no such program is on the path."""
    program, _space, rest = command.partition(" ")
    if program != "assetize" or folder is None or not (folder / "install" / "bootstrap.py").is_file():
        return command
    return f"{setup_command(windows)} {rest}"


class ASSETIZE_OT_copy(bpy.types.Operator):
    """Copy this command, to run it in a terminal in the Assetize folder"""

    bl_idname = "assetize.copy"
    bl_label = "Copy Command"

    text: bpy.props.StringProperty(options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            folder = jobs.find_worker().folder
            command = far_disk.within(folder or "", lambda: as_typed(self.text, folder))
        except (AddonError, OSError):
            command = self.text
        context.window_manager.clipboard = command
        self.report({"INFO"}, _("Copied: %s") % command)
        return {"FINISHED"}


class ASSETIZE_OT_worker_start(bpy.types.Operator):
    """Start the Assetize worker on this machine"""

    bl_idname = "assetize.worker_start"
    bl_label = "Start Worker"

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            jobs.start_worker()
        except AddonError as error:
            return tell(self, error)
        except OSError as error:
            self.report({"ERROR"}, f"{error.filename}: {error.strerror}")
            return {"CANCELLED"}
        return {"FINISHED"}


class ASSETIZE_OT_worker_stop(bpy.types.Operator):
    """Stop the worker; what is running goes on at its next start"""

    bl_idname = "assetize.worker_stop"
    bl_label = "Stop Worker"

    def execute(self, context: bpy.types.Context) -> set[str]:
        jobs.stop_worker()
        return {"FINISHED"}


class ASSETIZE_OT_worker_log(bpy.types.Operator):
    """Open the worker's log"""

    bl_idname = "assetize.worker_log"
    bl_label = "Open Log"

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = jobs.log_file()
        if not path.is_file():
            self.report({"ERROR"}, _("There is no log yet"))
            return {"CANCELLED"}
        text = bpy.data.texts.get("Assetize worker log") or bpy.data.texts.new("Assetize worker log")
        text.from_string(path.read_text(encoding="utf-8", errors="replace")[-200_000:])
        bpy.ops.wm.path_open(filepath=str(path)) if not bpy.app.background else None
        return {"FINISHED"}


class ASSETIZE_OT_preferences(bpy.types.Operator):
    """Open the add-on's preferences"""

    bl_idname = "assetize.preferences"
    bl_label = "Preferences"

    def execute(self, context: bpy.types.Context) -> set[str]:
        bpy.ops.preferences.addon_show(module=preferences.PACKAGE)
        return {"FINISHED"}


class ASSETIZE_OT_open_report(bpy.types.Operator):
    """Open the session's report in the browser"""

    bl_idname = "assetize.open_report"
    bl_label = "Open Report"

    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        root = settings.active_root(context)
        said = self.directory or (root.get("assetize_folder", "") if root is not None else "")
        path = Path(bpy.path.abspath(said)) / "report.html" if said else None
        try:
            there = path is not None and far_disk.exists(path)
        except AddonError as error:
            return tell(self, error)
        if not there:
            self.report({"ERROR"}, _("This session has no report"))
            return {"CANCELLED"}
        bpy.ops.wm.url_open(url=path.absolute().as_uri())
        return {"FINISHED"}


CLASSES = (
    ASSETIZE_OT_image,
    ASSETIZE_OT_cancel,
    ASSETIZE_OT_retry,
    ASSETIZE_OT_remove,
    ASSETIZE_OT_job_up,
    ASSETIZE_OT_job_down,
    ASSETIZE_OT_import_job,
    ASSETIZE_OT_engines,
    ASSETIZE_OT_copy,
    ASSETIZE_OT_worker_start,
    ASSETIZE_OT_worker_stop,
    ASSETIZE_OT_worker_log,
    ASSETIZE_OT_preferences,
    ASSETIZE_OT_open_report,
)
