"""`assetize`: run, batch, serve, engines, doctor. Exit codes are worker.errors.ExitCode."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from worker import __version__
from worker.errors import AssetizeError, ExitCode
from worker.pipeline.plan import Plan
from worker.setup_command import as_typed

# Flags that take a path: the next word is theirs even if it starts with a dash.
_PATH_FLAGS = ("--input", "--output_root", "--blend", "--state_dir", "--allow", "--from")


class _Parser(argparse.ArgumentParser):
    """Tells a wrong argument in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.BAD_INPUT, f"{self.prog}: {message}. `{self.prog} --help` lists the arguments.\n")


def plain_flags(argv: Sequence[str]) -> list[str]:
    """--output-root is --output_root, and a path flag takes the next word whatever it starts with."""
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*words, word, *rest]
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            word = name.replace("-", "_").replace("__", "--", 1) + equals + value
            if word in _PATH_FLAGS and rest:
                word = f"{word}={rest.pop(0)}"
        words.append(word)
    return words


def parser() -> argparse.ArgumentParser:
    # Each command brings its own arguments and its own imports.
    from worker.cli import batch, doctor, engines, run, serve

    top = _Parser(prog="assetize", description="One film still in, one Blender scene out.")
    top.add_argument("--version", action="version", version=f"assetize {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for module in (run, batch, serve, engines, doctor):
        module.add_to(commands)
    return top


def tell(error: AssetizeError, language: str = "en") -> None:
    print(f"assetize: {error.zh if language == 'zh' else error.en}", file=sys.stderr)
    if error.fix:
        print(f"  {as_typed(error.fix)}", file=sys.stderr)


def main(argv: Sequence[str] | None = None, plan: Plan | None = None) -> int:
    """Run one command; returns its exit code. `plan`: other stages and engines than the product's own."""
    for stream in (sys.stdout, sys.stderr):  # a console that lacks a character shows an escape, never a traceback
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = parser().parse_args(plain_flags(sys.argv[1:] if argv is None else argv))
    try:
        return int(arguments.do(arguments, plan or Plan()))
    except AssetizeError as error:
        tell(error, getattr(arguments, "language", "en"))
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("assetize: stopped.", file=sys.stderr)
        return int(ExitCode.CANCELLED)
    except Exception as fault:
        return _internal(fault)


def _internal(fault: Exception) -> int:
    """A fault of ours: one sentence for the user, the traceback into a file for whoever mends it."""
    import traceback

    from worker.pipeline.sentences import keep_failure_log

    log = keep_failure_log("".join(traceback.format_exception(fault)))
    where = f" Please report it with the file {log}." if log else ""
    print(f"assetize: an unexpected fault of the program ({type(fault).__name__}: {fault}).{where}", file=sys.stderr)
    return int(ExitCode.INTERNAL)
