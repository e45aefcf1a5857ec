"""What every recipe draws: a lens and a sky."""

from __future__ import annotations

import numpy as np
from furnish import Furnisher


def sample_hfov(r: np.random.Generator, aspect: float) -> float:
    """Horizontal field of view in radians; what is drawn is the view over the long side, 20 to 95 degrees."""
    long_side = np.radians(np.clip(np.exp(r.normal(np.log(60), 0.33)), 20, 95))
    return long_side if aspect >= 1 else 2 * np.arctan(np.tan(long_side / 2) * aspect)


def sky_of(st: Furnisher, indoor: bool) -> dict:
    r = st.rng
    sky: dict = {
        "gain": r.uniform(0.7, 1.6) if not indoor else 10 ** r.uniform(-0.3, 1.3),
        "ambient": r.uniform(0.02, 0.12),
    }
    tint = 1 + r.normal(0, 0.08, 3)
    if r.random() < 0.5:
        sky |= {"image": int(r.integers(st.lib.skies)), "zenith": tint}
    else:
        blue = (
            np.array([0.35, 0.55, 1.0]) * r.uniform(0.5, 1.1) if r.random() < 0.6 else np.full(3, r.uniform(0.5, 1.2))
        )
        sky |= {
            "zenith": blue * tint,
            "horizon": np.array([1, 1, 1]) * r.uniform(0.6, 1.3) * tint,
            "clouds": r.uniform(0, 1.0) if r.random() < 0.6 else 0.0,
        }
    if r.random() < (0.08 if indoor else 0.25):
        sky |= {"fog": 10 ** r.uniform(-2.7, -1.1), "fog_colour": np.full(3, r.uniform(0.3, 1.1)) * tint}
    return sky
