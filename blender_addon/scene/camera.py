# SPDX-License-Identifier: GPL-3.0-or-later
"""The camera that took the still."""

from __future__ import annotations

from collections.abc import Iterable

import bpy

from ..core.frames import BLENDER_CAMERA_AXES, F64, SENSOR_WIDTH_MM, blender_lens
from ..core.session import SessionData
from .objects import add_object, load_image


def add_camera(
    session: SessionData, collection: bpy.types.Collection, parent: bpy.types.Object, world_from_camera: F64
) -> bpy.types.Object:
    """With the still as its background image, drawn in front at half strength only when the artist wants it."""
    lens = blender_lens(session.intrinsics, session.width, session.height)
    data = bpy.data.cameras.new(f"{session.name} camera")
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = SENSOR_WIDTH_MM
    data.lens_unit = "MILLIMETERS"
    data.lens = lens.lens_mm
    data.shift_x, data.shift_y = lens.shift_x, lens.shift_y
    data.clip_start = max(1e-4, session.median_depth * 1e-3)
    data.clip_end = max(1000.0, session.median_depth * 1e3)
    data.display_size = 0.1 * session.median_depth
    if session.still is not None:
        background = data.background_images.new()
        background.image = load_image(session.still, "sRGB", f"{session.name} still")
        background.frame_method = "STRETCH"  # the default changed in 5.2; the frame has the still's own shape
        background.display_depth = "BACK"
        background.alpha = 1.0
        data.show_background_images = True
    return add_object(collection, data.name, data, parent, world_from_camera @ BLENDER_CAMERA_AXES)


def look_through_camera(screens: Iterable[bpy.types.Screen]) -> None:
    """Every 3D view looks through the scene's camera and shows textures unlit: the still, at once, on any machine."""
    for screen in screens:
        for area in screen.areas:
            if area.type == "VIEW_3D":
                space = area.spaces.active
                space.region_3d.view_perspective = "CAMERA"
                space.shading.type = "SOLID"
                space.overlay.show_relationship_lines = False  # a line from every object to the set's root hides it
                space.shading.light, space.shading.color_type = "FLAT", "TEXTURE"


def frame_render(scene: bpy.types.Scene, session: SessionData, camera: bpy.types.Object) -> None:
    """The render has the still's pixels, and colours come out as they stand in the plate."""
    lens = blender_lens(session.intrinsics, session.width, session.height)
    scene.camera = camera
    render = scene.render
    render.resolution_x, render.resolution_y = session.width, session.height
    render.resolution_percentage = 100
    render.pixel_aspect_x, render.pixel_aspect_y = lens.pixel_aspect_x, lens.pixel_aspect_y
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look = "None"
    scene.view_settings.exposure, scene.view_settings.gamma = 0.0, 1.0
    # every layer of splats is a transparent hit; the default of 8 would show black
    scene.cycles.transparent_max_bounces = max(scene.cycles.transparent_max_bounces, 256)
