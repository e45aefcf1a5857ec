# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture dropped onto the viewport, and the entries in File > Import."""

from __future__ import annotations

from typing import Any

import bpy

from ..core.session import STILL_SUFFIXES


class ASSETIZE_FH_still(bpy.types.FileHandler):
    bl_idname = "ASSETIZE_FH_still"
    bl_label = "Assetize Image"
    bl_import_operator = "assetize.image"
    bl_file_extensions = ";".join(STILL_SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"


def _menu(self: Any, context: bpy.types.Context) -> None:
    self.layout.operator("assetize.import_session", text="Assetize Session")


def attach() -> None:
    bpy.types.TOPBAR_MT_file_import.append(_menu)


def detach() -> None:
    bpy.types.TOPBAR_MT_file_import.remove(_menu)


CLASSES = (ASSETIZE_FH_still,)
