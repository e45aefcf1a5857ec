# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the worker's Python and running its command line; the add-on never imports the worker."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import WorkerMissing


def setup_command(windows: bool = sys.platform == "win32") -> str:
    """How the command that sets the worker up is typed in its folder."""
    return "py install\\bootstrap.py" if windows else "python3 install/bootstrap.py"


@dataclass(frozen=True)
class WorkerCommand:
    """How to run the worker: `line` is the command up to its first argument, `folder` the checkout it belongs to."""

    line: tuple[str, ...]
    folder: Path | None = None

    def environment(self) -> dict[str, str]:
        """Ours without Blender's Python settings; a checkout is found by PYTHONPATH."""
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
        if self.folder is not None:
            kept["PYTHONPATH"] = str(self.folder)
        return kept


def find_worker(preferred: str = "", environment: Mapping[str, str] | None = None) -> WorkerCommand:
    """Preferences first, then ASSETIZE_WORKER, then the .venv of the checkout this file lies in.

    Each may name the Assetize folder, a Python that has the worker, or the `assetize` executable.
    Raises WorkerMissing with what to do.
    """
    environment = os.environ if environment is None else environment
    said = [text for text in (preferred.strip(), environment.get("ASSETIZE_WORKER", "").strip()) if text]
    checkout = Path(__file__).resolve().parents[2]
    for candidate in [*map(Path, said), checkout]:
        command = _command(candidate.expanduser())
        if command is not None:
            return command
    asked = f" ({said[0]} is no worker)" if said else ""
    raise WorkerMissing(
        "worker.missing",
        f"The Assetize worker was not found{asked}. In the Assetize folder run: {setup_command()} engines, which "
        "sets it up; then enter that folder in the add-on's preferences or in ASSETIZE_WORKER.",
        f"未找到 Assetize 工作进程{asked and f'（{said[0]} 无效）'}。请在 Assetize 目录中运行 "
        f"{setup_command()} engines（会完成安装），然后在插件偏好设置或 ASSETIZE_WORKER 中填写该目录。",
        fix="assetize.preferences",
    )


def _command(candidate: Path) -> WorkerCommand | None:
    if candidate.is_dir():
        for python in (candidate / ".venv" / "bin" / "python", candidate / ".venv" / "Scripts" / "python.exe",
                       candidate / "bin" / "python", candidate / "Scripts" / "python.exe"):  # fmt: skip
            if python.is_file():
                return _python(python)
        return None
    if not candidate.is_file():
        return None
    if candidate.stem.lower().startswith("python"):
        return _python(candidate)
    return WorkerCommand((str(candidate),))


def _python(python: Path) -> WorkerCommand:
    # <checkout>/.venv/bin/python; links must not be followed, they lead out of the environment
    folders = [python.absolute().parents[2], Path(__file__).resolve().parents[2]]
    folder = next((each for each in folders if (each / "worker" / "__main__.py").is_file()), None)
    return WorkerCommand((str(python), "-m", "worker"), folder)


def run_worker(command: WorkerCommand, arguments: Sequence[str], listen: Callable[[dict[str, Any]], None]) -> int:
    """Run the worker with --json to its end and return its exit code; each event goes to `listen`.

    Sentences for people come on its stderr, which stays ours.
    """
    try:
        with subprocess.Popen(
            [*command.line, *arguments, "--json"], env=command.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace",
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict):
                        listen(event)
        return process.returncode
    except OSError as error:
        raise _not_started(command, error) from error


def serve(command: WorkerCommand, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start the worker's service in the background, its words into `log`. It announces itself when it is ready."""
    log.parent.mkdir(parents=True, exist_ok=True)
    flags: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    try:
        with log.open("ab") as stream:
            return subprocess.Popen([*command.line, "serve", *arguments], env=command.environment(), stdout=stream,
                                    stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, **flags)  # fmt: skip
    except OSError as error:
        raise _not_started(command, error) from error


def _not_started(command: WorkerCommand, error: OSError) -> WorkerMissing:
    return WorkerMissing(
        "worker.start",
        f"The Assetize worker could not be started: {command.line[0]}: {error.strerror}.",
        f"无法启动 Assetize 工作进程：{command.line[0]}：{error.strerror}。",
        fix="assetize.preferences",
    )
