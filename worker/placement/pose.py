"""Pose of an upright mesh by render and compare: coarse search over yaw and tilt, then refinement.

Poses are similarities: x_camera = scale * R @ x_prop + t. Moving a body along its rays while scaling it about the
camera changes no silhouette, so the search runs at a fixed depth and the pointmap sets the distance afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from worker.arrays import F32, F64, I32
from worker.formats.mesh import TexturedMesh, sample_texture
from worker.placement.evidence import Agreement, Evidence, compare

YAWS = 24
TILTS_DEG = (0.0, -8.0, 8.0)
WELL = 0.93  # silhouette IoU that needs no second try
AGAIN = (-1.5, 1.0, -0.5)
NUDGES_DEG = (-12.0, -8.0, -4.0, 0.0, 4.0, 8.0, 12.0)
TILT_MUST_GAIN = 0.04  # props stand upright unless the silhouette says otherwise clearly
SEARCH_FACES = 1500  # for the grid; thin parts suffer
EXACT_FACES = 6000  # for the last refinement


@dataclass(frozen=True)
class Pose:
    """`matrix` is 4x4 camera_from_prop with a uniform scale in it."""

    matrix: F64

    @property
    def scale(self) -> float:
        return float(np.cbrt(np.linalg.det(self.matrix[:3, :3])))

    def apply(self, points: F64) -> F64:
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def along_rays(self, factor: float) -> Pose:
        """The same silhouette at another distance: scaled about the camera."""
        matrix = self.matrix.copy()
        matrix[:3] *= factor
        return Pose(matrix)

    def moved(self, offset: F64) -> Pose:
        matrix = self.matrix.copy()
        matrix[:3, 3] += offset
        return Pose(matrix)


@dataclass
class Body:
    """A mesh as the search sees it: few faces, their colours, and where its middle is."""

    vertices: F64
    faces: I32
    face_colors: F32 | None
    centre: F64

    @staticmethod
    def of(mesh: TexturedMesh, most_faces: int = SEARCH_FACES) -> Body:
        vertices, faces = mesh.vertices.astype(np.float64), mesh.faces
        plain = mesh.texture.reshape(-1, 3).std(axis=0).max() < 2.0
        uv = mesh.uv[faces].mean(axis=1)
        colors = None if plain else (sample_texture(mesh.texture, uv) / 255.0).astype(np.float32)
        if len(faces) > 1.3 * most_faces:
            vertices, faces, colors = _simplified(vertices, faces, colors, most_faces)
        return Body(vertices, faces, colors, 0.5 * (vertices.min(axis=0) + vertices.max(axis=0)))


def _simplified(vertices: F64, faces: I32, colors: F32 | None, target: int) -> tuple[F64, I32, F32 | None]:
    import fast_simplification
    from scipy.spatial import cKDTree

    few, few_faces = fast_simplification.simplify(
        vertices.astype(np.float32), faces.astype(np.int32), target_count=target
    )
    if len(few_faces) < 16:
        return vertices, faces, colors
    if colors is not None:
        _, nearest = cKDTree(vertices[faces].mean(axis=1)).query(few[few_faces].mean(axis=1))
        colors = colors[nearest]
    return few.astype(np.float64), few_faces.astype(np.int32), colors


def agreement(body: Body, pose: Pose, evidence: Evidence) -> Agreement:
    return compare(pose.apply(body.vertices), body.faces, evidence, body.face_colors)


def upright(evidence: Evidence, up: F64) -> F64:
    """Columns right, away, up in the camera frame, as seen along the ray to the prop's middle."""
    x0, y0, x1, y1 = evidence.box
    ray = np.linalg.inv(evidence.intrinsics) @ [0.5 * (x0 + x1), 0.5 * (y0 + y1), 1.0]
    away = ray - up * (ray @ up)
    if np.linalg.norm(away) < 0.05 * np.linalg.norm(ray):
        away = np.array([0.0, -1.0, 0.0]) - up * -up[1]
    away /= np.linalg.norm(away)
    return np.stack([np.cross(away, up), away, up], axis=1)


def search(body: Body, evidence: Evidence, up: F64, keep: int = 4) -> list[tuple[Pose, Agreement]]:
    """Best `keep` poses of the grid that differ by 40 degrees, best first; upright unless tilting gains clearly."""
    frame = upright(evidence, up)
    found = []
    for tilt in TILTS_DEG:
        for step in range(YAWS):
            rotation = _rotation(frame, 2 * np.pi * step / YAWS, np.radians(tilt))
            pose = _fit_box(body, rotation, evidence)
            result = agreement(body, pose, evidence)
            found.append((result.score - (TILT_MUST_GAIN if tilt else 0.0), pose, result))
    found.sort(key=lambda item: -item[0])
    kept: list[tuple[Pose, Agreement]] = []
    for _, pose, result in found:
        if all(turned(pose, other) > 40 for other, _ in kept):
            kept.append((pose, result))
        if len(kept) == keep:
            break
    return kept


