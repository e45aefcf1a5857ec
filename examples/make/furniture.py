"""Things for rooms: chairs, tables, lamps, vases, books, a sofa. Each returns an Assembly standing on z = 0."""

from __future__ import annotations

import numpy as np

from .build import Assembly
from .materials import (
    Colour,
    ceramic,
    cloth,
    glow,
    metal,
    patterned,
    picture,
    plain,
    wood,
)
from .shapes import Shape, ball, lathe, ring, rounded_box, sheet, smooth_curve, tube

OAK: Colour = (0.36, 0.20, 0.09)
WALNUT: Colour = (0.13, 0.062, 0.028)
BRASS: Colour = (0.78, 0.53, 0.22)


def chair(colour: Colour = WALNUT, seat: Colour = (0.32, 0.06, 0.04)) -> Assembly:
    """A bentwood-like dining chair, front towards -Y."""
    a, timber = Assembly("chair"), wood(colour)
    for side in (-1, 1):
        a.add(tube(smooth_curve([(side * 0.19, -0.19, 0.44), (side * 0.195, -0.205, 0.2), (side * 0.205, -0.225, 0)]),
                   np.linspace(0.019, 0.013, 13)), timber)
        a.add(tube(smooth_curve([(side * 0.2, 0.25, 0), (side * 0.185, 0.2, 0.28), (side * 0.18, 0.19, 0.46),
                                 (side * 0.178, 0.225, 0.72), (side * 0.165, 0.27, 0.9)]),
                   np.r_[np.linspace(0.014, 0.018, 13), np.linspace(0.018, 0.012, 12)]), timber)
        a.add(tube([(side * 0.2, -0.21, 0.2), (side * 0.188, 0.21, 0.2)], 0.009), timber)
    a.add(rounded_box((0.42, 0.42, 0.03), 0.013), timber, (0, 0, 0.435))
    a.add(rounded_box((0.4, 0.4, 0.06), 0.028, puff=0.018, grid=6), cloth(seat), (0, -0.005, 0.472))
    for z, bow, thick in ((0.86, 0.28, 0.05), (0.7, 0.24, 0.032), (0.58, 0.215, 0.032)):
        rail = smooth_curve([(-0.175, bow - 0.025, z), (0, bow + 0.03, z), (0.175, bow - 0.025, z)])
        a.add(_band(rail, 0.016, thick), timber)
    a.add(tube([(-0.195, -0.02, 0.2), (0.195, -0.02, 0.2)], 0.008), timber)
    return a


def _band(path: np.ndarray, thickness: float, height: float) -> Shape:
    """A slat that follows `path`, upright."""
    shape = tube(path, 1.0, 16)
    rings = shape.vertices.reshape(len(path), 16, 3) - path[:, None]
    rings[..., :2] *= thickness / 2
    rings[..., 2] = np.sign(rings[..., 2]) * np.abs(rings[..., 2]) ** 0.4 * height / 2
    shape.vertices = (rings + path[:, None]).reshape(-1, 3)
    return shape


def round_table(radius: float = 0.55, height: float = 0.74, colour: Colour = OAK) -> Assembly:
    """A pedestal table with three feet."""
    a, timber = Assembly("table"), wood(colour)
    a.add(lathe([(0, height - 0.035), (radius - 0.02, height - 0.035), (radius, height - 0.02),
                 (radius, height - 0.008), (radius - 0.008, height), (0, height)], 64), timber)
    column = smooth_curve([(0.055, 0.14), (0.07, 0.2), (0.045, 0.3), (0.038, 0.5), (0.06, 0.62), (0.12, 0.7)], 5)
    a.add(lathe([(0, 0.14), *column, (0, 0.7)], 32), timber)
    for k in range(3):
        t = np.radians(90 + 120 * k)
        foot = smooth_curve([(0.03, 0.22), (0.16, 0.2), (0.3, 0.08), (0.4, 0.022)], 6)
        path = np.stack([foot[:, 0] * np.cos(t), foot[:, 0] * np.sin(t), foot[:, 1]], 1)
        a.add(tube(path, np.linspace(0.034, 0.022, len(path))), timber)
    return a


def stool(colour: Colour = OAK, height: float = 0.46) -> Assembly:
    a, timber = Assembly("stool"), wood(colour)
    a.add(lathe([(0, height - 0.035), (0.15, height - 0.035), (0.165, height - 0.02), (0.16, height),
                 (0.1, height - 0.008), (0, height - 0.01)], 40), timber)
    for k in range(3):
        t = np.radians(30 + 120 * k)
        top, foot = 0.1, 0.185
        a.add(tube([(foot * np.cos(t), foot * np.sin(t), 0), (top * np.cos(t), top * np.sin(t), height - 0.03)],
                   [0.013, 0.018]), timber)
    a.add(ring(0.155, 0.007), timber, (0, 0, 0.16))
    return a


