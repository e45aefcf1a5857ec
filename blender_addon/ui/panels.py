# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab "Assetize" in the 3D View and the Image Editor."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import bpy
from bpy.app.translations import pgettext_iface as _

from ..core.jobs import Job, Link
from ..core.record import EDITABLE, PREFIX, RECORD_KEY
from ..core.session import STILL_SUFFIXES
from ..scene import metadata, sets
from ..scene.props import RELIGHT
from . import engines, jobs, operators, preferences, settings, thumbnail

_STATE_ICONS = {"queued": "TIME", "running": "PLAY", "done": "CHECKMARK", "partial": "ERROR", "failed": "CANCEL",
                "cancelled": "X"}  # fmt: skip


language = operators.language


def _still(layout: Any, context: bpy.types.Context) -> None:
    chosen = context.scene.assetize
    image = None if chosen.source else operators.reference_image(context)
    if chosen.source:
        path = Path(bpy.path.abspath(chosen.source))
        icon = thumbnail.icon_of(path) if path.suffix.lower() in STILL_SUFFIXES else 0
        if icon:
            row = layout.row()
            row.template_icon(icon, scale=4.0)
            row.label(text=path.name, translate=False)
    elif image is not None:
        preview = image.preview_ensure()
        row = layout.row()
        if preview is not None:
            row.template_icon(preview.icon_id, scale=4.0)
        column = row.column()
        column.label(text=image.name, translate=False)
        column.label(text=f"{image.size[0]} x {image.size[1]}", translate=False)
    layout.prop(chosen, "source", text="" if image is None else _("Instead"))
    row = layout.row()
    row.scale_y = 1.6
    row.operator("assetize.image", icon="OUTLINER_OB_CAMERA")
    layout.operator("assetize.import_session", icon="IMPORT")


def _worker(layout: Any) -> None:
    held = jobs.board()
    row = layout.row()
    if held.link is Link.READY:
        row.label(text=_("Worker %s") % held.version, icon="LINKED", translate=False)
        row.operator("assetize.worker_stop", text="", icon="PAUSE")
    elif held.link is Link.STARTING:
        row.label(text="The worker is starting", icon="SORTTIME")
    else:
        row.label(text="No worker is running", icon="UNLINKED")
        row.operator("assetize.worker_start", text="", icon="PLAY")
    row.operator("assetize.worker_log", text="", icon="TEXT")
    if held.problem is not None:
        draw_sentence(layout, held.problem.message(language()), held.problem.fix)


def draw_sentence(layout: Any, text: str, fix: str | None) -> None:
    """A message in lines that fit, and what mends it: a button of ours, or a command to copy into a terminal."""
    box = layout.box()
    box.alert = True
    column = box.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(lines(text)):
        column.label(text=line, icon="ERROR" if number == 0 else "BLANK1", translate=False)
    if fix and fix.startswith("assetize."):
        box.operator(fix)
    elif fix:
        row = box.row()
        row.label(text=fix, icon="CONSOLE", translate=False)
        row.operator("assetize.copy", text="", icon="COPYDOWN").text = fix


