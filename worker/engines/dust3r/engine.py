"""The geometry engine: one still in, one pointmap out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from worker.arrays import F32, F64, U8
from worker.engines.card import EngineCard
from worker.engines.contract import EngineNotice, GeometryRequest, GeometryResult, Progress
from worker.engines.dust3r import depth as d
from worker.engines.dust3r import tiles
from worker.engines.dust3r.cards import DUST3R, MAST3R
from worker.engines.dust3r.config import Dust3rConfig
from worker.engines.dust3r.runner import Runner, load_network
from worker.engines.dust3r.view import View, is_usual_shape, look
from worker.formats.pointmap import intrinsics_from_hfov, normals_of, pixel_rays
from worker.pointmaps.edge_upsampling import upsample_probability
from worker.pointmaps.floor import Ground, fit_floor, scale_by_floor, step_of
from worker.pointmaps.upright import gravity_of
from worker.weights import store

ASSUMED_HFOV_DEG = 60.0  # where neither the user nor the points tell
_ROWS = 32  # of a still at a time: they stay in the cache
FAR = 60.0  # farthest depth, in medians
HfovSource = Literal["user", "engine", "assumed"]
Network = Callable[[F32], tuple[F32, F32]]


class Dust3rEngine:
    """DUSt3R's pointmap has no scale of its own; it gets one by the floor it shows."""

    card: EngineCard = DUST3R
    config = Dust3rConfig()
    metric = False
    network: Network
    device = "cpu"

    def load(self, device: str, tier: str) -> None:
        """Raises WeightsError where the weights are missing, damaged or another network's."""
        self.device = device
        path = store.path_of(self.card.name, self.card.weights[0])
        self.network = Runner(load_network(path, self.config, device, tier), device, graphs=tier == "full")

    def run(self, request: GeometryRequest, progress: Progress) -> GeometryResult:
        """Raises StageError where the network's points are no geometry."""
        still = request.image
        view = look(still)
        raw = self._pass(view)
        progress(0.4)
        intrinsics, hfov_source = _lens(request.hfov_deg, raw, still)
        notices = [EngineNotice("geometry.single_image")]
        if not is_usual_shape(still):
            notices.append(EngineNotice("geometry.unusual_shape"))

        log_depth = d.to_still(raw.log_depth, view, still, self.device)
        windows = tiles.windows(*still.shape[:2]) if request.tiled else []
        mosaic = tiles.Mosaic(log_depth)
        for number, window in enumerate(windows, 1):
            self._lay(mosaic, window, still)
            progress(0.4 + 0.4 * number / len(windows))
        if mosaic.refused:
            notices.append(EngineNotice("geometry.tiles_refused", {"refused": mosaic.refused, "tiles": len(windows)}))
        progress(0.8)
        result = self._pointmap(still, view, raw, d.landed(mosaic.blended()), intrinsics)
        result.hfov_source, result.notices, result.tiles = hfov_source, notices, mosaic.used
        progress(1.0)
        return result

    def _pass(self, view: View) -> d.RawDepth:
        return d.read(*self.network(view.network_input()), view)

    def _lay(self, mosaic: tiles.Mosaic, window: tiles.Window, still: U8) -> None:
        part = np.ascontiguousarray(still[window.slices])
        view = look(part)
        try:
            raw = self._pass(view)
        except d.StageError:  # nothing but sky in this tile, say
            mosaic.refused += 1
            return
        mosaic.lay(
            window,
            d.to_still(raw.log_depth, view, part, self.device),
            d.resized(view.whole_map(raw.confidence), part.shape[:2]),
        )

    def _pointmap(self, still: U8, view: View, raw: d.RawDepth, log_depth: F32, intrinsics: F32) -> GeometryResult:
        height, width = still.shape[:2]
        small_intrinsics = intrinsics * np.array([[view.small.shape[1] / width], [view.small.shape[0] / height], [1]])
        small_rays = pixel_rays(view.small.shape[0], view.small.shape[1], small_intrinsics.astype(np.float32))
        small_log = view.whole(raw.log_depth)
        confidence = view.whole_map(raw.confidence)
        small_normals = normals_of(small_rays * np.exp(small_log - np.median(small_log))[..., None])
        down = gravity_of(still, intrinsics, small_normals, confidence)
        gravity = np.array([0.0, 1.0, 0.0]) if down is None else down

        sky = np.zeros((height, width), dtype=bool)
        if (small_sky := d.sky_of(view, raw, gravity, small_rays)).any():
            sky = upsample_probability(small_sky.astype(np.float32), still) > 0.5
        solid = ~sky if (~sky).any() else np.ones_like(sky)
        depth = np.exp(log_depth.astype(np.float64))
        median = float(np.median(depth[solid]))
        depth = np.clip(depth / median, 1e-3, FAR)
        rays = pixel_rays(height, width, intrinsics)
        normals = _full_normals(small_normals, rays)
        few = np.s_[:: step_of(solid), :: step_of(solid)]
        points = rays[few].astype(np.float64) * depth[few][..., None]
        scale, basis, ground = self._scale(points, normals, gravity, solid, median)
        depth *= scale
        depth[sky] = 1.5 * max(float(depth[solid].max()), 10 * float(np.median(depth[solid])))
        trusted = d.resized(view.whole_mask(raw.trusted).astype(np.float32), (height, width)) > 0.5
        quality = {"confidence_threshold": raw.threshold, "kept_share": float(raw.trusted.mean())}
        if raw.own_focal is not None and raw.residual is not None:
            quality |= {"ray_residual_px": raw.residual, "own_hfov_deg": _hfov(raw.own_focal, width)}
        return GeometryResult(
            # Built from the float32 that are kept, so that every point stays on its own ray.
            points=rays * depth.astype(np.float32)[..., None],
            mask=~sky & trusted & (depth < FAR * scale * 0.999),
            confidence=(d.resized(confidence, (height, width)) * ~sky).clip(0, 1),
            intrinsics=intrinsics,
            unit="metre" if self.metric else "relative",
            scale_basis=basis,
            gravity=gravity.astype(np.float32),
            gravity_source="assumed" if down is None else "engine",
            hfov_source="engine",
            sky=sky,
            ground_plane=ground,
            normals=normals,
            quality=quality,
        )

    def _scale(
        self, points: F64, normals: F32, gravity: F64, solid: np.ndarray, median: float
    ) -> tuple[float, str, Ground | None]:
        """What the points, of median depth 1, are multiplied with; why; and the ground in that scale.

        `points`: as many as `worker.pointmaps.floor` looks at.
        """
        return scale_by_floor(points, normals, gravity, solid)