def armchair(colour: Colour = (0.62, 0.30, 0.04), legs: Colour = WALNUT) -> Assembly:
    """A club armchair, front towards -Y."""
    a, fabric, timber = Assembly("armchair"), cloth(colour), wood(legs)
    a.add(rounded_box((0.62, 0.66, 0.2), 0.04), fabric, (0, 0, 0.25))
    a.add(rounded_box((0.6, 0.64, 0.17), 0.06, puff=0.03, grid=8), fabric, (0, -0.03, 0.42))
    a.add(rounded_box((0.64, 0.2, 0.62), 0.08, puff=0.03, grid=8), fabric, (0, 0.3, 0.62), (-12, 0, 0))
    for side in (-1, 1):
        a.add(rounded_box((0.15, 0.74, 0.46), 0.07, puff=0.012, grid=6), fabric, (side * 0.36, 0.0, 0.38))
        for y in (-0.28, 0.28):
            a.add(tube([(side * 0.34, y * 1.08, 0), (side * 0.3, y, 0.18)], [0.014, 0.024]), timber)
    return a


def sofa(colour: Colour = (0.05, 0.12, 0.11), width: float = 1.9, pillows: tuple[Colour, ...] = (
        (0.55, 0.22, 0.04), (0.5, 0.42, 0.3))) -> Assembly:
    a, fabric = Assembly("sofa"), cloth(colour)
    a.add(rounded_box((width, 0.82, 0.24), 0.04), fabric, (0, 0, 0.26))
    seats = 2
    seat = (width - 0.36) / seats
    for k in range(seats):
        x = (k - (seats - 1) / 2) * seat
        a.add(rounded_box((seat - 0.01, 0.68, 0.17), 0.06, puff=0.025, grid=8), fabric, (x, -0.06, 0.44))
        a.add(rounded_box((seat - 0.015, 0.2, 0.48), 0.08, puff=0.035, grid=8), fabric, (x, 0.27, 0.68), (-10, 0, 0))
    for side in (-1, 1):
        a.add(rounded_box((0.2, 0.84, 0.5), 0.08, puff=0.012, grid=6), fabric, (side * (width / 2 - 0.09), 0, 0.4))
        for y in (-0.3, 0.32):
            a.add(tube([(side * (width / 2 - 0.12), y, 0), (side * (width / 2 - 0.14), y, 0.16)], [0.016, 0.024]),
                  wood(WALNUT))
    a.add(rounded_box((width - 0.02, 0.14, 0.62), 0.06), fabric, (0, 0.38, 0.5))
    for k, pillow in enumerate(pillows):
        side = -1 if k % 2 == 0 else 1
        a.add(rounded_box((0.44, 0.13, 0.42), 0.05, puff=0.05, grid=8), cloth(pillow, 200),
              (side * (width / 2 - 0.42), 0.1, 0.7), (-24, side * 9, side * 14))
    return a


def floor_lamp(shade: Colour = (1.0, 0.62, 0.28), lit: float = 3.0, height: float = 1.55) -> Assembly:
    """A brass floor lamp with a cloth shade; the caller adds a bulb at (0, 0, height - 0.2) to light the room."""
    a, brass = Assembly("floor lamp"), metal(BRASS, 0.25)
    a.add(lathe([(0, 0), (0.15, 0), (0.155, 0.012), (0.13, 0.026), (0.03, 0.036), (0.012, 0.06), (0.011, height - 0.3),
                 (0.018, height - 0.29), (0.018, height - 0.24), (0, height - 0.24)], 40), brass)
    cone = [(0.2, height - 0.3), (0.203, height - 0.3), (0.128, height), (0.125, height), (0.2, height - 0.3)]
    a.add(lathe(cone, 48), glow(shade, lit))
    a.add(ring(0.2, 0.004, 48, 8), brass, (0, 0, height - 0.3))
    a.add(ring(0.126, 0.004, 48, 8), brass, (0, 0, height))
    return a


def table_lamp(body: Colour = (0.04, 0.13, 0.16), shade: Colour = (1.0, 0.66, 0.34), lit: float = 3.0) -> Assembly:
    a = Assembly("table lamp")
    outline = smooth_curve([(0.05, 0.0), (0.095, 0.06), (0.1, 0.12), (0.045, 0.22), (0.022, 0.26)], 6)
    a.add(lathe([(0, 0), *outline, (0, 0.26)], 40), ceramic(body))
    a.add(lathe([(0, 0.26), (0.008, 0.26), (0.008, 0.33), (0, 0.33)], 16), metal(BRASS))
    a.add(lathe([(0.15, 0.29), (0.153, 0.29), (0.1, 0.48), (0.097, 0.48), (0.15, 0.29)], 48), glow(shade, lit))
    return a


