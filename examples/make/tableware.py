"""Things for a table top. Each function returns an Assembly standing on z = 0."""

from __future__ import annotations

import numpy as np

from .build import Assembly
from .furniture import BRASS
from .materials import Colour, bottle_glass, ceramic, fruit, glow, metal, paint, plain, wood
from .shapes import ball, lathe, smooth_curve, tube

RED: Colour = (0.48, 0.02, 0.015)
YELLOW: Colour = (0.62, 0.36, 0.03)
GREEN: Colour = (0.28, 0.36, 0.05)
ORANGE: Colour = (0.75, 0.20, 0.015)


def cup(colour: Colour = (0.72, 0.68, 0.6), saucer: bool = True, inside: Colour = (0.035, 0.015, 0.006)) -> Assembly:
    """A coffee cup on its saucer, full."""
    a, glaze = Assembly("cup"), ceramic(colour)
    z = 0.0
    if saucer:
        a.add(lathe([(0, 0), (0.035, 0), (0.04, 0.004), (0.075, 0.016), (0.08, 0.02), (0.077, 0.021), (0.04, 0.009),
                     (0, 0.008)], 56), glaze)
        z = 0.008
    outer = smooth_curve([(0.024, 0), (0.036, 0.012), (0.043, 0.04), (0.046, 0.068)], 8) + np.array([0, z])
    inner = outer[::-1] - [0.0035, 0]
    inner[0, 1] += 0.001
    inner[-1, 1] += 0.006
    a.add(lathe([(0, z), *outer, *inner, (0, z + 0.006)], 56), glaze)
    a.add(lathe([(0, z + 0.052), (0.041, z + 0.052), (0.041, z + 0.054), (0, z + 0.054)], 48), plain(inside, 0.1))
    handle = smooth_curve([(0.043, 0, 0.055), (0.066, 0, 0.06), (0.074, 0, 0.04), (0.06, 0, 0.02),
                           (0.038, 0, 0.018)], 7)
    a.add(tube(handle + np.array([0, 0, z]), 0.0048), glaze)
    return a


def bottle(colour: Colour = (0.012, 0.05, 0.022), label: Colour = (0.62, 0.54, 0.4), height: float = 0.31) -> Assembly:
    """A full wine bottle with a paper label and a wax seal."""
    a, k = Assembly("bottle"), height / 0.31
    body = smooth_curve([(0.037, 0.012), (0.0385, 0.1), (0.0385, 0.18), (0.03, 0.22), (0.0155, 0.25),
                         (0.014, 0.295)], 8)
    a.add(lathe([(0, 0.004), (0.03, 0), (0.036, 0.004), *body, (0.0165, 0.296), (0.0165, 0.306), (0.013, 0.31),
                 (0, 0.31)], 56), bottle_glass(colour), scale=k)
    a.add(lathe([(0.0385, 0.07), (0.0392, 0.07), (0.0392, 0.155), (0.0385, 0.155), (0.0385, 0.07)], 56),
          plain(label, 0.8), scale=k)
    a.add(lathe([(0.0392, 0.128), (0.0394, 0.128), (0.0394, 0.134), (0.0392, 0.134), (0.0392, 0.128)], 56),
          plain((0.3, 0.03, 0.02), 0.7), scale=k)
    a.add(lathe([(0.0145, 0.262), (0.0175, 0.262), (0.0178, 0.311), (0, 0.3125)], 40), plain((0.22, 0.02, 0.015), 0.35),
          scale=k)
    return a


