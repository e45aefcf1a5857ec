"""`assetize engines`: which engines there are, what they need, what their licences say; and bringing their weights."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from worker.cli import weights
from worker.cli.show import write_json_line
from worker.engines import registry
from worker.hardware.machine import this_machine
from worker.pipeline.plan import Plan
from worker.setup_command import as_typed
from worker.weights.sentences import megabytes


def add_to(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("engines", help="list the engines and their licences; install their weights")
    parser.add_argument("--json", action="store_true", help="as JSON, one engine a line")
    parser.set_defaults(do=do)
    actions = parser.add_subparsers(metavar="ACTION", parser_class=type(parser))

    def action(name: str, do: Callable[[argparse.Namespace, Plan], int], text: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        made.add_argument("name", metavar="NAME", help="an engine of `assetize engines`")
        made.add_argument("--language", choices=("en", "zh"), default="en", help="language of messages")
        made.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as JSON, one event a line")
        made.set_defaults(do=do)
        return made

    add = action("install", weights.install, "bring an engine's weights, after showing their licence").add_argument
    add("--accept_licence", "--accept_license", action="store_true", help="you have read the licence and accept it")
    add("--from", dest="taken_from", type=Path, metavar="FILE_OR_FOLDER", help="take the files from here")
    add("--mirror", metavar="URL", help="another address of the hub; for other files, a folder that has them")
    add("--offline", action="store_true", help="use no network; say what to bring by hand")
    action("remove", weights.remove, "take an engine's weights away and forget that its licence was accepted")
    action("check", weights.check, "read an engine's weights from end to end and compare them")


def do(arguments: argparse.Namespace, plan: Plan) -> int:
    machine, accepted = this_machine(), registry.accepted_engines()
    rows = [registry.describe(card, machine, accepted) for card in plan.cards]
    if arguments.json:
        for row in rows:
            write_json_line(row)
        return 0
    console = Console(highlight=False)
    wide = console.width >= 120  # else licences lose what stands in brackets, and engines their titles
    table = Table()
    table.add_column("Stage", no_wrap=True)
    table.add_column("Engine", no_wrap=True)
    for title in (*(["What"] if wide else []), "Installed", "Fits", "Licence of weights", "Paid work"):
        table.add_column(title)
    for row in rows:
        licence = row["licence_weights"] or row["licence_code"]
        if not wide:
            licence = re.split(r" \(|, ", licence)[0]
        fits = f"{row['device']}, {row['tier']}" if row["fits"] else "no"
        installed = "yes" if row["installed"] else "no"
        if row["download_bytes"]:
            installed += f", {megabytes(row['download_bytes'])} to bring"
        paid = row["commercial_use"] + (", gated" if row["gated"] else "")
        paid += ", accepted" if row["licence_accepted"] and (row["gated"] or row["commercial_use"] != "yes") else ""
        what = [row["title"]] if wide else []
        table.add_row(row["stage"], row["name"], *what, installed, fits, licence, paid)
    console.print(table)
    if any(row["download_bytes"] for row in rows):
        command = as_typed("assetize engines install NAME")
        console.print(f"`{command}` shows an engine's licence and brings its weights.", soft_wrap=True)
    for card, row in zip(plan.cards, rows, strict=True):
        if card.own_check and not row["installed"]:
            console.print(row["why_not"]["en"], soft_wrap=True, markup=False)
    return 0
