"""`assetize engines`: which engines there are, what they need and what their licences say."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from worker.cli.show import write_json_line
from worker.engines import registry
from worker.host.machine import this_machine
from worker.pipeline.plan import Plan


def add_to(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("engines", help="list the engines, their licences and whether they run here")
    parser.add_argument("--json", action="store_true", help="as JSON, one engine a line")
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace, plan: Plan) -> int:
    machine, accepted = this_machine(), registry.accepted_engines()
    rows = [registry.describe(card, machine, accepted) for card in plan.cards]
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
