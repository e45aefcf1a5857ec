# SPDX-License-Identifier: GPL-3.0-or-later
"""Choosing an engine for each stage, by its name, in the panel and as a default in the preferences.

The name is what is kept. Blender keeps a dynamic list's choice as a number, and that number means another engine as
soon as the list changes: so the list only shows, and writes the name.
"""

# No deferred annotations here: Blender evaluates them without this module's names.

from typing import Any

import bpy
from bpy.app.translations import pgettext_iface as _

from ..core import engines

STAGES = ("geometry", "harvest", "clean_plate", "scene", "lighting", "props")
_shown: dict[tuple[str, str], list[tuple[str, str, str, str, int]]] = {}  # Blender keeps no strings of such lists alive


def _known() -> list[dict[str, Any]]:
    from . import jobs

    return jobs.board().engines


def name_of(owner: Any, stage: str) -> str:
    """The engine that counts: the owner's own, else the preferences' default, else `auto`."""
    said = getattr(owner, f"engine_{stage}")
    if not said and not isinstance(owner, bpy.types.AddonPreferences):
        from . import preferences

        said = getattr(preferences.get(), f"engine_{stage}", "")
    return said or "auto"


def heeded(owner: Any, stage: str, option: str) -> bool:
    """Whether the chosen engine heeds an option; True where nobody has told us of that engine yet."""
    engine = engines.chosen(_known(), stage, name_of(owner, stage))
    return engine is None or option in engines.heeds(engine)


def entries(stage: str, keep: str = "auto") -> list[tuple[str, str, str, str, int]]:
    """The list's lines; `keep` is in it even where the worker does not (yet) tell of it."""
    made = [("auto", "Automatic", "The best engine that is installed, fits this machine and is licensed", "NONE", 0)]
    for engine in engines.of_stage(_known(), stage):
        wrong = engines.obstacle(engine)
        told = f"{engine['title']} ({_(engines.badge(engine))})" + (f" - {_(wrong)}" if wrong else "")
        made.append((engine["name"], told, f"{engine['name']}: {engines.licence(engine)}",
                     "CANCEL" if wrong else "CHECKMARK", len(made)))  # fmt: skip
    if keep not in (entry[0] for entry in made):
        made.append((keep, keep, "The worker does not tell of this engine", "QUESTION", len(made)))
    return made


def annotate(owner: type) -> None:
    """Give a property group `engine_<stage>` (the name) and `pick_<stage>` (the list that writes it)."""
    for stage in STAGES:
        title = stage.replace("_", " ").capitalize()
        owner.__annotations__[f"engine_{stage}"] = bpy.props.StringProperty(
            name=title, description="An engine by name, or auto. Empty: the default of the preferences"
        )
        owner.__annotations__[f"pick_{stage}"] = bpy.props.EnumProperty(
            name=title, description="Who does this stage", items=_items(owner, stage), get=_get(stage), set=_set(stage)
        )


def _items(owner: type, stage: str) -> Any:
    def items(self: Any, context: Any) -> list[tuple[str, str, str, str, int]]:
        made = _shown[owner.__name__, stage] = entries(stage, name_of(self, stage))
        return made

    return items


def _get(stage: str) -> Any:
    return lambda self: [entry[0] for entry in entries(stage, name_of(self, stage))].index(name_of(self, stage))


def _set(stage: str) -> Any:
    def write(self: Any, number: int) -> None:
        setattr(self, f"engine_{stage}", entries(stage, name_of(self, stage))[number][0])

    return write


def draw(layout: Any, owner: Any, language: str, sentence: Any, lines: Any) -> None:
    """One row a stage; below it who would do it, on what terms and where, or why it cannot; switches that it heeds.

    `sentence` draws a message with its remedy, `lines` parts a text.
    """
    for stage in STAGES:
        layout.prop(owner, f"pick_{stage}")
        name = name_of(owner, stage)
        engine = engines.chosen(_known(), stage, name)
        if engine is None:
            continue
        if not engine.get("ready"):
            sentence(layout, engines.why_not(engine, language), engines.mends(engine) or None)
        told = [engine["name"] if name == "auto" else "", _(engines.badge(engine)), engines.place(engine)]
        column = layout.column(align=True)
        column.scale_y = 0.8
        free = engine.get("commercial_use") == "yes"
        row = column.row()
        row.alert = engine.get("commercial_use") == "no"
        row.label(text=" · ".join(part for part in told if part), icon="BLANK1" if free else "INFO", translate=False)
        if name != "auto" or not free:
            for line in lines(engines.licence(engine)):
                column.label(text=line, icon="BLANK1", translate=False)
        for option in engines.heeds(engine):
            if hasattr(owner, option):
                layout.prop(owner, option)
        layout.separator(factor=0.5)
