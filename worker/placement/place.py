"""From made meshes to placed props: one order of steps for every engine, each kept only if it improves.

The engine's own pose or a search, distance from what is seen at the foot, snap onto what carries the prop, out of the
background, apart from each other. Contact may cost the silhouette next to nothing; everything else must gain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from worker.arrays import F32, F64, I32, U8, Bool
from worker.formats.mesh import TexturedMesh
from worker.formats.silhouette import rasterise
from worker.placement import pose as poses
from worker.placement import support as supports
from worker.placement.evidence import Agreement, Evidence, compare
from worker.placement.in_front import Backdrop
from worker.placement.instances import alike
from worker.placement.overlap import shared_volume
from worker.placement.pose import Body, Pose

GOOD_IOU = 0.8
SHARING_MAY_COST = 0.02
IOU_MAY_COST = 0.01  # what contact with the ground or with a neighbour may cost
GAP_SHARE = 0.02  # of the prop's height: nearer than this to its support it stands
DEPTH_MAY_COST = 0.15  # relative: a contact farther than this from all measured depth is not this prop's
FEET_MISS = 0.1  # relative distance from the ground by which a prop hangs in the air
CLOSER = 0.7  # share of that distance which feet that the mask lost may keep
OVERLAP_SHARE = 0.03
MOST_PUSH = 0.06  # of the smaller footprint


@dataclass
class Made:
    """A prop as an engine made it. `pose` is the engine's own 4x4 camera_from_prop, None where it knows none."""

    id: str
    label: str
    mask: Bool  # of the whole still
    mesh: TexturedMesh
    pose: F64 | None = None
    metric: bool = False
    below: float = 0.0  # mesh units: how far under its lowest point it may go on, if the mask lost its feet


@dataclass
class Surroundings:
    """What the still shows around the props. Camera frame; `relief` False: the depth is a guessed layout.

    `points` is worked on: a prop that is moved takes the points measured on it along, so that what stands on it finds
    its top.
    """

    points: F32
    valid: Bool
    image: U8
    intrinsics: F64
    up: F64
    ground: tuple[F64, float] | None
    relief: bool = True
    backdrop: Backdrop | None = None

    def take(self, vertices: F64, faces: I32, mask: Bool) -> None:
        """Move the points measured on a prop along their rays to where it was placed."""
        rows, columns = np.nonzero(mask)
        top, left = int(rows.min()), int(columns.min())
        window = np.s_[top : int(rows.max()) + 1, left : int(columns.max()) + 1]
        shift = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
        raster = rasterise(vertices, faces, shift @ self.intrinsics, *mask[window].shape)
        where = raster.mask & mask[window]
        if where.any():
            self.points[window][mask[window]] *= np.median(raster.depth[where] / self.points[window][where][:, 2])


@dataclass
class Placing:
    """One prop on its way: `steps` is the record of what was tried and kept."""

    made: Made
    fine: Evidence
    pose: Pose
    found: Agreement
    support: supports.Support | None = None
    below: float = 0.0  # `made.below` where it is believed
    grounded: bool = False
    instance_of: str | None = None  # id of the prop whose mesh this one shares
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def vertices(self) -> F64:
        return self.pose.apply(self.made.mesh.vertices.astype(np.float64))

    def measure(self, pose: Pose) -> Agreement:
        return compare(pose.apply(self.made.mesh.vertices.astype(np.float64)), self.made.mesh.faces, self.fine)

    def offer(self, step: str, pose: Pose, cost: float, **facts: Any) -> bool:
        """Take `pose` unless the silhouette falls by more than `cost`; record either way."""
        found = self.measure(pose)
        kept = found.iou >= self.found.iou - cost
        self.steps.append({"step": step, "kept": kept, "iou": round(found.iou, 4), **facts})
        if kept:
            self.pose, self.found = pose, found
        return kept

    def gap(self, up: F64) -> float | None:
        """Height of the foot over the support; None without one."""
        return None if self.support is None else float(self.foot(up) @ up) - self.support.height

    def foot(self, up: F64) -> F64:
        """The lowest point, or, where it is known to go on, the point as far below it."""
        vertices = self.vertices
        return np.asarray(vertices[np.argmin(vertices @ up)] - self.below * self.pose.scale * up, np.float64)

    def stand(self, up: F64) -> None:
        gap, tall = self.gap(up), float(np.ptp(self.vertices @ up))
        self.grounded = gap is not None and abs(gap) <= GAP_SHARE * tall


