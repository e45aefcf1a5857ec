"""Where the time goes: runs examples through the front door and tables seconds and memory by stage.

    .venv/bin/python bench/stage_times.py [STILL ...] [--runs 3] [--json FILE]

Each run gets a fresh output folder, so nothing is resumed; the first run of all is a warm-up and not counted.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent


def one_run(still: Path, out: Path) -> dict[str, float]:
    """Wall seconds by stage, and `total` of the whole command."""
    start = time.perf_counter()
    line = [sys.executable, "-m", "worker", "run", "--input", str(still), "--output_root", str(out), "--json"]
    answer = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    total = time.perf_counter() - start
    if answer.returncode != 0:
        sys.exit(f"the run of {still.name} ended with {answer.returncode}: {answer.stderr[-400:]}")
    session = json.loads(next(out.glob("*/session.json")).read_text(encoding="utf-8"))
    stages = session["stages"].items()
    times = {name: stage["seconds"] or 0.0 for name, stage in stages if stage["state"] == "done"}
    times["peak_memory_mb"] = max(stage["peak_memory_mb"] or 0.0 for _, stage in stages)
    if gpu := max(stage.get("peak_gpu_memory_mb") or 0.0 for _, stage in stages):
        times["peak_gpu_mb"] = gpu
    times["total"] = total
    return times


def machine() -> str:
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count()
    return f"{platform.system()} {platform.machine()}, {cores} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stills", nargs="*", type=Path, default=sorted((ROOT / "examples").glob("*.png")))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        one_run(arguments.stills[0], Path(scratch) / "warm-up")
        for still in arguments.stills:
            runs = [one_run(still, Path(scratch) / f"{still.stem}-{index}") for index in range(arguments.runs)]
            table[still.stem] = {key: round(statistics.median(run[key] for run in runs), 2) for key in runs[0]}
    rows = list(next(iter(table.values())))
    print(f"median of {arguments.runs} runs, seconds; {machine()}\n")
    print(f"{'stage':16}" + "".join(f"{name:>14}" for name in table))
    for row in rows:
        print(f"{row:16}" + "".join(f"{times.get(row, 0):14.1f}" for times in table.values()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "stills": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
