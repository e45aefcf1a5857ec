"""Procedural textures, tiling and printed."""

from __future__ import annotations

import numpy as np
from pictures import ellipse, polygon


def build_textures(seed: int = 11, count: int = 110, size: int = 256) -> list[tuple[str, np.ndarray]]:
    """(kind, uint8 RGB): tiling noise, weave, wood, marble, stripes; printed posters, covers, spines, screens."""
    rng = np.random.default_rng(seed)

    def noise(power: float, stretch: float = 1.0) -> np.ndarray:
        f = np.hypot(np.fft.fftfreq(size)[:, None] * size * stretch, np.fft.fftfreq(size)[None] * size) + 1e-3
        a = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) / np.maximum(f, 1) ** power).real
        return (a - a.min()) / (a.max() - a.min())

    def ramp(a: np.ndarray, n: int = 4) -> np.ndarray:
        grey, hue = rng.uniform(0.1, 1, n), rng.uniform(0, 1) ** 2 if rng.random() < 0.8 else 1.0
        return np.stack(
            [np.interp(a, np.linspace(0, 1, n), grey * (1 - hue) + hue * rng.uniform(0, 1, n)) for _ in range(3)], -1
        )

    y, x = np.mgrid[:size, :size] / size
    out = []
    for i in range(count):
        kind = (
            "noise",
            "weave",
            "wood",
            "marble",
            "stripe",
            "poster",
            "cover",
            "spines",
            "screen",
            "poster",
            "spines",
        )[i % 11]
        if kind == "noise":
            a = ramp(noise(rng.uniform(0.5, 2.2)), rng.integers(2, 6))
        elif kind == "weave":
            f = rng.integers(8, 40)
            a = 0.5 + 0.25 * np.sin(2 * np.pi * f * x) * np.sin(2 * np.pi * f * y)
            a = ramp(np.clip(a + 0.3 * (noise(1) - 0.5), 0, 1), 2)
        elif kind == "wood":
            a = ramp((noise(1.6, 0.12) * rng.uniform(2, 6)) % 1, 2) * 0.4 + np.array([0.45, 0.3, 0.18]) * rng.uniform(
                0.5, 1.3
            )
        elif kind == "marble":
            a = ramp(np.abs(np.sin(6 * noise(1.5) + 3 * x)), 3)
        elif kind == "stripe":
            f = rng.integers(2, 24, 2)
            a = ramp(
                ((np.floor(x * f[0]) * 0.37 + np.floor(y * f[1]) * (rng.random() < 0.5) * 0.61) % 1), rng.integers(2, 7)
            )
        elif kind == "spines":
            a = np.zeros((size, size, 3))
            at = 0
            while at < size:
                w = int(rng.integers(6, 26))
                a[:, at : at + w] = rng.uniform(0, 1, 3) * rng.uniform(0.3, 1)
                top = rng.integers(0, size // 4) if rng.random() < 0.6 else 0
                a[:top, at : at + w] = 0.04
                for _ in range(3):
                    q = int(rng.integers(top, size - 20))
                    a[q : q + rng.integers(3, 18), at + 2 : at + w - 2] = rng.uniform(0, 1, 3)
                a[:, at : at + 1] *= 0.3
                at += w
        else:
            a = (
                ramp(noise(rng.uniform(1.2, 2.4)), 5)
                if rng.random() < 0.6
                else np.ones((size, size, 3)) * rng.uniform(0, 1, 3)
            )
            a = np.ascontiguousarray(a * 255).astype(np.uint8)
            for _ in range(rng.integers(2, 14)):
                c, p = rng.integers(0, 255, 3), rng.integers(0, size, (rng.integers(3, 6), 2))
                if rng.random() < 0.5:
                    a[polygon(size, p)] = c
                else:
                    a[ellipse(size, p[0], rng.integers(5, 90, 2), rng.uniform(0, np.pi))] = c
            lines = rng.integers(0, 16) if kind != "screen" else rng.integers(5, 24)
            for k in range(lines):
                left, row = int(rng.integers(8, 60)), int(10 + k * size / (lines + 1))
                right, thick = left + int(rng.integers(20, 170)), int(rng.integers(1, 5))
                a[row : row + thick, left:right] = rng.integers(0, 255, 3)
            a = a / 255.0
        out.append((kind, (np.clip(a, 0, 1) * 255).astype(np.uint8)))
    return out
