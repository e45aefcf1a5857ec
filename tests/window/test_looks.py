"""What it looks like: pictures for people, and the few things about them that a test can tell. Kept in dist/window."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.window, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]

ENGINES_FROM_LEFT, ENGINES_FROM_TOP = 60, 294  # the sub-panel's head, while there are no jobs
CHINESE = """
view = bpy.context.preferences.view
try:
    view.language = "zh_HANS"
    view.use_translate_interface = view.use_translate_tooltips = view.use_translate_reports = True
except TypeError:
    pass
[bpy.app.translations.locale, bpy.app.translations.pgettext_iface("Assetize Image")]
"""


def test_engines_and_languages(real: Any, serve: Any) -> None:
    still = shutil.copy(ROOT / "examples" / "street.png", real.work / "street.png")
    real.install(real.build())
    serve()
    window = real.open()
    try:
        window.ask(f"bpy.data.batch_remove(list(bpy.data.objects)); scene.assetize.source = {str(still)!r}")
        assert real.wait(lambda: window.ask("len(board.engines)") > 5, 90)
        titles = window.ask("[engine['title'] for engine in board.engines if engine['stage'] == 'geometry']")
        offered = window.ask("[entry[1] for entry in __import__('importlib').import_module("
                             "'bl_ext.user_default.assetize.ui.engines').entries('geometry')]")  # fmt: skip
        assert len(offered) == len(titles) + 1 and all(any(title in line for line in offered) for title in titles)
        away = "e['stage'] == 'geometry' and not e['ready']"
        missing = window.ask(f"next((e['name'] for e in board.engines if {away}), '')")
        if missing:
            window.ask(f"scene.assetize.pick_geometry = {missing!r}")
        if not real.can_click:
            return
        left, top, _width, _height = window.place("panel")
        window.click(left + ENGINES_FROM_LEFT, top + ENGINES_FROM_TOP)
        window.x("sleep 2")
        window.shot("engines")
        locale, word = window.ask(CHINESE)
        if not locale.startswith("zh"):
            pytest.skip("this Blender was installed without its languages")
        assert word == "生成场景"
        window.x("sleep 2")
        window.shot("chinese")
    finally:
        window.close()