def apple(colour: Colour = RED, blush: Colour = YELLOW, radius: float = 0.037) -> Assembly:
    a = Assembly("apple")
    t = np.linspace(-np.pi / 2, np.pi / 2, 17)
    r = np.cos(t) * (1 + 0.1 * np.sin(t))
    z = np.sin(t) * 0.9 - 0.24 * np.exp(-((r / 0.28) ** 2)) * np.sign(np.sin(t))
    r[[0, -1]] = 0
    a.add(lathe(np.stack([r, z - z.min()], 1), 28), fruit(colour, blush), scale=radius)
    a.add(tube([(0, 0, 1.35), (0.05, 0.02, 1.75), (0.14, 0.05, 2.0)], [0.05, 0.045, 0.06], 6), wood((0.1, 0.05, 0.02)),
          scale=radius)
    return a


def orange(radius: float = 0.039) -> Assembly:
    a = Assembly("orange")
    a.add(ball((radius, radius, radius * 0.95), 32, 18), fruit(ORANGE, (0.8, 0.27, 0.03)), (0, 0, radius * 0.95))
    a.add(ball(0.004, 8, 4), plain((0.1, 0.14, 0.03)), (0, 0, radius * 1.88))
    return a


def pear(radius: float = 0.034) -> Assembly:
    a = Assembly("pear")
    outline = smooth_curve([(0.35, 0.0), (0.95, 0.55), (0.95, 1.1), (0.5, 1.9), (0.32, 2.5), (0.1, 2.75)], 5)
    a.add(lathe([(0, 0.03), *outline, (0, 2.75)], 28), fruit(GREEN, YELLOW), scale=radius)
    a.add(tube([(0, 0, 2.65), (0.06, 0, 3.0), (0.2, 0.05, 3.25)], 0.06, 6), wood((0.1, 0.05, 0.02)), scale=radius)
    return a


def fruit_bowl(colour: Colour = (0.05, 0.11, 0.16), radius: float = 0.15, seed: int = 3) -> Assembly:
    """A footed stoneware bowl heaped with apples, oranges and pears."""
    a, rng = Assembly("fruit bowl"), np.random.default_rng(seed)
    k = radius / 0.15
    outer = smooth_curve([(0.05, 0.012), (0.09, 0.03), (0.135, 0.065), (0.15, 0.092)], 7)
    inner = outer[::-1] + np.array([-0.006, 0.002])
    a.add(lathe([(0, 0), (0.052, 0), (0.05, 0.012), *outer, *inner, (0, 0.022)], 64), ceramic(colour, 0.5), scale=k)
    spots = [(0.074, 30, 0.074), (0.074, 102, 0.074), (0.074, 174, 0.074), (0.074, 246, 0.074), (0.074, 318, 0.074),
             (0.0, 0, 0.054), (0.035, 60, 0.126), (0.042, 200, 0.124), (0.04, 305, 0.128)]
    for n, (r, t, z) in enumerate(spots):
        t = np.radians(t + rng.uniform(-8, 8))
        piece = (apple, orange, pear)[[0, 1, 0, 1, 0, 0, 0, 1, 2][n]]
        item = piece(GREEN, YELLOW) if piece is apple and n in (2,) else piece()
        a.merge(item, (k * r * np.cos(t), k * r * np.sin(t), k * (z - 0.03)),
                (rng.uniform(-28, 28), rng.uniform(-28, 28) if piece is not pear else 55, rng.uniform(0, 360)))
    return a


