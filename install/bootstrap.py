#!/usr/bin/env python3
"""Sets Assetize up on a fresh machine and starts it. Standard library only, so that any Python can run this file.

    python3 install/bootstrap.py run --input FILE     set up on first use, then do the main job
    python3 install/bootstrap.py gpu                  add PyTorch for this machine, which the large engines need
    python3 install/bootstrap.py test                 set up what tests need, run them
    python3 install/bootstrap.py batch | serve | engines | doctor | extension

Two environments, because Blender's Python and the worker's are two worlds (their numpy versions differ):
`.venv` for the worker, `.venv-bpy` for Blender as a Python module.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 8):  # noqa: UP036 - the message below must reach those who have an old Python
    sys.exit("Assetize needs Python 3.11 or 3.13; this is %d.%d." % sys.version_info[:2])  # noqa: UP031

import argparse
import os
import subprocess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from environments import (
    BPY,
    BPY_TEST,
    ROOT,
    TEST,
    TYPED,
    WORKER,
    Environment,
    SetupError,
    bpy_python,
    supported_python,
)  # fmt: skip

USAGE = TYPED + " {run,batch,serve,engines,gpu,doctor,extension,test} ..."


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bootstrap.py", usage=USAGE, add_help=False)
    parser.add_argument("command", nargs="?", default="help")
    arguments, rest = parser.parse_known_args(argv[:1]), argv[1:]
    command = arguments[0].command
    try:
        if command in ("help", "-h", "--help") or argv[:1] in (["-h"], ["--help"]):
            print((__doc__ or "").replace("python3 install/bootstrap.py", TYPED))
            return 0
        supported_python()
        if command in ("run", "batch"):
            wants_blend = not {"--no_blend", "--no-blend", "-h", "--help"} & set(rest)
            environments = [WORKER] + ([BPY] if wants_blend and not os.environ.get("ASSETIZE_BLENDER") else [])
            Environment.ensure_all(environments)
            return worker(command, rest)
        if command in ("serve", "engines"):
            Environment.ensure_all([WORKER])
            return worker(command, rest)
        if command == "gpu":
            return gpu(rest)
        if command == "doctor":
            return doctor(rest)
        if command == "extension":
            Environment.ensure_all([BPY])
            return extension(rest)
        if command == "test":
            return test(rest)
    except SetupError as error:
        print(f"Assetize could not be set up: {error}", file=sys.stderr)
        return 5
    except KeyboardInterrupt:
        print("\nStopped. What was installed is kept; the same command goes on from here.", file=sys.stderr)
        return 4
    print(f"There is no command “{command}”. Usage: {USAGE}", file=sys.stderr)
    return 2


def worker(command: str, rest: list[str]) -> int:
    """Run the worker in its environment; on POSIX this process becomes it, so signals reach it directly."""
    line = [str(WORKER.python), "-m", "worker", command, *rest]
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(line[0], line)
    return run(line)


def run(line: list[str], **options: object) -> int:
    """A child in the foreground; Ctrl-C goes to both, and the child's answer counts."""
    process = subprocess.Popen(line, **options)  # type: ignore[call-overload]
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def doctor(rest: list[str]) -> int:
    """Environments first, by this file; engines and machine by the worker, where it is installed."""
    for environment in (WORKER, BPY):
        state = "installed" if environment.ready() else "missing or out of date"
        print(f"{environment.title:34} {state:24} {environment.folder.name}")
    if not WORKER.ready():
        print(f"Mend it with: {TYPED} run --input FILE")
        return 1
    return run([str(WORKER.python), "-m", "worker", "doctor", *rest])


def gpu(rest: list[str]) -> int:
    """Put PyTorch into the worker's environment, in the build that fits this machine."""
    import torch_build

    parser = argparse.ArgumentParser(prog="bootstrap.py gpu", description=gpu.__doc__)
    parser.add_argument("--device", choices=("auto", "cuda", "mps", "cpu"), default="auto",
                        help="what PyTorch shall work on (default: the GPU where there is one)")
    parser.add_argument("--index", metavar="URL", help="take it from this package index, a mirror for instance; "
                        f"“default” is pip's own. {torch_build.OVERRIDE} does the same")
    ours = parser.parse_args(rest)
    return torch_build.main(ours.device, ours.index)


def extension(rest: list[str]) -> int:
    """Build dist/assetize-X.Y.Z.zip with Blender's own builder, then let Blender's own validator read it."""
    out = Path(rest[0]) if rest else ROOT / "dist"
    out.mkdir(parents=True, exist_ok=True)
    find = "import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec('bpy').origin).parent)"
    package = Path(subprocess.check_output([str(BPY.python), "-c", find], text=True).strip())
    builder = next(package.rglob("bl_pkg/cli/blender_ext.py"), None)
    if builder is None:
        raise SetupError(f"the bpy package in {BPY.folder} has no extension builder; delete that folder and try again.")
    source = ROOT / "blender_addon"
    answer = run([str(BPY.python), str(builder), "build", "--source-dir", str(source), "--output-dir", str(out)])
    if answer == 0:
        newest = max(out.glob("assetize-*.zip"), key=lambda path: path.stat().st_mtime)
        answer = run([str(BPY.python), str(builder), "validate", str(newest)])
        print(f"Built {newest}. Install it in Blender: Edit > Preferences > Get Extensions > Install from Disk.")
    return answer


def test(rest: list[str]) -> int:
    """The worker's tests, then the add-on's in Blender as a module; more Blenders where their Python is found.

    Options of its own: --worker-only, --blender-only, --blender 4.2|4.5|5.2 (repeatable). The rest goes to pytest.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--worker-only", action="store_true")
    parser.add_argument("--blender-only", action="store_true")
    parser.add_argument("--blender", action="append", default=[])
    ours, pytest_arguments = parser.parse_known_args(rest)
    Environment.ensure_all([TEST] + ([] if ours.worker_only else [BPY_TEST]))
    failures = []
    if not ours.blender_only:
        line = [str(TEST.python), "-m", "pytest", "--ignore", "tests/blender", "--ignore", "tests/window"]
        failures += [run([*line, *pytest_arguments], cwd=ROOT)]
    if not ours.worker_only:
        for version in ours.blender or [None]:
            python = bpy_python(version)
            line = [str(python), "-m", "pytest", "tests/blender", "-c", str(ROOT / "tests" / "blender" / "pytest.ini")]
            failures += [run([*line, *pytest_arguments], cwd=ROOT)]
    return max(failures, key=abs, default=0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
