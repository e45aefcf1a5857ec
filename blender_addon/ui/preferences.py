# SPDX-License-Identifier: GPL-3.0-or-later
"""Preferences: where the worker is, who delivers, defaults."""

from __future__ import annotations

from typing import Any

import bpy

from . import engines

PACKAGE = __package__.rpartition(".")[0]  # bl_ext.<repository>.assetize


class ASSETIZE_Preferences(bpy.types.AddonPreferences):
    bl_idname = PACKAGE

    worker: bpy.props.StringProperty(
        name="Worker", subtype="FILE_PATH",
        description="The Assetize folder, or a Python that has the worker. Empty: ASSETIZE_WORKER, else found beside",
    )  # fmt: skip
    end_with_blender: bpy.props.BoolProperty(
        name="Worker ends with Blender", default=True, description="Stop the worker that was started from here"
    )
    url: bpy.props.StringProperty(
        name="Worker address",
        description="Use this worker instead, e.g. http://127.0.0.1:8000. Empty: find or start one",
    )
    token: bpy.props.StringProperty(name="Token", subtype="PASSWORD", description="Token of the worker at that address")
    output_root: bpy.props.StringProperty(
        name="Output folder",
        subtype="DIR_PATH",
        description="Where sessions are made, from the worker's next start on. Empty: Assetize in your home folder",
    )
    auto_import: bpy.props.BoolProperty(
        name="Import when done", default=True, description="Build the scene as soon as a still is finished"
    )
    producer: bpy.props.StringProperty(name="Producer", description="Who delivers; goes into every metadata record")
    doi_prefix: bpy.props.StringProperty(name="DOI prefix", description="Your own registered prefix, if you have one")
    film_title: bpy.props.StringProperty(name="Film")
    film_eidr: bpy.props.StringProperty(name="EIDR", description="The film's EIDR identifier")
    film_isan: bpy.props.StringProperty(name="ISAN", description="The film's ISAN")

    def draw(self, context: bpy.types.Context) -> None:
        from .panels import draw_sentence, language, lines

        layout = self.layout
        layout.use_property_split = True
        box = layout.box()
        box.label(text="Worker", icon="SETTINGS")
        box.prop(self, "worker")
        box.prop(self, "end_with_blender")
        box.prop(self, "url")
        box.prop(self, "token")
        box.prop(self, "output_root")
        box.prop(self, "auto_import")
        box = layout.box()
        row = box.row()
        row.label(text="Engines", icon="MODIFIER")
        row.operator("assetize.engines", text="", icon="FILE_REFRESH")
        engines.draw(box, self, language(), draw_sentence, lines)
        box = layout.box()
        box.label(text="Studio", icon="USER")
        for name in ("producer", "doi_prefix", "film_title", "film_eidr", "film_isan"):
            box.prop(self, name)

    def studio(self) -> dict[str, str]:
        """The metadata fields that were filled in."""
        names = ("producer", "doi_prefix", "film_title", "film_eidr", "film_isan")
        return {name: getattr(self, name).strip() for name in names if getattr(self, name).strip()}


engines.annotate(ASSETIZE_Preferences)


class _Defaults:
    """Stands in where the add-on runs without being enabled (tests, scripts that call register themselves)."""

    worker = url = token = output_root = ""
    end_with_blender = auto_import = True

    def studio(self) -> dict[str, str]:
        return {}


def get() -> Any:
    addon = bpy.context.preferences.addons.get(PACKAGE)
    return addon.preferences if addon is not None and addon.preferences is not None else _Defaults()


CLASSES = (ASSETIZE_Preferences,)
