"""`assetize engines install | remove | check`: an engine's licence, its consent, its weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn

from worker.cli.show import write_json_line
from worker.engines import registry
from worker.engines.card import EngineCard
from worker.errors import EngineUnavailable, ExitCode, WeightsError
from worker.hardware.machine import this_machine
from worker.pipeline.plan import Plan
from worker.weights import install as weights
from worker.weights import store
from worker.weights.sentences import megabytes

_COMMERCIAL = {
    "yes": "yes",
    "no": "NO: neither the weights nor what is made with them may be used in paid work",
    "terms": "under conditions, see below",
}


def install(arguments: argparse.Namespace, plan: Plan) -> int:
    cards = _cards(arguments.name, plan)
    card = cards[0]
    say = Console(highlight=False, stderr=arguments.json)
    _show_terms(say, cards)
    if missing := sorted({name for one in cards for name in registry.missing_modules(one)}):
        raise EngineUnavailable(
            "engine.modules_missing",
            f"“{card.name}” needs {', '.join(missing)} first, to check the weights and run them.",
            f"“{card.name}”需要先安装 {'、'.join(missing)}，用于检查和运行权重。",
            fix=registry.how_to_install(card),
        )
    if registry.fit(card, this_machine()) is None:  # before gigabytes are brought
        say.print(f"[yellow]Mind:[/] {escape(registry.does_not_fit(card, this_machine()).en)}", soft_wrap=True)
    _accept(arguments, cards)
    way = weights.Way(arguments.mirror, arguments.taken_from, arguments.offline)
    with _Bars(arguments.json) as bars:
        brought = weights.bring(card.name, weights.files_of(cards).values(), way, bars.on_bytes)
    if arguments.json:
        write_json_line({"event": "installed", "engine": card.name, "brought": brought})
    elif brought:
        say.print(f"“{card.name}” is installed: {', '.join(brought)} in {store.root() / card.name}", soft_wrap=True)
    elif weights.files_of(cards):
        say.print(f"“{card.name}” has all its weights already.")
    else:
        say.print(f"The licence of “{card.name}” is accepted. It has no weights that Assetize brings.")
    if missing := [part for one in cards for part in registry.missing_parts(one)]:
        say.print(f"Still missing: {escape(', '.join(missing))}", soft_wrap=True)
    return int(ExitCode.OK)


def remove(arguments: argparse.Namespace, plan: Plan) -> int:
    card = _cards(arguments.name, plan)[0]
    freed = weights.remove(card.name)
    registry.withdraw(card.name)
    print(f"“{card.name}”: {megabytes(freed)} freed; its licence will be asked for anew.")
    return int(ExitCode.OK)


def check(arguments: argparse.Namespace, plan: Plan) -> int:
    """Every file is read and told of, also after a bad one."""
    cards = _cards(arguments.name, plan)
    console, bad = Console(highlight=False, stderr=arguments.json), 0
    for file in weights.files_of(cards).values():
        try:
            with _Bars(arguments.json) as bars:
                receipt = weights.check(cards[0].name, file, bars.on_bytes)
        except WeightsError as error:
            bad += 1
            row: dict[str, object] = {"file": file.name, "ok": False, **error.as_dict()}
            text = f"[red]bad[/] {escape(error.zh if arguments.language == 'zh' else error.en)}"
        else:
            row = {"file": file.name, "ok": True, "bytes": receipt.bytes, "sha256": receipt.sha256}
            text = f"[green]ok[/]  {file.name}, {megabytes(receipt.bytes)}, sha256 {receipt.sha256}"
        if arguments.json:
            write_json_line(row)
        else:
            console.print(text, soft_wrap=True)
    return int(ExitCode.ENGINE_MISSING if bad else ExitCode.OK)


def _cards(name: str, plan: Plan) -> Sequence[EngineCard]:
    """The engine's cards, one a stage. Raises EngineUnavailable where there is nothing to do for that name."""
    def has_work(card: EngineCard) -> bool:
        return bool(weights.files_of([card])) or registry.needs_acceptance(card)

    cards = [card for card in plan.cards if card.name == name]
    if any(map(has_work, cards)):
        return cards
    able = ", ".join(sorted({card.name for card in plan.cards if has_work(card)})) or "none"
    if cards:
        en, zh = f"The engine “{name}” has nothing to bring or to accept.", f"引擎“{name}”无需下载权重或接受许可。"
    else:
        en, zh = f"There is no engine “{name}”.", f"没有名为“{name}”的引擎。"
    raise EngineUnavailable(
        "engine.nothing_to_install",
        f"{en} Engines that have: {able}.",
        f"{zh}需要安装的引擎：{able}。",
        fix="assetize engines",
    )


# --- the licence ----------------------------------------------------------------------------------------------------
def _show_terms(say: Console, cards: Sequence[EngineCard]) -> None:
    card, size = cards[0], sum(file.bytes for file in weights.files_of(cards).values())
    licence = card.licence
    rows = [
        ("Engine", f"{card.name}: {card.title}, version {card.version}"),
        ("Licence of the code", licence.code),
        ("Licence of the weights", licence.weights or "none"),
        ("Paid work", _COMMERCIAL[licence.commercial]),
        ("What it says of results", licence.output),
        ("Gated", "yes: the publisher gives it on terms that you must accept" if licence.gated else "no"),
        ("Conditions", licence.note),
        ("To read", licence.url or ""),
        ("To download", megabytes(size) if size else ""),
    ]
    for title, text in rows:
        if text:
            say.print(f"[bold]{title + ':':25}[/]{escape(text)}", soft_wrap=True)


def _accept(arguments: argparse.Namespace, cards: Sequence[EngineCard]) -> None:
    """Raises EngineUnavailable where the licence is not accepted."""
    card = cards[0]
    if not any(map(registry.needs_acceptance, cards)) or card.name in registry.accepted_engines():
        return
    if not arguments.accept_licence:
        if not sys.stdin.isatty():
            raise EngineUnavailable(
                "engine.licence",
                f"The licence of “{card.name}” was not accepted, and nobody is there to ask. Nothing was downloaded. "
                "If you have read it and accept it, give --accept_licence.",
                f"尚未接受“{card.name}”的许可，且当前无法询问，未下载任何内容。"
                "若已阅读并接受，请加上 --accept_licence。",
                fix=f"assetize engines install {card.name} --accept_licence",
            )
        print("Do you accept this licence? Type yes to accept: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("yes", "y", "是"):
            raise EngineUnavailable(
                "engine.licence",
                f"The licence of “{card.name}” was not accepted; nothing was downloaded.",
                f"未接受“{card.name}”的许可，未下载任何内容。",
            )
    registry.accept(card.name)


class _Bars:
    """One bar a file, in bytes that are really here; as JSON, one line a hundredth."""

    def __init__(self, json_lines: bool) -> None:
        self._json = json_lines
        console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), SpeedColumn(), TimeRemainingColumn(),
            console=console, disable=json_lines or not console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, int] = {}

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._bars.stop()

    def on_bytes(self, name: str, done: int, total: int) -> None:
        if self._json:
            share = done * 100 // max(total, 1)
            if self._told.get(name) != share:
                self._told[name] = share
                write_json_line({"event": "progress", "file": name, "bytes": done, "total": total})
            return
        if name not in self._tasks:  # what an earlier try brought is no speed of this one
            self._tasks[name] = self._bars.add_task(name, total=total, completed=done)
        self._bars.update(self._tasks[name], completed=done, total=total)
