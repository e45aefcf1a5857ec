"""Harvest alone, on photographs or film frames whose things were outlined by hand.

python -m bench.frames FOLDER [--out DIR] [--max_props 24] [--engine STAGE=NAME] [--json FILE]

The folder holds `NAME.jpg` (or .png) and `NAME.json` beside it; the format stands in bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from bench import metrics as m
from bench import report
from bench.judge import in_still
from worker.host.pool import HostPool
from worker.pipeline.conductor import Conductor
from worker.pipeline.job import Job
from worker.pipeline.plan import Plan
from worker.session.options import Options

STAGES = ("plate", "geometry", "harvest")
KINDS = ("thing", "vehicle", "animal", "fixture", "person", "crowd", "stuff")
MIN_AREA, MAX_AREA = 0.004, 0.5  # share of the picture
MAX_AT_EDGE = 0.12  # share of the outline on the picture's edge: more is cut off
WHOLE = 0.75  # share of the mask in its largest piece: less is hidden behind something
EDGE = 5  # px; hands stop a little short of the picture's edge


@dataclass(frozen=True)
class Thing:
    label: str
    kind: str
    mask: m.Mask

    def is_wanted(self, kinds: tuple[str, ...] = ("thing",)) -> bool:
        """Movable and countable, of a size to be rebuilt, inside the picture and in one piece."""
        share = float(self.mask.mean())
        fits = self.kind in kinds and MIN_AREA <= share <= MAX_AREA
        return fits and _at_edge(self.mask) <= MAX_AT_EDGE and _largest_piece(self.mask) >= WHOLE


@dataclass(frozen=True)
class Frame:
    name: str
    picture: Path
    source: str
    things: list[Thing]


# --- reading ----------------------------------------------------------------------------------------------------------
def read_frame(record: Path) -> Frame:
    """NAME.json and the picture beside it. ValueError where a kind is unknown or a mask has neither outline."""
    data = json.loads(record.read_text(encoding="utf-8"))
    picture = next((p for ending in (".jpg", ".jpeg", ".png") if (p := record.with_suffix(ending)).exists()), None)
    if picture is None:
        raise ValueError(f"there is no picture beside {record}")
    shape = (int(data["height"]), int(data["width"]))
    things = []
    for entry in data["things"]:
        if entry["kind"] not in KINDS:
            raise ValueError(f"{record.name}: unknown kind {entry['kind']}; known are {', '.join(KINDS)}")
        things.append(Thing(entry["label"], entry["kind"], decode(entry, shape)))
    return Frame(record.stem, picture, data.get("source", ""), things)


def decode(entry: dict[str, Any], shape: tuple[int, int]) -> m.Mask:
    """`polygons` [[x, y, x, y, ...], ...], their union; or `rle`, run lengths column by column, the first one empty."""
    if "rle" in entry:
        runs = np.asarray(entry["rle"], int)
        if runs.sum() != shape[0] * shape[1]:
            raise ValueError(f"{entry['label']}: the runs hold {runs.sum()} pixels, the picture {shape[0] * shape[1]}")
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape[::-1]).T
    mask = np.zeros(shape, np.uint8)
    for polygon in entry["polygons"]:  # one by one: filled together, an overlap would become a hole
        corners = np.rint(np.asarray(polygon, float).reshape(-1, 1, 2) - 0.5).astype(np.int32)
        cv2.fillPoly(mask, [corners], 1)
    return mask > 0


def _at_edge(mask: m.Mask) -> float:
    outline = mask & ~cv2.erode(np.pad(mask, 1).astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1].astype(bool)
    inner = np.zeros_like(mask)
    inner[EDGE:-EDGE, EDGE:-EDGE] = True
    return float((outline & ~inner).sum() / max(1, outline.sum()))


def _largest_piece(mask: m.Mask) -> float:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return float(stats[1:, cv2.CC_STAT_AREA].max(initial=0) / max(1, mask.sum()))


# --- judging ----------------------------------------------------------------------------------------------------------
def judge_frame(frame: Frame, taken: list[m.Mask], kinds: tuple[str, ...] = ("thing",)) -> dict[str, Any]:
    """Figures of one picture; None where there is nothing to measure."""
    wanted = [t for t in frame.things if t.is_wanted(kinds)]
    others = [t for t in frame.things if not t.is_wanted(kinds) and t.kind not in ("person", "stuff")]
    crowd = _union([t.mask for t in frame.things if t.kind == "crowd"], frame)
    people = _union([t.mask for t in frame.things if t.kind == "person"], frame)
    # A heap that nobody took apart says nothing of the things in it.
    judged = [mask for mask in taken if (mask & crowd).sum() <= 0.5 * mask.sum()]
    found = m.match_masks(judged, [t.mask for t in wanted], [t.mask for t in others])
    tolerance = max(1.0, 0.0075 * float(np.hypot(*people.shape)))  # 0.75 % of the diagonal, as DAVIS has it
    contours = [m.boundary_f(judged[i], wanted[j].mask, tolerance) for i, j, _ in found.pairs]
    return {
        "name": frame.name,
        "recall": found.recall if wanted else None,
        "precision": found.precision if found.predicted else None,
        "IoU": float(np.mean([score for *_, score in found.pairs])) if found.pairs else None,
        "boundary F": float(np.mean(contours)) if contours else None,
        "people taken": sum(bool((mask & people).sum() > 0.5 * mask.sum()) for mask in taken),
        "people": sum(t.kind == "person" for t in frame.things),
        "wanted": len(wanted), "found": len(found.pairs), "taken": found.predicted,
        "found labels": [wanted[j].label for _, j, _ in found.pairs], "wanted labels": [t.label for t in wanted],
    }


def _union(masks: list[m.Mask], frame: Frame) -> m.Mask:
    empty = np.zeros(frame.things[0].mask.shape, bool)
    return np.logical_or.reduce([empty, *masks])


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over pictures, and the same over all things together."""
    mean = {key: float(np.mean(values)) if (values := [r[key] for r in rows if r[key] is not None]) else None
            for key in ("recall", "precision", "IoU", "boundary F")}
    total = {key: int(sum(r[key] for r in rows)) for key in ("wanted", "found", "taken", "people taken", "people")}
    return {"pictures": len(rows), "pictures with wanted things": sum(r["wanted"] > 0 for r in rows), "mean": mean,
            "total": total, "recall over all things": total["found"] / max(1, total["wanted"]),
            "precision over all masks": total["found"] / max(1, total["taken"])}


