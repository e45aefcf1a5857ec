"""Layout preview: a stage set guessed from one still. Nothing here is measured depth, and it says so.

The set is Hoiem's "automatic photo pop-up" (SIGGRAPH 2005) without its learned labels: the camera stands at an assumed
height over a flat floor, regions of the picture that reach below the horizon stand upright where their foot touches the
floor, everything else hangs on one back wall, and a sky (where there is one) lies behind it all. What it does measure
is which way is up, from the picture's near-vertical lines.
"""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, I32, Bool
from worker.engines.contract import EngineNotice, GeometryRequest, GeometryResult, Progress, SurfaceClass
from worker.formats.pointmap import intrinsics_from_hfov, pixel_rays
from worker.pointmaps.floor import CAMERA_HEIGHT
from worker.pointmaps.sky import colour_regions, plain_sky, shrunk
from worker.pointmaps.upright import gravity_from_lines
from worker.session.frames import level_from_camera

ASSUMED_HFOV_DEG = 60.0  # beats vanishing points on real photos: mean error 8 degrees against 19
WALL = (2.0, 12.0)  # nearest and farthest back wall, in camera heights


class LayoutPreview:
    def load(self, device: str, tier: str) -> None:
        """Nothing to load; every tier is the same."""

    def run(self, request: GeometryRequest, progress: Progress) -> GeometryResult:
        height, width = request.image.shape[:2]
        intrinsics = intrinsics_from_hfov(width, height, request.hfov_deg or ASSUMED_HFOV_DEG)
        measured = gravity_from_lines(request.image, intrinsics)
        gravity = measured if measured is not None else np.array([0.0, 1.0, 0.0])
        progress(0.3)

        small = shrunk(request.image)
        regions = colour_regions(small)
        rays = pixel_rays(height, width, intrinsics)
        directions = rays @ level_from_camera(gravity).T.astype(np.float32)  # level frame: right, ahead, up
        ahead = np.maximum(directions[..., 1], 1e-3)
        # Distance along the heading at which a pixel's ray meets the floor; the horizon and above never does.
        fall = -directions[..., 2]
        floor = np.where(fall > 1e-6, CAMERA_HEIGHT * ahead / np.maximum(fall, 1e-6), 1e6).astype(np.float32)
        floor_small = np.asarray(cv2.resize(floor, small.shape[1::-1], interpolation=cv2.INTER_AREA), np.float32)
        sky_small = plain_sky(small, regions, floor_small < 1e5)
        upright_small = _upright_distance(regions, floor_small, sky_small)
        progress(0.8)

        sky = cv2.resize(sky_small.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
        upright = cv2.resize(upright_small, (width, height), interpolation=cv2.INTER_NEAREST)
        on_floor = floor <= upright  # the floor hides whatever would stand beneath it
        distance = np.where(on_floor, floor, upright)
        distance = np.where(sky, 3.0 * max(WALL[1] * CAMERA_HEIGHT, float(upright.max())), distance)
        points = rays * (distance / ahead)[..., None]
        normals = np.broadcast_to((-level_from_camera(gravity)[1]).astype(np.float32), points.shape).copy()
        normals[on_floor] = -gravity
        return GeometryResult(
            points=points.astype(np.float32),
            mask=~sky,
            confidence=np.where(sky, 0.0, np.where(on_floor, 0.3, 0.15)).astype(np.float32),
            intrinsics=intrinsics,
            unit="relative",
            scale_basis=f"assumed: the camera stands {CAMERA_HEIGHT} above a flat floor; nothing was measured",
            gravity=gravity.astype(np.float32),
            gravity_source="engine" if measured is not None else "assumed",
            hfov_source="assumed",
            sky=sky,
            ground_plane=(-gravity.astype(np.float32), CAMERA_HEIGHT, 0.2),
            normals=normals,
            classes=np.where(sky, SurfaceClass.SKY, SurfaceClass.STUFF).astype(np.uint8),
            notices=[EngineNotice("geometry.layout_preview", degraded=True)],
        )


def _upright_distance(regions: I32, floor: F32, sky: Bool) -> F32:
    """Distance along the heading at which each region stands: the floor's at its foot, at most the back wall's."""
    reachable = floor[floor < 1e5]
    # Where the picture's floor is last seen plainly: the back wall stands there.
    seen = np.percentile(reachable, 75) if reachable.size else np.inf
    wall = float(np.clip(seen, WALL[0] * CAMERA_HEIGHT, WALL[1] * CAMERA_HEIGHT))
    distance = np.full(regions.shape, wall, dtype=np.float32)
    bottom = regions.shape[0] - 1
    for label in range(int(regions.max()) + 1):
        region = regions == label
        rows, columns = np.nonzero(region)
        below = floor[rows, columns]
        flat = (below < 1e5).mean() > 0.9 and np.ptp(columns) > 2 * np.ptp(rows)
        if flat or rows.max() >= bottom or not (below < wall).any():
            continue  # lies on the floor, foot out of frame, or hangs on the wall
        distance[region] = np.percentile(below, 0.5)
    distance[sky] = wall
    return distance
