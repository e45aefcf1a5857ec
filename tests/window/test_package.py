"""The package in fresh profiles of a real Blender: built, validated, installed, switched, upgraded, removed, served."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.window, pytest.mark.timeout(900)]

TRACES = """
import sys, bpy, addon_utils
NAME = sys.argv[-1]

def traces():
    found = {name for name in dir(bpy.types) if "ASSETIZE" in name.upper()}
    found |= {f"ops.{name}" for name in dir(bpy.ops.assetize)} | {f"scene.{name}" for name in dir(bpy.types.Scene) if "assetize" in name}
    for kind in dir(bpy.app.handlers):
        held = getattr(bpy.app.handlers, kind)
        if isinstance(held, list):
            found |= {f"{kind}.{f.__name__}" for f in held if "assetize" in getattr(f, "__module__", "")}
    for menu in (bpy.types.TOPBAR_MT_file_import,):
        found |= {f"menu.{f.__name__}" for f in menu._dyn_ui_initialize() if "assetize" in getattr(f, "__module__", "")}
    for config in bpy.context.window_manager.keyconfigs:
        for keymap in config.keymaps:
            found |= {f"key.{item.idname}" for item in keymap.keymap_items if "assetize" in item.idname}
    found |= {f"module.{name}" for name in sys.modules if name.startswith(NAME + ".") and not name.startswith(NAME)}
    return found

assert NAME in bpy.context.preferences.addons, list(bpy.context.preferences.addons.keys())
there = traces()
assert {"ASSETIZE_OT_image", "scene.assetize", "load_post._opened", "menu._menu"} <= there, there
for _ in range(2):
    addon_utils.disable(NAME)
    assert traces() == set(), traces()
    addon_utils.enable(NAME)
    assert traces() == there
print("TRACES OK")
"""  # noqa: E501

VERSION = """
import sys, bpy, addon_utils
module = next(m for m in addon_utils.modules() if m.__name__ == "bl_ext.user_default.assetize")
assert ".".join(map(str, module.bl_info["version"])) == sys.argv[-1], module.bl_info
assert module.__name__ in bpy.context.preferences.addons and hasattr(bpy.types.Scene, "assetize")
import importlib
board = importlib.import_module(module.__name__ + ".ui.jobs").board()
board.mine["a" * 32] = {"file": "x", "blend": ""}  # what it keeps on disk of its own
"""


def maker() -> Any:
    """The analytic session of the add-on's tests."""
    path = Path(__file__).resolve().parents[1] / "blender" / "make_session.py"
    spec = importlib.util.spec_from_file_location("make_session", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def complaints(text: str) -> list[str]:
    """Lines that warn, of Blender's own noise only what has nothing to do with us."""
    lines = [line for line in text.splitlines() if re.search(r"(?i)warning|error|traceback|deprecat", line)]
    return [line for line in lines if "assetize" in line.lower() or "manifest" in line.lower() or "Traceback" in line]


def test_install_switch_upgrade_and_remove_leave_nothing(real: Any) -> None:
    package = real.build()
    assert "Success" in real.run("--command", "extension", "validate", str(package))
    assert complaints(real.install(package)) == []
    name = "bl_ext.user_default.assetize"
    said = real.script(TRACES, name)
    assert "TRACES OK" in said and complaints(said) == []
    session = maker().make_session(real.work / "set")
    real.run("--command", "assetize", "--session", str(session), "--blend", str(real.work / "set.blend"))
    said = real.script(f"import bpy\nbpy.ops.wm.open_mainfile(filepath={str(real.work / 'set.blend')!r})\n"
                       "assert 'set camera' in bpy.data.objects and bpy.context.scene.camera\n")  # fmt: skip
    assert complaints(said) == []
    real.run("--command", "assetize", "--session", str(real.work / "none"), code=2)
    assert complaints(real.install(real.build("0.1.9"))) == []
    real.script(VERSION, "0.1.9")
    assert len(list(real.home.rglob("waiting.json"))) == 1
    real.run("--command", "extension", "remove", "assetize")
    left = [path for path in real.home.rglob("*") if "assetize" in path.name.lower()]
    assert left == []
    real.script(f"import bpy, addon_utils\nassert {name!r} not in [m.__name__ for m in addon_utils.modules()]\n"
                "assert not hasattr(bpy.types.Scene, 'assetize')\n")  # fmt: skip


def test_a_studio_can_serve_it_from_a_plain_folder(real: Any) -> None:
    folder = real.work / "repository"
    folder.mkdir()
    package = real.build()
    package.replace(folder / package.name)
    real.run("--command", "extension", "server-generate", "--repo-dir", str(folder), "--html")
    index = json.loads((folder / "index.json").read_text())
    assert [entry["id"] for entry in index["data"]] == ["assetize"]
    assert "assetize" in (folder / "index.html").read_text()
    url = f"file://{folder}/index.json"
    real.run("--online-mode", "--command", "extension", "repo-add", "studio", "--name", "Studio", "--url", url)
    real.run("--online-mode", "--command", "extension", "install", "--sync", "--enable", "studio.assetize")
    said = real.script(TRACES.replace("bl_ext.user_default", "bl_ext.studio"), "bl_ext.studio.assetize")
    assert "TRACES OK" in said
