"""Open roads and car parks: bare asphalt, verges, walls of green, few things, and a horizon far away."""

from __future__ import annotations

import numpy as np
from furnish import Furnisher
from lens_and_sky import sample_hfov
from outdoors import buildings, outdoor_light
from stage import STUFF


def asphalt(st: Furnisher) -> np.ndarray:
    """Grey and almost without texture: nothing but its edges and marks tells how far it goes."""
    r, m = st.rng, st.paint("ground")
    m[0:3] = r.uniform(0.08, 0.55) * (1 + r.normal(0, 0.03, 3))
    m[7] *= r.uniform(0, 0.6)
    if r.random() < 0.85:  # dry
        m[5], m[6] = r.uniform(0.6, 0.9), 0
    if r.random() < 0.5:
        m[3] = -2
    return m


def marks(st: Furnisher, edges: np.ndarray) -> None:
    """Lines along x at these y: the outer ones whole, the inner ones mostly broken."""
    r, line = st.rng, st.paint("plaster")
    line[0:3] = r.uniform(0.45, 0.9)
    dash, gap, wide = r.uniform(1.5, 5), r.uniform(3, 9), r.uniform(0.08, 0.2)
    for k, y in enumerate(edges):
        if k in (0, len(edges) - 1) or r.random() < 0.15:
            st.shape("box", (0, y, -0.4), (600, wide, 0.414), cls=STUFF, paint=line)
            continue
        start = r.uniform(-6, 3)
        for n in range(14):
            st.shape("box", (start + n * (dash + gap), y, -0.4), (dash, wide, 0.414), cls=STUFF, paint=line)


def rails(st: Furnisher, y: float) -> None:
    """A track beside the road: two rails on sleepers in gravel."""
    r, metal = st.rng, st.paint("metal")
    st.shape("box", (0, y, -0.4), (600, 2.8, 0.43), cls=STUFF, paint="ground")
    for e in (-0.72, 0.72):
        st.shape("box", (0, y + e, -0.2), (600, 0.07, r.uniform(0.26, 0.36)), cls=STUFF, paint=metal)
    sleeper = st.paint("wood")
    for x in np.arange(-2, 22, 0.9) if r.random() < 0.5 else ():
        st.shape("box", (x, y, -0.2), (0.25, 2.4, 0.27), cls=STUFF, paint=sleeper)


def barrier(st: Furnisher, y: float) -> None:
    """A guard rail on posts, a concrete wall, or a railing, all along the road."""
    r, q, long = st.rng, st.rng.random(), 300
    if q < 0.6:
        metal, z = st.paint("metal"), r.uniform(0.4, 0.6)
        for k in range(r.integers(1, 3)):
            st.shape("box", (long / 2 - 8, y, z + k * 0.22), (long, 0.08, r.uniform(0.12, 0.3)), cls=STUFF, paint=metal)
        for x in np.arange(-3, 40, r.uniform(2, 4.5)):
            st.shape("box", (x, y + 0.08, 0), (0.1, 0.1, z + 0.25), cls=STUFF, paint=metal)
    elif q < 0.8:
        high = r.uniform(0.6, 2.6)
        st.shape("box", (long / 2 - 8, y, 0), (long, r.uniform(0.15, 0.5), high), cls=STUFF, paint="plaster")
    else:
        for x in np.arange(-4, 44, 3.0):
            st.shape("fence", (x, y, 0), (3, 0.08, r.uniform(0.9, 1.6)), cls=STUFF, paint="metal")


def roadside(st: Furnisher, side: int, near: float) -> None:
    """What stands beyond the verge: a wall of green, single trees, houses set back, or nothing."""
    r, q = st.rng, st.rng.random()
    if q < 0.45:
        tall, x = r.uniform(2.5, 11), r.uniform(-8, 6)
        thick = r.uniform(2, 5)
        while x < r.uniform(60, 160):
            w = r.uniform(3, 7) * (1 + max(x, 0) / 40)
            kind = "hedge" if r.random() < 0.5 else "crown"
            at = (x + w / 2, side * (near + thick / 2 + r.uniform(0, 1.5)), -0.15 * tall * (kind == "crown"))
            size = (w * 1.25, thick * r.uniform(0.8, 1.4), tall * r.uniform(0.6, 1.2))
            st.shape(kind, at, size, yaw=r.normal(0, 0.1), paint="leaf", cls=STUFF if kind == "hedge" else 0)
            x += w * (1 if r.random() < 0.85 else r.uniform(1, 4))
    elif q < 0.75:
        for _ in range(r.integers(2, 12)):
            x = 10 ** r.uniform(0.6, 2.1)
            st.tree(x, side * (near + r.uniform(0.5, 4 + 0.5 * x)))
    elif q < 0.87:
        buildings(st, side, 70, near + r.uniform(4, 40))
    for _ in range(r.integers(0, 10)):
        w = r.uniform(0.3, 1.6)
        at = (r.uniform(2, 30), side * (near + r.uniform(-0.3, 3)), 0)
        st.shape("tuft" if r.random() < 0.8 else "rock", at, (w, w, w * r.uniform(0.3, 1)), paint="leaf")


