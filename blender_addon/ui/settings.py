# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel holds: options of the next run, wanted boxes, and live controls of the active set."""

# No deferred annotations here: Blender evaluates them without this module's names, and the getters need those.

import math
from typing import Any

import bpy

from ..scene import lens, light, sets
from ..scene.splats import LEVELS, MODIFIER, set_level
from . import engines


class ASSETIZE_Roi(bpy.types.PropertyGroup):
    """A box around a wanted prop, in pixels of the still, counted from its upper left corner."""

    x: bpy.props.IntProperty(name="X", min=0)
    y: bpy.props.IntProperty(name="Y", min=0)
    width: bpy.props.IntProperty(name="Width", min=1)
    height: bpy.props.IntProperty(name="Height", min=1)
    image: bpy.props.StringProperty(name="Image", description="The picture it was drawn on")


def active_root(context: bpy.types.Context) -> bpy.types.Object | None:
    """The set of the active object, else the only or first set of the file."""
    found = sets.set_of(context.object)
    return found if found is not None else next(sets.all_sets(), None)


class ASSETIZE_Settings(bpy.types.PropertyGroup):
    source: bpy.props.StringProperty(
        name="Still", subtype="FILE_PATH", description="A picture file; empty: the active image"
    )
    skip_scene: bpy.props.BoolProperty(name="Skip background splats")
    skip_geometry: bpy.props.BoolProperty(name="Skip depth", description="No depth, and nothing that needs it")
    max_props: bpy.props.IntProperty(name="Props at most", default=8, min=0, max=64)
    seed: bpy.props.IntProperty(name="Seed", default=0, min=0)
    geometry_tiles: bpy.props.BoolProperty(
        name="Finer depth in tiles",
        description="Look through the still again in overlapping tiles: finer depth and up to 3 million points, "
        "for many times the time",
    )
    use_lens: bpy.props.BoolProperty(name="I know the lens")
    lens_mm: bpy.props.FloatProperty(name="Focal length (36 mm)", default=35.0, min=1.1, max=1999.0)
    rois: bpy.props.CollectionProperty(type=ASSETIZE_Roi)
    import_splats: bpy.props.BoolProperty(name="Splats", default=True)
    import_points: bpy.props.BoolProperty(name="Points", default=True)
    import_props: bpy.props.BoolProperty(name="Props", default=True)
    import_light: bpy.props.BoolProperty(name="Light", default=True)
    known_length: bpy.props.FloatProperty(
        name="True height", default=1.0, min=1e-4, unit="LENGTH", description="How high the active prop really is"
    )

    # --- live controls of the active set; they hold nothing themselves
    hfov: bpy.props.FloatProperty(
        name="Field of view", subtype="ANGLE", min=math.radians(5), max=math.radians(140),
        description="Horizontal. Depth of the whole set follows; the picture through its camera stays",
        get=lambda self: _read(lambda root: math.radians(lens.hfov_of(root)), math.radians(50)),
        set=lambda self, value: _act(lambda root: lens.set_hfov(root, math.degrees(value))),
    )  # fmt: skip
    display: bpy.props.EnumProperty(
        name="Background", description="What stands for the background in viewport and render",
        items=[("PROXY", "Proxy", "Mesh that wears the plate"), ("SPLATS", "Splats", "3D Gaussians"),
               ("POINTS", "Points", "Coloured point cloud"),
               ("PLATE", "Shadows only", "Props and their shadows, to lay over the plate")],
        get=lambda self: _read(lambda root: sets.DISPLAYS.index(sets.shown(sets.by_role(root))), 0),
        set=lambda self, value: _act(lambda root: _show(root, sets.DISPLAYS[value])),
    )  # fmt: skip
    splat_level: bpy.props.EnumProperty(
        name="Splat level",
        items=[("AUTO", "Draft in viewport", "Draft in the viewport, all of them in renders"),
               ("FULL", "Full", "All of them everywhere"), ("DRAFT", "Draft", "Draft in renders too")],
        get=lambda self: _read(_level, 0),
        set=lambda self, value: _act(lambda root: set_level(sets.by_role(root)["splats"], list(LEVELS)[value])),
    )  # fmt: skip
    key_light: bpy.props.BoolProperty(
        name="Key light", description="The sun that was found. The probe holds its light too: dim one of them",
        get=lambda self: _read(lambda root: not sets.by_role(root)["key light"].hide_render, False),
        set=lambda self, value: _act(lambda root: sets.show_object(sets.by_role(root)["key light"], value)),
    )  # fmt: skip
    probe_strength: bpy.props.FloatProperty(
        name="Probe light", description="Strength of the light probe in the world; 0 is off", min=0.0, soft_max=4.0,
        get=lambda self: _read(light.probe_strength, 0.0),
        set=lambda self, value: _act(lambda root: light.set_probe_strength(root, value)),
    )  # fmt: skip


engines.annotate(ASSETIZE_Settings)


def _read(how: Any, otherwise: Any) -> Any:
    root = active_root(bpy.context)
    try:
        return otherwise if root is None else how(root)
    except (KeyError, AttributeError):  # a set whose properties were edited away
        return otherwise


def _act(how: Any) -> None:
    root = active_root(bpy.context)
    if root is not None:
        how(root)


def _show(root: bpy.types.Object, display: str) -> None:
    sets.show(sets.by_role(root), display)
    bpy.context.scene.render.film_transparent = display == "PLATE"
    screen = bpy.context.window.screen if bpy.context.window is not None else None
    for area in screen.areas if screen is not None and display in ("SPLATS", "POINTS") else ():
        if area.type == "VIEW_3D" and area.spaces.active.shading.type == "SOLID":
            area.spaces.active.shading.type = "MATERIAL"  # their colours are attributes that solid shading lacks


def _level(root: bpy.types.Object) -> int:
    from ..scene.nodes import get_input

    return int(get_input(sets.by_role(root)["splats"].modifiers[MODIFIER], "Level"))


def options(settings: ASSETIZE_Settings, studio: dict[str, str], language: str, image_name: str) -> dict[str, Any]:
    """The worker's options of one run; only what differs from its defaults matters, it fills in the rest."""
    named = {stage: engines.name_of(settings, stage) for stage in engines.STAGES}
    made: dict[str, Any] = {
        "skip_scene": settings.skip_scene,
        "skip_geometry": settings.skip_geometry,
        "max_props": settings.max_props,
        "seed": settings.seed,
        "geometry_tiles": settings.geometry_tiles and engines.heeded(settings, "geometry", "geometry_tiles"),
        "no_blend": True,  # the scene is built here
        "language": "zh" if language.startswith("zh") else "en",
        "rois": [[box.x, box.y, box.width, box.height] for box in settings.rois if box.image in ("", image_name)],
        "engines": {stage: name for stage, name in named.items() if name != "auto"},
        "studio": studio,
    }
    if settings.use_lens:
        made["lens_mm"] = settings.lens_mm
    return made


CLASSES = (ASSETIZE_Roi, ASSETIZE_Settings)


def attach() -> None:
    bpy.types.Scene.assetize = bpy.props.PointerProperty(type=ASSETIZE_Settings)


def detach() -> None:
    del bpy.types.Scene.assetize