def vase(colour: Colour = (0.55, 0.5, 0.42), height: float = 0.32, branches: int = 0, seed: int = 0,
         leaf: Colour = (0.42, 0.16, 0.03)) -> Assembly:
    """A thrown vase; `branches` of dry leaves stand in it."""
    a, rng = Assembly("vase"), np.random.default_rng(seed)
    h = height
    outer = smooth_curve([(0.19 * h, 0), (0.36 * h, 0.22 * h), (0.4 * h, 0.46 * h), (0.24 * h, 0.76 * h),
                          (0.13 * h, 0.88 * h), (0.18 * h, h)], 8)
    inner = outer[::-1] - [0.018 * h + 0.002, 0]
    inner[-1] = (inner[-1][0], 0.02 * h)
    a.add(lathe([(0, 0), *outer, *inner, (0, 0.02 * h)], 48), ceramic(colour))
    for _ in range(branches):
        t, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.55)
        rise = h * rng.uniform(1.0, 1.7)
        way = np.array([np.cos(t), np.sin(t), 0.0])
        stem = smooth_curve([(0, 0, 0.5 * h), way * 0.07 * h + (0, 0, h), way * lean * rise / 2 + (0, 0, h + rise / 2),
                             way * lean * rise + (0, 0, h + rise)], 6)
        a.add(tube(stem, np.linspace(0.0045, 0.0015, len(stem)), 6), wood(WALNUT))
        for k in range(7, len(stem)):
            for _ in range(2):
                size = rng.uniform(0.022, 0.04)
                offset = rng.normal(0, 0.018, 3)
                a.add(ball((size, size * 0.55, size * 0.1), 8, 4), plain(leaf, 0.7), stem[k] + offset,
                      rng.uniform(-70, 70, 3) + np.array([0, 0, np.degrees(t)]), smooth=True)
    return a


def books(count: int = 4, seed: int = 0, width: float = 0.24) -> Assembly:
    """A pile of cloth-bound books, not quite square to one another."""
    a, rng = Assembly("books"), np.random.default_rng(seed)
    colours: list[Colour] = [(0.30, 0.04, 0.03), (0.03, 0.09, 0.16), (0.42, 0.30, 0.10), (0.05, 0.13, 0.07),
                             (0.5, 0.45, 0.36), (0.16, 0.05, 0.12)]
    rng.shuffle(colours)
    z = 0.0
    for k in range(count):
        thick = rng.uniform(0.022, 0.05)
        w, d = width * rng.uniform(0.85, 1.0), width * rng.uniform(0.62, 0.72)
        yaw = rng.uniform(-14, 14)
        turn, shift = (0, 0, yaw), rng.uniform(-0.008, 0.008, 2)
        cover = cloth(colours[k % len(colours)], 400, 0.25)
        r = np.array([np.cos(np.radians(yaw)), np.sin(np.radians(yaw))])

        def at(x: float, y: float, height: float, r: np.ndarray = r, shift: np.ndarray = shift) -> tuple:
            return (r[0] * x - r[1] * y + shift[0], r[1] * x + r[0] * y + shift[1], height)

        for side in (0.0015, thick - 0.0015):
            a.add(rounded_box((w, d, 0.003), 0.001, 1), cover, at(0, 0, z + side), turn)
        a.add(rounded_box((w, 0.006, thick), 0.0028, 2), cover, at(0, -d / 2 + 0.003, z + thick / 2), turn)
        a.add(rounded_box((w - 0.012, d - 0.01, thick - 0.006), 0.001, 1), plain((0.62, 0.55, 0.42), 0.9),
              at(0, 0.002, z + thick / 2), turn, smooth=False)
        z += thick
    return a


def rug(size: tuple[float, float] = (2.2, 1.5), a_: Colour = (0.35, 0.05, 0.04), b: Colour = (0.45, 0.33, 0.2)
        ) -> Assembly:
    a = Assembly("rug", "stuff")
    a.add(rounded_box((*size, 0.012), 0.005), patterned(a_, b), (0, 0, 0.006))
    return a


def framed_picture(size: tuple[float, float] = (0.7, 0.5), seed: int = 0) -> Assembly:
    """A picture on a wall that faces -Y; origin at its middle, back at y = 0."""
    a, (w, h) = Assembly("picture", "stuff"), size
    a.add(rounded_box((w, 0.012, h), 0.002, 1), picture(seed), (0, -0.014, 0))
    for s in (-1, 1):
        a.add(rounded_box((w + 0.07, 0.035, 0.04), 0.008), wood(WALNUT), (0, -0.018, s * (h / 2 + 0.015)))
        a.add(rounded_box((0.04, 0.035, h + 0.07), 0.008), wood(WALNUT), (s * (w / 2 + 0.015), -0.018, 0))
    return a


def curtain(width: float, height: float, colour: Colour, folds: int = 7, seed: int = 0) -> Assembly:
    """A hanging curtain along x, top at z = height."""
    a, rng = Assembly("curtain", "stuff"), np.random.default_rng(seed)
    phase = rng.uniform(0, 6.28, 3)

    def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        depth = 0.045 * np.sin(2 * np.pi * folds * u + phase[0]) * (0.65 + 0.35 * (1 - v))
        depth += 0.02 * np.sin(2 * np.pi * folds * 2.3 * u + phase[1])
        return np.stack([(u - 0.5) * width * (1 + 0.06 * (1 - v)), depth, v * height], 1)

    a.add(sheet(surface, folds * 14, 10), cloth(colour, 220))
    return a
