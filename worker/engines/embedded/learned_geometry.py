"""Depth, lens, floor, sky, classes and instances from one pass of our own small network (weights/MODEL_CARD.md).

The network gives depth up to scale and the lens; this file makes a pointmap of it: pinhole points on their own rays, a
floor, a scale by the rule "the camera stands at eye height over the floor it sees", a bounded far plane. Where the
network itself expects large errors, the layout preview is given instead, and the session says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from worker.arrays import F32, F64, I32, U8, Bool
from worker.engines.contract import EngineNotice, GeometryRequest, GeometryResult, Progress, SurfaceClass
from worker.engines.embedded.layout import LayoutPreview
from worker.engines.embedded.shipped_network import open_network
from worker.engines.embedded.votes import View, instances_from_votes
from worker.formats.pointmap import intrinsics_from_hfov, pixel_rays
from worker.pointmaps.edge_upsampling import upsample, upsample_probability, without_specks
from worker.pointmaps.floor import scale_by_floor
from worker.pointmaps.perspective_field import fit_up
from worker.pointmaps.upright import gravity_from_lines

WEIGHTS = Path(__file__).parent / "weights" / "geometry.onnx"
WEIGHTS_SHA256 = "a241edb355a977b4a0067bd049b17fb4222f5a5c8d6e1aa9b0c3b54bd67d9c4e"
# The picture is read at two sizes, once in the mirror, and the answers averaged: they err less than either alone.
LONG_SIDE, LARGER_SIDE = 512, 640
CLOSE_LOOK = 896  # for instances alone: small things come apart, while depth and lens get no better
# On real photos the network is surer of the lens than it should be: part of the way to what most pictures are taken
# with (60 degrees over the long side) errs less in the mean (8 degrees instead of 11).
LENS_TRUST = 0.6
USUAL_FOV_DEG = 60.0
HFOV_RANGE = (15.0, 115.0)
FAR = 40.0  # farthest depth, in medians
DOUBTFUL = 0.6  # median expected error of log depth above which the picture is left to the layout preview
SKY_BELOW = 0.08  # sky reaches at most this far (slope) under the horizon
OUTPUTS = ["log_disparity", "dense", "lens", "coarse"]
BLANK = 3.0  # standard deviation of the picture below which there is nothing to read
CLASSES = (SurfaceClass.OBJECT, SurfaceClass.STUFF, SurfaceClass.SKY, SurfaceClass.PERSON)  # the network's order


@dataclass(frozen=True)
class Reading:
    """What the network says of the picture at one size (h, w); maps and directions as seen, never mirrored."""

    small: U8  # the picture itself
    log_disparity: F32  # (h, w)
    dense: F32  # (11, h/4, w/4): normal 3, class 4, centre offset 2, boundary, log spread
    lens: F32  # (4,): log(focal length / diagonal), up
    field: F32  # (3, h/8, w/8): sine of the elevation, the way up in the picture
    box: F32  # (10, h/8, w/8): worker/pointmaps/object_box.py

    def mirrored(self) -> Reading:
        dense, lens, field = self.dense[..., ::-1].copy(), self.lens.copy(), self.field[..., ::-1].copy()
        box = self.box[..., ::-1].copy()
        dense[[0, 7]] *= -1  # normal x, offset x
        lens[1] *= -1
        field[1] *= -1
        box[[1, 5, 8]] *= -1  # all that is odd in `right`
        return Reading(self.small[:, ::-1].copy(), self.log_disparity[:, ::-1].copy(), dense, lens, field, box)


def network_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    """(height, width) in multiples of 32 nearest to the picture at that long side."""
    scale = long_side / max(height, width)
    return max(32, round(height * scale / 32) * 32), max(32, round(width * scale / 32) * 32)


class LearnedGeometry:
    def load(self, device: str, tier: str) -> None:
        """Raises EngineUnavailable where the shipped weights are missing or not those measured."""
        self._session = open_network(WEIGHTS, WEIGHTS_SHA256, "geometry", "geometry", "几何")

    def run(self, request: GeometryRequest, progress: Progress) -> GeometryResult:
        image = request.image
        height, width = image.shape[:2]
        passes = [self._read(image, LONG_SIDE), self._read(image[:, ::-1], LARGER_SIDE).mirrored()]
        small, dense = passes[-1].small, passes[-1].dense
        log_disparity = _mean_of_maps([p.log_disparity for p in passes])
        lens = np.mean([p.lens for p in passes], axis=0)
        progress(0.5)
        expected_error = np.exp(np.clip(dense[10], -5, 2))
        here = _softmax(dense[3:7])[2] < 0.5  # nothing is learnt of the error in the sky
        error = float(np.median(expected_error[here])) if here.any() else np.inf
        if error > DOUBTFUL or float(small.std()) < BLANK:
            result = LayoutPreview().run(request, progress)
            result.notices.insert(0, EngineNotice("geometry.network_unsure", degraded=True))
            return result

        hfov = request.hfov_deg or float(np.clip(_hfov(lens[0], height, width), *HFOV_RANGE))
        intrinsics = intrinsics_from_hfov(width, height, hfov)
        gravity = _gravity(_up(lens[1:4], passes, intrinsics, width, height), image, intrinsics)
        probability = _class_probability(dense[3:7])
        rays = pixel_rays(height, width, intrinsics)
        sky = _sky(probability[2], log_disparity, image) & (rays @ gravity.astype(np.float32) < SKY_BELOW)
        classes = _classes(probability, sky, image)

        depth = np.exp(-upsample(log_disparity, small, image).astype(np.float64))
        solid = ~sky if (~sky).any() else np.ones_like(sky)
        median = float(np.median(depth[solid]))
        depth = np.clip(depth / median, 1e-3, FAR)
        progress(0.8)

        normals = _normals(dense[:3], rays)
        instances, readings = _instances([p.dense for p in passes], self._read(image, CLOSE_LOOK).dense, classes)
        confidence = _to_size(np.exp(-expected_error / 0.25), width, height) * ~sky
        shape = (rays * depth[..., None]).astype(np.float64)
        scale, basis, ground = scale_by_floor(
            shape, normals, gravity, (classes == SurfaceClass.STUFF) & solid, (classes == SurfaceClass.OBJECT) & solid
        )
        depth *= scale
        depth[sky] = 1.5 * max(float(depth[solid].max()), 10 * scale)
        # Built from the float32 that are kept, so that every point stays on its own ray.
        points = rays * depth.astype(np.float32)[..., None]
        return GeometryResult(
            points=points,
            mask=~sky & (depth < FAR * scale * 0.999),
            confidence=confidence.astype(np.float32),
            intrinsics=intrinsics,
            unit="relative",
            scale_basis=basis,
            gravity=gravity.astype(np.float32),
            gravity_source="engine",
            hfov_source="user" if request.hfov_deg else "engine",
            sky=sky,
            ground_plane=ground,
            normals=normals,
            classes=classes,
            instances=instances,
            instance_readings=readings,
            box_votes=passes[-1].box,
            notices=[EngineNotice("geometry.small_network")],
        )

    def _read(self, image: U8, long_side: int) -> Reading:
        size = network_size(image.shape[0], image.shape[1], long_side)
        shrink = size[0] < image.shape[0]
        small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
        blob = np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32)
        log_disparity, dense, lens, coarse = self._session.run(OUTPUTS, {"image": blob})
        return Reading(
            np.asarray(small, np.uint8), log_disparity[0, 0], dense[0], lens[0], coarse[0, :3], coarse[0, 3:]
        )


def _instances(passes: list[F32], close: F32, classes: U8) -> tuple[I32, I32]:
    """(H, W) and each reading's own (3, h, w) from the dense maps (11, h, w) at several sizes: centre votes.

    The first is kept to the object class.
    """
    height, width = classes.shape
    one, readings = instances_from_votes([_view([passes[0]]), _view(passes), _view([close])])
    full = cv2.resize(one.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.where(classes == SurfaceClass.OBJECT, full, 0).astype(np.int32), readings


def _view(passes: list[F32]) -> View:
    """The mean of several passes at the size of the last."""
    height, width = passes[-1].shape[1:]
    probability, offset, boundary = (
        np.mean([[_to_size(m, width, height) for m in part(p)] for p in passes], 0).astype(np.float32)
        for part in (lambda p: _class_probability(p[3:7]), lambda p: p[7:9], lambda p: _sigmoid(p[9:10]))
    )
    objects = probability[0] > np.maximum(0.4, probability[[1, 2, 3]].max(0))
    return View(offset * np.float32(np.hypot(height, width)), objects, boundary[0])


def _hfov(log_focal: float, height: int, width: int) -> float:
    """Degrees, from the network's log(focal / diagonal) and what is usual."""
    usual = np.log(max(height, width) / (2 * np.tan(np.radians(USUAL_FOV_DEG) / 2)) / np.hypot(width, height))
    focal = np.exp(LENS_TRUST * log_focal + (1 - LENS_TRUST) * usual) * np.hypot(width, height)
    return float(2 * np.degrees(np.arctan(0.5 * width / focal)))


