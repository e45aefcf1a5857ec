# SPDX-License-Identifier: GPL-3.0-or-later
"""Custom properties that say where an object comes from."""

from __future__ import annotations

import json
from typing import Any

import bpy

from ..core.record import PREFIX, RECORD_KEY, Flat, edited

TOOLTIPS = {
    "role": "What this object is in the Assetize scene",
    "engine": "Engine that made it",
    "licence_code": "Licence of the engine's code",
    "licence_weights": "Licence of the engine's weights",
    "commercial_use": "Whether paid work may use it: yes, terms (read them) or no",
    "degraded": "The result is less than this engine's best; the record says how",
    "record": "The whole record as JSON",
    "title": "Title of the asset in English; goes into the exported record",
    "title_zh": "Title of the asset in Chinese; goes into the exported record",
    "label": "What this prop is",
    "note": "Your own words; they go into the exported record",
}


def write_record(made: Any, flat: Flat) -> None:
    """Onto any ID. Values are str, float, 32-bit int or bool; core.record sees to that."""
    for key, value in flat.items():
        made[key] = value
        tip = TOOLTIPS.get(key.removeprefix(PREFIX))
        if tip:
            made.id_properties_ui(key).update(description=tip)


def read_record(made: Any) -> dict[str, Any] | None:
    """The JSON record, None for objects that are not ours or whose record was broken by hand."""
    try:
        return json.loads(made[RECORD_KEY])
    except (KeyError, TypeError, ValueError):
        return None


def edited_record(made: bpy.types.ID) -> dict[str, Any]:
    """The record with the user's edits in it, and the flat properties beside it; empty for objects without one."""
    record = read_record(made)
    if record is None:
        return {}
    flat = dict(summary(made))
    return edited(record, flat) | {"properties": {key: _plain(value) for key, value in flat.items()}}


def _plain(value: Any) -> Any:
    return value.to_list() if hasattr(value, "to_list") else value.to_dict() if hasattr(value, "to_dict") else value


def role_of(made: bpy.types.ID) -> str:
    return str(made.get(PREFIX + "role", ""))


def summary(made: bpy.types.ID) -> list[tuple[str, Any]]:
    """(name, value) of the flat properties, in their written order."""
    return [
        (key.removeprefix(PREFIX), made[key]) for key in made.keys() if key.startswith(PREFIX) and key != RECORD_KEY  # noqa: SIM118
    ]
