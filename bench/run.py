"""Run any choice of engines through the front door over the bench's stills and say what came out.

python -m bench.run --cache DIR --out DIR [--split dev] [--count 24] [--examples] [-- any options of `run`]

Everything after `--` goes to `python -m worker run`, e.g. `-- --engine geometry=embedded --max_props 6`.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench import metrics, report
from bench.judge import in_still, judge, read_clouds
from bench.truth import Truth, read_example, read_scene
from worker.formats.gaussians import GaussianCloud
from worker.formats.rasteriser import render

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    ours, theirs = split(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, help="where bench.scenes put its stills")
    parser.add_argument("--out", type=Path, required=True, help="sessions and results go here")
    parser.add_argument("--split", choices=("dev", "holdout"), default="dev")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--examples", action="store_true", help="the three example stills instead")
    parser.add_argument("--judge_only", action="store_true", help="measure sessions that an earlier call made")
    args = parser.parse_args(ours)
    truths = choose(args)
    args.out.mkdir(parents=True, exist_ok=True)
    results = []
    for truth in truths:
        result = one(truth, args.out, theirs, args.judge_only)
        results.append(result)
        print(f"{truth.name}: {result['state']}, {result['wall_seconds']:.0f} s {result['error'] or ''}", flush=True)
    about = {"split": "examples" if args.examples else args.split, "stills": len(results), "options": " ".join(theirs),
             "commit": commit(), "machine": f"{platform.system()} {platform.machine()}",
             "python": platform.python_version()}
    print(report.write(args.out, results, about))
    print(f"\n{args.out / 'report.html'}")


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """The bench's own arguments, and the worker's after a lone `--`."""
    at = argv.index("--") if "--" in argv else len(argv)
    return argv[:at], argv[at + 1 :]


def choose(args: argparse.Namespace) -> list[Truth]:
    if args.examples:
        return [read_example(ROOT / "examples", name) for name in ("interior", "street", "tabletop")]
    if args.cache is None:
        raise SystemExit("Say where the stills are: --cache DIR, made by `python -m bench.scenes --cache DIR`.")
    folders = sorted((args.cache / "scenes").glob(f"{args.split}_*"))[: args.count]
    truths = [read_scene(folder) for folder in folders if (folder / "truth.json").exists()]
    if not truths:
        raise SystemExit(f"No finished stills of split {args.split} in {args.cache}. Make them with "
                         f"`python -m bench.scenes --cache {args.cache} --split {args.split}`.")
    return truths


def one(truth: Truth, out: Path, options: list[str], judge_only: bool) -> dict[str, Any]:
    """Run one still and judge it. A run that fails is a result too: its state and sentence stand in the table."""
    picture = out / "stills" / f"{truth.name}.png"
    picture.parent.mkdir(exist_ok=True)
    shutil.copyfile(truth.still, picture)
    sessions = out / "sessions"
    session = sessions / truth.name
    began = time.perf_counter()
    error = None
    if not judge_only:
        command = [sys.executable, "-m", "worker", "run", "--input", str(picture), "--output_root", str(sessions),
                   "--no_blend", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            error = f"exit {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}"
    wall = time.perf_counter() - began
    if not (session / "session.json").exists():
        return {"name": truth.name, "state": "no session", "error": error, "wall_seconds": wall, "figures": {},
                "props": [], "stages": {}}
    result = judge(truth, session)
    return {"name": truth.name, "wall_seconds": wall, "error": error, **result, "strip": panels(truth, session)}


def panels(truth: Truth, session: Path) -> str:
    """The row of pictures for the page."""
    record = json.loads((session / "session.json").read_text(encoding="utf-8"))
    crop, shape = record["input"]["crop"], truth.ids.shape
    taken = []
    manifest = session / "props" / "harvest_manifest.json"
    if manifest.exists():
        taken = [in_still(np.asarray(Image.open(session / p["mask"]).convert("L")), crop, shape) > 127
                 for p in json.loads(manifest.read_text(encoding="utf-8"))["props"]]
    still = np.asarray(Image.open(truth.still).convert("RGB"))
    shown = [report.outlined(still, [truth.mask(o) for o in truth.objects if o.is_prop], taken),
             report.depth_picture(truth.depth, truth.depth)]
    if (session / "dust3r" / "pointmap.npz").exists():
        with np.load(session / "dust3r" / "pointmap.npz") as data:
            step = truth.stride
            z = in_still(data["points"][..., 2].astype(float), crop, shape, np.nan)[::step, ::step]
            mask = in_still(data["mask"], crop, shape)[::step, ::step]
        where = mask & np.isfinite(truth.depth) & (z > 0)
        if where.sum() > 100:
            aligned = np.where(mask, metrics.align_disparity(z, truth.depth, where), np.inf)
            shown.append(report.depth_picture(aligned, truth.depth))
    scene = record.get("scene")
    if scene and (session / "scene_visual" / "scene.ply").exists():
        half = np.diag([0.5, 0.5, 1]) @ np.array(scene["intrinsics"])
        cloud = GaussianCloud(**read_clouds(session, scene))
        seen = render(cloud, np.eye(4), half.astype(np.float32), (scene["height"] // 2, scene["width"] // 2)).color
        shown.append((np.clip(seen, 0, 1) * 255).astype(np.uint8))
    return report.strip(shown)


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
