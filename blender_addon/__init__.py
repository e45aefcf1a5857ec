# SPDX-License-Identifier: GPL-3.0-or-later
"""Assetize inside Blender: one film still in, one scene out.

`core` knows no bpy, `scene` writes bpy data only, `ui` is a thin shell of operators and panels. Importing this
package imports nothing of Blender, so that `core` can be read and tested anywhere.
"""

from __future__ import annotations


def register() -> None:
    from . import ui

    ui.register()


def unregister() -> None:
    from . import ui

    ui.unregister()