def place(made: list[Made], around: Surroundings, failed: Callable[[Made, Exception], None],
          progress: Callable[[float, str], None] = lambda fraction, note: None) -> list[Placing]:  # fmt: skip
    """All props of a still; `failed` hears of those that cannot be placed. In the order given."""
    around = replace(around, points=around.points.copy())
    every = [item.mask for item in made]
    order = sorted(range(len(made)), key=lambda i: -_bottom(made[i].mask))  # what carries comes before what it carries
    placed: dict[int, Placing] = {}
    ground = None
    if around.ground is not None:
        props = np.any(every, axis=0) if every else np.zeros_like(around.valid)
        ground = supports.Ground.of(around.ground, around.points, around.valid, props)
    for number, index in enumerate(order):
        item = made[index]
        try:
            others = np.any([m for k, m in enumerate(every) if k != index] or [np.zeros_like(item.mask)], axis=0)
            placing = _start(item, around, others)
            for other in placed.values():
                if other.instance_of is None and _share(placing, other, around, others):
                    break
            _ground(placing, around, ground)
            around.take(placing.vertices, item.mesh.faces, item.mask)
            placed[index] = placing
        except (ValueError, OSError) as error:
            failed(item, error)
        progress((number + 1) / len(made), item.label)
    result = [placed[k] for k in sorted(placed)]
    if around.backdrop is not None:
        _bring_in_front(result, around.backdrop, around.up)
    return result


def _bottom(mask: Bool) -> int:
    rows = np.flatnonzero(mask.any(axis=1))
    return int(rows[-1]) if len(rows) else -1


# --- pose -----------------------------------------------------------------------------------------------------------
def _start(made: Made, around: Surroundings, others: Bool) -> Placing:
    """The engine's own pose, or the best that search and refinement find."""
    if not made.mask.any():
        raise ValueError("its mask is empty")
    rough, coarse, fine = (
        Evidence.around(made.mask, around.points, around.valid, around.image, around.intrinsics, around.relief,
                        longest, others) for longest in (64, 112, 400)
    )  # fmt: skip
    item = Placing(made, fine, Pose(np.eye(4)), Agreement(-1.0))
    if made.pose is not None:
        item.offer("engine_pose", Pose(np.asarray(made.pose, dtype=np.float64)), 0.0)
        if made.metric and item.found.iou >= GOOD_IOU:
            return item
    body = Body.of(made.mesh, poses.EXACT_FACES)
    candidates = [poses.find(made.mesh, rough, coarse, around.up)]
    if made.pose is not None:
        candidates.append(poses.refine(body, item.pose, coarse, around.up))
    best, found = max(candidates, key=lambda candidate: candidate[1].score)
    if made.pose is None or found.score > poses.agreement(body, item.pose, coarse).score:
        item.offer("search", poses.to_pointmap(best, found)[0], 0.02, score=round(found.score, 4))
    return item


def _share(item: Placing, other: Placing, around: Surroundings, others: Bool) -> bool:
    """Try `other`'s mesh in this prop's place where they look alike; keep it where the silhouette loses nothing.

    Bodies that an engine made for their very view (with a pose, to scale) are exact there: they are not shared.
    """
    if any(m.pose is not None and m.metric for m in (item.made, other.made)):
        return False
    if not alike(around.image, item.made.mask, other.made.mask):
        return False
    trial = _start(replace(other.made, id=item.made.id, mask=item.made.mask, pose=None), around, others)
    kept = trial.found.iou >= max(item.found.iou - SHARING_MAY_COST, GOOD_IOU)
    item.steps.append({"step": "instance", "kept": kept, "iou": round(trial.found.iou, 4), "of": other.made.id})
    if kept:
        item.made = replace(item.made, mesh=other.made.mesh)
        item.pose, item.found, item.instance_of = trial.pose, trial.found, other.made.id
    return kept


