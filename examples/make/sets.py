"""The three sets: an interior, a street at dusk, a table top. Each builds the scene and returns how to shoot it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import bpy
import numpy as np

from . import furniture as room
from . import street, tableware
from .build import Assembly, area, bulb, empty_scene, sun, world_gradient
from .materials import brick, cobbles, paint, planks, plaster
from .shapes import rounded_box
from .truth import camera


@dataclass
class Shot:
    """How a set is photographed. `key` points from the scene to the key light, world axes."""

    lens_mm: float
    key: tuple[float, float, float]
    exposure: float
    haze: float
    haze_colour: tuple[float, float, float]
    size: tuple[int, int] = (1280, 720)
    ground_z: float = 0.0
    ground_label: str = "floor"


def slab(label: str, size: Sequence[float], material: bpy.types.Material, at: Sequence[float], bevel: float = 0.0
         ) -> None:
    """A block of scenery centred at `at`."""
    a = Assembly(label, "stuff")
    a.add(rounded_box(size, max(bevel, 1e-4), 1), material, smooth=False)
    a.place(at)


def interior() -> Shot:
    """A living room in the late afternoon: sun through two tall windows on the left, a lamp by the sofa."""
    empty_scene()
    shot = Shot(lens_mm=30, key=(-0.86, 0.24, 0.46), exposure=0.25, haze=0.010, haze_colour=(0.5, 0.42, 0.34))
    wall = plaster((0.16, 0.22, 0.205), 0.35, 0.12)
    slab("floor", (6.0, 8.0, 0.2), planks((0.27, 0.145, 0.065)), (0, 0, -0.1))
    slab("ceiling", (6.0, 8.0, 0.2), plaster((0.6, 0.57, 0.52), 0.2), (0, 0, 3.1))
    slab("wall", (6.0, 0.2, 3.2), wall, (0, 3.0, 1.5))
    slab("wall", (0.2, 8.0, 3.2), wall, (2.75, 0, 1.5))
    slab("wall", (6.0, 0.2, 3.2), wall, (0, -4.0, 1.5))
    a = Assembly("wall", "stuff")  # the window wall at x = -2.6: piers, breast and lintel leave two openings
    openings = [(-0.55, 0.75), (1.25, 2.45)]
    edges = [-4.0, *[y for opening in openings for y in opening], 3.1]
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        a.add(rounded_box((0.24, high - low, 3.2), 1e-4, 1), wall, (-2.72, (low + high) / 2, 1.5), smooth=False)
    for low, high in openings:
        for z0, z1 in ((-0.1, 0.55), (2.55, 3.1)):
            a.add(rounded_box((0.24, high - low, z1 - z0), 1e-4, 1), wall, (-2.72, (low + high) / 2, (z0 + z1) / 2),
                  smooth=False)
    a.place()
    frame = Assembly("window frame", "stuff")
    white = paint((0.55, 0.52, 0.46), 0.4, 0.15)
    for low, high in openings:
        middle, span = (low + high) / 2, high - low
        for y in (low + 0.03, middle, high - 0.03):
            frame.add(rounded_box((0.07, 0.055, 2.0), 0.006), white, (-2.74, y, 1.55))
        for z in (0.58, 1.2, 1.87, 2.52):
            frame.add(rounded_box((0.06, span, 0.05), 0.006), white, (-2.74, middle, z))
        frame.add(rounded_box((0.34, span + 0.2, 0.05), 0.012), white, (-2.6, middle, 0.54))
    frame.place()
    trim = Assembly("skirting", "stuff")
    panel = paint((0.42, 0.40, 0.35), 0.45)
    trim.add(rounded_box((5.4, 0.03, 0.14), 0.008), panel, (0, 2.89, 0.07))
    trim.add(rounded_box((0.03, 6.6, 0.14), 0.008), panel, (2.64, -0.4, 0.07))
    trim.add(rounded_box((5.4, 0.09, 0.1), 0.03), panel, (0, 2.86, 2.94))
    trim.add(rounded_box((5.4, 0.03, 0.05), 0.012), panel, (0, 2.89, 0.98))
    trim.place()
    for y, k in ((-0.72, 0), (0.98, 1), (2.66, 2)):
        room.curtain(0.42, 2.62, (0.42, 0.30, 0.17), 5, k).place((-2.5, y, 0.03), 90)
    room.rug((2.9, 2.0), (0.17, 0.075, 0.05), (0.25, 0.15, 0.09)).place((0.35, 0.9, 0.0), 4)
    room.framed_picture((0.95, 0.62), 4).place((0.2, 2.9, 1.72))
    room.framed_picture((0.42, 0.55), 11).place((1.25, 2.9, 1.72))

    room.sofa((0.17, 0.055, 0.022), pillows=((0.10, 0.22, 0.22), (0.5, 0.42, 0.3))).place((0.15, 2.35, 0), 0)
    room.armchair((0.58, 0.27, 0.035)).place((1.55, 0.75, 0.012), -52)
    room.floor_lamp(lit=2.6).place((1.75, 2.4, 0))
    bulb((1.75, 2.4, 1.38), (1.0, 0.62, 0.3), 38, 0.06)
    room.round_table(0.5).place((-1.05, 0.95, 0.012), 20)
    room.vase((0.62, 0.58, 0.50), 0.34, 8, 5).place((-1.0, 1.05, 0.752), 0)
    room.books(3, 7).place((-1.22, 0.78, 0.752), 25)
    room.chair(seat=(0.30, 0.05, 0.03)).place((-0.35, 0.28, 0.012), 128)
    room.stool().place((0.5, -0.02, 0.012), 12)
    room.books(4, 2).place((0.5, -0.02, 0.472), -20)
    room.vase((0.045, 0.10, 0.16), 0.6, 0, 3).place((-1.48, 0.12, 0.0))

    key = np.array(shot.key)
    sun(key, (1.0, 0.68, 0.38), 26, 1.2)
    for low, high in openings:
        y = (low + high) / 2
        area((-2.95, y, 1.6), (0.5, y, 0.9), (high - low, 2.0), (0.62, 0.78, 1.0), 95)
    area((0.2, -3.6, 2.4), (0.3, 1.5, 0.6), (2.6, 1.2), (0.75, 0.82, 1.0), 22)
    world_gradient((0.9, 0.85, 0.75), (0.35, 0.55, 0.95), 1.6)
    camera((0.28, -3.5, 1.42), (0.04, 1.2, 0.86), shot.lens_mm)
    return shot


def dusk_street() -> Shot:
    """A cobbled street after rain, the sun just gone: lit windows, a market cart, a lamp."""
    empty_scene()
    shot = Shot(lens_mm=32, key=(0.16, 0.92, 0.27), exposure=0.3, haze=0.0075, haze_colour=(0.46, 0.28, 0.23),
                size=(1280, 544), ground_label="road")
    slab("road", (5.4, 80, 0.3), cobbles((0.16, 0.15, 0.145), 0.14), (0.2, 28, -0.15))
    for x in (-3.6, 4.0):
        flags = brick((0.20, 0.19, 0.18), (0.07, 0.07, 0.07), False, 0.6, 0.42)
        slab("pavement", (2.2, 80, 0.3), flags, (x, 28, -0.03))
        slab("kerb", (0.18, 80, 0.3), plaster((0.24, 0.23, 0.22), 0.7), (x + np.sign(0.2 - x) * 1.16, 28, -0.022), 0.02)
    specs_left = [("brick", (0.26, 0.085, 0.05), 6.5, 9.2, 3), ("plaster", (0.46, 0.33, 0.18), 7.5, 8.0, 3),
                  ("brick", (0.20, 0.11, 0.07), 7, 10.5, 3), ("plaster", (0.32, 0.34, 0.33), 8, 8.6, 3)]
    specs_right = [("plaster", (0.42, 0.22, 0.15), 7, 8.6, 3), ("brick", (0.24, 0.10, 0.06), 7, 10, 3),
                   ("plaster", (0.40, 0.36, 0.28), 7.5, 8, 3), ("brick", (0.2, 0.08, 0.055), 8, 9.5, 3)]
    y = 0.4
    for k, (wall, colour, width, height, storeys) in enumerate(specs_left):
        stripes = ((0.05, 0.16, 0.13), (0.6, 0.52, 0.4)) if k == 1 else None
        # A facade faces -Y with x to its right; turned +90 degrees it faces +X and runs on towards +Y.
        street.facade(width, height, wall, colour, storeys, 3, 0.45, k, stripes).place((-4.7, y, 0.12), 90)
        y += width
    y = 0.4
    for k, (wall, colour, width, height, storeys) in enumerate(specs_right):
        y += width
        street.facade(width, height, wall, colour, storeys, 3, 0.4, 20 + k).place((5.1, y, 0.12), -90)
    street.facade(14, 5.2, "plaster", (0.36, 0.28, 0.22), 2, 5, 0.5, 40).place((-6.5, 52, 0.12), 0)

    street.cart(seed=2).place((-0.25, 7.0, 0), 160)
    street.lamp_post(3.4).place((-2.75, 8.3, 0.12))
    bulb((-2.75, 8.3, 3.12), (1.0, 0.6, 0.26), 330, 0.12)
    street.lamp_post(3.4).place((3.15, 17, 0.12))
    bulb((3.15, 17, 3.12), (1.0, 0.6, 0.26), 330, 0.12)
    street.bench().place((3.42, 8.4, 0.12), -36)
    street.hydrant().place((2.35, 6.05, 0.0), 20)
    street.barrel().place((-2.95, 6.75, 0.12))
    crates = street.crate((0.56, 0.42, 0.32), "", (0.36, 0.24, 0.12), 1)
    crates.label = "crates"
    crates.merge(street.crate((0.52, 0.38, 0.26), "orange", seed=4), (0.02, 0.0, 0.322), (0, 0, -11))
    crates.place((-1.95, 6.25, 0), 24)
    street.sack(seed=1).place((1.45, 6.3, 0.0))
    street.planter(seed=1).place((4.35, 11.5, 0.12), 0)
    street.planter(seed=2).place((-4.2, 11.2, 0.12), 0)

    sun(shot.key, (1.0, 0.52, 0.28), 9.0, 4)
    area((-3.9, 7.2, 2.2), (-1.5, 6.8, 0.0), (2.4, 1.2), (1.0, 0.55, 0.22), 60)
    area((1.0, -2.0, 5.0), (0.3, 7.0, 0.5), (6, 3), (0.45, 0.62, 1.0), 260)
    world_gradient((1.0, 0.46, 0.24), (0.09, 0.17, 0.40), 1.0)
    camera((0.25, 0.1, 1.6), (0.12, 8.0, 1.12), shot.lens_mm)
    return shot


def table_top() -> Shot:
    """A still life by a window: warm key from the left, a cool wall behind, a candle."""
    empty_scene()
    shot = Shot(lens_mm=45, key=(-0.80, -0.12, 0.58), exposure=0.65, haze=0.03, haze_colour=(0.16, 0.15, 0.14),
                ground_label="table top")
    slab("table top", (2.2, 1.1, 0.05), planks((0.30, 0.16, 0.07), 0.18, 4.0, 0.32), (0, 0.1, -0.025), 0.006)
    slab("wall", (5, 0.1, 3), plaster((0.085, 0.115, 0.125), 0.55, 0.3), (0, 1.45, 0.8))
    slab("wall", (0.1, 4, 3), plaster((0.14, 0.13, 0.115), 0.5, 0.3), (2.0, 0, 0.8))
    slab("floor", (5, 4, 0.1), planks((0.1, 0.06, 0.03)), (0, 0, -0.85))
    board = Assembly("panel", "stuff")
    teal = paint((0.045, 0.075, 0.078), 0.5, 0.12)
    for k in range(9):
        board.add(rounded_box((0.27, 0.03, 0.62), 0.008), teal, (-1.2 + 0.285 * k, 1.39, -0.1))
    board.add(rounded_box((2.8, 0.05, 0.05), 0.012), teal, (-0.05, 1.38, 0.23))
    board.place()
    tableware.fruit_bowl((0.06, 0.15, 0.20), 0.16).place((0.0, 0.19, 0.0), 15)
    tableware.bottle().place((-0.33, 0.23, 0.0), 40)
    tableware.cup((0.74, 0.70, 0.62)).place((0.27, -0.12, 0.0), 25)
    room.books(2, 4, 0.21).place((-0.26, -0.10, 0.0), 20)
    tableware.candlestick().place((0.35, 0.22, 0.0))
    bulb((0.35, 0.22, 0.272), (1.0, 0.5, 0.16), 2.0, 0.008)
    tableware.apple().place((0.035, -0.13, 0.0), 10)
    area((-1.5, -0.25, 1.05), (0, 0.1, 0.05), (0.8, 0.9), (1.0, 0.80, 0.58), 46)
    area((1.4, -1.2, 1.2), (0, 0.1, 0.1), (1.0, 1.0), (0.5, 0.68, 1.0), 6)
    area((0.9, 1.1, 1.6), (0.2, 1.45, 0.3), (0.6, 0.6), (0.55, 0.7, 1.0), 5)
    world_gradient((0.05, 0.055, 0.065), (0.07, 0.085, 0.11), 0.5)
    camera((0.0, -1.12, 0.46), (0.01, 0.12, 0.085), shot.lens_mm)
    return shot


SETS = {"interior": interior, "street": dusk_street, "tabletop": table_top}
