"""Things for a street: cart, lamp post, bench, crates, hydrant, barrel, facades. Assemblies stand on z = 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .build import Assembly
from .materials import (
    Colour,
    brick,
    ceramic,
    cloth,
    glazing,
    glow,
    metal,
    paint,
    plain,
    plaster,
    striped,
    wood,
)
from .shapes import ball, lathe, ring, rounded_box, sheet, smooth_curve, tube
from .tableware import apple, orange

IRON: Colour = (0.025, 0.03, 0.032)
PINE: Colour = (0.42, 0.27, 0.13)


def crate(size: tuple[float, float, float] = (0.5, 0.36, 0.26), fruit: str = "", colour: Colour = PINE,
          seed: int = 0) -> Assembly:
    """A slatted crate, open at the top; `fruit` "apple" or "orange" fills it."""
    a, timber, rng = Assembly("crate"), wood(colour, 0.7), np.random.default_rng(seed)
    x, y, z = size
    for s in (-1, 1):
        for t in (-1, 1):
            a.add(rounded_box((0.03, 0.03, z), 0.003, 1), timber, (s * (x / 2 - 0.028), t * (y / 2 - 0.028), z / 2))
        rows = max(2, round(z / 0.1))
        for k in range(rows):
            h = (k + 0.5) * z / rows
            a.add(rounded_box((x, 0.012, z / rows - 0.018), 0.003, 1), timber, (0, s * (y / 2 - 0.006), h),
                  (0, rng.uniform(-0.6, 0.6), 0))
            a.add(rounded_box((0.012, y - 0.026, z / rows - 0.018), 0.003, 1), timber, (s * (x / 2 - 0.006), 0, h))
    a.add(rounded_box((x - 0.026, y - 0.026, 0.014), 0.003, 1), timber, (0, 0, 0.012))
    if fruit:
        a.add(rounded_box((x - 0.03, y - 0.03, z - 0.09), 0.004, 1), plain((0.03, 0.02, 0.01)), (0, 0, z / 2 - 0.025))
        piece = {"apple": apple, "orange": orange}[fruit]
        step = 0.076
        for i in range(int((x - 0.05) / step)):
            for j in range(int((y - 0.05) / step)):
                at = ((i + 0.5) * step - int((x - 0.05) / step) * step / 2 + rng.normal(0, 0.006),
                      (j + 0.5) * step - int((y - 0.05) / step) * step / 2 + rng.normal(0, 0.006),
                      z - 0.075 + rng.uniform(0, 0.02))
                a.merge(piece(), at, (rng.uniform(-25, 25), rng.uniform(-25, 25), rng.uniform(0, 360)))
    return a


def wheel(radius: float = 0.42, spokes: int = 12, colour: Colour = (0.30, 0.06, 0.03)) -> Assembly:
    """A cart wheel in the XZ plane, hub at the origin."""
    a, timber = Assembly("wheel"), paint(colour, 0.5, 0.5)
    a.add(ring(radius - 0.03, 0.026, 56, 10), timber, turn=(90, 0, 0), scale=(1, 1, 1.0))
    a.add(ring(radius - 0.008, 0.008, 56, 8), metal((0.2, 0.18, 0.17), 0.45), turn=(90, 0, 0), scale=(1, 1, 2.2))
    a.add(lathe([(0, -0.07), (0.035, -0.07), (0.055, -0.03), (0.055, 0.03), (0.035, 0.07), (0, 0.07)], 24), timber,
          turn=(90, 0, 0))
    for k in range(spokes):
        t = 2 * np.pi * k / spokes
        way = np.array([np.cos(t), 0, np.sin(t)])
        a.add(tube([way * 0.04, way * (radius - 0.035)], [0.016, 0.011], 8), timber)
    return a


def cart(canopy: tuple[Colour, Colour] = ((0.52, 0.06, 0.04), (0.66, 0.58, 0.44)), seed: int = 0) -> Assembly:
    """A market hand cart with fruit crates under a striped canopy; long side along x, shafts towards -X."""
    a, timber, green = Assembly("market cart"), wood(PINE, 0.65), paint((0.03, 0.12, 0.09), 0.45, 0.4)
    deck = 0.66
    a.add(rounded_box((1.5, 0.8, 0.05), 0.008), timber, (0, 0, deck))
    for y in (-1, 1):
        a.add(rounded_box((1.54, 0.025, 0.2), 0.006), green, (0, y * 0.4, deck + 0.09))
        a.add(rounded_box((1.4, 0.06, 0.08), 0.01), timber, (0, y * 0.28, deck - 0.06))
        a.merge(wheel(0.44), (0.12, y * 0.47, 0.44), (0, 7, 0))
        shaft = smooth_curve([(-0.7, y * 0.28, deck - 0.06), (-1.1, y * 0.26, deck - 0.02),
                              (-1.4, y * 0.24, deck + 0.09)])
        a.add(tube(shaft, 0.021), timber)
        a.add(rounded_box((0.055, 0.055, deck - 0.05), 0.01), timber, (-0.62, y * 0.26, (deck - 0.05) / 2))
        for x in (-0.7, 0.7):
            a.add(tube([(x, y * 0.38, deck), (x, y * 0.38, 1.92)], 0.019), green)
    for x in (-1, 1):
        a.add(rounded_box((0.025, 0.8, 0.2), 0.006), green, (x * 0.76, 0, deck + 0.09))
    a.add(tube([(0.12, -0.5, 0.44), (0.12, 0.5, 0.44)], 0.022), metal((0.2, 0.19, 0.18), 0.5))

    def roof(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        ridge = 1 - np.abs(v - 0.5) * 2
        sag = 0.05 * np.sin(np.pi * u) * np.sin(np.pi * v)
        return np.stack([(u - 0.5) * 1.72, (v - 0.5) * 1.15, 1.9 + 0.26 * ridge - sag], 1)

    def valance(side: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
            scallop = 0.17 * (1 - 0.3 * np.abs(np.sin(np.pi * 9 * u)))
            return np.stack([(u - 0.5) * 1.72, np.full_like(u, side * 0.575) + 0.012 * np.sin(20 * u) * v,
                             1.9 - v * scallop], 1)
        return surface

    stripes = striped(*canopy)
    a.add(sheet(roof, 24, 16), stripes)
    for side in (-1, 1):
        a.add(sheet(valance(side), 90, 4), stripes)
    for k, (x, y, what) in enumerate(((-0.48, -0.18, "apple"), (0.02, -0.18, "orange"), (0.5, -0.18, "apple"),
                                      (-0.48, 0.2, "orange"), (0.02, 0.2, "apple"), (0.5, 0.2, "orange"))):
        a.merge(crate((0.46, 0.34, 0.2), what, seed=seed + k), (x, y, deck + 0.028), (11, 0, 0) if y < 0 else (0, 0, 0))
    return a


def lamp_post(height: float = 3.3, lit: float = 12.0) -> Assembly:
    """A cast-iron lamp post; the caller adds a bulb at (0, 0, height - 0.25)."""
    a, iron = Assembly("street lamp"), paint(IRON, 0.35, 0.1, 0.5)
    top = height - 0.5
    post = smooth_curve([(0.16, 0), (0.15, 0.1), (0.1, 0.2), (0.12, 0.5), (0.07, 0.62), (0.075, 0.9), (0.05, 0.98),
                         (0.042, top - 0.3), (0.06, top - 0.25), (0.045, top - 0.18), (0.05, top)], 4)
    a.add(lathe([(0, 0), *post, (0, top)], 28), iron)
    a.add(tube([(-0.28, 0, top - 0.22), (0.28, 0, top - 0.22)], 0.014), iron)
    for s in (-1, 1):
        a.add(ball(0.026, 12, 8), iron, (s * 0.28, 0, top - 0.22))
    a.add(lathe([(0, top), (0.1, top), (0.115, top + 0.03), (0, top + 0.03)], 6), iron, smooth=False)
    a.add(lathe([(0, top + 0.03), (0.095, top + 0.03), (0.165, top + 0.36), (0, top + 0.36)], 6),
          glow((1.0, 0.6, 0.24), lit), smooth=False)
    for k in range(6):
        t = np.radians(60 * k)
        c, s = np.cos(t), np.sin(t)
        a.add(tube([(0.098 * c, 0.098 * s, top + 0.03), (0.168 * c, 0.168 * s, top + 0.36)], 0.008, 6), iron)
    a.add(lathe([(0, top + 0.36), (0.2, top + 0.36), (0.19, top + 0.38), (0.07, top + 0.48), (0.03, top + 0.5),
                 (0.035, top + 0.54), (0, top + 0.58)], 24), iron)
    return a


def bench(width: float = 1.5, colour: Colour = (0.30, 0.15, 0.06)) -> Assembly:
    """A park bench with cast-iron ends, front towards -Y."""
    a, iron, timber = Assembly("bench"), paint(IRON, 0.35, 0.2), wood(colour, 0.5)
    for s in (-1, 0, 1):
        x = s * (width / 2 - 0.12)
        a.add(tube(smooth_curve([(x, -0.24, 0), (x, -0.2, 0.2), (x, -0.2, 0.4), (x, 0.16, 0.38), (x, 0.22, 0.6),
                                 (x, 0.3, 0.85)], 6), 0.02), iron)
        a.add(tube(smooth_curve([(x, 0.3, 0), (x, 0.2, 0.2), (x, 0.16, 0.38)], 6), 0.02), iron)
        if s:
            a.add(tube(smooth_curve([(x, -0.2, 0.4), (x, -0.24, 0.56), (x, -0.1, 0.62), (x, 0.24, 0.64)], 6), 0.017),
                  iron)
    for k in range(5):
        a.add(rounded_box((width, 0.072, 0.03), 0.008), timber, (0, -0.2 + 0.085 * k, 0.43 - 0.006 * k))
    for k in range(4):
        a.add(rounded_box((width, 0.026, 0.076), 0.008), timber, (0, 0.185 + 0.034 * k, 0.53 + 0.098 * k), (-19, 0, 0))
    return a


def hydrant(colour: Colour = (0.55, 0.05, 0.02)) -> Assembly:
    a, red = Assembly("hydrant"), paint(colour, 0.35, 0.35, 0.5)
    body = smooth_curve([(0.1, 0.05), (0.095, 0.3), (0.09, 0.5)], 5)
    a.add(lathe([(0, 0), (0.16, 0), (0.16, 0.04), (0.105, 0.05), *body, (0.125, 0.5), (0.125, 0.54), (0.1, 0.545),
                 (0.09, 0.6), (0.05, 0.66), (0.03, 0.67), (0.03, 0.71), (0, 0.71)], 32), red)
    cap = lathe([(0, 0), (0.05, 0), (0.05, 0.07), (0.06, 0.07), (0.06, 0.1), (0.02, 0.11), (0.02, 0.14), (0, 0.14)], 24)
    for turn, z in (((0, 90, 0), 0.4), ((0, -90, 0), 0.4), ((90, 0, 0), 0.36)):
        way = {(0, 90, 0): (0.08, 0, z), (0, -90, 0): (-0.08, 0, z), (90, 0, 0): (0, -0.08, z)}[turn]
        a.add(cap, red, way, turn, 1.2 if turn[0] else 1.0)
    for k in range(8):
        t = np.radians(45 * k)
        bolt = lathe([(0, 0), (0.012, 0), (0.012, 0.02), (0, 0.02)], 6)
        a.add(bolt, red, (0.135 * np.cos(t), 0.135 * np.sin(t), 0.038))
    return a


def barrel(height: float = 0.86, colour: Colour = (0.26, 0.14, 0.06)) -> Assembly:
    a, timber = Assembly("barrel"), wood(colour, 0.6)
    staves, h = 22, height
    for k in range(staves):
        t0 = 2 * np.pi * k / staves

        def stave(u: np.ndarray, v: np.ndarray, t0: float = t0) -> np.ndarray:
            t = t0 + (u - 0.5) * 2 * np.pi / staves * 0.97
            r = 0.26 + 0.07 * np.sin(np.pi * v) - 0.012 * np.abs(2 * u - 1) ** 6
            return np.stack([r * np.cos(t), r * np.sin(t), v * h], 1)

        a.add(sheet(stave, 5, 14), timber)
    a.add(lathe([(0, 0.03), (0.255, 0.03), (0.262, h - 0.03), (0, h - 0.03)], 44), timber)
    for v in (0.06, 0.2, 0.8, 0.94):
        r = 0.26 + 0.07 * np.sin(np.pi * v) + 0.002
        a.add(lathe([(r - 0.004, v * h - 0.02), (r + 0.003, v * h - 0.02), (r + 0.003, v * h + 0.02),
                     (r - 0.004, v * h + 0.02), (r - 0.004, v * h - 0.02)], 48), metal((0.22, 0.2, 0.19), 0.5, 0.6))
    return a


def planter(colour: Colour = (0.42, 0.17, 0.08), leaf: Colour = (0.05, 0.12, 0.025), seed: int = 0) -> Assembly:
    """A terracotta pot with a clipped bush."""
    a, rng = Assembly("planter"), np.random.default_rng(seed)
    a.add(lathe([(0, 0), (0.17, 0), (0.24, 0.36), (0.265, 0.36), (0.268, 0.43), (0.24, 0.43), (0.225, 0.38), (0, 0.38)],
                44), ceramic(colour, 0.6, 0.75))
    a.add(lathe([(0, 0.38), (0.22, 0.38), (0.22, 0.395), (0, 0.4)], 32), plain((0.03, 0.02, 0.012), 1.0))
    a.add(tube([(0, 0, 0.39), (0.01, 0, 0.6)], 0.022), wood((0.09, 0.05, 0.03)))
    leaf_shape = ball((0.036, 0.02, 0.006), 6, 4)
    for _ in range(420):
        way = rng.normal(size=3)
        way /= np.linalg.norm(way)
        at = np.array([0, 0, 0.83]) + way * (0.3 * rng.uniform(0.72, 1.0) ** 0.5)
        a.add(leaf_shape, plain(leaf if rng.random() < 0.6 else (0.09, 0.17, 0.03), 0.5), at, rng.uniform(0, 360, 3))
    a.add(ball(0.23, 16, 10), plain((0.012, 0.03, 0.008), 1.0), (0, 0, 0.83))
    return a


def sack(colour: Colour = (0.38, 0.29, 0.17), seed: int = 0) -> Assembly:
    """A jute sack, tied."""
    a = Assembly("sack")
    outline = smooth_curve([(0.2, 0.0), (0.25, 0.12), (0.24, 0.32), (0.17, 0.5), (0.05, 0.56), (0.09, 0.64)], 7)
    shape = lathe([(0, 0), *outline, (0, 0.62)], 48)
    t = np.arctan2(shape.vertices[:, 1], shape.vertices[:, 0])
    fold = 1 + 0.045 * np.sin(5 * t + seed) + 0.02 * np.sin(11 * t + 9 * shape.vertices[:, 2])
    shape.vertices[:, :2] *= fold[:, None]
    a.add(shape, cloth(colour, 150, 0.8))
    a.add(ring(0.052, 0.008), cloth((0.2, 0.13, 0.06), 300), (0, 0, 0.56))
    return a


def facade(width: float, height: float, wall: str, colour: Colour, storeys: int = 3, bays: int = 3, lit: float = 0.3,
           seed: int = 0, awning: tuple[Colour, Colour] | None = None) -> Assembly:
    """A house front that faces -Y with its face at y = 0, left edge at x = 0: windows, sills, door, cornice."""
    a, rng = Assembly("facade", "stuff"), np.random.default_rng(seed)
    skin = brick(colour) if wall == "brick" else plaster(colour, 0.6)
    trim, frame = plaster((0.42, 0.38, 0.32), 0.5), paint((0.06, 0.05, 0.045), 0.5, 0.2)
    storey, bay = height / storeys, width / bays
    a.add(rounded_box((width, 0.4, height), 0.004, 1), skin, (width / 2, 0.2, height / 2), smooth=False)
    a.add(rounded_box((width, 0.06, 0.5), 0.01, 1), trim, (width / 2, -0.015, 0.25))
    for k in range(1, storeys):
        a.add(rounded_box((width, 0.07, 0.12), 0.01, 1), trim, (width / 2, -0.02, k * storey - 0.05))
    a.add(rounded_box((width + 0.1, 0.32, 0.28), 0.03, 2), trim, (width / 2, -0.1, height - 0.1))
    for s in range(storeys):
        for b in range(bays):
            x, z = (b + 0.5) * bay, s * storey
            door = s == 0 and b == bays // 2
            w, h = (1.0, 2.2) if door else (min(bay * 0.5, 1.15), storey * 0.56)
            foot = 0.0 if door else z + (0.85 if s == 0 else storey * 0.24)
            pane = glow((1.0, 0.55, 0.2), 2.2 * rng.uniform(0.5, 1.2)) if rng.random() < lit and not door else glazing()
            if door:
                a.add(rounded_box((w, 0.05, h), 0.01), paint((0.03, 0.10, 0.12), 0.4, 0.2), (x, -0.01, foot + h / 2))
                for dx in (-0.22, 0.22):
                    for dz in (0.55, 1.45):
                        a.add(rounded_box((0.3, 0.03, 0.66), 0.012), paint((0.03, 0.10, 0.12), 0.4, 0.2),
                              (x + dx, -0.035, foot + dz))
                a.add(ball(0.035, 12, 8), metal((0.6, 0.42, 0.2)), (x + 0.38, -0.07, 1.05))
            else:
                a.add(rounded_box((w, 0.02, h), 0.004, 1), pane, (x, -0.012, foot + h / 2), smooth=False)
                a.add(rounded_box((0.045, 0.05, h), 0.006, 1), frame, (x, -0.025, foot + h / 2))
                a.add(rounded_box((w, 0.05, 0.045), 0.006, 1), frame, (x, -0.025, foot + h * 0.66))
                a.add(rounded_box((w + 0.3, 0.2, 0.09), 0.012), trim, (x, -0.08, foot - 0.05))
            for side in (-1, 1):
                a.add(rounded_box((0.11, 0.1, h + 0.04), 0.012), trim, (x + side * (w / 2 + 0.05), -0.03, foot + h / 2))
            a.add(rounded_box((w + 0.34, 0.14, 0.16), 0.015), trim, (x, -0.05, foot + h + 0.08))
            if awning and s == 0 and not door:
                def cover(u: np.ndarray, v: np.ndarray, x: float = x, w: float = w, top: float = foot + h + 0.05
                          ) -> np.ndarray:
                    return np.stack([x + (u - 0.5) * (w + 0.7), -0.9 * v - 0.05, top - 0.55 * v], 1)
                a.add(sheet(cover, 20, 6), striped(*awning, 3.5))
    pipe = tube([(width - 0.15, -0.09, 0.1), (width - 0.15, -0.09, height - 0.2)], 0.05, 12)
    a.add(pipe, metal((0.12, 0.12, 0.12), 0.5))
    return a
