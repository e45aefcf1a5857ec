"""Finds engines: every folder beside this file that has CARDS. Deleting a folder deletes its engines.

Also chooses one for a stage, and says why. Nothing is ever put in the place of an engine that was named.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

import worker.engines
from worker import __version__
from worker.engines.card import EngineCard, EngineStage, WeightFile
from worker.errors import EngineUnavailable, OutputError
from worker.hardware.machine import Machine
from worker.session import atomic
from worker.session.model import Notice
from worker.setup_command import SETUP_GPU
from worker.weights import store


@cache
def all_cards() -> tuple[EngineCard, ...]:
    """Cards of all engine folders, highest priority first within a stage."""
    cards: list[EngineCard] = []
    for module in pkgutil.iter_modules(worker.engines.__path__):
        if module.ispkg:
            cards += importlib.import_module(f"worker.engines.{module.name}").CARDS
    return tuple(sorted(cards, key=lambda card: (card.stage, -card.priority, card.name)))


@dataclass(frozen=True)
class Choice:
    """An engine to run a stage with, on a device, from a memory tier on."""

    card: EngineCard
    device: str
    tier: str
    why: Notice

    @property
    def tiers(self) -> tuple[str, ...]:
        """This tier and the safer ones after it on the same device: the order of retries."""
        tiers = self.card.tiers_on(self.device)
        return tiers[tiers.index(self.tier) :]


def missing_parts(card: EngineCard) -> list[str]:
    """Importable modules and weights, shipped or brought, that the card names and this installation lacks, and what
    the card's own check finds missing.
    """
    return missing_modules(card) + missing_weights(card) + _missing_by_own_check(card)


def _missing_by_own_check(card: EngineCard) -> list[str]:
    if not card.own_check:
        return []
    module, _, name = card.own_check.partition(":")
    lacking: list[str] = getattr(importlib.import_module(module), name)()
    return lacking


def missing_modules(card: EngineCard) -> list[str]:
    return [name for name in card.needs if importlib.util.find_spec(name) is None]


def missing_weights(card: EngineCard) -> list[str]:
    shipped = [file for file in card.weights if file.source == store.SHIPPED]
    folder = _folder_of(card) / "weights" if shipped else Path()
    missing = [file.name for file in shipped if not (folder / file.name).is_file()]
    return missing + [f.name for f in card.weights if f.source != store.SHIPPED and not store.is_there(card.name, f)]


def weights_sha256(card: EngineCard) -> dict[str, str]:
    """The hashes that a result's record names: as published, else as found when the file was brought."""
    known = {file.name: file.sha256 or _first_sha256(card, file) for file in card.weights}
    return {name: sha256 for name, sha256 in known.items() if sha256}


def _first_sha256(card: EngineCard, file: WeightFile) -> str | None:
    receipt = store.receipt_of(store.path_of(card.name, file))
    return receipt.sha256 if receipt else None


def how_to_install(card: EngineCard) -> str | None:
    """The next command that brings this engine nearer to running; None where the card knows none."""
    if "torch" in missing_modules(card):
        return SETUP_GPU
    if card.install_hint:
        return card.install_hint
    if any(file.source != store.SHIPPED for file in card.weights):
        return f"assetize engines install {card.name}"
    return None


def _folder_of(card: EngineCard) -> Path:
    """The engine's folder: that of the module which its entry names."""
    found = importlib.util.find_spec(card.entry.partition(":")[0])
    return Path(found.origin).parent if found and found.origin else Path()


def fit(card: EngineCard, machine: Machine) -> tuple[str, str] | None:
    """(device, tier): the card's first device and best tier that this machine has memory for; None if none."""
    for device in card.devices:
        if "torch" in card.needs and not machine.torch_runs_on(device):
            continue
        memory = machine.memory_of(device)
        for tier in card.tiers_on(device):
            if memory > 0 and card.memory_mb.get(tier, 0) <= memory:
                return device, tier
    return None


def needs_acceptance(card: EngineCard) -> bool:
    """Whether the user must have read this engine's terms before it may run."""
    return card.licence.gated or card.licence.commercial != "yes"


def consent_file() -> Path:
    """Names of engines whose licence this user accepted, a JSON list; written when an engine is installed."""
    return platformdirs.user_config_path("assetize", appauthor=False) / "accepted_licences.json"


