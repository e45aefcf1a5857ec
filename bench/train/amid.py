"""Rooms seen from among their furniture: large things cut by the frame, and space that goes on behind a wall.

In such pictures the lower corner is not the floor but a table or a cabinet half as far away, and the wall in the
middle is not the end.
"""

from __future__ import annotations

import numpy as np
from furnish import Furnisher
from interiors import indoor_light
from lens_and_sky import sample_hfov
from rooms import along_wall, place_model
from shell import room_shell, wall
from stage import STUFF


class Stand:
    """Where the camera stands and how it faces, so that things can be placed by their place in the frame."""

    def __init__(self, st: Furnisher, x: float, y: float, yaw: float, aspect: float):
        r = st.rng
        self.x, self.y, self.yaw, self.hfov = x, y, yaw, sample_hfov(r, aspect)
        self.z = float(np.clip(r.normal(1.35, 0.22), 0.75, 1.9))
        self.pitch = float(np.clip(r.normal(-0.2, 0.14), -0.8, 0.15))
        self.half = np.tan(self.hfov / 2)

    def at(self, ahead: float, aside: float) -> tuple[float, float]:
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return self.x + c * ahead - s * aside, self.y + s * ahead + c * aside

    def finish(self, st: Furnisher, sky: dict) -> dict:
        r, eye = st.rng, np.array([self.x, self.y, self.z])
        to = np.array([np.cos(self.yaw), np.sin(self.yaw), np.tan(self.pitch)])
        return st.finish(eye, eye + to, self.hfov, r.normal(0, 0.03) if r.random() < 0.85 else r.normal(0, 0.12), sky)


def sideboard(st: Furnisher, x: float, y: float, yaw: float, length: float, deep: float, high: float) -> None:
    """A chest with a slab on it and things upon that."""
    r, obj, wood = st.rng, st.new_id(), st.paint("wood" if st.rng.random() < 0.7 else "plaster")
    st.shape("box", (x, y, 0), (length, deep, high - 0.03), yaw=yaw, paint=wood, obj=obj)
    slab = wood if r.random() < 0.6 else st.paint("wood")
    st.shape("box", (x, y, high - 0.03), (length + 0.05, deep + 0.05, 0.03), yaw=yaw, paint=slab, obj=obj)
    c, s, rows = np.cos(yaw), np.sin(yaw), r.integers(1, 4)
    for k in range(rows):
        for u in (-0.25, 0.25):
            for e in (-1, 1):
                at = (x + c * u * length - s * e * deep / 2, y + s * u * length + c * e * deep / 2)
                z = (k + 0.3) * high / rows
                st.shape("box", (*at, z), (length * 0.46, 0.025, 0.75 * high / rows), yaw=yaw, paint=wood, obj=obj)
    st.clutter(x, y, high, length * 0.9, deep * 0.9, r.integers(2, 14), yaw, desk=0.1)


def flank(st: Furnisher, cam: Stand, side: int) -> None:
    """One large thing close by on this side (-1 right, 1 left), so placed that the frame cuts it."""
    r, kit, kind = st.rng, st.kit, st.rng.random()
    start = r.uniform(0.35, 0.9)  # where its nearest inner corner is, ahead of the lens
    inner = r.uniform(0.35, 0.95)  # and where in the frame: 1 is the frame's side
    skew = r.normal(0, 0.15)

    def put(long: float, broad: float) -> tuple[float, float]:
        c, s, w = np.cos(skew), np.sin(skew), side * broad
        corner = side * max(0.2, inner * (start + 0.35) * cam.half)
        return cam.at(start + (c * long - s * w) / 2, corner + (s * long + c * w) / 2)

    if kind < 0.3:
        long, broad = r.uniform(1.2, 2.6), r.uniform(0.75, 1.15)
        st.dining(*put(long, broad), cam.yaw + skew, long, broad, people=0.2 * (r.random() < 0.15))
    elif kind < 0.52:
        long, broad = r.uniform(0.8, 2.2), r.uniform(0.35, 0.65)
        sideboard(st, *put(long, broad), cam.yaw + skew, long, broad, r.uniform(0.6, min(1.15, cam.z)))
    elif kind < 0.64:
        mesh = st.pick(kit.chairs + kit.seats)
        for k in range(r.integers(1, 3)):
            broad = float(st.lib.size[mesh][:2].max())
            x, y = put(broad + k * 1.6, broad)
            st.put(mesh, (x, y, 0), r.uniform(0.95, 1.1), cam.yaw + r.uniform(0, 6.3))
    elif kind < 0.72:
        mesh = st.pick(kit.sofas)
        long, broad = st.lib.size[mesh][:2]
        st.put(mesh, (*put(float(long), float(broad)), 0), 1.0, cam.yaw + r.choice([0, np.pi]) + skew)
    elif kind < 0.82:
        long, broad = r.uniform(1.2, 1.8), r.uniform(0.65, 0.85)
        x, y = put(long, broad)
        st.table(x, y, cam.yaw + skew, long, broad, 0.73)
        st.clutter(x, y, 0.73, long, broad, r.integers(3, 18), cam.yaw + skew, desk=1.0)
    elif kind < 0.93:  # a screen, the end of a wall, the side of a cupboard, an open door
        long, broad, high = r.uniform(0.5, 1.8), r.choice([0.05, 0.12, 0.6]), r.choice([1.2, 1.6, 2.05, 2.6])
        paint = ("fabric", "wood", "plaster", "wall")[r.integers(4)]
        st.shape("box", (*put(long, broad), 0), (long, broad, high), yaw=cam.yaw + skew, cls=STUFF, paint=paint)
    else:
        st.person(*put(0.5, 0.4))


