"""`assetize batch`: many stills, one after the other; one bad file never stops the rest."""

from __future__ import annotations

import argparse
import glob
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.cli.arguments import add_options, options_from
from worker.cli.show import Display, cancel_on_signals, write_json_line
from worker.engines import registry
from worker.errors import AssetizeError, Cancelled, EngineUnavailable, ExitCode, InputError
from worker.hardware.machine import this_machine
from worker.host.pool import HostPool
from worker.pipeline.conductor import Conductor
from worker.pipeline.folder import unwritable
from worker.pipeline.job import Job
from worker.pipeline.plan import Plan, choose_engines
from worker.session import atomic

PICTURES = {".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".webp", ".exr", ".bmp", ".gif", ".jp2", ".avif", ".heic"}
SUMMARY_NAME = "batch_summary.json"


def add_to(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("batch", help="make a scene from each of many stills")
    parser.add_argument("inputs", nargs="*", metavar="FOLDER|PATTERN|STILL", help="what to take")
    parser.add_argument("--input", dest="more_inputs", action="append", default=[], help=argparse.SUPPRESS)
    add_options(parser)
    parser.set_defaults(do=do)


def find_stills(words: list[str]) -> list[Path]:
    """Files of folders (pictures by suffix), of glob patterns (no shell expands them on Windows) and by name.

    A name that exists is taken as it stands, even if it has brackets. Sorted within each word; each file once.
    """
    found: dict[Path, None] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            files = [p for p in path.iterdir() if p.is_file() and p.suffix.lower() in PICTURES]
        elif path.exists() or not glob.has_magic(word):
            files = [path]
        else:
            names = glob.glob(word, recursive=True)  # noqa: PTH207 (Path.glob refuses absolute patterns)
            files = [p for p in map(Path, names) if p.is_file()]
        found.update(dict.fromkeys(sorted(files)))
    return list(found)


def do(arguments: argparse.Namespace, plan: Plan) -> int:
    options = options_from(arguments)
    words = arguments.inputs + arguments.more_inputs
    stills = find_stills(words)
    if not stills:
        named = ", ".join(words) or "nothing"
        raise InputError("batch.nothing", f"No pictures found in: {named}.", f"没有找到图片：{named}。")
    # A named engine that is missing fails every still alike: say it once, before the first.
    choose_engines(plan, options, this_machine(), registry.accepted_engines())
    rows: list[dict[str, Any]] = []
    with HostPool() as pool, cancel_on_signals() as cancel:
        for number, still in enumerate(stills, 1):
            job = Job(still, options, arguments.output_root, fresh=arguments.fresh)
            with Display(arguments.json, options.language, f"{number}/{len(stills)} ") as display:
                rows.append(_one(Conductor(job, pool, _tagged(display, still), cancel, plan=plan), still))
            if cancel.is_set():
                break
    return _summary(arguments, rows, len(stills), cancelled=cancel.is_set())


def _tagged(display: Display, still: Path) -> Any:
    return lambda event: display.take({**event, "file": str(still)})


def _one(conductor: Conductor, still: Path) -> dict[str, Any]:
    """One row of the summary. Nothing that a single still does may end the batch."""
    row: dict[str, Any] = {"file": str(still), "state": "failed", "folder": None, "seconds": 0.0, "error": None}
    row["warnings"], row["failed_stages"] = 0, []
    try:
        outcome = conductor.run()
    except EngineUnavailable:
        raise
    except AssetizeError as error:
        row["state"] = "cancelled" if isinstance(error, Cancelled) else "failed"
        row["error"] = error.as_dict()
        return row
    stages = outcome.session.stages
    row["state"], row["folder"] = outcome.session.state, str(outcome.folder)
    row["seconds"] = round(sum(record.seconds or 0.0 for record in stages.values()), 1)
    row["warnings"] = sum(len(record.warnings) for record in stages.values())
    row["failed_stages"] = [name for name, record in stages.items() if record.state == "failed"]
    return row


def _summary(arguments: argparse.Namespace, rows: list[dict[str, Any]], wanted: int, cancelled: bool) -> int:
    good = sum(row["state"] == "done" for row in rows)
    code = ExitCode.CANCELLED if cancelled else ExitCode.OK if good == wanted else ExitCode.PARTIAL
    summary = {"files": rows, "wanted": wanted, "done": good, "exit_code": int(code)}
    target = arguments.output_root / SUMMARY_NAME
    try:
        atomic.write_json(target, summary)
    except OSError as fault:
        raise unwritable(arguments.output_root, fault) from None
    if arguments.json:
        write_json_line({"event": "batch.finished", **summary})
    else:
        _print_table(rows, target)
    return int(code)


def _print_table(rows: list[dict[str, Any]], target: Path) -> None:
    table = Table("Still", "State", "Seconds", "Warnings", "Session, or what went wrong")
    for row in rows:
        told = row["folder"] if row["error"] is None else row["error"]["en"]
        if row["failed_stages"]:
            told += f" (failed: {', '.join(row['failed_stages'])})"
        cells = (row["file"], row["state"], f"{row['seconds']:.1f}", str(row["warnings"]), told)
        table.add_row(*(escape(cell) for cell in cells))
    console = Console(highlight=False)
    console.print(table)
    console.print(escape(f"{target}"), soft_wrap=True)
