# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbnails of picture files: Blender's own preview loader, which reads them beside the panel, not in it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import bpy
import bpy.utils.previews

_previews: list[Any] = []
_looked: dict[str, Any] = {}
KEPT, LOOK_S = 32, 2.0


def icon_of(path: Path) -> int:
    """The icon of a picture file, 0 where there is no such file."""
    now = time.monotonic()
    if _looked.get("path") != path or now - _looked["at"] > LOOK_S:  # a panel is drawn often, a disk may be far away
        try:
            _looked.update(path=path, at=now, name=f"{path}|{path.stat().st_mtime_ns}")
        except OSError:
            _looked.update(path=path, at=now, name="")
    name = _looked["name"]
    if not name:
        return 0
    if not _previews:
        _previews.append(bpy.utils.previews.new())
    found = _previews[0]
    if name not in found:
        if len(found) >= KEPT:
            found.clear()
        found.load(name, str(path), "IMAGE")
    return int(found[name].icon_id)


def forget() -> None:
    while _previews:
        bpy.utils.previews.remove(_previews.pop())
    _looked.clear()
