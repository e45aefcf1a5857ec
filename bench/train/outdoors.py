"""Recipes in the open: streets, gardens, courtyards, hills."""

from __future__ import annotations

import numpy as np
from furnish import Furnisher
from lens_and_sky import sample_hfov, sky_of
from stage import STUFF


def outdoor_light(st: Furnisher) -> dict:
    sky, r = sky_of(st, False), st.rng
    if r.random() < 0.7:
        st.sun(r.uniform(1.5, 7) * sky["gain"])
    if r.random() < 0.12:  # dusk or night with lamps
        sky["gain"] *= 0.1
        for _ in range(4):
            st.light((*r.uniform(-8, 8, 2), r.uniform(2.5, 5)), np.array([1, 0.8, 0.5]) * r.uniform(2, 20), radius=0.1)
    sky["ambient"] = 0.25 * sky["gain"]
    return sky


def buildings(st: Furnisher, side: float, length: float, near: float) -> None:
    """A row of houses along x at y = side * near, fronts towards y = 0."""
    r, at = st.rng, -length / 3
    while at < length:
        w, h, d, y = (
            r.uniform(5, 18),
            r.uniform(3, 16) if r.random() < 0.8 else r.uniform(16, 40),
            r.uniform(5, 12),
            side * (near + r.uniform(0, 2.5)),
        )
        if r.random() < 0.88:
            paint, yaw = st.paint("facade"), 0 if side > 0 else np.pi
            if r.random() < 0.6:
                st.shape("facade", (at + w / 2, y + side * d / 2, 0), (w, d, h), yaw=yaw, cls=STUFF, paint=paint)
            else:
                st.shape("box", (at + w / 2, y + side * d / 2, 0), (w, d, h), cls=STUFF, paint=paint)
                for _ in range(r.integers(0, 6)):
                    wx, wz = r.uniform(0.1, 0.9) * w, r.uniform(0.1, 0.8) * h
                    st.shape(
                        "box",
                        (at + wx, y - side * 0.02, wz),
                        (r.uniform(0.7, 1.8), 0.12, r.uniform(0.9, 1.9)),
                        cls=STUFF,
                        paint="metal",
                    )
            if h < 14 and r.random() < 0.5:
                st.shape(
                    "roof",
                    (at + w / 2, y + side * d / 2, h),
                    (w * 1.05, d * 1.1, r.uniform(1.2, 4)),
                    cls=STUFF,
                    paint="ground",
                )
            for _ in range(r.integers(0, 3)):
                mesh = st.pick(st.kit.doors)
                st.put(mesh, (at + r.uniform(0.1, 0.9) * w, y - side * 0.05, 0), 1.0, yaw, cls=STUFF)
            if r.random() < 0.3:
                st.shape(
                    "box",
                    (at + w / 2, y - side * 0.6, r.uniform(2.3, 3)),
                    (w * 0.8, 1.2, 0.08),
                    pitch=side * 0.2,
                    cls=STUFF,
                    paint="fabric",
                )
        at += w + (r.uniform(0.5, 8) if r.random() < 0.35 else 0)


