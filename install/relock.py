"""Remake the lock files after a change of dependencies. For maintainers; needs `pip install uv`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "install" / "locks"


def lock(target: str, *sources: Path | str) -> None:
    command = [sys.executable, "-m", "uv", "pip", "compile", *map(str, sources), "--output-file", str(LOCKS / target)]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    subprocess.run(command, cwd=LOCKS, check=True)


def main() -> None:
    lock("worker.txt", ROOT / "pyproject.toml")
    lock("test.txt", ROOT / "pyproject.toml", LOCKS / "test.in")  # a superset of the worker's, same versions
    lock("torch.txt", LOCKS / "torch.in", "--constraint", LOCKS / "worker.txt")
    lock("bpy.txt", LOCKS / "bpy.in")
    lock("bpy-test.txt", LOCKS / "bpy-test.in")


if __name__ == "__main__":
    main()
