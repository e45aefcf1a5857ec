"""The embedded prop maker: the front from the picture, the back completed.

The silhouette becomes a sheet of triangles; the sheet is lifted along its pixel rays once to the front and once to
the back, and a band around the rim joins the two. Seen from the still's camera the body covers the silhouette
exactly. Where the geometry engine told the thing's box, the body fills it and takes its heading (prop_box.py); else
its depth is guessed (prop_shape.py) and it faces the camera. Front and back share the texture (the back is the front
mirrored), so every vertex has one texture coordinate and the surface has no seam: it stays closed in every program.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from worker.arrays import F32, F64, I32, Bool
from worker.engines.contract import EngineNotice, Progress, PropRequest, PropResult
from worker.engines.embedded.prop_box import inside, reach_of, spanning, thinness
from worker.engines.embedded.prop_outline import EmptyOutline, Sheet, solid_alpha, triangulate
from worker.engines.embedded.prop_shape import Thickness, flattened, sliced, with_relief
from worker.engines.embedded.prop_skin import surface_gaussians, texture_of, uv_of
from worker.formats.mesh import TexturedMesh
from worker.pointmaps.object_box import ObjectBox
from worker.session.frames import level_from_camera

_FRONT_VERTICES = 1200
_GAUSSIANS = 12_000
_STEEP = np.radians(60.0)


class EmbeddedProps:
    """See the module. Deterministic, CPU only, well under a second a prop."""

    def load(self, device: str, tier: str) -> None:
        self.gaussians = _GAUSSIANS if tier == "full" else _GAUSSIANS // 2

    def run(self, request: PropRequest, progress: Progress) -> PropResult:
        """Raises EmptyOutline (a ValueError) where the crop's alpha holds nothing solid."""
        solid = solid_alpha(request.crop[..., 3])
        if solid.sum() < 16:
            raise EmptyOutline("its cut-out holds nothing solid")
        view = View.of(request, solid)
        guess = sliced(solid, view.pitch, view.roll)
        if _on_a_wall(request, solid):
            guess = flattened(guess, solid)
        view.set_distance(request, solid, guess)
        relief = _relief(request, solid, guess, view)
        progress(0.3)
        sheet = _sheet(request, solid)
        progress(0.6)
        texture, scale = texture_of(request.crop)
        points, boxed = _lift(sheet, relief or guess, view, solid, request.object_box)
        camera_from_prop = view.pose(points, request.object_box if boxed else None)
        rotation, origin = camera_from_prop[:3, :3], camera_from_prop[:3, 3]
        uv = uv_of(sheet.points, scale, len(texture))
        mesh = TexturedMesh(
            ((points - origin) @ rotation).astype(np.float32), _close(sheet), np.concatenate([uv, uv]), texture
        )
        progress(0.8)
        cloud = surface_gaussians(mesh, self.gaussians, request.seed)
        flat = relief is None and request.relief and not boxed
        notices = [EngineNotice("props.flat_depth", {"label": request.label})] if flat else []
        measured = {"in_box": float(boxed)} if request.object_box is not None else {}
        return PropResult(mesh, cloud, camera_from_prop.astype(np.float32), view.metric, notices, measured)


