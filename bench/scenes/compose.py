"""One scene from one number: a room, a street or a table top, dressed, lit and framed at random.

Everything random comes from the seed; nothing from the clock or from the order of sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from examples.make import furniture, materials, street, tableware, truth
from examples.make.build import Assembly, area, bulb, empty_scene, sun
from examples.make.sets import slab
from examples.make.shapes import rounded_box

from . import models
from .assets import Model

SIZES = [(640, 360), (640, 360), (640, 272), (576, 432)]
Span = tuple[float, float]
WALL_TEXTURES = ("cream-plaster.png", "white-plaster.png", "white-bricks.png", "yellow-plaster.png")
TOP_TEXTURES = ("light-wood.png", "dark-wood.png", "wood-varnished-panels.png", "ceramic.png")
LOOKS = ("AgX - Medium High Contrast", "AgX - Base Contrast", "AgX - High Contrast", "AgX - Punchy")
INDOOR_SKIES = ("apartment.exr", "lab.exr", "warehouse.exr")  # without lamps that would outshine the key
OUTDOOR_SKIES = ("city.exr", "dawn.exr", "forest.exr", "park.exr", "sky.exr", "sunrise.exr", "sunset.exr",
                 "venice.exr")


@dataclass
class Scene:
    """What the renderer must know; `key` points to the strongest light, world axes."""

    kind: str
    size: tuple[int, int]
    lens_mm: float
    key: np.ndarray
    exposure: float
    haze: float
    haze_colour: tuple[float, float, float]
    ground_z: float
    look: str
    people: int = 0


class Stage:
    """A scene being dressed: the seed's random numbers, the assets, the camera, and what already stands where."""

    def __init__(self, seed: int, root: Path, library: dict[str, list[Model]], size: tuple[int, int]) -> None:
        self.rng = np.random.default_rng(seed)
        self.root, self.library, self.size = root, library, size
        self.taken: list[tuple[float, float, float]] = []  # x, y, radius on the ground
        self.frames: list[np.ndarray] = []  # boxes in the picture: left, top, right, bottom, pixels

    def pick(self, items: list | tuple):
        return items[int(self.rng.integers(len(items)))]

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def colour(self, low: float = 0.05, high: float = 0.55, saturation: float = 0.6) -> tuple[float, float, float]:
        value = self.rng.uniform(low, high)
        tint = 1 - saturation * self.rng.random(3)
        return tuple(float(x) for x in value * tint / tint.max())

    def aim(self, at: tuple[float, float, float], towards: tuple[float, float, float], lens: float) -> None:
        truth.camera(at, towards, lens, self.between(-1.5, 1.5))
        bpy.context.view_layer.update()
        self.K, self.view = truth.intrinsics(lens, *self.size), truth.camera_from_world()

    def projected(self, at: np.ndarray, extent: np.ndarray, yaw: float) -> np.ndarray | None:
        """The box's rectangle in the picture, None where it reaches behind the camera."""
        corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0, 1)]) * extent
        c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
        world = corners @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + at
        p = world @ self.view[:3, :3].T + self.view[:3, 3]
        if p[:, 2].min() < 0.15:
            return None
        uv = ((p / p[:, 2:]) @ self.K.T)[:, :2]
        return np.r_[uv.min(0), uv.max(0)]

    def free_spot(self, extent: np.ndarray, x: Span, y: Span, z: float, whole: bool = True, tries: int = 80
                  ) -> tuple[np.ndarray, float] | None:
        """A place for a thing of `extent` that is free on the ground and, if `whole`, well seen in the picture."""
        radius = float(np.hypot(extent[0], extent[1]) / 2) * 0.9
        w, h = self.size
        for _ in range(tries):
            at = np.array([self.between(*x), self.between(*y), z])
            facing = np.degrees(np.arctan2(*(self.camera_xy - at[:2])[::-1])) + 90
            yaw = facing + self.rng.normal(0, 40) if self.rng.random() < 0.8 else self.between(0, 360)
            if any(np.hypot(at[0] - a, at[1] - b) < radius + r for a, b, r in self.taken):
                continue
            frame = self.projected(at, extent, yaw)
            if whole:
                if frame is None or frame[0] < 8 or frame[1] < 4 or frame[2] > w - 8 or frame[3] > h - 8:
                    continue
                share = (frame[2] - frame[0]) * (frame[3] - frame[1]) / (w * h)
                if not 0.008 < share < 0.3 or any(_cover(frame, f) > 0.3 for f in self.frames):
                    continue
            self.taken.append((at[0], at[1], radius))
            if frame is not None:
                self.frames.append(frame)
            return at, yaw
        return None

    @property
    def camera_xy(self) -> np.ndarray:
        return truth.world_from_camera()[:2, 3]

    def model(self, role: str, fits: Callable[[Model], bool] = lambda m: True) -> Model:
        return self.pick([m for m in self.library[role] if fits(m)])

    def stand(self, role: str, x: Span, y: Span, z: float, whole: bool = True,
              fits: Callable[[Model], bool] = lambda m: True) -> tuple[bpy.types.Object, Model] | None:
        model = self.model(role, fits)
        spot = self.free_spot(np.array(model.size), x, y, z, whole)
        if spot is None:
            return None
        return models.place(model, self.root, tuple(spot[0]), spot[1]), model

    def build(self, made: Assembly, x: Span, y: Span, z: float) -> bool:
        low, high = (f(np.concatenate(made.vertices), axis=0) for f in (np.min, np.max))
        extent = np.array([*(2 * np.maximum(np.abs(low), np.abs(high))[:2]), high[2]])
        spot = self.free_spot(extent, x, y, z)
        if spot is None:
            return False
        made.place(tuple(spot[0]), spot[1])
        return True

    def texture(self, names: tuple[str, ...], metres: float, roughness: float, upright: bool) -> bpy.types.Material:
        return models.textured(self.root / "textures" / self.pick(names), metres, roughness, upright)


