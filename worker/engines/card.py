"""An engine is a card and a class. The card tells what a user must know before first use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

EngineStage = Literal["geometry", "harvest", "clean_plate", "scene", "lighting", "props"]


@dataclass(frozen=True)
class Licence:
    """`commercial`: "yes", "no", or "terms" (allowed under conditions that `note` names)."""

    code: str
    weights: str | None  # None: no weights
    commercial: Literal["yes", "no", "terms"]
    output: str  # what the licence says of results, one sentence
    gated: bool = False
    url: str | None = None
    note: str = ""


@dataclass(frozen=True)
class WeightFile:
    """One file that `assetize engines install` brings, or that ships with the product."""

    name: str
    bytes: int
    sha256: str | None
    source: str  # URL, hub repo id, package name, or "shipped"


@dataclass(frozen=True)
class EngineCard:
    """`entry` is "package.module:Class"; the class is imported only inside an engine host."""

    name: str
    stage: EngineStage
    version: str
    title: str
    licence: Licence
    entry: str
    weights: tuple[WeightFile, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    memory_mb: dict[str, int] = field(default_factory=dict)  # by tier, best first; order is the retry order
    priority: int = 0  # `auto` takes the highest that is installed, fits and is accepted
    needs: tuple[str, ...] = ()  # importable modules
    install_hint: str = ""  # the command that mends "not installed"

    @property
    def tiers(self) -> tuple[str, ...]:
        return tuple(self.memory_mb) or ("full",)