@dataclass
class View:
    """How the camera sees one prop: the prop's middle plane is `direction` . x = `distance` (camera frame)."""

    inverse: F64  # 3x3 from crop pixels to rays with z = 1
    up: F64
    heading: F64  # horizontal, away from the camera
    direction: F64
    centre: F64  # ray through the silhouette's middle
    focal: float
    pitch: float
    roll: float
    distance: float = 1.0
    metric: bool = False

    @staticmethod
    def of(request: PropRequest, solid: Bool) -> View:
        x, y = request.box[:2]
        intrinsics = np.asarray(request.intrinsics, dtype=np.float64)
        inverse = np.linalg.inv(intrinsics) @ np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])
        rows, columns = np.nonzero(solid)
        middle = np.array([0.5 * (columns.min() + columns.max() + 1), 0.5 * (rows.min() + rows.max() + 1), 1.0])
        centre = inverse @ middle
        ray = centre / np.linalg.norm(centre)
        up = -np.asarray(request.gravity, dtype=np.float64)
        up /= np.linalg.norm(up)
        pitch = float(np.arcsin(np.clip(-ray @ up, -1, 1)))
        heading = ray - up * (ray @ up)
        steep = abs(pitch) > _STEEP
        heading = level_from_camera(-up)[1] if np.linalg.norm(heading) < 0.05 else heading
        heading /= np.linalg.norm(heading)
        below = intrinsics @ (centre - 0.01 * up)
        fall = below[:2] / below[2] - (intrinsics @ centre)[:2]
        roll = 0.0 if steep else float(np.arctan2(-fall[0], fall[1]))
        focal = float(np.sqrt(intrinsics[0, 0] * intrinsics[1, 1]))
        return View(inverse, up, heading, ray if steep else heading, centre, focal, pitch, roll)

    def rays(self, pixels: F64) -> F64:
        """(N, 3) rays with z = 1 through (N, 2) crop pixels."""
        return pixels @ self.inverse[:, :2].T + self.inverse[:, 2]

    @property
    def unit(self) -> float:
        """Scene units of one pixel at the middle plane."""
        return self.distance / float(self.centre @ self.direction) / self.focal

    def set_distance(self, request: PropRequest, solid: Bool, guess: Thickness) -> None:
        """The middle plane goes where the visible front agrees with the pointmap, else where the foot meets the ground.

        Without either the distance stays 1 and the result is not metric.
        """
        wanted = None
        if request.points is not None:
            wanted = self._contact(request, solid, guess) if not request.relief else None
            valid = solid if request.mask is None else solid & request.mask
            inner = cv2.erode(valid.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            valid = inner if inner.sum() >= 16 else valid
            if wanted is None and valid.any():
                wanted = request.points[valid].astype(np.float64) @ self.direction, guess.front[valid]
        if wanted is None and request.ground_plane is not None:
            normal, offset = np.asarray(request.ground_plane[0], dtype=np.float64), request.ground_plane[1]
            row = int(np.nonzero(solid.any(axis=1))[0].max())
            column = float(np.nonzero(solid[row])[0].mean())
            ray = self.rays(np.array([[column + 0.5, row + 1.0]]))[0]
            if normal @ ray < -1e-6:
                wanted = np.array([-offset / (normal @ ray) * (ray @ self.direction)]), guess.front[row, [int(column)]]
        if wanted is None:
            return
        self.metric = True
        self.distance = float(np.median(wanted[0]))
        for _ in range(4):  # pixels get larger with distance, so the thickness follows
            self.distance = float(np.median(wanted[0] + wanted[1] * self.unit))

    def _contact(self, request: PropRequest, solid: Bool, guess: Thickness) -> tuple[F64, F32] | None:
        """In a guessed layout the floor just below the foot is all that tells the distance: where the foot meets it."""
        assert request.points is not None
        rows, columns = np.nonzero(solid.any(axis=1))[0], np.nonzero(solid.any(axis=0))[0]
        tall = rows[-1] - rows[0] + 1
        lowest = len(solid) - 1 - np.argmax(solid[::-1, columns], axis=0)
        standing = (lowest >= rows[-1] - max(2, round(0.12 * tall))) & (lowest + 3 < len(solid))
        row, column = lowest[standing], columns[standing]
        if request.mask is not None:
            usable = request.mask[row + 3, column]
            row, column = row[usable], column[usable]
        if len(row) < 4:
            return None
        height = float(np.median(request.points[row + 3, column].astype(np.float64) @ self.up))
        rays = self.rays(np.stack([column + 0.5, row + 1.0], axis=1))
        climb = rays @ self.up
        meets = climb * np.sign(height) > 1e-3  # towards the floor, and not along it
        if meets.sum() < 4:
            return None
        distance = height / climb[meets] * (rays[meets] @ self.direction)
        return distance, guess.front[row[meets], column[meets]]

    def pose(self, points: F64, box: ObjectBox | None = None) -> F64:
        """4x4 camera_from_prop: Z up, origin under the middle of the foot, -Y towards the camera: with a box, its side
        that faces the camera most.
        """
        height = points @ self.up
        foot = points[height <= height.min() + 0.03 * np.ptp(height)]
        heading = self.heading
        if box is not None:
            ways = np.concatenate([box.axes[:, :2], -box.axes[:, :2]], axis=1).T
            heading = ways[np.argmax(ways @ heading)]
        right = np.cross(heading, self.up)
        rotation = np.stack([right, heading, self.up], axis=1)
        local = foot @ rotation
        origin = np.append(0.5 * (local[:, :2].min(axis=0) + local[:, :2].max(axis=0)), height.min())
        pose = np.eye(4)
        pose[:3, :3] = rotation
        pose[:3, 3] = rotation @ origin
        return pose


def _on_a_wall(request: PropRequest, solid: Bool) -> bool:
    """In a guessed layout: whatever lies around the prop, below it too, is as far as the prop itself."""
    if request.points is None or request.relief:
        return False
    reach = max(3, round(0.06 * float(np.sqrt(solid.sum()))))
    gap = cv2.dilate(solid.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    ring = cv2.dilate(solid.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    rows = np.nonzero(solid.any(axis=1))[0]
    foot = np.arange(len(solid))[:, None] > rows[-1] - 0.3 * len(rows)
    own = float(np.median(request.points[..., 2][solid]))
    around = [ring & ~gap & ~foot, ring & ~gap & foot]
    return all(
        side.sum() >= 16 and abs(float(np.median(request.points[..., 2][side])) / own - 1) < 0.02 for side in around
    )


def _relief(request: PropRequest, solid: Bool, guess: Thickness, view: View) -> Thickness | None:
    if request.points is None or not request.relief:
        return None
    valid = np.ones_like(solid) if request.mask is None else request.mask
    offset = (view.distance - request.points.astype(np.float64) @ view.direction) / view.unit
    return with_relief(guess, solid, offset.astype(np.float32), valid, view.pitch, view.roll)


def _sheet(request: PropRequest, solid: Bool) -> Sheet:
    """As fine as the area wants and the triangle budget allows."""
    spacing = max(1.2, float(np.sqrt(solid.sum() / _FRONT_VERTICES / 0.866)))
    while True:
        sheet = triangulate(request.crop[..., 3], solid, spacing)
        if 2 * (len(sheet.faces) + len(sheet.rim)) <= request.triangle_budget or spacing > max(solid.shape):
            return sheet
        spacing *= 1.3


def _lift(sheet: Sheet, body: Thickness, view: View, solid: Bool, box: ObjectBox | None) -> tuple[F64, bool]:
    """(2V, 3) camera-frame points: the front sheet's vertices, then the back's, on the same rays; whether a box was
    known and is kept to.
    """
    where = sheet.points[:, ::-1].T - 0.5
    rays = view.rays(sheet.points)
    along = np.maximum(rays @ view.direction, 0.1 * np.linalg.norm(rays, axis=1))

    def at(field: F64) -> F64:
        return np.asarray(map_coordinates(field, where, order=1, mode="nearest"), np.float64)

    near, far = (at(view.distance - field.astype(np.float64) * view.unit) / along for field in (body.front, body.back))
    near = np.maximum(near, 0.05 * view.distance / along)
    least, climb = 0.3 * view.unit / along, rays @ view.up
    reach = None if box is None or not box.heading_known else reach_of(box, rays, sheet.points)
    if box is not None and reach is not None:
        thin, thick = thinness(solid, sheet.points, box, view.unit)
        front = near if body.measured else at(spanning(body, solid, box, view.direction)) / along
        near, far = inside(reach, front, thin, thick / along, climb)
    else:
        far = np.maximum(far, near * (1 + 1e-4))
        floor = float(np.percentile(near * climb, 0.5))  # the lowest visible point stands on something
        with np.errstate(divide="ignore"):
            limit = np.where(climb < 0, floor / climb, np.inf)
        far = np.minimum(far, np.where(limit > 0, limit, np.inf))
    far = np.maximum(far, near + least)
    return np.concatenate([rays * near[:, None], rays * far[:, None]]), reach is not None


def _close(sheet: Sheet) -> I32:
    """Faces of the closed body. Front faces look at the camera, back faces away, the band joins the rims."""
    count = len(sheet.points)
    front = sheet.faces[:, ::-1]
    a, b = sheet.rim.T  # the front runs this edge from b to a
    band = np.concatenate([np.stack([a, b, b + count], axis=1), np.stack([a, b + count, a + count], axis=1)])
    return np.ascontiguousarray(np.concatenate([front, sheet.faces + count, band]), dtype=np.int32)

