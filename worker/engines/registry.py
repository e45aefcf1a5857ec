"""Finds engines: every folder beside this file that has CARDS. Deleting a folder deletes its engines."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from functools import cache

import worker.engines
from worker.engines.card import EngineCard, EngineStage
from worker.errors import EngineUnavailable


@cache
def all_cards() -> tuple[EngineCard, ...]:
    """Cards of all engine folders, highest priority first within a stage."""
    cards: list[EngineCard] = []
    for module in pkgutil.iter_modules(worker.engines.__path__):
        if module.ispkg:
            cards += importlib.import_module(f"worker.engines.{module.name}").CARDS
    return tuple(sorted(cards, key=lambda card: (card.stage, -card.priority, card.name)))


def cards_for(stage: EngineStage) -> tuple[EngineCard, ...]:
    return tuple(card for card in all_cards() if card.stage == stage)


def find(stage: EngineStage, name: str) -> EngineCard:
    for card in cards_for(stage):
        if card.name == name:
            return card
    names = ", ".join(card.name for card in cards_for(stage))
    raise EngineUnavailable(
        "engine.unknown",
        f"There is no engine named “{name}” for the {stage} stage here. Installed engines for it: {names}.",
        f"{stage} 阶段没有名为“{name}”的引擎。可用的引擎：{names}。",
        fix="assetize engines",
    )