def columns() -> int:
    """How many Latin letters a line of the panel holds."""
    region = bpy.context.region
    return max(24, int(region.width / bpy.context.preferences.system.ui_scale) // 9) if region is not None else 40


def lines(text: str) -> list[str]:
    return wrapped(text, columns())


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns; Chinese characters count two and may part anywhere but before a full stop."""
    lines, line, used = [], "", 0
    words: list[str] = []
    for part in text.split(" "):
        words += [part + " "] if part.isascii() else [*_UNITS.findall(part), " "]
    for word in words:
        size = sum(1 if char.isascii() else 2 for char in word)
        if used + size > width and line:
            lines.append(line.rstrip())
            line, used = "", 0
        if word == " " and not line:
            continue
        line, used = line + word, used + size
    return [*lines, line.rstrip()] if line.strip() else lines


_UNITS = re.compile(r"[“（]?(?:[!-~]+|[^“（。，；：、！？）”])[。，；：、！？）”]*|.")


def _job(layout: Any, job: Job, waiting: int) -> None:
    box = layout.box()
    row = box.row()
    row.label(text=job.name, icon=_STATE_ICONS.get(job.state, "QUESTION"), translate=False)
    if job.final:
        if job.folder:
            row.operator("assetize.import_job", text="", icon="IMPORT").job_id = job.id
            row.operator("assetize.open_report", text="", icon="URL").directory = str(job.here or job.folder)
        if job.state != "done":
            row.operator("assetize.retry", text="", icon="FILE_REFRESH").job_id = job.id
        row.operator("assetize.remove", text="", icon="TRASH").job_id = job.id
    else:
        if job.state == "queued" and waiting > 1:
            row.operator("assetize.job_up", text="", icon="TRIA_UP").job_id = job.id
            row.operator("assetize.job_down", text="", icon="TRIA_DOWN").job_id = job.id
        row.operator("assetize.cancel", text="", icon="CANCEL").job_id = job.id
    if not job.final and jobs.board().link is not Link.READY:
        box.label(text="Goes on when the worker is back", icon="SORTTIME")
    elif job.state == "running":
        left = job.seconds_left()
        time = "" if left is None else f"  {int(left) // 60}:{int(left) % 60:02d}"
        box.progress(factor=job.fraction, text=f"{_(job.stage.replace('_', ' '))} {100 * job.fraction:.0f} %{time}")
        if job.note:
            row = box.row()
            row.active = False
            row.label(text=job.note, translate=False)
    elif job.state == "queued":
        box.label(text=_("Waiting, %d before it") % (job.position or 0), translate=False)
    if job.fetch is not None:
        box.progress(factor=job.fetch.fraction, text=_("Fetching %d MB") % (job.fetch.total // 1_000_000))
    elif job in jobs.offered():
        box.operator("assetize.import_job", text="Import into this file", icon="IMPORT").job_id = job.id
    if job.warnings:
        box.label(text=_("%d warnings, see the report") % job.warnings, icon="INFO", translate=False)
    if job.error:
        said = job.error.get("zh" if language().startswith("zh") else "en") or job.error.get("en")
        draw_sentence(box, str(said), job.error.get("fix"))


class _Tab:
    bl_region_type = "UI"
    bl_category = "Assetize"


class _Main(_Tab):
    bl_label = "Assetize"

    def draw(self, context: bpy.types.Context) -> None:
        _still(self.layout, context)
        _worker(self.layout)


class _Jobs(_Tab):
    bl_label = "Jobs"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return bool(jobs.board().jobs)

    def draw(self, context: bpy.types.Context) -> None:
        shown = jobs.board().jobs
        waiting = sum(job.state == "queued" for job in shown)
        # what waits first, in the order in which it will run; then the newest of the rest
        order = sorted(shown, key=lambda job: (job.state != "running", job.state != "queued", job.position or 0))
        for job in order[:12]:
            _job(self.layout, job, waiting)


class _Options(_Tab):
    bl_label = "Options"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout, chosen = self.layout, context.scene.assetize
        layout.use_property_split = True
        layout.use_property_decorate = False
        row = layout.row(heading="Lens")
        row.prop(chosen, "use_lens", text="")
        inner = row.row()
        inner.active = chosen.use_lens
        inner.prop(chosen, "lens_mm", text="")
        for name in ("max_props", "seed", "skip_scene", "skip_geometry"):
            layout.prop(chosen, name)
        held = preferences.get()
        if isinstance(held, bpy.types.AddonPreferences):
            layout.prop(held, "output_root")
        column = layout.column(heading="Import", align=True)
        for name in ("import_splats", "import_points", "import_props", "import_light"):
            column.prop(chosen, name)
        self._boxes(context)

    def _boxes(self, context: bpy.types.Context) -> None:
        layout, chosen = self.layout, context.scene.assetize
        row = layout.row(align=True)
        if context.space_data.type == "IMAGE_EDITOR":
            row.operator("assetize.pick_roi", icon="SELECT_SET")
        if len(chosen.rois):
            row.operator("assetize.clear_rois", text="", icon="X")
        for number, box in enumerate(chosen.rois):
            row = layout.row()
            row.label(text=f"{box.image}  {box.x}, {box.y}  {box.width} x {box.height}", translate=False)
            row.operator("assetize.clear_rois", text="", icon="X", emboss=False).index = number


class _Engines(_Tab):
    bl_label = "Engines"
    bl_options = {"DEFAULT_CLOSED"}

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        self.layout.operator("assetize.engines", text="", icon="FILE_REFRESH", emboss=False)

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        if not jobs.board().engines:
            layout.label(text="Start the worker to see what it has", icon="INFO")
        engines.draw(layout, context.scene.assetize, language(), draw_sentence, lines)


class _Set(_Tab):
    bl_label = "Set"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return settings.active_root(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        layout, chosen = self.layout, context.scene.assetize
        root = settings.active_root(context)
        layout.label(text=root.name, icon="SCENE_DATA", translate=False)
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(chosen, "display")
        parts = sets.by_role(root)
        if "splats" in parts:
            layout.prop(chosen, "splat_level")
        layout.prop(chosen, "hfov")
        if sets.world_of(root) is not None:
            layout.prop(chosen, "probe_strength")
        if "key light" in parts:
            layout.prop(chosen, "key_light")
        row = layout.row(align=True)
        row.operator("assetize.open_report", icon="URL")
        row.operator("assetize.show_still", icon="IMAGE_DATA")


class _Object(_Tab):
    bl_label = "Object"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.object is not None and bool(metadata.role_of(context.object))

    def draw(self, context: bpy.types.Context) -> None:
        layout, item = self.layout, context.object
        if RELIGHT in item:
            layout.prop(item, f'["{RELIGHT}"]', text="Relight", slider=True)
        if metadata.role_of(item) == "prop":
            row = layout.row(align=True)
            row.operator("assetize.prop_splats", text="Splats").splats = True
            row.operator("assetize.mark_assets", icon="ASSET_MANAGER")
            layout.operator("assetize.collide", icon="MOD_PHYSICS")
            row = layout.row(align=True)
            row.prop(context.scene.assetize, "known_length")
            row.operator("assetize.known_length", text="", icon="DRIVER_DISTANCE")
        elif metadata.role_of(item) == "prop splats":
            layout.operator("assetize.prop_splats", text="Mesh").splats = False
        column = layout.column(align=True)
        for name, value in metadata.summary(item):
            key = PREFIX + name
            if key in (RECORD_KEY, RELIGHT):
                continue
            if name in EDITABLE:
                column.prop(item, f'["{key}"]', text=name.replace("_", " "))
            else:
                split = column.split(factor=0.4)
                split.label(text=name.replace("_", " "))
                split.label(text=_shown(value), translate=False)
        layout.operator("assetize.export_record", icon="EXPORT")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value.to_list() if hasattr(value, "to_list") else value)
    return text if len(text) <= 40 else text[:18] + "…" + text[-18:]


def _both(kind: type, name: str) -> tuple[type, type]:
    """The same panel for both editors."""
    made = []
    for space, editor in (("VIEW_3D", "view3d"), ("IMAGE_EDITOR", "image")):
        identifier = f"ASSETIZE_PT_{name}_{editor}"
        body: dict[str, Any] = {"bl_idname": identifier, "bl_space_type": space}
        if name != "main":
            body["bl_parent_id"] = f"ASSETIZE_PT_main_{editor}"
        made.append(type(identifier, (kind, bpy.types.Panel), body))
    return made[0], made[1]


CLASSES = (
    *_both(_Main, "main"),
    *_both(_Jobs, "jobs"),
    *_both(_Options, "options"),
    *_both(_Engines, "engines"),
    *_both(_Set, "set"),
    *_both(_Object, "object"),
)