def find(mesh: TexturedMesh, rough: Evidence, exact: Evidence, up: F64) -> tuple[Pose, Agreement]:
    """The whole search: the grid and a first refinement of its best on `rough`, the last word on `exact`.

    The two best that differ in heading go into the last round: a coarse mesh does not always tell front from back.
    """
    body, full = Body.of(mesh), Body.of(mesh, EXACT_FACES)
    best = [refine(body, pose, rough, up, 30) for pose, _ in search(body, rough, up)]
    best.sort(key=lambda item: -item[1].score)
    first = best[0]
    others = [item for item in best[1:] if turned(item[0], first[0]) > 40 and item[1].score > first[1].score - 0.08]
    starts = [first[0], *(pose for pose, _ in others[:1])]
    if leaning(first[0], up):
        starts.append(_fit_box(full, _stood_up(first[0], up), exact))
    last = [refine(full, _nudged(full, pose, exact, up), exact, up, 60) for pose in starts]
    pose, found = max(last, key=lambda item: item[1].score - TILT_MUST_GAIN * leaning(item[0], up))
    for step in AGAIN if found.iou < WELL else ():  # a simplex that has shrunk too early starts anew
        pose, found = refine(full, pose, exact, up, 50, step)
    return pose, found


def _nudged(body: Body, pose: Pose, evidence: Evidence, up: F64) -> Pose:
    """The best of `pose` and its neighbours in heading, each fitted to the silhouette's box: long things turn far."""
    candidates = [pose]
    for degrees in NUDGES_DEG:
        turn = Rotation.from_rotvec(up * np.radians(degrees)).as_matrix()
        candidates.append(_fit_box(body, turn @ pose.matrix[:3, :3] / pose.scale, evidence))
    return max(candidates, key=lambda each: agreement(body, each, evidence).score)


def leaning(pose: Pose, up: F64) -> bool:
    """Whether the pose's own Z is more than a degree off `up`."""
    return float(pose.matrix[:3, 2] @ up) / pose.scale < np.cos(np.radians(1.0))


def _stood_up(pose: Pose, up: F64) -> F64:
    """The pose's rotation, stood upright the shortest way."""
    own = pose.matrix[:3, 2] / pose.scale
    axis = np.cross(own, up)
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.arccos(np.clip(own @ up, -1, 1)))
    return np.asarray(turn.as_matrix() @ pose.matrix[:3, :3] / pose.scale, np.float64)


def turned(a: Pose, b: Pose) -> float:
    """Degrees between two poses' rotations."""
    turn = a.matrix[:3, :3] @ b.matrix[:3, :3].T / (a.scale * b.scale)
    return float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))


def refine(body: Body, start: Pose, evidence: Evidence, up: F64, evaluations: int = 90, step: float = 1.0
           ) -> tuple[Pose, Agreement]:  # fmt: skip
    """Nelder-Mead over yaw about up, size and place across the picture. Never worse than `start`."""
    middle = start.apply(body.centre[None])[0]
    across = 0.5 * start.scale * np.linalg.norm(np.ptp(body.vertices, axis=0))

    def pose_of(x: F64) -> Pose:
        turn = Rotation.from_rotvec(up * x[0] * 0.15).as_matrix() * np.exp(0.08 * x[1])
        matrix = start.matrix.copy()
        matrix[:3, :3] = turn @ start.matrix[:3, :3]
        place = middle + 0.06 * across * np.array([x[2], x[3], 0.0])
        matrix[:3, 3] = place - matrix[:3, :3] @ body.centre
        return Pose(matrix)

    simplex = np.concatenate([np.zeros((1, 4)), step * np.eye(4)])
    best = minimize(
        lambda x: -agreement(body, pose_of(x), evidence).score,
        np.zeros(4),
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "maxfev": evaluations, "xatol": 0.02, "fatol": 5e-4},
    )
    before, after = agreement(body, start, evidence), agreement(body, pose_of(best.x), evidence)
    return (pose_of(best.x), after) if after.score > before.score else (start, before)


def to_pointmap(pose: Pose, found: Agreement) -> tuple[Pose, Agreement]:
    """Move along the rays so that the median seen depth agrees."""
    if found.depth_ratio is None:
        return pose, found
    return pose.along_rays(found.depth_ratio), replace(found, depth_ratio=1.0)


def _rotation(frame: F64, yaw: float, tilt: float) -> F64:
    return frame @ Rotation.from_euler("xz", [tilt, yaw]).as_matrix()


def _fit_box(body: Body, rotation: F64, evidence: Evidence) -> Pose:
    """Size and place at the seen depth so that the projection fills the silhouette's box."""
    x0, y0, x1, y1 = evidence.box
    depth = evidence.depth or 1.0
    inverse = np.linalg.inv(evidence.intrinsics)
    turned = (body.vertices - body.centre) @ rotation.T
    focal = float(np.sqrt(evidence.intrinsics[0, 0] * evidence.intrinsics[1, 1]))
    scale = max(x1 - x0, y1 - y0) * depth / focal / max(float(np.ptp(turned[:, :2], axis=0).max()), 1e-9)
    place = inverse @ [0.5 * (x0 + x1), 0.5 * (y0 + y1), 1.0] * depth
    for _ in range(4):
        points = scale * turned + place
        points[:, 2] = np.maximum(points[:, 2], 0.05 * depth)
        image = points @ evidence.intrinsics.T
        low, high = (image[:, :2] / image[:, 2:]).min(axis=0), (image[:, :2] / image[:, 2:]).max(axis=0)
        size = np.maximum(high - low, 1e-6)
        scale *= float(np.sqrt((x1 - x0) / size[0] * (y1 - y0) / size[1]))
        shift = np.array([0.5 * (x0 + x1), 0.5 * (y0 + y1)]) - 0.5 * (low + high)
        place = place + np.array([*(shift * depth / focal), 0.0])
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = place - matrix[:3, :3] @ body.centre
    return Pose(matrix)