# --- running ----------------------------------------------------------------------------------------------------------
def harvested(frame: Frame, pool: HostPool, options: Options, out: Path) -> list[m.Mask]:
    """The masks that the pipeline takes out of one picture, at the picture's size."""
    outcome = Conductor(Job(frame.picture, options, out, fresh=True), pool, plan=Plan(names=STAGES)).run()
    if outcome.session.state != "done":
        raise SystemExit(f"{frame.name}: the run ended {outcome.session.state}; see {outcome.folder / 'session.json'}")
    manifest = json.loads((outcome.folder / "props" / "harvest_manifest.json").read_text(encoding="utf-8"))
    crop, shape = list(outcome.session.input.crop), frame.things[0].mask.shape
    return [in_still(np.asarray(Image.open(outcome.folder / p["mask"]).convert("L")), crop, shape) > 127
            for p in manifest["props"]]


def measured(folder: Path, out: Path, options: Options, kinds: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    records = sorted(folder.glob("*.json"))
    if not records:
        raise SystemExit(f"No NAME.json in {folder}; bench/README.md tells the format.")
    with HostPool() as pool:
        for record in records:
            frame = read_frame(record)
            taken = harvested(frame, pool, options, out / "sessions")
            wanted = [t.mask for t in frame.things if t.is_wanted(kinds)]
            still = np.asarray(Image.open(frame.picture).convert("RGB"))
            Image.fromarray(report.outlined(still, wanted, taken)).save(out / f"{frame.name}.png")
            yield {**judge_frame(frame, taken, kinds), "source": frame.source}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, help="sessions and pictures with both outlines go here")
    parser.add_argument("--max_props", type=int, default=24, help="the product's own default is 8")
    parser.add_argument("--wanted", default="thing", help="kinds that must be found, with commas (default thing)")
    parser.add_argument("--engine", action="append", default=[], metavar="STAGE=NAME")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    engines = {"geometry": "embedded", "harvest": "embedded"} | dict(e.split("=", 1) for e in args.engine)
    options = Options.model_validate({"max_props": args.max_props, "engines": engines, "no_blend": True})
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        out = args.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        for row in measured(args.folder, out, options, tuple(args.wanted.split(","))):
            rows.append(row)
            print(f"{row['name']}: {row['found']} of {row['wanted']} found, {row['taken']} taken, "
                  f"{row['people taken']} of them people", flush=True)
    whole = summary(rows)
    print(json.dumps(whole, indent=1))
    if args.json:
        kinds = dict(Counter(row["source"] for row in rows))
        args.json.write_text(json.dumps({"sources": kinds, **whole, "each": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
