"""Two-layer lift: a picture and its pointmap become 3D Gaussians, without training.

Layer 0 is what the camera sees: one flat Gaussian a pixel, lying along the surface, four or sixteen pixels sharing one
where colour and depth are plain. Layer 1 is what a small camera move uncovers: a band behind every depth edge,
continued from the far side. Depth edges are judged in parallax, not in percent: a step counts where moving the camera
by the design baseline would tear the picture by more than a pixel (cf. 3D Photo Inpainting, Shih et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial.transform import Rotation

from worker.arrays import F32, F64, U8, Bool
from worker.engines.contract import EngineNotice, Progress, SceneRequest, SceneResult
from worker.formats.gaussians import GaussianCloud
from worker.formats.pointmap import normals_of, pixel_rays
from worker.pointmaps.background import dome_radius, fill_behind, vault
from worker.pointmaps.membrane import membrane

MAX_GRID = 950_000  # pixels of layer 0 before merging; larger stills are lifted at this size
MAX_SPLATS = 1_200_000
BASELINE = 0.08  # design camera move, as a share of the median depth: 30 cm at 4 m
SIGMA = 0.5  # standard deviation of a splat in pixels: the knee between sharpness and coverage
RIM_SIGMA = 0.3  # on the near side of an edge: a wider splat would smear the near colour over what lies behind
WIDE_SIGMA = 0.7  # where there is no detail to keep: merged and hidden splats
SHARPEN = 0.5  # more would ring in viewers that do not dilate
THICKNESS = 0.1  # of a splat, relative to its width
OPACITY = 0.99
CUT_PX = 1.0
SNAP_PX = 2.0
MARGIN = 0.06  # the frame is continued by this share of its width, so a sideways step does not see its rim
MIN_COSINE = 0.3


@dataclass
class _Grid:
    """The picture being lifted; `parallax` turns a difference of 1/z into pixels under the design baseline."""

    color: F32  # (H, W, 3) sRGB 0..1
    disparity: F32
    sky: Bool
    intrinsics: F32
    parallax: float
    pad: int  # how far the frame was continued
    normals: F32 | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.disparity.shape[0], self.disparity.shape[1]


class EmbeddedSplats:
    def load(self, device: str, tier: str) -> None:
        """Nothing to load. The low tier lifts half as many pixels."""
        self.max_grid = MAX_GRID if tier != "low" else MAX_GRID // 2

    def run(self, request: SceneRequest, progress: Progress) -> SceneResult:
        depth = request.points[..., 2]
        solid = request.mask & ~request.sky
        trusted = depth[solid] if solid.any() else depth.ravel()
        median = float(np.median(trusted))
        dome = dome_radius(depth, solid)
        parallax = float(request.intrinsics[0, 0]) * BASELINE * median
        nearest = 0.02 * median  # nothing within a hand's breadth of the lens: it would fill the frame after any move
        disparity = (1 / np.clip(depth, nearest, dome)).astype(np.float32)
        rays = pixel_rays(depth.shape[0], depth.shape[1], request.intrinsics)
        disparity = np.where(solid, snapped(disparity, parallax), vault(rays, dome)).astype(np.float32)

        removed = request.removed if request.removed is not None else np.zeros(depth.shape, dtype=bool)
        behind, sky = fill_behind(disparity, removed, ~solid, 1 / dome, request.seed)
        behind = np.where(sky, vault(rays, dome), behind).astype(np.float32)
        background = rays / behind[..., None]
        progress(0.2)

        clean = request.clean if request.clean is not None else request.still
        most = self.max_grid
        normals = None if removed.any() else request.normals
        bare = _grid(clean, behind, sky, normals, request, parallax, dome, most)
        front = bare
        if request.keep_props:
            front = _grid(request.still, disparity, ~solid, request.normals, request, parallax, dome, most)
        visible = _visible_layer(front)
        progress(0.6)
        hidden = _hidden_layer(front, bare if request.keep_props else None, MAX_SPLATS - len(visible))
        notices = [] if solid.any() else [EngineNotice("scene.flat", degraded=True)]
        return SceneResult(
            GaussianCloud.joined([visible, hidden]),
            background.astype(np.float32),
            layers=(len(visible), len(hidden)),
            notices=notices,
        )


def snapped(disparity: F32, parallax: float) -> F32:
    """Depth maps blur their edges over a few pixels; a pixel inside such a ramp goes to the nearer of its two sides."""
    window = np.ones((5, 5), np.uint8)
    near, far = cv2.dilate(disparity, window), cv2.erode(disparity, window)
    side = np.where(disparity - far > near - disparity, near, far)
    return np.where((near - far) * parallax > SNAP_PX, side, disparity).astype(np.float32)


def _grid(
    image: U8,
    disparity: F32,
    sky: Bool,
    normals: F32 | None,
    request: SceneRequest,
    parallax: float,
    dome: float,
    most: int,
) -> _Grid:
    """Shrink to at most `most` pixels, then continue the frame by MARGIN on all sides."""
    height, width = disparity.shape
    scale = min(1.0, (most / (height * width)) ** 0.5)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    ratio = np.array([size[0] / width, size[1] / height, 1.0])
    intrinsics = request.intrinsics * ratio[:, None]
    color = image.astype(np.float32) / 255
    if scale < 1:
        color = np.asarray(cv2.resize(color, size, interpolation=cv2.INTER_AREA), np.float32)
        # Nearest, never averaged: a mean of near and far depth is a point in mid-air.
        disparity = np.asarray(cv2.resize(disparity, size, interpolation=cv2.INTER_NEAREST), np.float32)
        sky = cv2.resize(sky.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        if normals is not None:
            normals = np.asarray(cv2.resize(normals, size, interpolation=cv2.INTER_NEAREST), np.float32)
    pad = min(round(MARGIN * size[0]), size[0] - 1, size[1] - 1)
    intrinsics = intrinsics + np.array([[0, 0, pad], [0, 0, pad], [0, 0, 0]])
    intrinsics = intrinsics.astype(np.float32)
    edges = ((pad, pad), (pad, pad))
    if normals is not None:
        normals = np.pad(normals, (*edges, (0, 0)), mode="edge")
    disparity, sky = np.pad(disparity, edges, mode="edge"), np.pad(sky, edges, mode="edge")
    return _Grid(
        np.pad(color, (*edges, (0, 0)), mode="reflect"),
        np.where(sky, vault(pixel_rays(sky.shape[0], sky.shape[1], intrinsics), dome), disparity),
        sky,
        intrinsics,
        parallax * scale,
        pad,
        normals,
    )


def _cuts(grid: _Grid) -> tuple[Bool, Bool]:
    """Pixels on the near and on the far side of a depth edge towards one of their four neighbours."""
    near, far = np.zeros(grid.size, dtype=bool), np.zeros(grid.size, dtype=bool)
    for axis in (0, 1):
        step = np.diff(grid.disparity, axis=axis) * grid.parallax
        first, second = [slice(None)] * 2, [slice(None)] * 2
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        near[tuple(second)] |= step > CUT_PX
        far[tuple(first)] |= step > CUT_PX
        near[tuple(first)] |= step < -CUT_PX
        far[tuple(second)] |= step < -CUT_PX
    return near, far


def _visible_layer(grid: _Grid) -> GaussianCloud:
    near, far = _cuts(grid)
    rays = pixel_rays(*grid.size, grid.intrinsics)
    towards = -rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    normals = grid.normals if grid.normals is not None else normals_of(rays / grid.disparity[..., None])
    # At a rim the neighbours belong to another surface: there, and in the sky, splats face the camera.
    rim = cv2.dilate((near | far).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    normals = np.where((rim | grid.sky)[..., None], towards, normals).astype(np.float32)
    color = sharpened(_unmixed(grid, near | far), rim)
    level = _merge_levels(grid, rim)
    parts = []
    for side in (4, 2, 1):
        rows, columns = np.nonzero(level == side)
        corner = (rows % side == 0) & (columns % side == 0)
        rows, columns = rows[corner], columns[corner]
        middle = (side - 1) / 2
        blocks = (rows[:, None] + np.arange(side).repeat(side), columns[:, None] + np.tile(np.arange(side), side))
        uv = np.column_stack([columns + middle + 0.5, rows + middle + 0.5])
        parts.append(
            _discs(
                uv,
                grid.disparity[blocks].mean(axis=1),
                color[blocks].mean(axis=1),
                normals[blocks].mean(axis=1),
                grid.intrinsics,
                np.where(near[rows, columns], RIM_SIGMA, SIGMA) if side == 1 else WIDE_SIGMA * side,
            )
        )
    return GaussianCloud.joined(parts)


def sharpened(color: F32, rim: Bool) -> F32:
    """Undo part of the blur that splats of SIGMA and a viewer's usual 0.3 px^2 dilation put on a picture.

    Not at depth edges: overshoot there would stay behind as an outline when the camera moves.
    """
    blurred = cv2.GaussianBlur(color, (7, 7), (SIGMA**2 + 0.3) ** 0.5)
    gain = np.where(cv2.dilate(rim.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, 0, SHARPEN)
    return np.clip(color + gain[..., None] * (color - blurred), 0, 1).astype(np.float32)


def _unmixed(grid: _Grid, cut: Bool) -> F32:
    """Pixels on a depth edge may hold light of both sides; those that do get the colour of their own side alone.

    Own and other side are the means of 5x5 neighbours on no edge. Only a pixel that lies between the two and nearer
    to its own is a mix: one that wears the other side's colour merely has its depth edge in the wrong place.
    """
    rows, columns = np.nonzero(cut)
    own, other = np.zeros((len(rows), 4), np.float32), np.zeros((len(rows), 4), np.float32)
    color = np.dstack([grid.color, np.ones(grid.size, np.float32)])
    for down in range(-2, 3):
        for right in range(-2, 3):
            v = np.clip(rows + down, 0, grid.size[0] - 1)
            u = np.clip(columns + right, 0, grid.size[1] - 1)
            step = np.abs(grid.disparity[v, u] - grid.disparity[rows, columns]) * grid.parallax
            own += color[v, u] * ((step < CUT_PX) & ~cut[v, u])[:, None]
            other += color[v, u] * ((step >= CUT_PX) & ~cut[v, u])[:, None]
    both = (own[:, 3] > 0) & (other[:, 3] > 0)
    own_mean = own[:, :3] / np.maximum(own[:, 3:], 1)
    apart = other[:, :3] / np.maximum(other[:, 3:], 1) - own_mean
    away = grid.color[rows, columns] - own_mean
    share = (away * apart).sum(axis=1) / np.maximum((apart * apart).sum(axis=1), 1e-6)
    off_line = np.linalg.norm(away - share[:, None] * apart, axis=1)
    mixed = both & (share > 0.05) & (share < 0.6) & (off_line < 0.06)
    result = grid.color.copy()
    result[rows[mixed], columns[mixed]] = own_mean[mixed]
    return result


def _merge_levels(grid: _Grid, rim: Bool) -> np.ndarray:
    """Side of the square of pixels that share one splat: 4 or 2 where colour and depth are plain all around, else 1.

    Outside the frame, where the picture is only mirrored, detail is not worth its splats.
    """
    height, width = grid.size
    level = np.ones((height, width), dtype=np.uint8)
    outside = np.ones((height, width), dtype=bool)
    outside[grid.pad : height - grid.pad, grid.pad : width - grid.pad] = False
    for side, contrast in ((2, 8 / 255), (4, 6 / 255)):
        window = np.ones((2 * side + 1, 2 * side + 1), np.uint8)
        even = (cv2.dilate(grid.color, window) - cv2.erode(grid.color, window)).max(axis=-1) < contrast
        bend = np.abs(cv2.Laplacian(grid.disparity, cv2.CV_32F)) * grid.parallax
        plain = (even | outside) & (cv2.dilate(bend, window) < 0.25)
        plain &= cv2.dilate(rim.astype(np.uint8), window) == 0
        rows, columns = height // side * side, width // side * side
        blocks = plain[:rows, :columns].reshape(rows // side, side, columns // side, side).all(axis=(1, 3))
        level[:rows, :columns][blocks.repeat(side, axis=0).repeat(side, axis=1)] = side
    return level


def _hidden_layer(front: _Grid, behind: _Grid | None, budget: int) -> GaussianCloud:
    """Splats behind depth edges: as wide as the design move uncovers plus 4 px, at most 8 % of the width.

    `behind` is the scene without props where that is known; its surface is used wherever it lies behind the front.
    """
    _, far = _cuts(front)
    if not far.any() and behind is None:
        return _discs(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)), front.intrinsics, WIDE_SIGMA)
    emit = np.zeros(front.size, dtype=bool)
    disparity, color = front.disparity.copy(), front.color.copy()
    if far.any():
        distance, (row, column) = distance_transform_edt(~far, return_indices=True)
        step = (front.disparity - front.disparity[row, column]) * front.parallax
        emit = (step > CUT_PX) & (distance <= np.minimum(step + 4, 0.08 * front.size[1]))
        # Continue the far side alone: pixels near a cut that lie as deep as its far side; the two on the very rim mix.
        source = (np.abs(step) <= CUT_PX) & (distance <= 16) & (distance >= 2) & ~emit
        source |= far & ~cv2.dilate(source.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
        continued = membrane(np.dstack([front.color, front.disparity]), source)
        color = np.where(emit[..., None], continued[..., :3], color)
        disparity = np.where(emit, np.minimum(continued[..., 3], front.disparity / 1.02), disparity)
    if behind is not None:
        uncovered = behind.disparity < front.disparity / 1.005
        disparity = np.where(uncovered, np.minimum(behind.disparity, front.disparity / 1.02), disparity)
        color = np.where(uncovered[..., None], behind.color, color)
        emit |= uncovered
    rows, columns = np.nonzero(emit)
    sigma = WIDE_SIGMA
    if len(rows) > budget:
        even = (rows % 2 == 0) & (columns % 2 == 0)
        rows, columns, sigma = rows[even], columns[even], 2 * sigma
    uv = np.column_stack([columns + 0.5, rows + 0.5])
    toward = np.zeros((len(rows), 3))
    return _discs(uv, disparity[rows, columns], color[rows, columns], toward, front.intrinsics, sigma)


def _discs(
    uv: np.ndarray, disparity: np.ndarray, color: np.ndarray, normals: np.ndarray, intrinsics: F32, sigma: float | F64
) -> GaussianCloud:
    """Flat Gaussians at pixels `uv` that look `sigma` px wide from the still's camera, whatever their tilt.

    A surface seen at a grazing angle (cosine below MIN_COSINE, or no normal) is turned towards the camera instead of
    stretching the splat without end.
    """
    K = intrinsics.astype(np.float64)
    rays = np.column_stack([(uv[:, 0] - K[0, 2]) / K[0, 0], (uv[:, 1] - K[1, 2]) / K[1, 1], np.ones(len(uv))])
    sight = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    depth = 1 / disparity.astype(np.float64)
    normals = normals.astype(np.float64)
    along = (normals * sight).sum(axis=1, keepdims=True)
    across = normals - along * sight
    sine = np.linalg.norm(across, axis=1, keepdims=True)
    tilted = sine[:, 0] > 1e-4
    length = np.hypot(along, sine)[:, 0]  # means and half floats of normals are not quite unit
    cosine = np.where(tilted, np.clip(-along[:, 0] / np.maximum(length, 1e-12), MIN_COSINE, 1.0), 1.0)
    helper = np.cross(sight, [1.0, 0.0, 0.0])
    helper /= np.linalg.norm(helper, axis=1, keepdims=True)
    across = np.where(tilted[:, None], across / np.maximum(sine, 1e-12), helper)
    normal = -cosine[:, None] * sight + np.sqrt(1 - cosine**2)[:, None] * across
    level_axis = np.cross(across, sight)
    steep_axis = np.cross(level_axis, normal)
    width = sigma * depth / K[0, 0]
    # Unit and perpendicular by construction: scipy's proof of it would take ten times as long as the quaternions.
    axes = np.stack([steep_axis, level_axis, normal], axis=-1)
    rotation = Rotation.from_matrix(axes, assume_valid=True) if len(uv) else None
    return GaussianCloud(
        position=(rays * depth[:, None]).astype(np.float32),
        scale=np.column_stack([width / cosine, width, THICKNESS * width]).astype(np.float32),
        rotation=np.zeros((0, 4), np.float32) if rotation is None else rotation.as_quat(scalar_first=True).astype("f4"),
        opacity=np.full(len(uv), OPACITY, np.float32),
        color=np.clip(color, 0, 1).astype(np.float32),
    )
