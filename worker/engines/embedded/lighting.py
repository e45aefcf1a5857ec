"""Classical light probe: what the frame saw, unfolded onto the sphere; the rest continued and blurred.

A frame sees a few percent of the sphere. The part behind the camera is made from the picture's own tones, mirrored,
stretched and blurred the more the farther from what was seen: plausible colours for shading, not a picture of the set.
Over it stands the key light, spread over the directions it may come from.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from worker.arrays import F32, F64, Bool
from worker.engines.contract import EngineNotice, LightingRequest, LightingResult, Progress
from worker.engines.embedded.key_light import Cue, shading_direction
from worker.engines.embedded.light_cues import falloff, openness
from worker.engines.embedded.light_posterior import Posterior, posterior
from worker.formats import equirect as sphere
from worker.formats.pointmap import pixel_rays
from worker.formats.srgb import luminance
from worker.session.frames import level_from_camera

HEIGHT = 256
KNEE = 0.8  # of white: above it a display-referred picture has compressed its highlights
STOPS_SMALL, STOPS_LARGE = 5.0, 2.0  # what a clipped lamp and a clipped window or sky are taken to hide
LARGE_DEG = 20.0
BLURS_DEG = (0.0, 5.0, 12.0, 25.0, 45.0)
LEAST_CONFIDENCE = 0.35  # the prior alone is 0.28 sure of its best direction; below this the still said little
UNKNOWN_OPENNESS = 0.5  # where nothing is known of the place
# Of the picture's mean light; set by the grey ball on even stills of the bench. Flat within a factor of 2.
KEY_ROOM, KEY_OPEN, SKY_OPEN = 1.0, 0.3, 1.5
FRAME_RIM_DEG = 5.0  # over which the added light sets in beside the frame
KEY_ANGLE_DEG = 10.0


class EmbeddedLighting:
    def load(self, device: str, tier: str) -> None:
        """Nothing to load; every tier is the same."""

    def run(self, request: LightingRequest, progress: Progress) -> LightingResult:
        level = level_from_camera(request.gravity)
        linear = np.maximum(np.nan_to_num(request.linear.astype(np.float32)), 0)
        lamps = np.ones(linear.shape[:2], dtype=bool)
        if request.normals is not None:
            # Sunlit floor and glints on it are as white as a lamp, but light does not come from there.
            lamps = request.normals @ np.asarray(request.gravity, np.float32) > -0.7
        radiance = expanded(linear, request.clipped_at, float(request.intrinsics[0, 0]), lamps)
        seen_map, seen = unfolded(radiance, request.intrinsics, level)
        coverage = float(sphere.solid_angles(HEIGHT, 2 * HEIGHT)[seen].sum() / (4 * np.pi))
        progress(0.4)

        # Lights that stand in the frame are there once: the continuation is made of the tones without them.
        ceiling = float(np.percentile(luminance(linear), 90))
        tame = linear * np.minimum(1, ceiling / np.maximum(luminance(linear), 1e-6))[..., None]
        plain, _ = unfolded(tame, request.intrinsics, level)
        away = _angle_from(seen)
        progress(0.7)

        sure, open_air = _posterior(request, linear, radiance, lamps, level)
        probe = np.where(seen[..., None], seen_map, _continued(plain, seen, away))
        lobe = added_light(sure, open_air, _mean_tone(plain, seen), np.clip(away / FRAME_RIM_DEG, 0, 1))
        probe = probe + lobe
        found = sure.confidence >= LEAST_CONFIDENCE
        intensity, color, size = _key(probe, lobe, seen, sure.direction) if found else (0.0, None, KEY_ANGLE_DEG)
        exposure = _exposure(probe, linear, level)
        probe *= exposure
        notices = [EngineNotice("lighting.mostly_unseen", {"percent": round(100 * coverage, 1)})]
        if not found:
            notices.append(EngineNotice("lighting.no_key"))
        return LightingResult(
            equirect=probe.astype(np.float32),
            coverage_map=np.where(seen, 1.0, np.clip(1 - away / 90, 0, 1) * 0.5).astype(np.float32),
            coverage=coverage,
            sh9=sphere.project_sh9(probe).astype(np.float32),
            key_direction=(level.T @ sure.direction).astype(np.float32) if found else None,
            key_color=color,
            key_intensity=intensity * exposure,
            key_angular_size_deg=size,
            key_confidence=sure.confidence if found else 0.0,
            exposure=exposure,
            notices=notices,
        )


def expanded(linear: F32, clipped_at: float, focal_px: float, lamps: Bool) -> F32:
    """Inverse tone-map: highlights near white regain the light that clipping took, hue kept; HDR passes unchanged.

    A blob of clipped pixels gains up to 2^STOPS_SMALL when it is small (lamp, sun), 2^STOPS_LARGE at LARGE_DEG across.
    Pixels outside `lamps` only reflect and stay as they are.
    """
    if not np.isfinite(clipped_at):
        return linear
    excess = np.where(lamps, np.clip((linear.max(axis=-1) / clipped_at - KNEE) / (1 - KNEE), 0, 1), 0)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((excess > 0).astype(np.uint8))
    across_deg = np.degrees(np.sqrt(np.maximum(stats[:count, cv2.CC_STAT_AREA], 1)) / focal_px)
    share = np.clip(across_deg / LARGE_DEG, 0, 1)
    stops = (STOPS_SMALL + (STOPS_LARGE - STOPS_SMALL) * share).astype(np.float32)
    return (linear * np.exp2(stops[labels] * excess**2)[..., None]).astype(np.float32)


def unfolded(linear: F32, intrinsics: F32, level: F64) -> tuple[F32, Bool]:
    """The picture on the probe's sphere (zero elsewhere) and where that is."""
    height, width = linear.shape[:2]
    # Shrink first so that one probe pixel averages what it covers: energy is kept.
    shrink = max(1.0, float(intrinsics[0, 0]) * np.pi / HEIGHT)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    small = np.asarray(cv2.resize(linear, size, interpolation=cv2.INTER_AREA), np.float32)
    ray = sphere.directions(HEIGHT, 2 * HEIGHT) @ level  # level to camera: the transpose, acting on rows
    ahead = ray[..., 2] > 1e-6
    pixel = (ray / np.where(ahead, ray[..., 2], 1.0)[..., None]) @ intrinsics.astype(np.float64).T
    u, v = pixel[..., 0] * (size[0] / width), pixel[..., 1] * (size[1] / height)
    seen = ahead & (u >= 0) & (u < size[0]) & (v >= 0) & (v < size[1])
    found = cv2.remap(
        small, (u - 0.5).astype(np.float32), (v - 0.5).astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
    )
    return np.where(seen[..., None], found, 0).astype(np.float32), seen


