"""Layout preview: a stage set guessed from one still. Nothing here is measured depth, and it says so.

The set is Hoiem's "automatic photo pop-up" (SIGGRAPH 2005) without its learned labels: the camera stands at an assumed
height over a flat floor, regions of the picture that reach below the horizon stand upright where their foot touches the
floor, everything else hangs on one back wall, and a sky (where there is one) lies behind it all. What it does measure
is which way is up, from the picture's near-vertical lines.
"""

from __future__ import annotations

import cv2
import numpy as np

from worker.arrays import F32, F64, I32, U8, Bool
from worker.engines.contract import EngineNotice, GeometryRequest, GeometryResult, Progress, SurfaceClass
from worker.formats.pointmap import intrinsics_from_hfov, pixel_rays
from worker.session.frames import level_from_camera

CAMERA_HEIGHT = 1.6  # a person's eyes
ASSUMED_HFOV_DEG = 60.0  # beats vanishing points on real photos: mean error 8 degrees against 19
WALL = (2.0, 12.0)  # nearest and farthest back wall, in camera heights
WORK_WIDTH = 480


class LayoutPreview:
    def load(self, device: str, tier: str) -> None:
        """Nothing to load; every tier is the same."""

    def run(self, request: GeometryRequest, progress: Progress) -> GeometryResult:
        height, width = request.image.shape[:2]
        intrinsics = intrinsics_from_hfov(width, height, request.hfov_deg or ASSUMED_HFOV_DEG)
        measured = gravity_from_lines(request.image, intrinsics)
        gravity = measured if measured is not None else np.array([0.0, 1.0, 0.0])
        progress(0.3)

        small = _shrunk(request.image)
        regions = _regions(small)
        rays = pixel_rays(height, width, intrinsics)
        directions = rays @ level_from_camera(gravity).T.astype(np.float32)  # level frame: right, ahead, up
        ahead = np.maximum(directions[..., 1], 1e-3)
        # Distance along the heading at which a pixel's ray meets the floor; the horizon and above never does.
        fall = -directions[..., 2]
        floor = np.where(fall > 1e-6, CAMERA_HEIGHT * ahead / np.maximum(fall, 1e-6), 1e6).astype(np.float32)
        floor_small = np.asarray(cv2.resize(floor, small.shape[1::-1], interpolation=cv2.INTER_AREA), np.float32)
        sky_small = _sky(small, regions, floor_small)
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


def gravity_from_lines(image: U8, intrinsics: F32) -> F64 | None:
    """Unit vector down in the camera frame from the picture's near-vertical segments; None where too few agree.

    The plane through the camera and the image of a vertical edge contains the vertical direction, so `down` is the
    vector most nearly perpendicular to all such planes' normals: re-weighted least squares (Cauchy, 1 degree).
    """
    grey = cv2.cvtColor(_shrunk(image, 960), cv2.COLOR_RGB2GRAY)
    found = cv2.createLineSegmentDetector().detect(grey)[0]
    if found is None:
        return None
    ends = found.reshape(-1, 2, 2) * (image.shape[1] / grey.shape[1])
    along = ends[:, 1] - ends[:, 0]
    length = np.linalg.norm(along, axis=1)
    upright = (length > 0.04 * image.shape[0]) & (np.abs(along[:, 0]) < np.tan(np.radians(20)) * np.abs(along[:, 1]))
    if upright.sum() < 6:
        return None
    ends, length = ends[upright], length[upright]
    rays = np.concatenate([ends, np.ones((len(ends), 2, 1))], axis=-1) @ np.linalg.inv(intrinsics.astype(float)).T
    planes = np.cross(rays[:, 0], rays[:, 1])
    planes /= np.linalg.norm(planes, axis=1, keepdims=True)
    down = np.array([0.0, 1.0, 0.0])
    for _ in range(20):
        weight = length / (1 + (np.degrees(np.arcsin(np.clip(planes @ down, -1, 1))) / 1.0) ** 2)
        _, vectors = np.linalg.eigh((planes * weight[:, None]).T @ planes)
        down = vectors[:, 0] * np.sign(vectors[1, 0] or 1.0)
    agreeing = np.abs(planes @ down) < np.sin(np.radians(1.5))
    tilt = np.degrees(np.arccos(np.clip(down[1], -1, 1)))
    if agreeing.sum() < 6 or length[agreeing].sum() < image.shape[0] or tilt > 30:
        return None
    return down


def _shrunk(image: U8, width: int = WORK_WIDTH) -> U8:
    if image.shape[1] <= width:
        return image
    size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _regions(image: U8) -> I32:
    """Regions of like colour (Felzenszwalb and Huttenlocher 2004), numbered from 0."""
    cut = cv2.ximgproc.segmentation.createGraphSegmentation(0.8, 300.0, max(20, image.shape[0] * image.shape[1] // 600))
    return np.asarray(cut.processImage(np.ascontiguousarray(image)), np.int32)


def _sky(image: U8, regions: I32, floor: F32) -> Bool:
    """Regions on the top edge, above the horizon, smooth, and blue or burnt-out white. Ceilings are rarely either."""
    value = image.astype(np.float32)
    rough = np.abs(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    sky = np.zeros(regions.shape, dtype=bool)
    for label in np.unique(regions[0]):
        region = regions == label
        red, _, blue = value[region].mean(axis=0)
        bluish = blue > 1.12 * red and blue > 55
        burnt = value[region].mean() > 252
        if (bluish or burnt) and rough[region].mean() < 6 and (floor[region] < 1e5).mean() < 0.05:
            sky |= region
    return sky


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