def _mean_of_maps(maps: list[F32]) -> F32:
    """Log disparities of several sizes, each known up to a constant -> their mean at the size of the last."""
    height, width = maps[-1].shape
    full = [_to_size(m, width, height) for m in maps]
    return np.asarray(np.mean([m - np.median(m) for m in full], 0), np.float32)


def _softmax(logits: F32) -> F32:
    e = np.exp(logits - logits.max(0))
    return np.asarray(e / e.sum(0), np.float32)


def _class_probability(logits: F32) -> F32:
    """Softmax with the person's weight in training (2) undone: a hydrant is no passer-by."""
    return _softmax(logits - np.log(np.array([1.0, 0.7, 1.0, 2.0], np.float32))[:, None, None])


def _sigmoid(x: F32) -> F32:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))), np.float32)


def _to_size(values: F32, width: int, height: int) -> F32:
    size = (width, height)
    return np.asarray(cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_LINEAR), np.float32)


def _up(given: F32, passes: list[Reading], intrinsics: F32, width: int, height: int) -> F64:
    """Unit vector up: the perspective fields', from the network's one answer for the whole picture."""
    log_focal = float(np.log(intrinsics[0, 0] / np.hypot(width, height)))
    length = float(np.linalg.norm(given))
    start = np.asarray(given, np.float64) / length if length > 1e-3 else np.array([0.0, -1.0, 0.0])
    up = np.mean([fit_up(p.field[0], p.field[1:], width, height, log_focal, start) for p in passes], axis=0)
    return np.asarray(up / np.linalg.norm(up), np.float64)


