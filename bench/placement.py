"""Placement on truth: known bodies, known masks, known or estimated depth; how well do props find their place?

python -m bench.placement --cache DIR [--seeds even|odd|all] [--bodies mesh embedded] [--depth true session]
    [--boxes none|true|session] [--out DIR]

`mesh`: the true mesh in a random canonical pose (random heading, unit box, Z up, no texture) stands in for a
generator's output: what TRELLIS and SAM 3D Objects give. `embedded`: the embedded engine's own body. Masks are the true
visible ones, so that harvest's errors stay out. `true` depth and camera are the renderer's; `session` are what the
embedded geometry engine makes of the still. `--boxes`: what is known of objects' boxes: nothing, the truth relative to
the points that are seen, or what the geometry engine says. Stills are bench.scenes' and, where CACHE/examples has their
meshes (bench.example_meshes), the three examples. The figures are in metres after ONE factor a still (median depth
ratio).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from bench import metrics as m
from bench.box_votes import votes_of
from bench.judge import F_TOLERANCE, POINTS, silhouette, symmetry
from bench.truth import TrueObject, Truth, read_example, read_scene
from worker.engines.contract import GeometryRequest, GeometryResult, PropRequest
from worker.engines.embedded.learned_geometry import LearnedGeometry
from worker.engines.embedded.props import EmbeddedProps
from worker.formats.mesh import TexturedMesh
from worker.formats.pointmap import pixel_rays
from worker.placement.place import Made, Placing, Surroundings, place, push_apart
from worker.pointmaps.box_to_mask import believed_box

ROOT = Path(__file__).resolve().parents[1]
MOST_PROPS = 8
FAR = 1e3  # metres, for the sky
FIGURES = ("yaw error", "box IoU", "gap", "penetration", "own gap", "silhouette IoU", "distance error", "F-score")


@dataclass
class View:
    """A still as placement sees it; `factor` brings it to metres."""

    around: Surroundings
    gravity: m.Array
    factor: float
    ground_confidence: float
    votes: m.Array | None = None


def true_view(truth: Truth, image: m.Array) -> View:
    height, width = truth.ids.shape
    intrinsics = np.array(truth.record["intrinsics"])
    depth = cv2.resize(truth.depth.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    known = np.isfinite(depth)
    points = pixel_rays(height, width, intrinsics.astype(np.float32)) * np.where(known, depth, FAR)[..., None]
    plane = truth.record["ground_plane"]
    around = Surroundings(points.astype(np.float32), known, image, intrinsics, truth.up,
                          (np.array(plane["normal"]), plane["offset"]))
    return View(around, -truth.up, 1.0, 1.0)


def session_view(truth: Truth, image: m.Array, made: GeometryResult) -> View:
    step = truth.stride
    depth = made.points[::step, ::step, 2]
    where = np.isfinite(truth.depth) & made.mask[::step, ::step]
    factor = float(np.median(truth.depth[where] / depth[where]))
    ground = None if made.ground_plane is None else (made.ground_plane[0].astype(float), made.ground_plane[1])
    relief = not any(n.degraded for n in made.notices)
    around = Surroundings(made.points, made.mask, image, made.intrinsics.astype(float), -made.gravity.astype(float),
                          ground, relief)
    return View(around, made.gravity.astype(float), factor, 0.0 if ground is None else made.ground_plane[2])


def canonical(vertices: m.Array, faces: m.Array, seed: int) -> tuple[TexturedMesh, m.Array]:
    """The mesh as a generator would give it, and the 4x4 similarity canonical_from_object."""
    rng = np.random.default_rng(seed)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", rng.uniform(0, 2 * np.pi)).as_matrix()
    turned = vertices @ turn[:3, :3].T
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = 1 / float((high - low).max())
    origin = np.array([0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1]), low[2]])
    turn[:3] *= scale
    turn[:3, 3] = -scale * origin
    grey = np.full((4, 4, 3), 128, np.uint8)
    there = ((turned - origin) * scale).astype(np.float32)
    return TexturedMesh(there, faces.astype(np.int32), np.zeros((len(there), 2), np.float32), grey), turn


def true_votes(truth: Truth, around: Surroundings) -> m.Array:
    """What a perfect network would say of every object, from the points that are seen: exact with true depth only.

    Things without a heading have none here either.
    """
    things = []
    for thing in truth.objects:
        pose, mask = thing.camera_from_object, truth.mask(thing)
        if pose is None or thing.low is None or not mask.any():
            continue
        mesh = truth.mesh(thing) if thing.is_prop else None
        sides = thing.high - thing.low
        fold = 1 if mesh is None else symmetry(m.sample_surface(*mesh, POINTS), float(np.linalg.norm(sides)))
        centre = pose[:3, :3] @ (0.5 * (thing.low + thing.high)) + pose[:3, 3]
        things.append((mask, centre, pose[:3, 0], sides, fold != 0))
    depth = cv2.resize(truth.depth.astype(np.float32), truth.ids.shape[::-1], interpolation=cv2.INTER_NEAREST)
    height, width = truth.ids.shape
    intrinsics = np.array(truth.record["intrinsics"], np.float32)
    return votes_of(things, pixel_rays(height, width, intrinsics) * depth[..., None], truth.up)


def embedded_request(mask: m.Mask, view: View, label: str) -> PropRequest:
    rows, columns = np.nonzero(mask)
    pad = 8
    x, y = max(0, int(columns.min()) - pad), max(0, int(rows.min()) - pad)
    x1, y1 = min(mask.shape[1], int(columns.max()) + pad + 1), min(mask.shape[0], int(rows.max()) + pad + 1)
    window = np.s_[y:y1, x:x1]
    alpha = cv2.GaussianBlur(mask[window].astype(np.float32) * 255, (0, 0), 0.7).round().astype(np.uint8)
    around = view.around
    plane = None if around.ground is None else (
        np.float32(around.ground[0]), around.ground[1], view.ground_confidence)
    box, _ = believed_box(view.votes, mask, around.points, around.valid, around.up, around.intrinsics)
    return PropRequest(np.dstack([around.image[window], alpha]), (x, y, x1 - x, y1 - y), around.points[window],
                       around.valid[window], np.float32(around.intrinsics), np.float32(view.gravity), plane, label,
                       around.relief, object_box=box)


def figures(truth: Truth, thing: TrueObject, item: Placing, view: View, rigid: m.Array, low: m.Array, high: m.Array
            ) -> dict[str, float | None]:
    """One placed prop; `rigid` and `low`..`high`: its own box in metres."""
    factor, up = view.factor, truth.up
    pose, true_pose = rigid, thing.camera_from_object
    assert true_pose is not None and thing.low is not None and thing.high is not None
    vertices = item.vertices * factor
    foot = true_pose[:3, 3] + up * thing.low[2]
    height = (vertices - foot) @ up  # the lowest vertex itself: few of a mesh's vertices may be at its feet
    gap, sunk = (max(side * float(height.min()), 0.0) / float(np.ptp(height)) for side in (1, -1))
    size = truth.ids.shape[::-1]
    seen = silhouette(item.vertices, item.made.mesh.faces, view.around.intrinsics, size)
    middle = [p[:3, :3] @ (0.5 * (a + b)) + p[:3, 3]
              for p, a, b in ((pose, low, high), (true_pose, thing.low, thing.high))]
    own = item.gap(view.around.up)
    out: dict[str, float | None] = {
        "box IoU": m.box_iou(m.Box(pose, low, high), m.Box(true_pose, thing.low, thing.high)),
        "silhouette IoU": m.iou(seen, truth.mask(thing)), "gap": gap, "penetration": sunk,
        "own gap": None if own is None else abs(own) / float(np.ptp(item.vertices @ view.around.up)),
        "distance error": float(np.linalg.norm(middle[0]) / np.linalg.norm(middle[1])) - 1,
        "yaw error": None, "F-score": None,
    }
    mesh = truth.mesh(thing)
    if mesh is not None:
        diagonal = float(np.linalg.norm(thing.high - thing.low))
        true_points = m.sample_surface(*mesh, POINTS)
        there = true_points @ true_pose[:3, :3].T + true_pose[:3, 3]
        points = m.sample_surface(vertices, item.made.mesh.faces, POINTS)
        out["F-score"] = m.f_score(points, there, F_TOLERANCE * diagonal)
        fold = symmetry(true_points, diagonal)
        out["yaw error"] = m.yaw_error(pose[:3, :3], true_pose[:3, :3], up, fold) if fold else None
    return out


def rigid_box(item: Placing, factor: float, inner: m.Array, low: m.Array, high: m.Array
              ) -> tuple[m.Array, m.Array, m.Array]:
    """Metres: rigid camera_from_box, low, high of the box `low`..`high` in a frame with prop_from_frame `inner`."""
    pose = item.pose.matrix @ inner
    scale = float(np.cbrt(np.linalg.det(pose[:3, :3])))
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = pose[:3, :3] / scale, pose[:3, 3] * factor
    return rigid, low * scale * factor, high * scale * factor


def one_still(truth: Truth, image: m.Array, view: View, body: str, engine: EmbeddedProps) -> list[dict[str, Any]]:
    things = sorted((o for o in truth.objects if o.is_prop), key=lambda o: -int(truth.mask(o).sum()))[:MOST_PROPS]
    made, inner = [], {}
    for thing in things:
        key = str(thing.id)
        mask = truth.mask(thing)
        if body == "mesh":
            mesh = truth.mesh(thing)
            if mesh is None:
                continue
            canon, inner[key] = canonical(*mesh, zlib.crc32(f"{truth.name} {thing.id}".encode()))
            made.append(Made(key, thing.label, mask, canon))
        else:
            request = embedded_request(mask, view, thing.label)
            result = engine.run(request, lambda fraction: None)
            pose = None if result.camera_from_prop is None else result.camera_from_prop.astype(float)
            below = 0.0
            if request.object_box is not None and pose is not None:
                below = request.object_box.reaches_below(result.mesh.vertices @ pose[:3, :3].T + pose[:3, 3])
            made.append(Made(key, thing.label, mask, result.mesh, pose, result.metric, below))
    began = time.process_time()
    placed = place(made, view.around, lambda item, error: print(f"{truth.name} {item.label}: {error}"))
    push_apart(placed, view.around.up)
    seconds = (time.process_time() - began) / max(len(made), 1)
    rows = []
    by_id = {str(o.id): o for o in things}
    for item in placed:
        thing = by_id[item.made.id]
        if body == "mesh":
            box = rigid_box(item, view.factor, inner[item.made.id], thing.low, thing.high)
        else:
            vertices = item.made.mesh.vertices.astype(float)
            box = rigid_box(item, view.factor, np.eye(4), vertices.min(axis=0), vertices.max(axis=0))
        row = figures(truth, thing, item, view, *box)
        kept = [step["step"] for step in item.steps if step["kept"]]
        rows.append({"still": truth.name, "label": thing.label, **row, "grounded": item.grounded, "cpu s": seconds,
                     "support": None if item.support is None else item.support.source, "steps": kept})
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    def of(name: str) -> m.Array:
        return np.array([r[name] for r in rows if r[name] is not None], float)

    yaw = of("yaw error")
    out = {"props": len(rows), "with a heading": len(yaw),
           "yaw within 15 deg": float((yaw <= 15).mean()) if len(yaw) else float("nan"),
           "gap <= 2 %": float((of("gap") <= 0.02).mean()), "sunk <= 2 %": float((of("penetration") <= 0.02).mean()),
           "grounded": float(np.mean([r["grounded"] for r in rows])), "cpu s a prop": float(of("cpu s").mean())}
    for name in ("box IoU", "gap", "penetration", "own gap", "silhouette IoU", "F-score"):
        values = of(name)
        out |= {f"{name} mean": float(values.mean()), f"{name} median": float(np.median(values))} if len(values) else {}
    error = np.abs(np.log1p(of("distance error")))
    return out | {"|distance error| median": float(np.median(error))}


def stills(cache: Path | None, split: str, seeds: str, count: int, examples: bool) -> list[Truth]:
    found = []
    if examples:
        meshes = None if cache is None else cache / "examples"
        found += [read_example(ROOT / "examples", name, meshes) for name in ("interior", "street", "tabletop")]
    if cache is not None:
        folders = [f for f in sorted((cache / "scenes").glob(f"{split}_*")) if (f / "truth.json").exists()]
        scenes = [read_scene(folder) for folder in folders[:count]]
        keep = {"even": (0,), "odd": (1,), "all": (0, 1)}[seeds]
        found += [t for t in scenes if t.record["seed"] % 2 in keep]
    return found


def geometry(truth: Truth, image: m.Array, loaded: list[LearnedGeometry]) -> GeometryResult:
    if not loaded:
        loaded.append(LearnedGeometry())
        loaded[0].load("cpu", "full")
    return loaded[0].run(GeometryRequest(image, None, 0), lambda fraction: None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--split", choices=("dev", "holdout"), default="dev")
    parser.add_argument("--seeds", choices=("even", "odd", "all"), default="all")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--examples", action="store_true")
    parser.add_argument("--bodies", nargs="+", choices=("mesh", "embedded"), default=["mesh", "embedded"])
    parser.add_argument("--depth", nargs="+", choices=("true", "session"), default=["true", "session"])
    parser.add_argument("--boxes", choices=("none", "true", "session"), default="session")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--each", action="store_true", help="print every prop")
    args = parser.parse_args()
    engine, loaded = EmbeddedProps(), []
    engine.load("cpu", "full")
    rows: dict[str, list[dict[str, Any]]] = {}
    for truth in stills(args.cache, args.split, args.seeds, args.count, args.examples):
        image = np.asarray(Image.open(truth.still).convert("RGB"))
        for depth in args.depth:
            made = geometry(truth, image, loaded) if "session" in (depth, args.boxes) else None
            view = true_view(truth, image) if depth == "true" else session_view(truth, image, made)
            view.votes = {"none": None, "true": true_votes(truth, view.around) if args.boxes == "true" else None,
                          "session": None if made is None else made.box_votes}[args.boxes]
            for body in args.bodies:
                new = one_still(truth, image, view, body, engine)
                rows.setdefault(f"{body}, {depth} depth", []).extend(new)
                for row in new if args.each else []:
                    show = {k: round(row[k], 3) for k in FIGURES if row[k] is not None}
                    print(f"{truth.name} {depth} {body} {row['label']:14.14s} {show} {row['support']} {row['steps']}",
                          flush=True)
    table = {name: summary(each) for name, each in rows.items()}
    for key in dict.fromkeys(k for t in table.values() for k in t):
        print(f"{key:26s}" + "".join(f"{t.get(key, float('nan')):12.3f}" for t in table.values()))
    print(" " * 26 + "".join(f"{name.split(' ')[0][:5] + ' ' + name.split(' ')[1]:>12s}" for name in table))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        about = {"machine": f"{platform.system()} {platform.machine()}", "split": args.split, "seeds": args.seeds,
                 "examples": args.examples}
        text = json.dumps({"about": about, "summary": table, "props": rows}, indent=1)
        (args.out / "placement.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