def accepted_engines() -> frozenset[str]:
    try:
        names = json.loads(consent_file().read_text("utf-8"))
    except (OSError, ValueError):
        return frozenset()
    return frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()


def accept(name: str) -> None:
    """Keep that this user accepted the licence of an engine."""
    _keep_accepted(accepted_engines() | {name})


def withdraw(name: str) -> None:
    """Forget an acceptance: the licence is asked for anew."""
    if name in accepted_engines():
        _keep_accepted(accepted_engines() - {name})


def _keep_accepted(names: frozenset[str]) -> None:
    try:
        atomic.write_json(consent_file(), sorted(names))
    except OSError as fault:
        why = fault.strerror or str(fault)
        raise OutputError(
            "consent.unwritable",
            f"That the licence was accepted cannot be kept in {consent_file()} ({why}). Give yourself the right to "
            "write there.",
            f"无法在 {consent_file()} 记录许可的接受（{why}）。请取得写入权限。",
        ) from None


def _unknown(stage: EngineStage, name: str, here: Iterable[EngineCard]) -> EngineUnavailable:
    names = ", ".join(card.name for card in here) or "none"
    return EngineUnavailable(
        "engine.unknown",
        f"The engine “{name}” for the {stage} stage is not installed and not part of Assetize {__version__}. "
        f"Engines here: {names}. Name one of these, or leave the choice to auto.",
        f"{stage} 阶段的引擎“{name}”未安装，也不在 Assetize {__version__} 中。可用的引擎：{names}。"
        "请选用其中之一，或使用 auto。",
        fix="assetize engines",
    )


def why_not(card: EngineCard, machine: Machine, accepted: frozenset[str]) -> EngineUnavailable | None:
    """The reason this engine cannot run here; None when it can."""
    if missing := missing_parts(card):
        names = ", ".join(missing)
        command = how_to_install(card)
        en = f"Install it with “{command}”." if command else "See docs/engines.md for how to install it."
        zh = f"请用“{command}”安装。" if command else "安装方法见 docs/engines.md。"
        return EngineUnavailable(
            "engine.not_installed",
            f"The engine “{card.name}” for the {card.stage} stage is not installed ({names} missing). {en}",
            f"{card.stage} 阶段的引擎“{card.name}”尚未安装（缺少 {names}）。{zh}",
            fix=command,
        )
    if fit(card, machine) is None:
        return does_not_fit(card, machine)
    if needs_acceptance(card) and card.name not in accepted:
        return EngineUnavailable(
            "engine.licence",
            f"The licence of “{card.name}” ({card.licence.weights or card.licence.code}) must be accepted first. "
            f"{card.licence.note or card.licence.output}",
            f"须先接受“{card.name}”的许可条款（{card.licence.weights or card.licence.code}）。{card.licence.note}",
            fix=f"assetize engines install {card.name}",
        )
    return None


def does_not_fit(card: EngineCard, machine: Machine) -> EngineUnavailable:
    """No device of the card's serves: each has its reason, and what mends it."""
    reasons, reasons_zh, fix = [], [], "assetize doctor"
    for device in card.devices:
        need = min((card.memory_mb.get(tier, 0) for tier in card.tiers_on(device)), default=0)
        have = machine.memory_of(device)
        if device == "cuda" and not machine.gpus and machine.hidden_gpus:
            en, zh = "CUDA_VISIBLE_DEVICES hides the GPU", "环境变量 CUDA_VISIBLE_DEVICES 隐藏了 GPU"
        elif device == "cuda" and not machine.gpus:
            en, zh = "no NVIDIA GPU with a working driver was found", "未找到驱动正常的 NVIDIA GPU"
        elif device == "mps" and not have:
            en, zh = "this is no Mac with an Apple processor", "本机不是 Apple 芯片的 Mac"
        elif "torch" in card.needs and not machine.torch_runs_on(device):
            if driver := machine.old_driver():
                en = f"the NVIDIA driver {driver} is too old for the installed PyTorch; update it from nvidia.com"
                zh = f"NVIDIA 驱动 {driver} 对已安装的 PyTorch 来说过旧，请从 nvidia.com 更新"
            else:
                en, zh = "the installed PyTorch is the one without GPU support", "已安装的 PyTorch 不支持 GPU"
            fix = SETUP_GPU
        else:
            en = f"{device}: {need} MB are needed and {have} MB are there"
            zh = f"{device} 需要 {need} MB，本机有 {have} MB"
        reasons.append(en)
        reasons_zh.append(zh)
    return EngineUnavailable(
        "engine.does_not_fit",
        f"The engine “{card.name}” cannot run on this machine ({'; '.join(reasons)}). Use auto, or another engine.",
        f"引擎“{card.name}”无法在本机运行（{'；'.join(reasons_zh)}）。请使用 auto 或其他引擎。",
        fix=fix,
    )