def poles(st: Furnisher, y: float, over: float, low: float) -> None:
    """A row of lamp or catenary posts along the road, their arms reaching over it; often with wires."""
    r, high, step = st.rng, st.rng.uniform(5, 10), st.rng.uniform(14, 40)
    paint, thick, arm = st.paint("metal"), r.uniform(0.12, 0.35), r.uniform(0.5, 4) * np.sign(over - y)
    for x in np.arange(r.uniform(3, 20), 140, step):
        obj = st.new_id()
        st.shape("cylinder", (x, y, 0), (thick, thick, high), paint=paint, obj=obj)
        st.shape("box", (x, y + arm / 2, high - 0.3), (0.1, abs(arm), 0.1), paint=paint, obj=obj)
    for _ in range(r.integers(0, 4)):
        at = (60, y + arm * r.uniform(0, 1), high - r.uniform(0.1, low))
        st.shape("cylinder", at, (0.03, 0.03, 160), roll=np.pi / 2, paint=paint, center=True)


def horizon(st: Furnisher) -> None:
    """A line of trees or roofs across the view, far away; sometimes hills behind."""
    r = st.rng
    if r.random() < 0.6:
        far = r.uniform(90, 350)
        for y in np.arange(-0.8, 0.8, 0.16) * far:
            green = r.random() < 0.75
            size = (10, 0.2 * far, r.uniform(3, 14))
            st.shape(
                "hedge" if green else "box",
                (far + r.uniform(-20, 20), y, 0),
                size,
                cls=STUFF,
                paint="leaf" if green else "facade",
            )
    for _ in range(r.integers(1, 4) if r.random() < 0.3 else 0):
        a, far, tall = r.uniform(-0.7, 0.7), r.uniform(250, 500), r.uniform(30, 90)
        at = (far * np.cos(a), far * np.sin(a), -0.45 * tall)
        st.shape("land", at, (320, 320, tall), yaw=r.uniform(0, 6), cls=STUFF, paint="leaf")


def sign(st: Furnisher, x: float, y: float) -> None:
    r, obj, high, w = st.rng, st.new_id(), st.rng.uniform(1.8, 3.2), st.rng.uniform(0.4, 2)
    st.shape("cylinder", (x, y, 0), (0.08, 0.08, high), paint="metal", obj=obj)
    plate = (0.04, w, w * r.uniform(0.5, 1.3))
    st.shape("box", (x - 0.06, y, high - 0.2), plate, paint="poster" if r.random() < 0.6 else "plaster", obj=obj)


def road(st: Furnisher, aspect: float) -> dict:
    """Seen from the driver's place, the verge or a bridge, mostly along it, with the far end a long way off."""
    r, kit = st.rng, st.kit
    st.shape("box", (0, 0, -0.5), (1600, 1600, 0.5), cls=STUFF, paint="ground")
    lanes, lane = r.integers(1, 5), r.uniform(2.6, 3.8)
    half = lanes * lane / 2
    st.shape("box", (0, 0, -0.4), (600, half * 2 + 0.6, 0.41), cls=STUFF, paint=asphalt(st))
    if r.random() < 0.85:
        marks(st, np.linspace(-half, half, lanes + 1))
    for side in (-1, 1):
        near, q = half + r.uniform(0.4, 1.5), r.random()
        if q < 0.25:
            rails(st, side * (near + 1.5))
            near += 3
        elif q < 0.55:
            broad, rise = r.uniform(1, 3.5), r.uniform(0.03, 0.16)
            st.shape(
                "box", (0, side * (near + broad / 2), -0.4), (600, broad, 0.4 + rise), cls=STUFF, paint=asphalt(st)
            )
            near += broad
        elif q < 0.75:  # a bank or a cutting, leaning away from the road
            broad = r.uniform(3, 9)
            at = (0, side * (near + broad / 2), r.uniform(-0.3, 0.5))
            st.shape(
                "box", at, (600, broad, 0.4), pitch=side * r.uniform(0.03, 0.4), cls=STUFF, paint="ground", center=True
            )
            near += 0.6 * broad
        if r.random() < 0.45:
            barrier(st, side * (near if r.random() < 0.6 else half + 0.3))
        if r.random() < 0.5:
            poles(st, side * (near + 0.2), 0.0, 2.0)
        roadside(st, side, near + r.uniform(0.5, 4))
        for _ in range(r.integers(0, 3)):
            sign(st, 10 ** r.uniform(0.7, 1.8), side * (near + r.uniform(-0.3, 0.5)))
    for _ in range(r.integers(0, 7)):
        k = r.integers(lanes)
        turn = np.pi / 2 + np.pi * (r.random() < 0.5) + r.normal(0, 0.04)
        st.furniture(kit.cars, 3 + 10 ** r.uniform(0.9, 2.1), (k + 0.5) * lane - half + r.normal(0, 0.2), turn)
    if r.random() < 0.2:  # a bridge or a gantry across
        x, z = 10 ** r.uniform(1.2, 2.1), r.uniform(4.5, 7)
        st.shape("box", (x, 0, z), (r.uniform(0.4, 12), half * 2 + 8, r.uniform(0.4, 2)), cls=STUFF, paint="plaster")
        for e in (-1, 1):
            st.shape("box", (x, e * (half + 2), 0), (0.8, 0.8, z), cls=STUFF, paint="plaster")
    for _ in range(r.integers(0, 3)):
        st.person(10 ** r.uniform(0.5, 1.5), r.choice([-1, 1]) * (half + r.uniform(0, 1.5)))
    horizon(st)
    y = (r.integers(lanes) + 0.5) * lane - half if r.random() < 0.6 else r.uniform(-1.3, 1.3) * half
    z = r.uniform(1.1, 1.9) if r.random() < 0.75 else 10 ** r.uniform(-0.4, 0.8)
    yaw = r.normal(0, 0.1) if r.random() < 0.7 else r.normal(0, 0.5)
    return outlook(st, np.array([0, y, z]), yaw, aspect)