def street(st: Furnisher, aspect: float) -> dict:
    r, kit = st.rng, st.kit
    half, path = r.uniform(2, 7), r.uniform(0.8, 4)
    st.shape("box", (0, 0, -0.5), (400, 400, 0.5), cls=STUFF, paint="ground")
    st.shape("box", (0, 0, -0.4), (400, half * 2, 0.41), cls=STUFF, paint="ground")
    if r.random() < 0.6:
        line = st.paint("plaster")
        line[0:3], gap = r.uniform(0.6, 0.9), r.choice([1.0, 6.0])
        for k in range(14 if gap > 2 else 1):
            st.shape(
                "box",
                (k * gap - 6 if gap > 2 else 0, 0, -0.4),
                (2.5 if gap > 2 else 300, 0.14, 0.414),
                cls=STUFF,
                paint=line,
            )
    kerb = r.random() < 0.7
    for side in (-1, 1):
        if kerb:
            st.shape(
                "box",
                (0, side * (half + path / 2), -0.4),
                (400, path, 0.4 + r.uniform(0.06, 0.16)),
                cls=STUFF,
                paint="ground",
            )
        q = r.random()
        if q < 0.75:
            buildings(st, side, 90, half + path)
        else:
            for _ in range(12):
                st.tree(r.uniform(-5, 70), side * (half + path + r.uniform(0.5, 14)))
            if r.random() < 0.6:
                for x in np.arange(-4, 30, 3.0):
                    st.shape(
                        "fence" if r.random() < 0.9 else "hedge",
                        (x, side * (half + path), 0),
                        (3, 0.08, r.uniform(0.9, 1.6)),
                        cls=STUFF,
                        paint="metal",
                    )
        for _ in range(r.integers(0, 6)):
            st.furniture(
                kit.cars,
                r.uniform(3, 45),
                side * (half - r.uniform(0.5, 1.5)),
                r.choice([0, np.pi]) + np.pi / 2 * (r.random() < 0.9) + r.normal(0, 0.05),
            )
        for _ in range(r.integers(0, 6)):
            st.person(r.uniform(2, 25), side * (half + r.uniform(0, path)))
        for _ in range(r.integers(0, 5)):
            st.furniture(
                kit.street + kit.bikes, r.uniform(1, 25), side * (half + r.uniform(0.2, path)), r.uniform(0, 6.3)
            )
        for x in np.arange(r.uniform(0, 8), 60, r.uniform(8, 20)):
            q = r.random()
            if q < 0.4:
                st.tree(x, side * (half + 0.7))
            elif q < 0.7:
                obj, h = st.new_id(), r.uniform(3, 9)
                st.shape("cylinder", (x, side * (half + 0.5), 0), (0.14, 0.14, h), paint="metal", obj=obj)
                st.shape("box", (x, side * (half - 0.2), h), (0.15, 1.5, 0.1), paint="metal", obj=obj)
    if r.random() < 0.3:
        for _ in range(3):
            st.shape(
                "cylinder",
                (-5, r.uniform(-half, half), r.uniform(5, 8)),
                (0.03, 0.03, 80),
                pitch=0,
                roll=np.pi / 2,
                paint="metal",
                center=True,
            )
    for _ in range(r.integers(0, 4)):
        st.furniture(
            kit.cars,
            r.uniform(6, 50),
            r.uniform(-0.7, 0.7) * half,
            np.pi / 2 + r.normal(0, 0.2) + np.pi * (r.random() < 0.5),
        )
    for _ in range(r.integers(0, 4)):
        st.person(r.uniform(2, 12), r.uniform(-1, 1) * half)
    if r.random() < 0.5:
        st.shape(
            "facade" if r.random() < 0.5 else "hedge",
            (r.uniform(25, 90), 0, 0),
            (5, 40, r.uniform(5, 16)),
            yaw=0,
            cls=STUFF,
            paint="facade",
        )
    side = r.uniform(-1, 1)
    eye = np.array([0, side * (half + path * 0.8), np.clip(10 ** r.normal(0.2, 0.16), 0.4, 6)])
    yaw = r.normal(-side * 0.2, 0.25) if r.random() < 0.75 else r.uniform(-1.6, 1.6)
    pitch = np.clip(r.normal(-0.02, 0.1), -0.5, 0.4)
    st.foreground(eye, yaw, 0.15)
    return st.finish(
        eye,
        eye + np.array([np.cos(yaw), np.sin(yaw), np.tan(pitch)]),
        sample_hfov(r, aspect),
        r.normal(0, 0.025),
        outdoor_light(st),
    )