def _too_slow(card: EngineCard, device: str) -> EngineUnavailable:
    return EngineUnavailable(
        "engine.too_slow",
        f"The engine “{card.name}” would run on {device} here, where it takes hours. Name it to use it all the same.",
        f"引擎“{card.name}”在本机只能用 {device} 运行，需数小时。如仍要使用，请指定其名称。",
    )


def choose(
    stage: EngineStage, name: str, cards: Iterable[EngineCard], machine: Machine, accepted: frozenset[str]
) -> Choice:
    """The engine for a stage. `name` "auto" takes the highest priority that can run here.

    Raises EngineUnavailable where the named engine, or for auto every engine, cannot run here.
    """
    here = sorted((card for card in cards if card.stage == stage), key=lambda card: (-card.priority, card.name))
    candidates = here if name == "auto" else [card for card in here if card.name == name]
    if not candidates:
        raise _unknown(stage, name, here)
    refusals: list[tuple[EngineCard, EngineUnavailable]] = []
    for card in candidates:
        refusal = why_not(card, machine, accepted)
        place = None if refusal else fit(card, machine)
        if place is not None and name == "auto" and place[0] in card.named_only:
            refusal = _too_slow(card, place[0])
        if refusal is None:
            assert place is not None
            return Choice(card, *place, _why(card, name, refusals))
        refusals.append((card, refusal))
    raise refusals[0][1]


_REASONS = {
    "engine.not_installed": ("not installed", "未安装"),
    "engine.does_not_fit": ("does not fit this machine", "本机资源不足"),
    "engine.licence": ("licence not accepted", "许可未接受"),
    "engine.too_slow": ("too slow here", "本机运行过慢"),
}


def _why(card: EngineCard, name: str, refusals: list[tuple[EngineCard, EngineUnavailable]]) -> Notice:
    if name != "auto":
        return Notice(code="engine.named", en=f"“{card.name}”, as asked for.", zh=f"按指定使用“{card.name}”。")
    if not refusals:
        return Notice(
            code="engine.best",
            en=f"“{card.name}” is the best engine for this stage here.",
            zh=f"“{card.name}”是此阶段当前可用的最佳引擎。",
        )
    en = ", ".join(f"{better.name} ({_REASONS[why.code][0]})" for better, why in refusals)
    zh = "、".join(f"{better.name}（{_REASONS[why.code][1]}）" for better, why in refusals)
    return Notice(
        code="engine.best_here",
        en=f"“{card.name}”, because better ones cannot run here: {en}.",
        zh=f"使用“{card.name}”，因为更好的引擎无法运行：{zh}。",
        params={"refused": [better.name for better, _ in refusals]},
    )


def describe(card: EngineCard, machine: Machine, accepted: frozenset[str]) -> dict[str, Any]:
    """One engine as the CLI, the service and the panel show it."""
    place = fit(card, machine)
    refusal = why_not(card, machine, accepted)
    missing = missing_parts(card)
    return {
        "name": card.name,
        "stage": card.stage,
        "title": card.title,
        "version": card.version,
        "installed": not missing,
        "fits": place is not None,
        "device": place[0] if place else None,
        "tier": place[1] if place else None,
        "memory_mb": dict(card.memory_mb),
        "heeds": list(card.heeds),
        "licence_code": card.licence.code,
        "licence_weights": card.licence.weights,
        "commercial_use": card.licence.commercial,
        "gated": card.licence.gated,
        "licence_accepted": not needs_acceptance(card) or card.name in accepted,
        "licence_output": card.licence.output,
        "licence_url": card.licence.url,
        "licence_note": card.licence.note,
        "weights_bytes": sum(file.bytes for file in card.weights),
        "download_bytes": sum(file.bytes for file in card.weights if file.name in missing),
        "ready": refusal is None,
        "why_not": refusal.as_dict() if refusal else None,
    }