def car_park(st: Furnisher, aspect: float) -> dict:
    """Bays marked on a wide bare ground, some taken; seen across or along the rows."""
    r, kit = st.rng, st.kit
    st.shape("box", (0, 0, -0.5), (1600, 1600, 0.5), cls=STUFF, paint="ground")
    st.shape("box", (20, 0, -0.4), (r.uniform(50, 120), r.uniform(50, 120), 0.41), cls=STUFF, paint=asphalt(st))
    line, bay, turned = st.paint("plaster"), r.uniform(2.3, 2.8), r.random() < 0.5
    line[0:3] = r.uniform(0.45, 0.9)
    place = (lambda a, b: (b, a)) if turned else (lambda a, b: (a, b))
    fill, first = r.uniform(0.05, 0.7), r.uniform(6, 11)
    for row in np.arange(first, first + 40, r.uniform(11, 17)):
        for k in range(-7, 8):
            a, b = row - (18 if turned else 0), k * bay + (14 if turned else 0)
            size = (0.12, 4.8, 0.414) if turned else (4.8, 0.12, 0.414)
            st.shape("box", (*((b, a) if turned else (a, b)), -0.4), size, cls=STUFF, paint=line)
            if r.random() < fill:
                yaw = (0 if turned else np.pi / 2) + np.pi * (r.random() < 0.5) + r.normal(0, 0.04)
                st.furniture(kit.cars, *place(a + r.normal(0, 0.2), b + bay / 2 + r.normal(0, 0.1)), yaw)
    for _ in range(r.integers(0, 5)):
        poles(st, r.uniform(-20, 20), 0.0, 0.5) if r.random() < 0.2 else st.tree(r.uniform(6, 50), r.uniform(-25, 25))
    for _ in range(r.integers(0, 6)):
        st.furniture(kit.street + kit.bikes, r.uniform(2, 20), r.uniform(-8, 8), r.uniform(0, 6.3))
    for _ in range(r.integers(0, 4)):
        st.person(10 ** r.uniform(0.4, 1.5), r.uniform(-6, 6))
    if r.random() < 0.5:
        at = (r.uniform(40, 100), r.normal(0, 15), 0)
        st.shape("box", at, (20, r.uniform(20, 80), r.uniform(4, 12)), cls=STUFF, paint="facade")
    horizon(st)
    z = np.clip(r.normal(1.6, 0.3), 0.5, 2.2) if r.random() < 0.8 else r.uniform(2.5, 7)
    return outlook(st, np.array([0, r.uniform(-3, 3), z]), r.normal(0, 0.3), aspect)


def outlook(st: Furnisher, eye: np.ndarray, yaw: float, aspect: float) -> dict:
    r = st.rng
    to = np.array([np.cos(yaw), np.sin(yaw), np.tan(np.clip(r.normal(-0.04, 0.09), -0.5, 0.3))])
    return st.finish(eye, eye + to, sample_hfov(r, aspect), r.normal(0, 0.02), outdoor_light(st))
