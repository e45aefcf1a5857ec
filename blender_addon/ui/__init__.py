# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators, panels, preferences: thin, over core and scene."""

from __future__ import annotations

import bpy

from . import drop, jobs, operators, panels, preferences, rois, set_operators, settings, thumbnail, translations

_MODULES = (preferences, settings, operators, rois, set_operators, panels, drop)
_cli: list[object] = []


def register() -> None:
    for module in _MODULES:
        for cls in module.CLASSES:
            bpy.utils.register_class(cls)
    settings.attach()
    bpy.app.translations.register(__package__, translations.CATALOGUE)
    drop.attach()
    jobs.start()
    _cli.append(bpy.utils.register_cli_command("assetize", _run_cli))


def unregister() -> None:
    while _cli:
        bpy.utils.unregister_cli_command(_cli.pop())
    jobs.stop()
    drop.detach()
    thumbnail.forget()
    bpy.app.translations.unregister(__package__)
    settings.detach()
    for module in reversed(_MODULES):
        for cls in reversed(module.CLASSES):
            bpy.utils.unregister_class(cls)


def _run_cli(arguments: list[str]) -> int:
    from .. import cli

    return cli.main(list(arguments))
