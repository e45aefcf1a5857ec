# SPDX-License-Identifier: GPL-3.0-or-later
"""What an object carries of its origin: a few flat values for the eye, and one JSON string with everything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .session import PropEntry, SessionData

Flat = dict[str, str | float | int | bool]

PREFIX = "assetize_"
RECORD_KEY = PREFIX + "record"


EDITABLE = ("label", "title", "title_zh", "note")
"""What a user may change on a prop. Where it comes from, its licences and its AI label are not his to change."""


# The stage that made it, then all that it was made from: what their licences allow holds for it too.
SCENE = ("scene", "geometry", "clean_plate", "harvest")
LIGHT = ("lighting", "geometry")
PROP = ("props", "placement", "harvest", "geometry")


def whole(session: SessionData) -> tuple[str, ...]:
    """All stages, for what stands for the whole set."""
    return ("geometry", *(name for name in session.document.get("stages", {}) if name != "geometry"))


def flat_record(session: SessionData, role: str, stages: tuple[str, ...], source: str | None) -> Flat:
    """Custom properties of an object that `stages` made from the file `source`.

    The first stage is the maker; every stage's engine and licence is in the JSON. Seeds and hashes are strings,
    because Blender's integers end at 32 bits.
    """
    maker = session.stage(stages[0])
    makers = {name: session.stage(name) for name in stages if session.stage(name)}
    commercial = {record.get("commercial_use") for record in makers.values()} - {None}
    record: dict[str, Any] = {
        "session": {
            "id": session.session_id,
            "tool_version": session.document.get("tool_version", ""),
            "input": session.document.get("input", {}),
        },
        "role": role,
        "source": source,
        "sha256": _sha256(session, source),
        "unit": session.unit,
        "stages": {
            name: {
                key: made.get(key)
                for key in ("engine", "engine_version", "weights_sha256", "licence_code", "licence_weights",
                            "commercial_use", "degraded", "seed", "warnings")
            }
            for name, made in makers.items()
        },
    }  # fmt: skip
    flat: dict[str, Any] = {
        "role": role,
        "session_id": session.session_id,
        "session": session.name,
        "input_name": session.document.get("input", {}).get("name"),
        "source": source,
        "sha256": record["sha256"],
        "engine": maker.get("engine"),
        "engine_version": maker.get("engine_version"),
        "licence_code": maker.get("licence_code"),
        "licence_weights": maker.get("licence_weights"),
        "commercial_use": _strictest(commercial),
        "degraded": any(made.get("degraded") for made in makers.values()),
        "seed": None if maker.get("seed") is None else str(maker["seed"]),
    }
    return _finish(flat, record)


def prop_record(session: SessionData, prop: PropEntry) -> Flat:
    """As `flat_record`, with the prop's own delivery record as the JSON where the session has one."""
    source = None if prop.glb is None else prop.glb.relative_to(session.root).as_posix()
    flat = flat_record(session, "prop", PROP, source)
    inner = json.loads(str(flat[RECORD_KEY]))
    inner["placement"] = prop.entry
    if prop.record is not None:
        inner["delivery"] = prop.record
    system = (prop.record or {}).get("system_metadata") or {}
    flat = {key.removeprefix(PREFIX): value for key, value in flat.items() if key != RECORD_KEY}
    flat |= {
        "id": prop.id,
        "label": prop.label,
        "grounded": prop.grounded,
        "width": prop.dimensions[0],
        "depth": prop.dimensions[1],
        "height": prop.dimensions[2],
    }
    for key in ("silhouette_iou", "pose_confidence", "instance_of"):
        if prop.entry.get(key) is not None:
            flat[key] = prop.entry[key]
    made = ((session.stage("props").get("details") or {}).get("props") or {}).get(prop.id) or {}
    for name, key in (("build_seconds", "seconds"), ("build_memory_mb", "memory_mb"), ("build_gpu_mb", "gpu_mb")):
        if isinstance(made.get(key), int | float):
            flat[name] = float(made[key])
    for key in ("doi_name", "referent_type", "referent_sub_type", "referent_name"):
        if isinstance(system.get(key), str):
            flat[key] = system[key]
    titles = _titles(prop.record or {})
    return _finish(flat, inner) | {
        PREFIX + "title": titles.get("en", prop.label), PREFIX + "title_zh": titles.get("zh", ""), PREFIX + "note": ""
    }  # fmt: skip


def _titles(delivery: dict[str, Any]) -> dict[str, str]:
    """language -> title, as the record's kernel has them."""
    names = (((delivery.get("kernel") or {}).get("referentCreation") or {}).get("name")) or []
    return {str(name.get("primaryLanguage")): str(name.get("value")) for name in names if name.get("type") == "Title"}


def edited(record: dict[str, Any], flat: Mapping[str, Any]) -> dict[str, Any]:
    """The record with what the user changed of EDITABLE carried into it, everywhere it stands; `edited` names it.

    `flat` has the properties without PREFIX. The record that is given stays as it is.
    """
    out: dict[str, Any] = json.loads(json.dumps(record))
    delivery, placement = out.get("delivery") or {}, out.get("placement") or {}
    before = {"label": placement.get("label", ""), "note": "", "title_zh": "", **{
        "title" if language == "en" else f"title_{language}": title for language, title in _titles(delivery).items()}}
    changed = {key: str(flat[key]) for key in EDITABLE if key in flat and str(flat[key]) != before.get(key, flat[key])}
    if "label" in changed:
        placement["label"] = changed["label"]
    for key, language in (("title", "en"), ("title_zh", "zh")):
        if key in changed:
            _retitle(delivery, language, before.get(key, ""), changed[key])
    if "note" in changed:
        out["note"] = changed["note"]
    if changed:
        out["edited"] = sorted(changed)
    return out


def _retitle(delivery: dict[str, Any], language: str, old: str, new: str) -> None:
    system = delivery.get("system_metadata") or {}
    names = system.get("referent_name")
    if isinstance(names, list):
        system["referent_name"] = [new if name == old else name for name in names]
    basic = system.get("basic_metadata") or {}
    if basic.get("title") == old:
        basic["title"] = new
    titles = ((delivery.get("kernel") or {}).get("referentCreation") or {}).get("name") or []
    for title in titles:
        if title.get("type") == "Title" and title.get("primaryLanguage") == language:
            title["value"] = new


def _finish(flat: dict[str, Any], record: dict[str, Any]) -> Flat:
    """Prefixed, without empty values, keys within Blender's 63 bytes."""
    out: Flat = {(PREFIX + key)[:63]: value for key, value in flat.items() if value not in (None, "")}
    out[RECORD_KEY] = json.dumps(record, ensure_ascii=False, sort_keys=True)
    return out


def _sha256(session: SessionData, source: str | None) -> str | None:
    for stage in session.document.get("stages", {}).values():
        if source in (stage.get("outputs") or {}):
            return str(stage["outputs"][source])
    return None


def _strictest(answers: set[Any]) -> str | None:
    """One answer for a chain of engines: a single `no` forbids, a single `terms` makes it terms."""
    for answer in ("no", "terms", "yes"):
        if answer in answers:
            return answer
    return None
