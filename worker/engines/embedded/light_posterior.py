"""Where the key light may stand: a probability for each direction, from a prior and what the still tells.

Every cue is a von Mises-Fisher likelihood exp(e . d) over directions d; cues of a room and of the open are mixed by how
likely each is. The answer is the direction with most probability within `WITHIN_DEG` of it, and that probability is its
confidence: over many stills it should be the share of keys named that well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from worker.arrays import F64
from worker.engines.embedded.key_light import Cue
from worker.engines.embedded.light_cues import EVEN_BACKLIT, Falloff
from worker.formats import equirect as sphere

WITHIN_DEG = 35.0
_ROWS = 36  # the grid: 5 degrees
# The prior. Sun, windows, lamps and set lights stand above the horizon, mostly low enough to model a face: lights are
# set 30 to 45 degrees up. Indoors they are set aside of the camera's line rather than behind or before it.
ELEVATION_DEG, ELEVATION_SPREAD_DEG = 34.0, 17.0
ASIDE = 1.2
# How much each cue weighs (the concentration of its likelihood).
FALLOFF, FALLOFF_AT = 4.0, 0.3
SHADE, SHADE_AT = 4.0, 0.4
BACK, BACK_AT = 2.0, 0.5
SHADING_ROOM, SHADING_OPEN = 2.0, 3.0
SPOT = 6.0


@dataclass
class Posterior:
    """`density` (h, w) over `sphere.directions`, per steradian; the rest describes its answer, level frame."""

    density: F64
    direction: F64
    confidence: float

    @property
    def mean(self) -> F64:
        """(3,) mean direction, not normalised: short where the posterior is broad."""
        weight = self.density * sphere.solid_angles(*self.density.shape)
        return np.tensordot(weight, sphere.directions(*self.density.shape), axes=([0, 1], [0, 1]))


def posterior(falloff: Falloff | None, openness: float, shading: Cue | None, spot: Cue | None) -> Posterior:
    """All cues in the level frame; what is None was not to be had."""
    rays = sphere.directions(_ROWS, 2 * _ROWS)
    elevation = np.degrees(np.arcsin(rays[..., 2]))
    above = -0.5 * ((elevation - ELEVATION_DEG) / ELEVATION_SPREAD_DEG) ** 2
    aside = np.abs(np.sin(np.arctan2(rays[..., 0], rays[..., 1])))
    room, open_air = above + ASIDE * aside, above.copy()
    if falloff is not None:
        slope = falloff.floor[0] + 0.5 * falloff.wall
        room += FALLOFF * np.tanh(slope / FALLOFF_AT) * rays[..., 0]
        open_air -= SHADE * np.tanh(falloff.floor[0] / SHADE_AT) * rays[..., 0]
        open_air += BACK * np.tanh((falloff.backlit - EVEN_BACKLIT) / BACK_AT) * rays[..., 1]
    if shading is not None:
        sure = min(shading.confidence, 0.8)
        # Gloss and dirt make floors too bright or too dark for their place: the height is trusted less than the side.
        agrees = sure / (1 - sure) * (rays @ (shading.direction * [1, 1, sure]))
        room += SHADING_ROOM * agrees
        open_air += SHADING_OPEN * agrees
    weight = sphere.solid_angles(_ROWS, 2 * _ROWS)
    density = openness * _normalised(open_air, weight) + (1 - openness) * _normalised(room, weight)
    if spot is not None:
        density = _normalised(np.log(density + 1e-12) + SPOT * spot.confidence * (rays @ spot.direction), weight)
    mass = (_caps() @ (density * weight).ravel()).reshape(density.shape)
    best = np.unravel_index(int(mass.argmax()), mass.shape)
    near = rays @ rays[best] > np.cos(np.radians(WITHIN_DEG))
    direction = ((density * weight)[near][:, None] * rays[near]).sum(axis=0)
    return Posterior(density, direction / np.linalg.norm(direction), float(mass[best]))


def _normalised(log_density: F64, weight: F64) -> F64:
    density = np.exp(log_density - log_density.max())
    return np.asarray(density / (density * weight).sum())


@cache
def _caps() -> F64:
    """(n, n) which directions of the grid lie within WITHIN_DEG of which."""
    rays = sphere.directions(_ROWS, 2 * _ROWS).reshape(-1, 3)
    return (rays @ rays.T > np.cos(np.radians(WITHIN_DEG))).astype(np.float32)
