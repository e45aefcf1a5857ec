"""What will run: the stages' SPECs, read from their sources, and the engine chosen for each.

The conductor never imports a stage, because a stage imports OpenCV and its like: SPEC is a literal and is read as one.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from worker.engines import registry
from worker.engines.card import EngineCard
from worker.errors import EngineUnavailable
from worker.hardware.machine import Machine
from worker.pipeline.order import STAGES
from worker.session.model import Notice
from worker.session.options import Options
from worker.stages.base import StageSpec


def read_spec(module: str) -> StageSpec:
    """SPEC of a stage module. Raises ValueError where it is not a literal `SPEC = StageSpec(...)`."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise ValueError(f"there is no stage module {module}")
    tree = ast.parse(Path(found.origin).read_text("utf-8"))
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        call = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id == "SPEC" and isinstance(call, ast.Call):
            names = ("name", "title_en", "title_zh", "weight", "engine", "requires", "uses", "timeout_s")
            values = dict(zip(names, (ast.literal_eval(value) for value in call.args), strict=False))
            return StageSpec(**values, **{word.arg or "": ast.literal_eval(word.value) for word in call.keywords})
    raise ValueError(f"{module} has no SPEC")


@dataclass(frozen=True)
class Plan:
    """Stages in order, where their modules lie, and the engines there are. The default is the product's own."""

    names: Sequence[str] = STAGES
    package: str = "worker.stages"
    cards: Sequence[EngineCard] = field(default_factory=registry.all_cards)

    def module(self, stage: str) -> str:
        return f"{self.package}.{stage}"

    @cached_property
    def specs(self) -> tuple[StageSpec, ...]:
        return tuple(read_spec(self.module(name)) for name in self.names)


def skipped_by_options(options: Options) -> dict[str, Notice]:
    """Stages that the user left out, with the remark for their record."""
    asked = []
    if options.skip_scene:
        asked.append(("scene", "--skip_scene"))
    if options.skip_geometry:
        asked.append(("geometry", "--skip_geometry"))
    if options.no_blend:
        asked.append(("blend", "--no_blend"))
    return {
        stage: Notice(code="stage.not_wanted", en=f"Left out on request ({flag}).", zh=f"按要求跳过（{flag}）。")
        for stage, flag in asked
    }


def engine_names(options: Options) -> dict[str, str]:
    """Engine name by stage; "auto" where none was named. The pre-study's flag speaks of the props stage."""
    named = {str(stage): name for stage, name in options.engines.items()}
    return {"props": options.asset_gen_backend, **named}


def choose_engines(
    plan: Plan, options: Options, machine: Machine, accepted: frozenset[str]
) -> dict[str, registry.Choice | EngineUnavailable]:
    """The engine of every stage that has one and will run.

    Raises EngineUnavailable where the user named an engine that cannot run here; where `auto` finds none, the refusal
    stands in the result and that stage fails with it.
    """
    names, skipped = engine_names(options), skipped_by_options(options)
    chosen: dict[str, registry.Choice | EngineUnavailable] = {}
    for spec in plan.specs:
        if spec.engine is None or spec.name in skipped:
            continue
        name = names.get(spec.engine, "auto")
        try:
            chosen[spec.name] = registry.choose(spec.engine, name, plan.cards, machine, accepted)
        except EngineUnavailable as refusal:
            if name != "auto":
                raise
            chosen[spec.name] = refusal
    return chosen
