"""Known solids seen by a known camera: what the prop tests compare with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh

from worker.engines.contract import PropRequest
from worker.formats.pointmap import intrinsics_from_hfov, pixel_rays
from worker.formats.silhouette import rasterise

UP_TURN = trimesh.transformations.rotation_matrix


@dataclass
class Shot:
    """One solid standing on a floor. Camera frame throughout; `pose` is camera_from_solid."""

    vertices: np.ndarray
    faces: np.ndarray
    pose: np.ndarray
    intrinsics: np.ndarray
    gravity: np.ndarray
    plane: tuple[np.ndarray, float, float]
    image: np.ndarray
    alpha: np.ndarray
    points: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        rows, columns = np.nonzero(self.alpha > 10)
        x, y = columns.min() - 8, rows.min() - 8
        return int(x), int(y), int(columns.max() + 9 - x), int(rows.max() + 9 - y)

    @property
    def crop(self) -> np.ndarray:
        x, y, w, h = self.box
        return np.dstack([self.image, self.alpha])[y : y + h, x : x + w]

    def request(self, depth: bool = True, **more: object) -> PropRequest:
        x, y, w, h = self.box
        points = self.points[y : y + h, x : x + w] if depth else None
        return PropRequest(
            self.crop, self.box, points, None, self.intrinsics, self.gravity, self.plane, "thing", **more
        )


def shoot(
    solid: trimesh.Trimesh,
    pitch: float = 20.0,
    yaw: float = 0.0,
    distance: float = 4.0,
    width: int = 320,
    height: int = 240,
    hfov: float = 40.0,
) -> Shot:
    """`pitch`: degrees the camera looks down. `yaw`: degrees the solid is turned about up. Feet on the floor."""
    intrinsics = intrinsics_from_hfov(width, height, hfov)
    lift = np.eye(4)
    lift[2, 3] = -solid.bounds[0][2]
    p = np.radians(pitch)
    forward, right = np.array([0, np.cos(p), -np.sin(p)]), np.array([1.0, 0, 0])
    turn = np.eye(4)
    turn[:3, :3] = np.stack([right, -np.cross(right, forward), forward])
    eye = np.array([0, 0, 0.5 * np.ptp(solid.vertices[:, 2])]) - forward * distance
    turn[:3, 3] = -turn[:3, :3] @ eye
    pose = turn @ UP_TURN(np.radians(yaw), [0, 0, 1]) @ lift
    vertices = trimesh.transform_points(solid.vertices, pose)
    fine = 4
    large = rasterise(vertices, solid.faces, np.diag([fine, fine, 1]) @ intrinsics, height * fine, width * fine)
    alpha = large.mask.reshape(height, fine, width, fine).mean(axis=(1, 3)) * 255
    raster = rasterise(vertices, solid.faces, intrinsics, height, width)
    gravity = turn[:3, :3] @ np.array([0, 0, -1.0])
    rays = pixel_rays(height, width, intrinsics)
    fall = rays @ gravity
    floor = np.minimum(np.where(fall > 1e-3, eye[2] / np.maximum(fall, 1e-3), 50.0), 50.0)
    points = rays * np.where(raster.mask, raster.depth, floor)[..., None]
    mesh = trimesh.Trimesh(vertices, solid.faces, process=False)
    shade = np.clip(mesh.face_normals @ np.array([-0.4, -0.6, -0.7]), 0, 1)
    image = np.full((height, width, 3), 90, np.uint8)
    image[raster.mask] = (40 + 200 * shade[raster.face[raster.mask], None] * [1, 0.8, 0.6]).astype(np.uint8)
    return Shot(
        vertices, solid.faces, pose, intrinsics, gravity.astype(np.float32),
        ((-gravity).astype(np.float32), float(eye[2]), 1.0), image, alpha.round().astype(np.uint8),
        points.astype(np.float32),
    )  # fmt: skip


def box(x: float = 1.0, y: float = 0.6, z: float = 0.7, at: tuple[float, float, float] = (0, 0, 0)) -> trimesh.Trimesh:
    return trimesh.creation.box([x, y, z], transform=trimesh.transformations.translation_matrix(at))


def bottle() -> trimesh.Trimesh:
    profile = [[0, 0], [0.3, 0], [0.3, 0.9], [0.25, 1.05], [0.1, 1.2], [0.1, 1.5], [0, 1.5]]
    return trimesh.creation.revolve(np.array(profile), sections=48)


def mug() -> trimesh.Trimesh:
    handle = trimesh.creation.torus(0.25, 0.06)
    handle.apply_transform(UP_TURN(np.pi / 2, [1, 0, 0]))
    handle.apply_translation([0.5, 0, 0])
    return trimesh.util.concatenate([trimesh.creation.cylinder(0.4, 1.0, sections=48), handle])


def l_shape() -> trimesh.Trimesh:
    """A desk-like corner: asymmetric about every upright plane."""
    parts = [box(1.6, 0.5, 0.6), box(0.5, 1.0, 0.6, (-0.55, 0.75, 0)), box(0.3, 0.3, 0.5, (0.6, 0, 0.55))]
    return trimesh.util.concatenate(parts)
