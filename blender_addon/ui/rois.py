# SPDX-License-Identifier: GPL-3.0-or-later
"""Drawing boxes around wanted props in the Image Editor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy


def pixel_box(
    first: tuple[float, float], second: tuple[float, float], width: int, height: int
) -> tuple[int, ...] | None:
    """(x, y, width, height) from two corners in view coordinates (0..1, origin lower left); None where it is empty.

    The session counts from the upper left corner of the upright still.
    """
    xs = sorted(min(max(each[0], 0.0), 1.0) * width for each in (first, second))
    ys = sorted((1 - min(max(each[1], 0.0), 1.0)) * height for each in (first, second))
    left, top = int(xs[0]), int(ys[0])
    box = (left, top, round(xs[1]) - left, round(ys[1]) - top)
    return box if box[2] >= 4 and box[3] >= 4 else None


def file_name(image: bpy.types.Image) -> str:
    """What the worker will call this picture; boxes are only sent along with it."""
    return Path(image.filepath_raw).name or image.name


class ASSETIZE_OT_pick_roi(bpy.types.Operator):
    """Drag a box around a prop you want; Esc or right click ends"""

    bl_idname = "assetize.pick_roi"
    bl_label = "Pick Props"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        space = context.space_data
        image = space.image if space is not None and space.type == "IMAGE_EDITOR" else None
        return image is not None and min(image.size) > 0

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        region = next((each for each in context.area.regions if each.type == "WINDOW"), None)
        if region is None:
            return {"CANCELLED"}
        self._region, self._image = region, context.space_data.image
        self._start: tuple[float, float] | None = None
        self._end: tuple[float, float] | None = None
        self._handle = bpy.types.SpaceImageEditor.draw_handler_add(_draw, (self, context), "WINDOW", "POST_PIXEL")
        context.window.cursor_modal_set("CROSSHAIR")
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def _view(self, event: bpy.types.Event) -> tuple[float, float]:
        x, y = event.mouse_x - self._region.x, event.mouse_y - self._region.y
        return self._region.view2d.region_to_view(x, y)

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.area.tag_redraw()
        if event.type in {"ESC", "RIGHTMOUSE"}:
            self._finish(context)
            return {"FINISHED"}
        if event.type == "LEFTMOUSE" and event.value == "PRESS":
            self._start = self._end = self._view(event)
            return {"RUNNING_MODAL"}
        if event.type == "MOUSEMOVE" and self._start is not None:
            self._end = self._view(event)
            return {"RUNNING_MODAL"}
        if event.type == "LEFTMOUSE" and event.value == "RELEASE" and self._start is not None:
            box = pixel_box(self._start, self._view(event), *self._image.size)
            self._start = None
            if box is not None:
                roi = context.scene.assetize.rois.add()
                roi.x, roi.y, roi.width, roi.height = box
                roi.image = file_name(self._image)
            return {"RUNNING_MODAL"}
        return {"PASS_THROUGH"}  # zoom and pan go on

    def cancel(self, context: bpy.types.Context) -> None:
        self._finish(context)

    def _finish(self, context: bpy.types.Context) -> None:
        if self._handle is not None:
            bpy.types.SpaceImageEditor.draw_handler_remove(self._handle, "WINDOW")
            self._handle = None
            context.window.cursor_modal_restore()


def _draw(operator: ASSETIZE_OT_pick_roi, context: bpy.types.Context) -> None:
    """The boxes there are, and the one that is being drawn."""
    import gpu
    from gpu_extras.batch import batch_for_shader

    width, height = operator._image.size
    corners: list[tuple[Any, Any]] = []
    for roi in context.scene.assetize.rois:
        if roi.image in ("", file_name(operator._image)):
            left, top = roi.x / width, 1 - roi.y / height
            corners.append(((left, top), (left + roi.width / width, top - roi.height / height)))
    if operator._start is not None and operator._end is not None:
        corners.append((operator._start, operator._end))
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    to_region = operator._region.view2d.view_to_region
    for (x0, y0), (x1, y1) in corners:
        ring = [to_region(x, y, clip=False) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))]
        batch = batch_for_shader(shader, "LINE_STRIP", {"pos": ring})
        shader.bind()
        shader.uniform_float("color", (1.0, 0.6, 0.1, 1.0))
        batch.draw(shader)


class ASSETIZE_OT_clear_rois(bpy.types.Operator):
    """Forget all boxes, or the one of that number"""

    bl_idname = "assetize.clear_rois"
    bl_label = "Clear Boxes"
    bl_options = {"REGISTER", "UNDO"}

    index: bpy.props.IntProperty(default=-1, options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        rois = context.scene.assetize.rois
        if 0 <= self.index < len(rois):
            rois.remove(self.index)
        else:
            rois.clear()
        return {"FINISHED"}


CLASSES = (ASSETIZE_OT_pick_roi, ASSETIZE_OT_clear_rois)
