# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel says of an engine, from the worker's own description of it. No engine is known by name."""

from __future__ import annotations

from typing import Any

Engine = dict[str, Any]

COMMERCIAL = {"yes": "commercial use", "terms": "terms apply", "no": "non-commercial"}
OBSTACLES = {
    "engine.not_installed": "not installed",
    "engine.does_not_fit": "does not fit this machine",
    "engine.licence": "licence not accepted",
}


def of_stage(engines: list[Engine], stage: str) -> list[Engine]:
    """Those of a stage, best first, as the worker lists them."""
    return [engine for engine in engines if engine.get("stage") == stage]


def badge(engine: Engine) -> str:
    """Whether paid work may use it, in words."""
    return COMMERCIAL.get(str(engine.get("commercial_use")), "licence unknown")


def obstacle(engine: Engine) -> str:
    """Why it cannot run now, in words; empty where it can."""
    if engine.get("ready"):
        return ""
    return OBSTACLES.get(str((engine.get("why_not") or {}).get("code")), "not ready")


def licence(engine: Engine) -> str:
    """Of the code, and of the weights where they have one of their own."""
    code, weights = str(engine.get("licence_code") or "?"), engine.get("licence_weights")
    return code if weights in (None, "", code) else f"{code} / {weights}"


def why_not(engine: Engine, language: str) -> str:
    """The worker's whole sentence, with how to mend it."""
    said = engine.get("why_not") or {}
    return str(said.get("zh" if language.startswith("zh") else "en") or said.get("en") or "")


def mends(engine: Engine) -> str:
    """The command that mends it, empty where there is none."""
    return str((engine.get("why_not") or {}).get("fix") or "")


def place(engine: Engine) -> str:
    """Where it runs and what it needs: `cuda, 3.2 GB`; empty where the worker does not say."""
    if not engine.get("device"):
        return ""
    need = (engine.get("memory_mb") or {}).get(engine.get("tier"))
    return str(engine["device"]) if not need else f"{engine['device']}, {need / 1024:.1f} GB"


def heeds(engine: Engine) -> list[str]:
    """Options of a run that this engine heeds and others of its stage may not."""
    return [str(option) for option in engine.get("heeds") or []]


def chosen(engines: list[Engine], stage: str, name: str) -> Engine | None:
    """The engine of that name; for `auto` the one that the worker would take now."""
    here = of_stage(engines, stage)
    if name in ("", "auto"):
        return next((engine for engine in here if engine.get("ready")), None)
    return next((engine for engine in here if engine.get("name") == name), None)
