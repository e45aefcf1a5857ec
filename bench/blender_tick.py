"""What the panel's timer costs Blender's main thread while a still is worked on. No Blender needed:

    .venv/bin/python bench/blender_tick.py [still]

Starts the service, sends the still and a 64 MB file that is none, follows both to their end, then fetches the session
as from another machine. One JSON line: processor time of the thread per tick, which other programs' load leaves alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from blender_addon.core.client import announced  # noqa: E402
from blender_addon.core.jobs import Board  # noqa: E402


def main(still: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        large = home / "large.png"
        large.write_bytes(bytes(64 << 20))
        line = [sys.executable, "-m", "worker", "serve", "--state_dir", str(home), "--output_root", str(home / "out")]
        service = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL)
        spent: list[float] = []
        board = Board(lambda: announced(home))

        def run(until) -> None:  # type: ignore[no-untyped-def]
            end = time.monotonic() + 600
            while not until() and time.monotonic() < end:
                started = time.thread_time()
                board.tick()
                spent.append(time.thread_time() - started)
                time.sleep(board.next_tick_s())

        try:
            for path in (large, still):
                board.submit(path.name, path, {"no_blend": True}, None, False)
            run(lambda: len(board.jobs) == 2 and all(job.final for job in board.jobs))
            job = next(job for job in board.jobs if job.state in ("done", "partial"))
            job.folder = "elsewhere/" + still.stem
            board.bring(job, home / "here", lambda job: None)
            run(lambda: job.here is not None)
            told = sorted(1000 * each for each in spent)
            fetched = sum(file.stat().st_size for file in job.here.rglob("*"))
            print(json.dumps({"ticks": len(told), "median_ms": round(told[len(told) // 2], 3),
                              "p99_ms": round(told[int(0.99 * len(told))], 2), "slowest_ms": round(told[-1], 2),
                              "fetched_mb": round(fetched / 1e6)}))  # fmt: skip
        finally:
            service.terminate()
            service.wait(20)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples" / "tabletop.png")