def lone_lamp(st: Furnisher, x: float, y: float) -> None:
    """All light but a little goes; one warm lamp stays, on a stand."""
    r = st.rng
    for row in st.lights:
        row[4:7] *= 10 ** r.uniform(-2.2, -0.6)
    h, w, obj = r.uniform(1.2, 1.7), r.uniform(0.25, 0.45), st.new_id()
    st.shape("cylinder", (x, y, 0), (0.03, 0.03, h), paint="metal", obj=obj)
    st.shape("shade", (x, y, h), (w, w, w * 0.7), paint="light", obj=obj, shadow=False)
    st.light((x, y, h + 0.1), np.array([1, r.uniform(0.6, 0.85), r.uniform(0.3, 0.6)]) * r.uniform(1, 6), radius=0.12)


def furnish_far(st: Furnisher, wide: float, low: float, high: float) -> None:
    """Seats and tables on the floor between these y."""
    r = st.rng
    for y in np.arange(low, high, r.uniform(1.8, 3.2)):
        x, kind = r.uniform(-0.3, 0.3) * wide, r.random()
        if not st.free(x, y, 0.5):
            continue
        if kind < 0.3:
            st.lounge(x, y, r.choice([0, np.pi / 2, np.pi, -np.pi / 2]))
        elif kind < 0.5:
            st.dining(x, y, r.choice([0, np.pi / 2]) + r.normal(0, 0.08), r.uniform(1, 2.2), r.uniform(0.75, 1.1))
        elif kind < 0.8:
            st.furniture(st.kit.seats + st.kit.sofas, x, y, r.uniform(0, 6.3))


def beside(st: Furnisher, aspect: float) -> dict:
    """A deep room over tables, chairs and chests that stand close on one or both sides."""
    r, kit = st.rng, st.kit
    wide, deep, high = r.uniform(3.2, 7.5), r.uniform(4.5, 12), r.uniform(2.25, 3.2)
    room_shell(st, wide, deep, high)
    if r.random() < 0.4:  # carpet, plain and dark as often as not
        pile = st.paint("fabric")
        pile[0:3] *= 10 ** r.uniform(-0.7, 0)
        st.shape("box", (0, 0, 0), (wide - 0.1, deep - 0.1, 0.012), cls=STUFF, paint=pile)
    x, y = r.uniform(-0.3, 0.3) * wide, r.uniform(-0.46, -0.25) * deep
    cam = Stand(st, x, y, np.pi / 2 + r.normal(-x / wide, 0.3), aspect)
    st.spots += [(*cam.at(0, 0), 0.9), (*cam.at(1.3, 0), 0.4)]
    first = r.choice([-1, 1])
    flank(st, cam, first)
    if r.random() < 0.5:
        flank(st, cam, -first)
    furnish_far(st, wide, y + 2.6, 0.45 * deep)
    along_wall(st, wide, deep, place_model(st, kit.storage, 4), r.integers(3, 12))
    along_wall(st, wide, deep, place_model(st, kit.lamps + kit.plants + kit.medium + kit.seats), r.integers(2, 8))
    if r.random() < 0.3:
        along_wall(st, wide, deep, lambda x, y, yaw: st.shelf(x, y, yaw), r.integers(1, 3))
    if r.random() < 0.2:
        st.person(r.uniform(-0.3, 0.3) * wide, r.uniform(0, 0.4) * deep)
    sky = indoor_light(st, 0.45)
    if r.random() < 0.2:
        lone_lamp(st, r.choice([-0.4, 0.4]) * wide, r.uniform(0, 0.45) * deep)
    return cam.finish(st, sky)


