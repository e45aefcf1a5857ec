"""`assetize engines`: which engines there are, what they need and what their licences say."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from worker.cli.show import write_json_line
from worker.engines import registry
from worker.engines.card import EngineCard
from worker.host.machine import Machine, this_machine
from worker.pipeline.plan import Plan


def add_to(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("engines", help="list the engines, their licences and whether they run here")
    parser.add_argument("--json", action="store_true", help="as JSON, one engine a line")
    parser.set_defaults(do=do)


def describe(card: EngineCard, machine: Machine, accepted: frozenset[str]) -> dict[str, Any]:
    """One engine as the CLI, the service and the panel show it."""
    place = registry.fit(card, machine)
    refusal = registry.why_not(card, machine, accepted)
    return {
        "name": card.name,
        "stage": card.stage,
        "title": card.title,
        "version": card.version,
        "installed": not registry.missing_modules(card),
        "fits": place is not None,
        "device": place[0] if place else None,
        "tier": place[1] if place else None,
        "memory_mb": dict(card.memory_mb),
        "licence_code": card.licence.code,
        "licence_weights": card.licence.weights,
        "commercial_use": card.licence.commercial,
        "gated": card.licence.gated,
        "licence_accepted": not registry.needs_acceptance(card) or card.name in accepted,
        "licence_output": card.licence.output,
        "licence_url": card.licence.url,
        "licence_note": card.licence.note,
        "weights_bytes": sum(file.bytes for file in card.weights),
        "ready": refusal is None,
        "why_not": refusal.as_dict() if refusal else None,
    }


def do(arguments: argparse.Namespace, plan: Plan) -> int:
    machine, accepted = this_machine(), registry.accepted_engines()
    rows = [describe(card, machine, accepted) for card in plan.cards]
    if arguments.json:
        for row in rows:
            write_json_line(row)
        return 0
    table = Table("Stage", "Engine", "What", "Installed", "Fits", "Licence (weights)", "Paid work")
    for row in rows:
        licence = row["licence_code"] + (f" ({row['licence_weights']})" if row["licence_weights"] else "")
        fits = f"{row['device']}, {row['tier']}" if row["fits"] else "no"
        table.add_row(
            row["stage"], row["name"], row["title"], "yes" if row["installed"] else "no", fits, licence,
            row["commercial_use"],
        )  # fmt: skip
    Console(highlight=False).print(table)
    return 0