def _gravity(up: F64, image: U8, intrinsics: F32) -> F64:
    """Unit vector down. Upright edges are sharper than the network where there are enough and both roughly agree."""
    lines = gravity_from_lines(image, intrinsics)
    return lines if lines is not None and float(-lines @ up) > np.cos(np.radians(6)) else -up


def _sky(probability: F32, log_disparity: F32, image: U8) -> Bool:
    """Sky at full size: likely, far, and no speck (a white pane is not the sky)."""
    height, width = image.shape[:2]
    full = upsample_probability(probability, image) > 0.5
    far = _to_size(log_disparity, width, height) < np.median(log_disparity)
    return without_specks(full & far, 0.004)


def _classes(probability: F32, sky: Bool, image: U8) -> U8:
    height, width = image.shape[:2]
    best = np.stack([_to_size(p, width, height) for p in probability[[0, 1, 3]]]).argmax(0)
    names = np.array([CLASSES[0], CLASSES[1], CLASSES[3]], np.uint8)
    return np.where(sky, SurfaceClass.SKY, names[best]).astype(np.uint8)


def _normals(raw: F32, rays: F32) -> F32:
    """(3, h, w) -> (H, W, 3), unit and facing the camera."""
    height, width = rays.shape[:2]
    normals = np.stack([_to_size(c, width, height) for c in raw], -1)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    away = (normals * rays).sum(-1, keepdims=True) > 0
    return np.where(away, normals - 2 * normals * away, normals).astype(np.float32)