def _angle_from(seen: Bool) -> F32:
    """(h, w) degrees from each direction to the nearest one that was seen."""
    rays = sphere.directions(*seen.shape)
    inner = cv2.erode(seen.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    rim = rays[seen & ~inner] if seen.any() else rays[seen.shape[0] // 2, seen.shape[1] // 2][None]
    away = np.zeros(seen.shape, np.float32)
    chord, _ = cKDTree(rim).query(rays[~seen])
    away[~seen] = np.degrees(2 * np.arcsin(np.clip(chord / 2, 0, 1)))
    return away


def _continued(plain: F32, seen: Bool, away: F32) -> F32:
    """Fill the sphere: by azimuth the picture is mirrored and stretched to meet itself behind the camera, by elevation
    its last rows go on, towards floor and ceiling they fade into one tone; blur grows with the angle from the frame.
    """
    height, width = seen.shape
    if not seen.any():
        return plain
    columns = np.nonzero(seen.any(axis=0))[0]
    left, right = columns.min() - width / 2, columns.max() + 1 - width / 2  # in columns from the heading
    column = np.arange(width) + 0.5 - width / 2
    beyond_right, beyond_left = width / 2 - right, width / 2 + left
    source = np.where(column > right, right * (1 - (column - right) / max(beyond_right, 1)), column)
    source = np.where(column < left, left * (1 - (left - column) / max(beyond_left, 1)), source)
    source = np.clip(source, left + 0.5, right - 0.5)
    index = np.clip((source + width / 2).astype(int), columns.min(), columns.max())
    # Each seen column, continued up and down by its own first and last pixel.
    top, bottom = seen.argmax(axis=0), height - 1 - seen[::-1].argmax(axis=0)
    rows = np.clip(np.arange(height)[:, None], top[index][None], bottom[index][None])
    filled = plain[rows, index[None]]
    for blurred_rows, fade in ((slice(0, height // 2), 1), (slice(height // 2, None), -1)):
        edge = top[columns] if fade > 0 else bottom[columns]
        tone = np.stack([plain[edge + fade * k, columns] for k in range(4)]).mean(axis=(0, 1))
        elevation = np.abs(np.arange(height) + 0.5 - height / 2)[blurred_rows] / (height / 2)
        share = np.clip((elevation - 0.4) / 0.4, 0, 1)[:, None, None]
        filled[blurred_rows] = filled[blurred_rows] * (1 - share) + tone * share
    filled = np.where(seen[..., None], plain, filled).astype(np.float32)
    steps = np.stack([sphere.blurred(filled, sigma) if sigma else filled for sigma in BLURS_DEG])
    position = np.interp(away, (0, 10, 30, 60, 120), np.arange(len(BLURS_DEG)))
    lower = np.minimum(position.astype(int), len(BLURS_DEG) - 2)
    share = (position - lower)[..., None]
    row, col = np.indices(seen.shape)
    return ((1 - share) * steps[lower, row, col] + share * steps[lower + 1, row, col]).astype(np.float32)


def _bright_spot(radiance: F32, linear: F32, lamps: Bool, request: LightingRequest) -> Cue | None:
    """A lamp, window or sun that stands in the frame: the centre of the light that near-white pixels hold."""
    white = request.clipped_at if np.isfinite(request.clipped_at) else 8 * float(np.median(linear.max(axis=-1))) + 1e-6
    bright = (linear.max(axis=-1) > 0.9 * white) & lamps
    if not bright.any() or bright.mean() > 0.5:  # mostly white is a burnt or blank picture, not a lamp in it
        return None
    light = luminance(radiance)
    power = np.where(bright, light, 0)
    rays = pixel_rays(light.shape[0], light.shape[1], request.intrinsics).astype(np.float64)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    center = (rays * power[..., None]).sum(axis=(0, 1)) / power.sum()
    concentration = float(np.linalg.norm(center))
    return Cue(center / max(concentration, 1e-9), 0.6 * float(power.sum() / light.sum()) * concentration)


def _posterior(
    request: LightingRequest, linear: F32, radiance: F32, lamps: Bool, level: F64
) -> tuple[Posterior, float]:
    """Where the key light may stand, and the probability that the still was taken in the open."""
    spot = _bright_spot(radiance, linear, lamps, request)
    spot = None if spot is None else spot.turned(level)
    if request.points is None or request.normals is None or request.mask is None:
        return posterior(None, UNKNOWN_OPENNESS, None, spot), UNKNOWN_OPENNESS
    geometry = request.points, request.normals, request.mask
    open_air = openness(*geometry, request.sky, level)
    shading = shading_direction(linear, request.normals, request.mask)
    shading = None if shading is None else shading.turned(level)
    return posterior(falloff(linear, *geometry, level), open_air, shading, spot), open_air


def _mean_tone(plain: F32, seen: Bool) -> F32:
    """(3,) the picture's mean light, lamps in it left out."""
    if not seen.any():
        return np.zeros(3, np.float32)
    return np.average(plain[seen], axis=0, weights=sphere.solid_angles(*seen.shape)[seen]).astype(np.float32)


def added_light(sure: Posterior, open_air: float, tone: F32, unseen: F32) -> F32:
    """(h, w, 3) light from outside the frame, of the picture's mean tone: the key light spread over where it may stand,
    and the sky where the still was taken in the open. What stands in the frame is seen, so nothing is added there.

    A narrow lamp that stands beside its true place shades worse than a wide one; so the lobe is as wide as the doubt.
    """
    height, width = unseen.shape
    density = np.asarray(cv2.resize(sure.density.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR))
    up = np.maximum(sphere.directions(height, width)[..., 2], 0)
    key = KEY_ROOM * (1 - open_air) + KEY_OPEN * open_air
    return ((4 * np.pi * key * density + SKY_OPEN * open_air * up) * unseen)[..., None].astype(np.float32) * tone


def _key(probe: F32, lobe: F32, seen: Bool, direction: F64) -> tuple[float, F32, float]:
    """The key light's irradiance (luminance) on a surface facing it, its colour (largest 1) and its angular size.

    A light inside the frame is measured where it stands; one outside is the part of `lobe` on its side.
    """
    rays = sphere.directions(*seen.shape)
    omega = sphere.solid_angles(*seen.shape)
    light = luminance(probe)
    cosine = rays @ direction
    near = cosine > np.cos(np.radians(KEY_ANGLE_DEG))
    row, column = np.unravel_index(int(cosine.argmax()), seen.shape)
    size = KEY_ANGLE_DEG
    if seen[row, column] and light[near & seen].max() > 3 * np.average(light, weights=omega):
        spot = near & seen & (light > 0.5 * light[near & seen].max())
        power = (probe[spot] * omega[spot][:, None]).sum(axis=0)
        size = max(float(np.degrees(2 * np.sqrt(omega[spot].sum() / np.pi))), 0.5)
    else:
        power = (lobe * (omega * np.maximum(cosine, 0))[..., None]).sum(axis=(0, 1))
    return float(luminance(power.astype(np.float32))), (power / max(power.max(), 1e-9)).astype(np.float32), size


def _exposure(probe: F32, linear: F32, level: F64) -> float:
    """The factor that makes a white card facing the camera as bright as the picture's median pixel."""
    card = sphere.irradiance(sphere.project_sh9(probe), level @ np.array([0.0, 0.0, -1.0])) / np.pi
    brightness = float(luminance(card.astype(np.float32)))
    median = float(np.median(luminance(linear)))
    return median / brightness if brightness > 1e-9 and median > 1e-9 else 1.0
