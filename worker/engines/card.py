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
    """One file that `assetize engines install` brings, or that ships with the product.

    `source`: "https://...", "hf://owner/repo[@revision]/path/in/repo", or "shipped". `sha256` None: none is published,
    so that of the first download is kept and held against every later one. `manifest`: "package.module:function", which
    returns the tensors the file must hold, dict[str, worker.nn.checkpoint.TensorSpec], and imports no torch.
    """

    name: str
    bytes: int
    sha256: str | None
    source: str
    bytes_exact: bool = True  # False: the publisher tells no exact size, `bytes` is near it
    manifest: str | None = None


@dataclass(frozen=True)
class EngineCard:
    """`entry` is "package.module:Class"; the class is imported only inside an engine host.

    `memory_mb`: by tier, best first, which is the order of retries. On a GPU it is what the process takes of the GPU's
    memory, the driver's own share (about 500 MB with CUDA) included. `tier_devices` narrows `devices` for a tier (half
    precision on the GPU only, say); a tier that is not in it runs on all of `devices`. `named_only`: devices that
    `auto` leaves alone, because it would take hours there. `timeout_s`: the stage's time limit with this engine, where
    the stage's own would be too short. `heeds`: options of a run that this engine heeds and others of its stage do not
    ("geometry_tiles"); a panel shows their switches beside it.
    """

    name: str
    stage: EngineStage
    version: str
    title: str
    licence: Licence
    entry: str
    weights: tuple[WeightFile, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    memory_mb: dict[str, int] = field(default_factory=dict)
    tier_devices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    named_only: tuple[str, ...] = ()
    timeout_s: float | None = None
    heeds: tuple[str, ...] = ()
    priority: int = 0  # `auto` takes the highest that is installed, fits and is accepted
    needs: tuple[str, ...] = ()  # importable modules
    own_check: str = ""  # "package.module:function" listing what else is missing; for engines installed elsewhere
    install_hint: str = ""  # the command that mends "not installed"

    @property
    def tiers(self) -> tuple[str, ...]:
        return tuple(self.memory_mb) or ("full",)

    def tiers_on(self, device: str) -> tuple[str, ...]:
        """The tiers that may run on this device, best first."""
        if device not in self.devices:
            return ()
        return tuple(tier for tier in self.tiers if device in self.tier_devices.get(tier, self.devices))