def garden(st: Furnisher, aspect: float) -> dict:
    """Terraces, courtyards, playgrounds, parks, hills."""
    r, kit = st.rng, st.kit
    hills = r.random() < 0.35
    st.shape("box", (0, 0, -0.5), (300, 300, 0.5), cls=STUFF, paint="ground")
    if hills:
        st.shape(
            "land",
            (0, 0, -r.uniform(0.3, 2)),
            (r.uniform(30, 90), r.uniform(30, 90), r.uniform(0.8, 5)),
            yaw=r.uniform(0, 6),
            cls=STUFF,
            paint="ground",
        )
        for _ in range(r.integers(0, 4)):
            a, far, tall = r.uniform(-0.8, 0.8), r.uniform(60, 130), r.uniform(10, 50)
            st.shape(
                "land",
                (far * np.cos(a), far * np.sin(a), -0.45 * tall),  # sunk, so that its rim does not hang in the air
                (90, 90, tall),
                yaw=r.uniform(0, 6),
                cls=STUFF,
                paint="leaf" if r.random() < 0.5 else "ground",
            )
    if r.random() < 0.6:
        st.shape(
            "box", (r.uniform(2, 8), 0, -0.3), (r.uniform(4, 12), r.uniform(4, 30), 0.32), cls=STUFF, paint="floor"
        )
    if r.random() < 0.7:
        d, h = r.uniform(2.5, 14), r.uniform(2.2, 9)
        yaw = r.choice([np.pi / 2, np.pi / 2, r.uniform(0, 3)]) + np.pi
        st.shape(
            "facade" if r.random() < 0.5 else "box",
            (d + 2, r.normal(0, 3), 0),
            (r.uniform(6, 20), 3, h),
            yaw=yaw,
            cls=STUFF,
            paint="facade",
        )
    for _ in range(r.integers(0, 8)):
        st.tree(r.uniform(3, 45), r.uniform(-20, 20))
    for _ in range(r.integers(0, 5)):
        st.shape(
            "hedge",
            (r.uniform(2, 15), r.uniform(-9, 9), 0),
            (r.uniform(1, 5), r.uniform(0.5, 1.5), r.uniform(0.5, 2)),
            yaw=r.uniform(0, 6.3),
            paint="leaf",
        )
    for _ in range(r.integers(0, 30)):
        w = r.uniform(0.2, 1)
        st.shape(
            "tuft" if r.random() < 0.8 else "rock",
            (r.uniform(0.8, 9), r.uniform(-6, 6), 0),
            (w, w, w * r.uniform(0.4, 1.2)),
            yaw=r.uniform(0, 6.3),
            paint="leaf",
        )
    for _ in range(r.integers(0, 7)):
        x, y = r.uniform(1.5, 9), r.uniform(-5, 5)
        q = r.random()
        if q < 0.25:
            w, d = r.uniform(0.6, 1.8), r.uniform(0.6, 1)
            st.table(x, y, r.uniform(0, 6.3), w, d, 0.73)
            st.clutter(x, y, 0.73, w * 0.6, d * 0.6, r.integers(0, 6), desk=0)
            for _ in range(r.integers(0, 5)):
                st.furniture(kit.seats, x + r.normal(0, 0.9), y + r.normal(0, 0.9), r.uniform(0, 6.3))
        elif q < 0.6:
            st.furniture(kit.street + kit.seats + kit.sofas + kit.animals, x, y, r.uniform(0, 6.3))
        elif q < 0.8:
            st.furniture(kit.bikes + kit.cars + kit.plants, x, y, r.uniform(0, 6.3))
        else:
            h, w = r.uniform(2, 6), r.uniform(0.1, 0.5)
            st.shape(
                "cylinder" if r.random() < 0.6 else "box",
                (x, y, 0),
                (w, w, h),
                roll=r.normal(0, 0.08),
                cls=STUFF,
                paint="plaster",
            )
            if r.random() < 0.4:
                st.shape("bowl", (x, y, h * 0.7), (w * 9, w * 9, h * 0.4), paint="plaster", cls=STUFF)
    for _ in range(r.integers(0, 5)):
        st.person(r.uniform(1.5, 10), r.uniform(-4, 4))
    if r.random() < 0.15:
        st.shape("box", (3, 0, 2.6), (9, 9, 0.15), cls=STUFF, paint="wood")
        for x, y in ((1, -2), (1, 2), (5, -2), (5, 2)):
            st.shape("cylinder", (x, y, 0), (0.2, 0.2, 2.6), cls=STUFF, paint="wood")
    eye, yaw, pitch = (
        np.array([r.uniform(-2, 0), 0, np.clip(r.normal(1.5, 0.4), 0.25, 4)]),
        r.normal(0, 0.3),
        np.clip(r.normal(-0.08, 0.15), -0.9, 0.5),
    )
    st.foreground(eye, yaw, 0.15)
    return st.finish(
        eye,
        eye + np.array([np.cos(yaw), np.sin(yaw), np.tan(pitch)]),
        sample_hfov(r, aspect),
        r.normal(0, 0.03),
        outdoor_light(st),
    )
