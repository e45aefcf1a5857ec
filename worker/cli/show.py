"""What a run looks like in the terminal: a bar that tells the truth, or one JSON event a line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from worker.pipeline.events import Event

_MARKS = {"done": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[yellow]–[/]"}
_STATES = {"done": ("Done", "完成"), "partial": ("Done in part", "部分完成"), "cancelled": ("Cancelled", "已取消")}
_ASCII_MARKS = {"done": "ok", "failed": "FAILED", "skipped": "skipped"}


@contextlib.contextmanager
def cancel_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM or a closed terminal sets; a second signal interrupts at once."""
    cancel = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # unless nohup's wish
        numbers.append(signal.SIGHUP)
    old = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield cancel
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class Display:
    """Takes a run's events. `json_lines`: as they are, on standard output; else for eyes, on standard error."""

    def __init__(self, json_lines: bool, language: str = "en", prefix: str = "") -> None:
        self._json, self._zh, self._prefix = json_lines, language == "zh", prefix
        self._console = Console(stderr=True, highlight=False)
        self._utf8 = (self._console.encoding or "").lower().startswith("utf")
        self._bar = Progress(
            SpinnerColumn() if self._utf8 else TextColumn(""), TextColumn("{task.description}"), BarColumn(),
            TextColumn("{task.percentage:3.0f} %"), TimeElapsedColumn(), console=self._console, transient=True,
            disable=json_lines or not self._console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._titles: dict[str, str] = {}
        self._folder: str | None = None

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.stop()

    def take(self, event: Event) -> None:
        if self._json:
            write_json_line(event)
        elif (method := getattr(self, "_" + event["event"].replace(".", "_"), None)) is not None:
            method(event)

    def _say(self, text: str) -> None:
        self._bar.console.print(text, soft_wrap=True)

    def _both(self, notice: dict[str, Any]) -> str:
        return escape(str(notice["zh"] if self._zh else notice["en"]))

    def _job_started(self, event: Event) -> None:
        self._titles = {s["name"]: s["title_zh"] if self._zh else s["title_en"] for s in event["stages"]}
        if event["kept"]:
            word = "已完成，保留" if self._zh else "kept from the last run"
            self._say(f"{word}: {', '.join(event['kept'])}")
        self._task = self._bar.add_task(escape(self._prefix + event["name"]), total=1.0)

    def _stage_started(self, event: Event) -> None:
        self._describe(event["stage"], "")

    def _describe(self, stage: str, note: str) -> None:
        if self._task is not None:
            title = self._titles.get(stage, stage)
            text = self._prefix + (f"{title}: {note}" if note else title)
            self._bar.update(self._task, description=escape(text))

    def _progress(self, event: Event) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=event["fraction"])
            if event["note"]:
                self._describe(event["stage"], event["note"])

    def _warning(self, event: Event) -> None:
        self._say(f"  [yellow]![/] {self._both(event['notice'])}")

    def _stage_finished(self, event: Event) -> None:
        if event["error"] and self._folder is None:
            return  # no session: the one sentence comes at the end
        stage: str = event["stage"]
        title = escape(self._titles.get(stage, stage))
        mark = (_MARKS if self._utf8 else _ASCII_MARKS).get(event["state"], event["state"])
        seconds = f" {event['seconds']:.1f} s" if event["seconds"] else ""
        self._say(f"{mark} {title}{seconds}")
        if event["error"]:
            self._say(f"  {self._both(event['error'])}")

    def _session(self, event: Event) -> None:
        self._folder = event["folder"]

    def _job_finished(self, event: Event) -> None:
        if event["folder"] is None:
            return  # the sentence is printed where the exit code is made
        en, zh = _STATES.get(event["state"], ("Failed", "失败"))
        self._bar.stop()
        print(f"{zh if self._zh else en} ({event['seconds']:.1f} s): {event['folder']}", flush=True)


def write_json_line(event: Event) -> None:
    """ASCII only, so that any pipe carries it. A reader that went away (`| head`) is no fault."""
    try:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Later writes, and the flush at exit, go nowhere instead of failing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