def _cover(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection of two picture rectangles over the smaller one."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return float(w * h / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])))


def compose(seed: int, root: Path, library: dict[str, list[Model]]) -> Scene:
    """Build the scene of `seed` in Blender."""
    empty_scene()
    kinds = (room, room, outdoors, table_top)
    rng = np.random.default_rng([seed, 1])
    stage = Stage(seed, root, library, SIZES[int(rng.integers(len(SIZES)))])
    return kinds[seed % len(kinds)](stage)


def room(s: Stage) -> Scene:
    """A furnished room: windows on one side or lamps at night, furniture, small things on tables, at times people."""
    W, D, H = s.between(4.2, 6.5), s.between(4.8, 7.0), s.between(2.5, 3.3)
    side = s.pick((-1, 1))
    wall_colour = s.colour(0.12, 0.55, 0.55)
    wall = s.pick((
        lambda: materials.plaster(wall_colour, 0.35, 0.15), lambda: materials.plaster(wall_colour, 0.35, 0.15),
        lambda: materials.brick((0.3, 0.12, 0.08)),
        lambda: s.texture(WALL_TEXTURES, 1.6, 0.8, True)))()
    floor = s.pick((
        lambda: materials.planks(s.colour(0.12, 0.35, 0.7)), lambda: materials.planks((0.27, 0.145, 0.065)),
        lambda: s.texture(("light-gray-floor-tile.png", "wood-tiles.png", "gray-felt.png"), 1.2, 0.4, False)))()
    trim = materials.paint(s.colour(0.3, 0.6, 0.2), 0.45)
    slab("floor", (W + 0.6, D + 0.6, 0.2), floor, (0, D / 2 - 0.2, -0.1))
    slab("ceiling", (W + 0.6, D + 0.6, 0.2), materials.plaster((0.6, 0.58, 0.54), 0.2), (0, D / 2 - 0.2, H + 0.1))
    slab("wall", (W + 0.4, 0.2, H + 0.2), wall, (0, D + 0.1, H / 2))
    slab("wall", (W + 0.4, 0.2, H + 0.2), wall, (0, -0.5, H / 2))
    slab("wall", (0.2, D + 0.6, H + 0.2), wall, (-side * (W / 2 + 0.1), D / 2 - 0.2, H / 2))
    slab("skirting", (W, 0.03, 0.12), trim, (0, D - 0.01, 0.06))
    openings = _window_wall(s, wall, trim, side * (W / 2 + 0.1), D, H)
    night = s.rng.random() < 0.25
    _light_room(s, side, W, H, openings, night)

    lens = s.between(24, 38)
    height = s.between(1.15, 1.65)
    s.aim((s.between(-0.5, 0.5), -0.25, height), (s.between(-0.5, 0.5), D * 0.6, s.between(0.55, 0.95)), lens)
    if s.rng.random() < 0.6:
        furniture.rug((s.between(1.6, 2.6), s.between(1.2, 1.8)), s.colour(0.05, 0.35), s.colour(0.1, 0.4)).place(
            (s.between(-0.4, 0.4), D * 0.55, 0), s.between(-8, 8))
    pictures = int(s.rng.integers(1, 4))
    bay = (W - 1.0) / pictures
    for k in range(pictures):
        w, h = s.between(0.3, min(0.9, bay - 0.3)), s.between(0.3, 0.7)
        at = (-W / 2 + 0.5 + (k + 0.5) * bay + s.between(-0.1, 0.1), D, 1.65)
        furniture.framed_picture((w, h), int(s.rng.integers(1000))).place(at)
    # Against the back wall, facing the room; may hide behind others.
    for x in (-W / 4, W / 4):
        if s.rng.random() < 0.75:
            m = s.model("bulky", lambda m: m.size[0] < W / 2 and m.size[2] < H)
            models.place(m, s.root, (x, D - m.size[1] / 2 - 0.03, 0), 0)
            s.taken.append((x, D - m.size[1] / 2, m.size[0] / 2))
    xs, ys = (-W / 2 + 0.4, W / 2 - 0.4), (1.6, D - 0.6)
    people = _people(s, xs, (2.2, D - 0.7), 0, 0.5, 1)
    table = s.stand("table", xs, ys, 0)
    if table is not None:
        obj, m = table
        for k in range(int(s.rng.integers(1, 4))):
            angle = 2.1 * k + s.between(0, 1)
            r = min(m.size[:2]) * 0.26
            _small_thing(s, (obj.location.x + r * np.cos(angle), obj.location.y + r * np.sin(angle), m.size[2]))
    for _ in range(int(s.rng.integers(2, 4))):
        s.stand("seat", xs, ys, 0)
    for _ in range(2):
        s.stand("floor", xs, ys, 0)
    own = [lambda: furniture.armchair(s.colour(0.1, 0.6, 0.9)), lambda: furniture.stool(),
           lambda: furniture.chair(seat=s.colour(0.05, 0.4, 0.9)),
           lambda: furniture.vase(s.colour(0.05, 0.6), s.between(0.3, 0.6), int(s.rng.integers(0, 8)))]
    for _ in range(2):
        s.build(s.pick(own)(), xs, ys, 0)
    if night or s.rng.random() < 0.3:
        made = furniture.floor_lamp(lit=3.0)
        if s.build(made, xs, ys, 0):
            x, y, _ = s.taken[-1]
            bulb((x, y, 1.38), (1.0, 0.62, 0.32), 120 if night else 40)
    key = np.array([0.02, -0.05, 1.0]) if night else np.array(s.key)
    return Scene("room", s.size, lens, key, s.between(0.3, 0.8), s.between(0, 0.012), (0.5, 0.46, 0.42), 0.0,
                 s.pick(LOOKS), people)


def _window_wall(s: Stage, wall: bpy.types.Material, trim: bpy.types.Material, x: float, D: float, H: float
                 ) -> list[tuple[float, float]]:
    a, frame = Assembly("wall", "stuff"), Assembly("window frame", "stuff")
    count = int(s.rng.integers(1, 3))
    width, sill, top = s.between(0.9, 1.4), s.between(0.3, 0.8), min(H - 0.2, s.between(2.1, 2.5))
    middles = np.linspace(0, D, count + 2)[1:-1] + s.between(-0.3, 0.3)
    openings = [(float(m - width / 2), float(m + width / 2)) for m in middles]
    edges = [-0.6, *[y for o in openings for y in o], D + 0.2]
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        a.add(rounded_box((0.2, high - low, H + 0.2), 1e-4, 1), wall, (x, (low + high) / 2, H / 2), smooth=False)
    for low, high in openings:
        for z0, z1 in ((-0.1, sill), (top, H + 0.1)):
            a.add(rounded_box((0.2, high - low, z1 - z0), 1e-4, 1), wall, (x, (low + high) / 2, (z0 + z1) / 2),
                  smooth=False)
        for y in (low + 0.03, (low + high) / 2, high - 0.03):
            frame.add(rounded_box((0.07, 0.05, top - sill), 0.006), trim, (x, y, (top + sill) / 2))
        for z in (sill + 0.03, (top + sill) / 2, top - 0.03):
            frame.add(rounded_box((0.06, high - low, 0.05), 0.006), trim, (x, (low + high) / 2, z))
    a.place()
    frame.place()
    if s.rng.random() < 0.6:
        for low, high in openings:
            for y in (low - 0.15, high + 0.15):
                furniture.curtain(0.4, top + 0.15, s.colour(0.1, 0.5), 5).place((x - np.sign(x) * 0.16, y, 0.02), 90)
    return openings


def _light_room(s: Stage, side: int, W: float, H: float, openings: list[tuple[float, float]], night: bool) -> None:
    models.sky(s.root / "skies" / s.pick(OUTDOOR_SKIES), s.between(0, 360), 0.02 if night else s.between(0.6, 1.2))
    s.key = (side, s.between(-0.35, 0.6), s.between(0.35, 0.8))
    if night:
        area((0, 3.0, H - 0.05), (0, 3.0, 0), (0.8, 0.8), (1.0, 0.72, 0.46), s.between(60, 140))
        return
    low_sun = s.key[2] < 0.55
    warm = (1.0, 0.68, 0.4) if low_sun else (1.0, 0.88, 0.74)
    sun(s.key, warm, s.between(10, 28), s.between(0.6, 3))
    for low, high in openings:
        y = (low + high) / 2
        area((side * (W / 2 + 0.3), y, 1.5), (0, y, 0.9), (high - low, 1.7), (0.66, 0.8, 1.0), s.between(60, 130))
    area((0, -0.2, H - 0.3), (0, 3, 0.6), (W * 0.5, 0.8), (0.85, 0.88, 1.0), s.between(12, 30))


def outdoors(s: Stage) -> Scene:
    """A street or yard: facades, road and pavement, a parked car, street things, passers-by, sun and sky."""
    ground = s.pick((
        lambda: materials.cobbles(s.colour(0.1, 0.25, 0.2), s.between(0.1, 0.2), s.between(0.1, 0.7)),
        lambda: materials.asphalt(wet=s.between(0.1, 0.6)),
        lambda: materials.brick((0.24, 0.2, 0.17), (0.08, 0.08, 0.08), False, 0.4, 0.2),
        lambda: s.texture(("dirt.png", "gray-plaster.png"), 2.5, 0.9, False)))()
    half = s.between(3.2, 5.5)
    slab("ground", (60, 70, 0.3), ground, (0, 28, -0.15))
    both = s.rng.random() < 0.7
    walls = ("brick", "plaster")
    for side in (-1, 1) if both else (s.pick((-1, 1)),):
        y = s.between(-1.5, 1.0)
        while y < 32:
            width = s.between(5.5, 8.5)
            front = street.facade(width, s.between(6, 10.5), s.pick(walls), s.colour(0.15, 0.5, 0.55),
                                  int(s.rng.integers(2, 4)), 3, s.between(0, 0.5), int(s.rng.integers(10_000)),
                                  (s.colour(0.1, 0.5, 0.8), s.colour(0.4, 0.7, 0.2)) if s.rng.random() < 0.25 else None)
            front.place((side * half, y if side < 0 else y + width, 0), 90 if side < 0 else -90)
            y += width
    if s.rng.random() < 0.6:
        street.facade(18, s.between(6, 9), s.pick(walls), s.colour(0.2, 0.45), 2, 6, 0.3, 5).place((-9, 36, 0), 0)
    sky_name = s.pick(OUTDOOR_SKIES)
    key = models.sky(s.root / "skies" / sky_name, s.between(0, 360), s.between(0.7, 1.1))
    key[2] = max(key[2], 0.22)
    low = key[2] < 0.4
    sun(key, (1.0, 0.62, 0.36) if low else (1.0, 0.9, 0.78), s.between(2.5, 7), s.between(0.6, 4))
    lens = s.between(26, 45)
    s.aim((s.between(-0.8, 0.8), -0.5, s.between(1.3, 1.75)), (s.between(-0.5, 0.5), 10, s.between(0.7, 1.2)), lens)
    xs, ys = (-half + 0.6, half - 0.6), (3.8, 12.0)
    if s.rng.random() < 0.6:
        s.stand("vehicle", (-half + 1.2, half - 1.2), (9, 18), 0, whole=False)
    people = _people(s, xs, (5, 14), 0, 0.6, 3)
    for _ in range(4):
        s.stand("street", xs, ys, 0)
    own = [lambda: street.barrel(), lambda: street.hydrant(s.colour(0.2, 0.6, 0.95)), lambda: street.bench(),
           lambda: street.crate(fruit=s.pick(("", "apple", "orange"))), lambda: street.sack(), lambda: street.planter(),
           lambda: street.cart((s.colour(0.2, 0.6, 0.95), (0.66, 0.58, 0.44)))]
    for _ in range(3):
        s.build(s.pick(own)(), xs, ys, 0)
    return Scene("outdoors", s.size, lens, key, s.between(0.0, 0.5), s.between(0.002, 0.012),
                 (0.52, 0.42, 0.36) if low else (0.55, 0.6, 0.66), 0.0, s.pick(LOOKS), people)


def table_top(s: Stage) -> Scene:
    """Small things on a table, lit by a window from one side."""
    top = s.pick((
        lambda: materials.planks(s.colour(0.12, 0.4, 0.6), 0.18, 4.0),
        lambda: materials.cloth(s.colour(0.2, 0.6, 0.4), 160), lambda: s.texture(TOP_TEXTURES, 0.9, 0.4, False)))()
    slab("table top", (1.9, 1.1, 0.04), top, (0, 0.15, -0.02), 0.006)
    slab("wall", (6, 0.1, 3), materials.plaster(s.colour(0.06, 0.5, 0.5), 0.5, 0.3), (0, s.between(0.85, 1.9), 0.75))
    slab("floor", (6, 5, 0.1), materials.planks((0.15, 0.09, 0.05)), (0, 0, -0.8))
    models.sky(s.root / "skies" / s.pick(INDOOR_SKIES), s.between(0, 360), s.between(0.12, 0.35))
    side = s.pick((-1, 1))
    at = np.array([side * s.between(0.9, 1.6), s.between(-0.6, 0.5), s.between(0.6, 1.4)])
    warm = s.pick(((1.0, 0.8, 0.58), (0.75, 0.86, 1.0), (1.0, 0.92, 0.82)))
    area(tuple(at), (0, 0.05, 0.05), (s.between(0.4, 1.0), s.between(0.4, 1.0)), warm, s.between(25, 55))
    area((-side * 1.4, -1.0, 1.2), (0, 0.1, 0.1), (1.0, 1.0), (0.6, 0.74, 1.0), s.between(2, 8))
    lens = s.between(38, 60)
    eye = (s.between(-0.25, 0.25), s.between(-1.25, -0.95), s.between(0.28, 0.65))
    s.aim(eye, (0, 0.06, s.between(0.04, 0.1)), lens)
    xs, ys = (-0.55, 0.55), (-0.25, 0.42)
    own = [lambda: tableware.cup(s.colour(0.3, 0.75, 0.4)), lambda: tableware.bottle(s.colour(0.01, 0.06, 0.8)),
           lambda: tableware.fruit_bowl(s.colour(0.05, 0.4), 0.13), lambda: tableware.candlestick(lit=False),
           lambda: tableware.jug(s.colour(0.1, 0.6)), lambda: tableware.kettle(s.colour(0.05, 0.4, 0.9)),
           lambda: furniture.books(int(s.rng.integers(1, 4)), int(s.rng.integers(100)), 0.2), lambda: tableware.apple(),
           lambda: furniture.vase(s.colour(0.05, 0.6), s.between(0.16, 0.26)), lambda: tableware.pear(),
           lambda: tableware.orange()]
    for _ in range(int(s.rng.integers(3, 5))):
        s.build(s.pick(own)(), xs, ys, 0)
    for _ in range(int(s.rng.integers(1, 4))):
        s.stand("small", xs, ys, 0, fits=lambda m: max(m.size) < 0.42)
    key = at - np.array([0, 0.05, 0.05])
    return Scene("table top", s.size, lens, key, s.between(0.1, 0.6), 0.0, (0.2, 0.2, 0.2), 0.0, s.pick(LOOKS))


def _people(s: Stage, x: Span, y: Span, z: float, chance: float, most: int) -> int:
    count = int(s.rng.integers(1, most + 1)) if s.rng.random() < chance else 0
    return sum(s.stand("person", x, y, z, whole=False) is not None for _ in range(count))


def _small_thing(s: Stage, at: tuple[float, float, float]) -> None:
    if s.rng.random() < 0.5:
        made = s.pick((lambda: furniture.vase(s.colour(0.1, 0.6), s.between(0.2, 0.34), int(s.rng.integers(0, 7))),
                       lambda: furniture.books(3, int(s.rng.integers(100))), lambda: tableware.fruit_bowl(),
                       lambda: furniture.table_lamp(s.colour(0.05, 0.4))))()
        made.place(at, s.between(0, 360))
    else:
        models.place(s.model("small", lambda m: max(m.size) < 0.42), s.root, at, s.between(0, 360))
