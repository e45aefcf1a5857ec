# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators on sessions and on the sets that stand in the file. Each is one undo step."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
from bpy.app.translations import pgettext_rpt as _

from ..core import far_disk
from ..core.errors import AddonError
from ..core.record import PREFIX
from ..core.session import STILL
from ..scene import lens, metadata, sets, stage_gear
from ..scene.build import Wanted, import_session
from ..scene.camera import look_through_camera
from . import settings
from .operators import language, tell


class ASSETIZE_OT_import_session(bpy.types.Operator):
    """Build the scene of a session folder; an earlier import of the same session is replaced"""

    bl_idname = "assetize.import_session"
    bl_label = "Import Assetize Session"
    bl_options = {"REGISTER", "UNDO"}

    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        chosen = context.scene.assetize
        wanted = Wanted(splats=chosen.import_splats, points=chosen.import_points, props=chosen.import_props,
                        light=chosen.import_light)  # fmt: skip
        folder = Path(bpy.path.abspath(self.directory))
        try:
            far_disk.exists(folder)  # what follows reads it all, on Blender's main thread
            made = import_session(folder, context.scene, wanted)
        except AddonError as error:
            return tell(self, error)
        for problem in made.problems:
            self.report({"WARNING"}, problem.message(language()))
        if context.window is not None:
            look_through_camera([context.window.screen])
        return {"FINISHED"}


class _OnProps:
    """Operators on the selected props."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return any(metadata.role_of(item) == "prop" for item in _selected(context))


def _selected(context: bpy.types.Context) -> list[bpy.types.Object]:
    chosen = list(context.selected_objects)
    return chosen or ([context.object] if context.object else [])


def _props(context: bpy.types.Context) -> list[bpy.types.Object]:
    return [item for item in _selected(context) if metadata.role_of(item) == "prop"]


class ASSETIZE_OT_mark_assets(_OnProps, bpy.types.Operator):
    """Put the selected props into the asset browser, with preview, author, licence and tags"""

    bl_idname = "assetize.mark_assets"
    bl_label = "Mark as Assets"

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            for folder in {stage_gear.session_folder(prop) for prop in _props(context)} - {None}:
                far_disk.exists(folder)
        except AddonError as error:
            return tell(self, error)
        for prop in _props(context):
            folder = stage_gear.session_folder(prop)
            crop = folder / "props" / f"{prop[PREFIX + 'id']}.png" if folder else None
            shelf = None
            if bpy.data.filepath:  # a catalogue lies beside the .blend, so there must be one
                shelf = stage_gear.catalogue(Path(bpy.data.filepath).parent, str(prop.get(PREFIX + "session", "Props")))
            stage_gear.mark_asset(prop, shelf, crop)
        if not bpy.data.filepath:
            self.report({"WARNING"}, _("Save the file to give its assets a catalogue"))
        return {"FINISHED"}


class ASSETIZE_OT_collide(_OnProps, bpy.types.Operator):
    """Give the selected props a passive rigid body with a convex hull"""

    bl_idname = "assetize.collide"
    bl_label = "Make Collide"

    hull_mesh: bpy.props.BoolProperty(name="Hull as a mesh", description="Add the hull as a wire mesh as well")

    def execute(self, context: bpy.types.Context) -> set[str]:
        for prop in _props(context):
            if prop.rigid_body is None:
                with context.temp_override(object=prop, active_object=prop, selected_objects=[prop]):
                    bpy.ops.rigidbody.object_add(type="PASSIVE")
            prop.rigid_body.type = "PASSIVE"
            prop.rigid_body.collision_shape = "CONVEX_HULL"
            if self.hull_mesh:
                stage_gear.convex_hull(prop)
        return {"FINISHED"}


class ASSETIZE_OT_prop_splats(_OnProps, bpy.types.Operator):
    """Switch the selected props between mesh and Gaussians"""

    bl_idname = "assetize.prop_splats"
    bl_label = "Mesh / Splats"

    splats: bpy.props.BoolProperty(name="Splats", default=True)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return any(metadata.role_of(item).startswith("prop") for item in _selected(context))

    def execute(self, context: bpy.types.Context) -> set[str]:
        ids = {item.get(PREFIX + "id") for item in _selected(context)}
        for root in sets.all_sets():
            for item in sets.members(root):
                if metadata.role_of(item) == "prop" and item.get(PREFIX + "id") in ids:
                    sets.show_prop(item, self.splats)
        return {"FINISHED"}


class ASSETIZE_OT_known_length(_OnProps, bpy.types.Operator):
    """Scale the whole set so that the active prop has its true height"""

    bl_idname = "assetize.known_length"
    bl_label = "Scale Set to True Height"

    def execute(self, context: bpy.types.Context) -> set[str]:
        prop = _props(context)[0]
        root = sets.set_of(prop)
        if root is None:
            self.report({"ERROR"}, _("This prop belongs to no set"))
            return {"CANCELLED"}
        lens.set_known_length(root, prop.dimensions.z, context.scene.assetize.known_length)
        return {"FINISHED"}


class ASSETIZE_OT_export_record(bpy.types.Operator):
    """Write the active object's metadata record to a JSON file"""

    bl_idname = "assetize.export_record"
    bl_label = "Export Record"

    filepath: bpy.props.StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: bpy.props.StringProperty(default="*.json", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.object is not None and metadata.read_record(context.object) is not None

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.filepath = bpy.path.clean_name(context.object.name) + ".json"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        record = metadata.edited_record(context.object)
        path = Path(bpy.path.abspath(self.filepath)).with_suffix(".json")
        text = json.dumps(record, ensure_ascii=False, indent=2)
        try:
            far_disk.within(path, lambda: path.write_text(text, encoding="utf-8"))
        except AddonError as error:
            return tell(self, error)
        except OSError as error:
            self.report({"ERROR"}, f"{path}: {error.strerror}")
            return {"CANCELLED"}
        self.report({"INFO"}, str(path))
        return {"FINISHED"}


class ASSETIZE_OT_show_still(bpy.types.Operator):
    """Load the set's still into the Image Editor"""

    bl_idname = "assetize.show_still"
    bl_label = "Show Still"

    def execute(self, context: bpy.types.Context) -> set[str]:
        root = settings.active_root(context)
        folder = stage_gear.session_folder(root) if root is not None else None
        path = folder / STILL if folder is not None else None
        try:
            there = path is not None and far_disk.exists(path)
        except AddonError as error:
            return tell(self, error)
        if not there:
            self.report({"ERROR"}, _("The session's folder is gone"))
            return {"CANCELLED"}
        image = bpy.data.images.load(str(path), check_existing=True)
        if context.space_data is not None and context.space_data.type == "IMAGE_EDITOR":
            context.space_data.image = image
        return {"FINISHED"}


CLASSES = (
    ASSETIZE_OT_import_session,
    ASSETIZE_OT_mark_assets,
    ASSETIZE_OT_collide,
    ASSETIZE_OT_prop_splats,
    ASSETIZE_OT_known_length,
    ASSETIZE_OT_export_record,
    ASSETIZE_OT_show_still,
)