# --- contact --------------------------------------------------------------------------------------------------------
def _ground(item: Placing, around: Surroundings, ground: supports.Ground | None) -> None:
    """Distance by the depth seen at the foot, then onto the surface below: along the rays, else straight up or down.

    Depth is believed at the foot before all else: there it is the floor's, and the body's own is often smeared.
    """
    up, body, foot_seen = around.up, item.found.depth_ratio, item.found.foot_ratio
    seen = [r for r in (foot_seen, body) if r is not None and around.relief]
    known = seen or [1.0 if item.made.metric or body is None else body]
    item.below = _hidden(item, ground, up)
    foot, tall = item.foot(up), float(np.ptp(item.vertices @ up))
    item.support = supports.find_support(item.made.mask, around.points, around.valid, up, ground, foot)
    contact = None if item.support is None else supports.snap_factor(foot, up, item.support)
    if item.support is not None and contact is not None:
        off = min(abs(np.log(contact / r)) for r in known)
        facts = {"support": item.support.source, "gap": round(float(foot @ up) - item.support.height, 5)}
        if off <= (DEPTH_MAY_COST if seen and not item.support.sure else np.log(1 + supports.MOST_SNAP)):
            if not item.offer("snap_along_rays", item.pose.along_rays(contact), IOU_MAY_COST,
                              factor=round(contact, 5), **facts):  # fmt: skip
                contact = None
        else:
            item.steps.append({"step": "snap_along_rays", "kept": False, "factor": round(contact, 5), **facts})
            contact = None
    if contact is None and seen:
        item.offer("foot_depth", item.pose.along_rays(seen[0]), IOU_MAY_COST, factor=round(seen[0], 5))
    if item.support is None:
        return
    facts = {"support": item.support.source}
    lift = item.support.height - float(item.foot(up) @ up)
    if GAP_SHARE * tall < abs(lift) <= 5 * GAP_SHARE * tall:
        item.offer("snap_upright", item.pose.moved(up * lift), IOU_MAY_COST, lift=round(lift, 5), **facts)
    item.stand(up)


def _hidden(item: Placing, ground: supports.Ground | None, up: F64) -> float:
    """How far the prop goes on below its mask: believed where that meets the ground and what is seen does not."""
    told = item.made.below
    if told <= 0 or ground is None:
        return 0.0
    seen = item.foot(up)
    offs = []
    for foot in (seen, seen - told * item.pose.scale * up):
        level = ground.below(foot, up)
        there = None if level is None else supports.Support(level, "ground_plane", 0.0)
        factor = None if there is None else supports.snap_factor(foot, up, there)
        if factor is None:
            return 0.0
        offs.append(abs(np.log(factor)))
    return told if offs[0] > FEET_MISS and offs[1] < CLOSER * offs[0] else 0.0


def _bring_in_front(placed: list[Placing], backdrop: Backdrop, up: F64) -> None:
    """What reaches into the background comes nearer along the rays, growing smaller: the picture stays the same."""
    for item in placed:
        factor = backdrop.factor(item.vertices, item.made.mesh.faces)
        if factor < 1 and not item.grounded:
            item.offer("in_front", item.pose.along_rays(factor), IOU_MAY_COST, factor=round(factor, 5))
            item.stand(up)


def push_apart(placed: list[Placing], up: F64) -> list[tuple[str, str, float]]:
    """Move intersecting pairs apart along the ground a little; tells what is left. Stacked things are left alone."""
    if len(placed) < 2:
        return []
    level = _level(up)
    left = []
    for a, b in combinations(placed, 2):
        share = shared_volume(*(_upright(item, level) for item in (a, b)))
        if share <= OVERLAP_SHARE:
            continue
        between = (b.vertices.mean(axis=0) - a.vertices.mean(axis=0)) @ level.T
        between[2] = 0
        if np.linalg.norm(between) > 1e-9:
            direction = (between / np.linalg.norm(between)) @ level
            room = MOST_PUSH * min(float(np.ptp(i.vertices @ level[:2].T, axis=0).max()) for i in (a, b))
            for _ in range(2):
                for item, sign in ((a, -0.5), (b, 0.5)):
                    item.offer("push_apart", item.pose.moved(sign * room * direction), IOU_MAY_COST)
                share = shared_volume(*(_upright(item, level) for item in (a, b)))
                if share <= OVERLAP_SHARE:
                    break
        if share > OVERLAP_SHARE:
            left.append((a.made.label, b.made.label, share))
    return left


def _level(up: F64) -> F64:
    """Rows: two horizontal axes and up, camera frame."""
    side = np.cross(up, [0.0, 0.0, 1.0])
    side = np.array([1.0, 0.0, 0.0]) if np.linalg.norm(side) < 1e-6 else side / np.linalg.norm(side)
    return np.stack([side, np.cross(up, side), up])


def _upright(item: Placing, level: F64) -> tuple[F64, I32]:
    return item.vertices @ level.T, item.made.mesh.faces