class Mast3rEngine(Dust3rEngine):
    """The same network with weights that were taught metres."""

    card = MAST3R
    metric = True

    def _scale(
        self, points: F64, normals: F32, gravity: F64, solid: np.ndarray, median: float
    ) -> tuple[float, str, Ground | None]:
        floor = fit_floor(points, normals, gravity, solid)
        ground = (floor[0].astype(np.float32), floor[1] * median, floor[2]) if floor else None
        return median, "the network's own metres, estimated from one picture, not measured", ground


def _lens(asked_deg: float | None, raw: d.RawDepth, still: U8) -> tuple[F32, HfovSource]:
    height, width = still.shape[:2]
    if asked_deg is not None:
        return intrinsics_from_hfov(width, height, asked_deg), "user"
    if raw.own_focal is not None:
        return intrinsics_from_hfov(width, height, _hfov(raw.own_focal, width)), "engine"
    return intrinsics_from_hfov(width, height, ASSUMED_HFOV_DEG), "assumed"


def _hfov(focal: float, width: int) -> float:
    return float(2 * np.degrees(np.arctan(0.5 * width / focal)))


def _full_normals(small: F32, rays: F32) -> F32:
    """(H, W, 3) unit, facing the camera; where the small map has none, straight at it."""
    normals = d.resized(small, rays.shape[:2])
    for top in range(0, len(rays), _ROWS):
        part, towards = normals[top : top + _ROWS], rays[top : top + _ROWS]
        flat = np.einsum("ijk,ijk->ij", part, part) < 0.01
        part[flat] = -towards[flat]
        length = np.sqrt(np.einsum("ijk,ijk->ij", part, part))
        away = np.einsum("ijk,ijk->ij", part, towards) > 0
        part /= np.where(away, -length, length)[..., None]
    return normals