def doorway(st: Furnisher, aspect: float) -> dict:
    """A wall a few steps ahead with an opening in it, and another room behind, lit in its own way."""
    r, kit = st.rng, st.kit
    store = r.random() < 0.4
    wide, deep, high = r.uniform(3, 7), r.uniform(6.5, 14), r.uniform(2.15, 3.1)
    room_shell(st, wide, deep, high, store)
    cut, thick = r.uniform(-0.12, 0.2) * deep, r.choice([0.1, 0.15, 0.3])
    q, tall = r.random(), min(high - 0.05, 2.1)
    if q < 0.5:
        gap, sill, head = r.uniform(0.75, 1.1), 0.0, tall
    elif q < 0.85:
        gap, sill, head = r.uniform(1.2, min(2.6, wide - 1)), 0.0, r.choice([tall, high])
    else:
        gap, sill, head = r.uniform(0.8, 2.0), r.uniform(0.8, 1.1), tall
    start = r.uniform(0.15, wide - gap - 0.15)
    middle = start + gap / 2 - wide / 2
    paint = st.paint("wood" if store and r.random() < 0.5 else "wall")
    wall(st, (-wide / 2, cut), (wide / 2, cut), high, [(start, start + gap, sill, head)], paint, thick)
    if r.random() < 0.6:
        trim = st.paint("wood")
        for e in (-1, 1):
            at = (middle + e * gap / 2, cut, sill)
            st.shape("box", at, (0.08, thick + 0.05, head - sill), cls=STUFF, paint=trim)
    if sill == 0 and gap < 1.2 and r.random() < 0.4:  # a door standing open
        turn, e = r.uniform(0.6, 2.2) * r.choice([-1, 1]), r.choice([-1, 1])
        at = (middle + e * gap / 2 - e * np.cos(turn) * gap / 2, cut - e * np.sin(turn) * gap / 2, 0.01)
        st.shape("box", at, (gap, 0.04, head - 0.02), yaw=turn, cls=STUFF, paint="wood")
    if deep / 2 - cut > 4 and r.random() < 0.4:  # and another behind that one
        y, w = r.uniform(cut + 2.2, deep / 2 - 1), r.uniform(0.8, 2)
        s = np.clip(middle + wide / 2 + r.normal(0, 0.5) - w / 2, 0.1, wide - w - 0.1)
        wall(st, (-wide / 2, y), (wide / 2, y), high, [(s, s + w, 0, tall)], paint, thick)
    if store and r.random() < 0.6:  # joists and pipes
        beam = st.paint("wood")
        for y in np.arange(-deep / 2, deep / 2, r.uniform(0.45, 1.2)):
            st.shape("box", (0, y, high - 0.18), (wide, 0.07, 0.18), cls=STUFF, paint=beam)
    for _ in range(r.integers(0, 4)):
        st.light(
            (r.uniform(-0.35, 0.35) * wide, r.uniform(cut + 0.5, deep / 2 - 0.3), high - r.uniform(0.3, 0.9)),
            np.array([1, r.uniform(0.75, 1), r.uniform(0.5, 1)]) * 10 ** r.uniform(-0.7, 0.9),
            radius=0.1,
        )
    back = r.uniform(1.6, min(5.0, cut + deep / 2 - 0.5))
    x = r.uniform(-0.42, 0.42) * wide
    cam = Stand(st, x, cut - back, 0.0, aspect)
    cam.pitch *= 0.7
    cam.yaw = np.arctan2(back, middle - x) + np.arctan(r.uniform(-0.85, 0.85) * cam.half)
    st.spots += [(x, cut - back, 0.9), (middle, cut, gap / 2)]
    things = kit.garage if store else kit.storage
    for x in np.arange(-wide / 2 + 0.4, wide / 2 - 0.3, r.uniform(0.7, 1.6)):  # against the wall with the opening
        off = thick / 2 + r.uniform(0.3, 0.45)
        if abs(x - middle) > gap / 2 + 0.4 and r.random() < 0.7:
            place_model(st, things + kit.medium, 2)(x, cut - off, 0.0)
    for _ in range(r.integers(0, 9)):
        x, y = r.uniform(-0.46, 0.46) * wide, r.uniform(-0.45 * deep, cut - 0.3)
        if st.free(x, y, 0.3):
            if store and r.random() < 0.5:
                size = r.uniform(0.2, 0.7, 3)
                st.shape(
                    "box", (x, y, 0), size, yaw=r.uniform(0, 6.3), paint="cover" if r.random() < 0.3 else "plaster"
                )
            else:
                st.item(x, y, 0, limit=0.6)
    furnish_far(st, wide, cut + 1.0, 0.45 * deep)
    along_wall(st, wide, deep, place_model(st, things, 3), r.integers(4, 14))
    if r.random() < 0.5:
        along_wall(st, wide, deep, lambda x, y, yaw: st.shelf(x, y, yaw, garage=store), r.integers(1, 4))
    if r.random() < 0.45:
        flank(st, cam, r.choice([-1, 1]))
    elif r.random() < 0.3:  # a post close by
        w = r.uniform(0.08, 0.2)
        at = (*cam.at(r.uniform(1, 2), r.uniform(-1, 1) * cam.half), 0)
        st.shape("cylinder", at, (w, w, high), cls=STUFF, paint="metal")
    if r.random() < 0.2:
        st.person(r.uniform(-0.3, 0.3) * wide, r.uniform(cut - 1, 0.4 * deep))
    return cam.finish(st, indoor_light(st, 0.35))
