# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbnails of picture files: Blender's own preview loader, which reads them beside the panel, not in it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import bpy
import bpy.utils.previews

from ..core.far_disk import Errand

_previews: list[Any] = []
_looked: dict[str, Any] = {}
KEPT, LOOK_S = 32, 2.0
NEAR_S = 0.02  # a disk of this machine answers in less, so its picture is there at once


def icon_of(path: Path) -> int:
    """The icon of a picture file, 0 where there is no such file, or its disk has not told yet."""
    name = _name_of(path)
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


def _name_of(path: Path) -> str:
    """What its preview is filed under, from the latest look at the disk. A panel is drawn often, a disk may be far
    away: so the look is taken beside, and never a second one before the first has come back."""
    now = time.monotonic()
    if _looked.get("path") != path:
        _looked.clear()
        _looked.update(path=path, at=now, name="", look=Errand(lambda: path.stat().st_mtime_ns))
        _looked["look"].wait(NEAR_S)
    look = _looked["look"]
    if look is not None and look.done:
        try:
            _looked.update(look=None, at=now, name=f"{path}|{look.result()}")
        except OSError:
            _looked.update(look=None, at=now, name="")
    elif look is None and now - _looked["at"] > LOOK_S:
        _looked["look"] = Errand(lambda: path.stat().st_mtime_ns)
    return str(_looked["name"])


def forget() -> None:
    while _previews:
        bpy.utils.previews.remove(_previews.pop())
    _looked.clear()
