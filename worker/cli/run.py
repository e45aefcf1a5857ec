"""`assetize run`: one still, one session."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from worker.cli.arguments import add_options, options_from
from worker.cli.show import Display, cancel_on_signals
from worker.errors import ExitCode, InputError, OutputError
from worker.host.pool import HostPool
from worker.pipeline.conductor import Conductor
from worker.pipeline.job import Job, Outcome
from worker.pipeline.plan import Plan
from worker.session.layout import SessionFolder


def add_to(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("run", help="make a scene from one still")
    parser.add_argument("--input", type=Path, required=True, metavar="STILL", help="the picture")
    add_options(parser)
    parser.add_argument("--blend", type=Path, metavar="FILE", help="also copy scene.blend to FILE")
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace, plan: Plan) -> int:
    options = options_from(arguments)
    check_blend(arguments.blend, options.no_blend)
    job = Job(arguments.input, options, arguments.output_root, fresh=arguments.fresh)
    with HostPool() as pool, Display(arguments.json, options.language) as display, cancel_on_signals() as cancel:
        outcome = Conductor(job, pool, display.take, cancel, plan=plan).run()
    code = outcome.exit_code
    if arguments.blend is not None and code != ExitCode.CANCELLED:
        copy_blend(outcome, arguments.blend)
    return int(code)


def check_blend(target: Path | None, no_blend: bool) -> None:
    """Say before an hour's work what would fail after it."""
    if target is None:
        return
    if no_blend:
        raise InputError(
            "options.blend", "--blend and --no_blend exclude each other.", "--blend 与 --no_blend 不能同时使用。"
        )
    if target.is_dir():
        raise OutputError(
            "output.blend_is_folder",
            f"{target} is a folder; --blend names a file.",
            f"{target} 是文件夹；--blend 须指定文件。",
        )


def copy_blend(outcome: Outcome, target: Path) -> None:
    """Raises OutputError where the copy cannot be written, or there is nothing to copy."""
    blend = SessionFolder(outcome.folder).blend
    if not blend.is_file():
        error = OutputError(
            "output.no_blend",
            f"There is no scene.blend to copy to {target}; the session in {outcome.folder} says why.",
            f"没有可复制到 {target} 的 scene.blend；原因见 {outcome.folder} 中的会话记录。",
        )
        error.exit_code = ExitCode.PARTIAL
        raise error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(blend, target)
    except OSError as fault:
        raise OutputError(
            "output.blend",
            f"scene.blend cannot be copied to {target} ({fault.strerror}); it stands in {outcome.folder}.",
            f"无法将 scene.blend 复制到 {target}（{fault.strerror}）；文件保留在 {outcome.folder}。",
        ) from None
