# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the worker's Python and running its command line; the add-on never imports the worker."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import WorkerMissing


def find_worker(preferred: str = "", environment: Mapping[str, str] | None = None) -> list[str]:
    """The command that runs the worker's CLI: preferences, then ASSETIZE_WORKER, then the .venv of this repository.

    Each may name a Python that has the worker, the `assetize` executable, or a folder with a .venv in it.
    Raises WorkerMissing with what to do.
    """
    environment = os.environ if environment is None else environment
    said = [text for text in (preferred.strip(), environment.get("ASSETIZE_WORKER", "").strip()) if text]
    repository = Path(__file__).resolve().parents[2]
    for candidate in [*map(Path, said), repository]:
        command = _command(candidate.expanduser())
        if command:
            return command
    asked = f" ({said[0]} is no worker)" if said else ""
    raise WorkerMissing(
        "worker.missing",
        f"The Assetize worker was not found{asked}. In the Assetize folder run: python3 install/bootstrap.py serve, "
        "then set that folder in the add-on's preferences or in ASSETIZE_WORKER.",
        f"未找到 Assetize 工作进程{asked and f'（{said[0]} 无效）'}。请在 Assetize 目录中运行 "
        "python3 install/bootstrap.py serve，然后在插件偏好设置或 ASSETIZE_WORKER 中填写该目录。",
        fix="assetize.preferences",
    )


def _command(candidate: Path) -> list[str] | None:
    if candidate.is_dir():
        for python in (candidate / ".venv" / "bin" / "python", candidate / ".venv" / "Scripts" / "python.exe",
                       candidate / "bin" / "python", candidate / "Scripts" / "python.exe"):  # fmt: skip
            if python.is_file():
                return [str(python), "-m", "worker"]
        return None
    if not candidate.is_file():
        return None
    return [str(candidate), "-m", "worker"] if candidate.stem.lower().startswith("python") else [str(candidate)]


def run_worker(command: Sequence[str], arguments: Sequence[str], listen: Callable[[dict[str, Any]], None]) -> int:
    """Run `command arguments --json` to its end and return its exit code; each event goes to `listen`.

    Sentences for people come on its stderr, which stays ours.
    """
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
    folder = Path(__file__).resolve().parents[2]  # `-m worker` of a checkout is found from its own folder
    if (folder / "worker").is_dir():
        environment["PYTHONPATH"] = str(folder)
    try:
        with subprocess.Popen(
            [*command, *arguments, "--json"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            text=True, encoding="utf-8", errors="replace",
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict):
                        listen(event)
        return process.returncode
    except OSError as error:
        raise WorkerMissing(
            "worker.start",
            f"The Assetize worker could not be started: {command[0]}: {error.strerror}.",
            f"无法启动 Assetize 工作进程：{command[0]}：{error.strerror}。",
            fix="assetize.preferences",
        ) from error