def candlestick(height: float = 0.24, lit: bool = True) -> Assembly:
    """A brass candlestick with a candle half burnt down; the caller adds a bulb at the flame."""
    a, brass = Assembly("candlestick"), metal(BRASS, 0.22)
    h = height * 0.52
    stem = smooth_curve([(0.052, 0), (0.05, 0.008), (0.02, 0.02), (0.009, 0.035), (0.016, 0.05), (0.007, 0.065),
                         (0.007, h - 0.03), (0.014, h - 0.02), (0.012, h - 0.012), (0.03, h - 0.004), (0.028, h)], 5)
    a.add(lathe([(0, 0), *stem, (0, h)], 44), brass)
    wax = [(0, h - 0.002), (0.0115, h - 0.002), (0.0112, height - 0.008), (0.0125, height - 0.002), (0.009, height),
           (0.003, height - 0.003), (0, height - 0.003)]
    a.add(lathe(wax, 28), plain((0.8, 0.7, 0.52), 0.45, subsurface=0.25))
    for k, drop in enumerate((0.05, 0.03, 0.065)):
        t = 2.2 * k
        a.add(ball((0.003, 0.003, drop / 2), 8, 6), plain((0.8, 0.7, 0.52), 0.45),
              (0.0115 * np.cos(t), 0.0115 * np.sin(t), height - drop / 2 - 0.003))
    a.add(tube([(0, 0, height - 0.004), (0.001, 0, height + 0.008)], 0.0009, 6), plain((0.01, 0.01, 0.01)))
    if lit:
        flame = smooth_curve([(0.0015, 0), (0.0052, 0.009), (0.0035, 0.022), (0.0004, 0.036)], 6)
        a.add(lathe([(0, 0), *flame, (0, 0.037)], 16), glow((1.0, 0.55, 0.16), 28), (0, 0, height + 0.004))
    return a


def jug(colour: Colour = (0.6, 0.56, 0.48), height: float = 0.22) -> Assembly:
    """A stoneware jug with a handle and a dipped glaze."""
    a, h = Assembly("jug"), height
    outer = smooth_curve([(0.26 * h, 0), (0.4 * h, 0.2 * h), (0.38 * h, 0.5 * h), (0.2 * h, 0.8 * h), (0.24 * h, h)], 8)
    inner = outer[::-1] - [0.02 * h, 0]
    inner[-1] = (inner[-1][0], 0.02 * h)
    a.add(lathe([(0, 0), *outer, *inner, (0, 0.02 * h)], 52), ceramic(colour, 0.6))
    grip = smooth_curve([(0.2 * h, 0, 0.86 * h), (0.44 * h, 0, 0.9 * h), (0.56 * h, 0, 0.66 * h),
                         (0.38 * h, 0, 0.36 * h)], 8)
    a.add(tube(grip, 0.035 * h), ceramic(colour, 0.6))
    return a


def kettle(colour: Colour = (0.30, 0.05, 0.03)) -> Assembly:
    """An enamelled kettle."""
    a, enamel = Assembly("kettle"), paint(colour, 0.12, 0.15, 0.8)
    body = smooth_curve([(0.095, 0.0), (0.108, 0.03), (0.1, 0.09), (0.06, 0.135), (0.045, 0.14)], 7)
    a.add(lathe([(0, 0), *body, (0, 0.14)], 52), enamel)
    a.add(lathe([(0, 0.138), (0.048, 0.138), (0.04, 0.15), (0.012, 0.158), (0.01, 0.165), (0.014, 0.175),
                 (0, 0.18)], 40), enamel)
    a.add(tube(smooth_curve([(0.085, 0, 0.05), (0.13, 0, 0.08), (0.145, 0, 0.13), (0.17, 0, 0.145)], 6),
               np.linspace(0.02, 0.011, 19)), enamel)
    a.add(tube(smooth_curve([(0.07, 0, 0.125), (0.075, 0, 0.2), (0, 0, 0.235), (-0.075, 0, 0.2), (-0.07, 0, 0.125)], 8),
               0.006), metal((0.5, 0.5, 0.52), 0.3))
    a.add(tube(smooth_curve([(0.045, 0, 0.226), (0, 0, 0.236), (-0.045, 0, 0.226)], 6), 0.011),
          wood((0.05, 0.025, 0.012)))
    return a


def plate(colour: Colour = (0.6, 0.58, 0.52), radius: float = 0.12) -> Assembly:
    a = Assembly("plate")
    a.add(lathe([(0, 0), (0.55, 0), (0.6, 0.02), (0.95, 0.12), (1.0, 0.15), (0.97, 0.16), (0.6, 0.07), (0, 0.06)], 64),
          ceramic(colour), scale=radius)
    return a
