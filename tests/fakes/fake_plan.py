"""The plan of the fake stages, and `python -m fake_plan ...`, which is `assetize` with that plan."""

from __future__ import annotations

from worker.engines.card import EngineCard, Licence
from worker.pipeline.plan import Plan

OPEN = Licence(code="MIT", weights=None, commercial="yes", output="Yours.")
CLOSED = Licence(code="MIT", weights="Research only", commercial="no", output="Not for sale.", gated=True)


def card(name: str, stage: str, **changes: object) -> EngineCard:
    values: dict = {
        "name": name, "stage": stage, "version": "1", "title": f"{name} {stage}", "licence": OPEN,
        "entry": "fake_engines:Echo", "memory_mb": {"full": 100, "low": 50}, **changes,
    }  # fmt: skip
    return EngineCard(**values)


CARDS = (
    card("embedded", "geometry"),
    card("embedded", "scene"),
    card("solo", "scene", priority=-1),
    card("giant", "scene", priority=9, memory_mb={"full": 10**9}),
    card("absent", "scene", priority=8, needs=("no_such_module",), install_hint="pip install absent"),
    card("closed", "scene", priority=7, licence=CLOSED),
)
NAMES = ("plate", "geometry", "scene", "lighting", "report")
PLAN = Plan(NAMES, "fake_stages", CARDS)

if __name__ == "__main__":
    from worker.cli.main import main

    raise SystemExit(main(plan=PLAN))
