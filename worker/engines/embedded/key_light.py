"""Where the strongest light comes from by shading: luminance read against normals.

Shading: linear luminance = albedo of the pixel's colour group * (ambient + L . n), solved by alternating robust least
squares (first-order spherical harmonics, cf. Ramamoorthi and Hanrahan 2001). Cast shadows and gloss are outliers.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from worker.arrays import F32, F64, I32, Bool
from worker.formats.srgb import luminance

_SAMPLES = 160  # columns of the picture that is fitted
_GROUPS = 8
_LEAST_SCALE = 0.1  # of the mean light: below this a residual is no outlier, however well the walls may fit
_SAME_PAINT = 0.02  # distance in r, g chromaticity


@dataclass
class Cue:
    """`direction` (3,) towards the light; `confidence` 0..1, how well the cue explains what it was read from."""

    direction: F64
    confidence: float

    def turned(self, rotation: F64) -> Cue:
        """The same in another frame."""
        return Cue(rotation @ self.direction, self.confidence)


def shading_direction(linear: F32, normals: F32, usable: Bool) -> Cue | None:
    """Fit one distant light and an ambient term; None where there is too little to fit."""
    height, width = usable.shape
    size = (min(width, _SAMPLES), max(1, round(height * min(width, _SAMPLES) / width)))
    color = np.asarray(cv2.resize(linear, size, interpolation=cv2.INTER_AREA), np.float64).reshape(-1, 3)
    normal = np.asarray(cv2.resize(normals, size, interpolation=cv2.INTER_AREA), np.float64).reshape(-1, 3)
    cover = np.asarray(cv2.resize(usable.astype(np.float32), size, interpolation=cv2.INTER_AREA)).ravel()
    length = np.linalg.norm(normal, axis=1)
    light = luminance(color.astype(np.float32)).astype(np.float64)
    low, high = np.percentile(light, (2, 99))
    # A short mean normal means the pixel spans an edge; crushed and burnt pixels say nothing of shading.
    use = (cover > 0.9) & (length > 0.9) & (light > max(low, 1e-4)) & (light < high)
    if use.sum() < 200:
        return None
    color, normal, light = color[use], normal[use] / length[use, None], light[use]
    spread = np.linalg.eigvalsh(np.cov(normal.T))  # flat: one wall; two directions are needed at the least
    group = _groups(color)
    albedo = np.array([np.median(light[group == k]) if (group == k).any() else 1.0 for k in range(_GROUPS)])
    design = np.column_stack([np.ones(len(normal)), normal])
    rarity = _rarity(normal)
    weight = rarity
    solution = np.array([1.0, 0, 0, 0])
    for _ in range(30):
        scaled = light / albedo[group]
        # The small ridge keeps directions that no normal speaks of at zero.
        gram = (design * weight[:, None]).T @ design + 0.02 * weight.sum() * np.diag([0, 1, 1, 1])
        solution = np.linalg.solve(gram, (design * weight[:, None]).T @ scaled)
        shading = np.maximum(design @ solution, 0.05 * abs(solution[0]) + 1e-6)
        residual = scaled - shading
        scale = max(1.4826 * float(np.median(np.abs(residual))), _LEAST_SCALE)
        weight = rarity / np.maximum(np.abs(residual) / (1.5 * scale), 1)  # Huber
        for k in range(_GROUPS):
            mine = group == k
            if mine.sum() >= 20:
                # Half way: all of it would explain every difference between groups as paint.
                albedo[k] *= np.sqrt(np.median(light[mine] / (albedo[k] * shading[mine])))
    first = solution[1:]
    strength = float(np.linalg.norm(first))
    if strength < 1e-6:
        return None
    scaled = light / albedo[group]
    explained = 1 - np.average((scaled - shading) ** 2, weights=weight) / max(
        float(np.average((scaled - np.average(scaled, weights=weight)) ** 2, weights=weight)), 1e-9
    )
    variety = float(np.clip(spread[1] / 0.05, 0, 1))
    ratio = strength / max(float(solution[0]), 1e-3)
    # Paint and shadow leave most of the variance unexplained even when the direction is right: hence the root.
    confidence = float(np.sqrt(np.clip(explained, 0, 1))) * variety * min(1.0, 2 * ratio)
    return Cue(first / strength, confidence)


def _rarity(normal: F64) -> F64:
    """Weights that let a small round thing speak beside a large wall: one over the root of how many face alike."""
    cell = np.round(normal * 4).astype(np.int64) + 4
    _, which, count = np.unique(cell @ np.array([81, 9, 1]), return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(count[which.ravel()])
    return np.asarray(weight / weight.mean())


def _groups(color: F64) -> I32:
    """Pixels of like chromaticity, which are taken to be painted alike."""
    chroma = color / np.maximum(color.sum(axis=1, keepdims=True), 1e-6)
    cv2.setRNGSeed(1)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-4)
    samples = chroma[:, :2].astype(np.float32)
    label = np.zeros((len(samples), 1), np.int32)
    _, _, center = cv2.kmeans(samples, _GROUPS, label, stop, 1, cv2.KMEANS_PP_CENTERS)
    # Clusters that hardly differ are one paint: split by noise they would explain shading away.
    for k in range(1, len(center)):
        near = np.linalg.norm(center[:k] - center[k], axis=1) < _SAME_PAINT
        if near.any():
            first = int(near.argmax())
            label[label == k] = first
            center[k] = center[first]
    return label.ravel()
