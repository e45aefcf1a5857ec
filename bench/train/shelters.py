"""Recipes half in the open: pergolas and canopies, playgrounds, arcades, market stalls. Shade here, glare beyond."""

from __future__ import annotations

import numpy as np
from furnish import Furnisher
from interiors import look
from outdoors import outdoor_light
from stage import STUFF


def beyond(st: Furnisher, near: float) -> None:
    """What stands behind: houses, hedges, trees, a fence, hills."""
    r = st.rng
    st.shape("box", (0, 0, -0.5), (300, 300, 0.5), cls=STUFF, paint="ground")
    for side in range(3):
        a, far = (0.0, np.pi / 2, -np.pi / 2)[side] + r.normal(0, 0.1), near + r.uniform(0.5, 12)
        x, y = far * np.cos(a), far * np.sin(a)
        q = r.random()
        if q < 0.4:
            kind = "facade" if r.random() < 0.6 else "box"
            st.shape(
                kind, (x, y, 0), (r.uniform(8, 25), 4, r.uniform(2.5, 10)), yaw=a + np.pi / 2, cls=STUFF, paint="facade"
            )
        elif q < 0.7:
            for k in range(-3, 4):
                at = (x - np.sin(a) * k * 2.6, y + np.cos(a) * k * 2.6, 0)
                st.shape("hedge", at, (2.8, 0.9, r.uniform(1, 2.8)), yaw=a + np.pi / 2, paint="leaf", cls=STUFF)
        else:
            metal = st.paint("metal" if r.random() < 0.5 else "wood")
            for k in range(-3, 4):
                at = (x - np.sin(a) * k * 3, y + np.cos(a) * k * 3, 0)
                st.shape("fence", at, (3, 0.06, r.uniform(0.9, 1.8)), yaw=a + np.pi / 2, paint=metal, cls=STUFF)
    for _ in range(r.integers(1, 9)):
        a, far = r.uniform(-1.7, 1.7), near + r.uniform(1, 20)
        st.tree(far * np.cos(a), far * np.sin(a))
    if r.random() < 0.3:
        tall = r.uniform(10, 45)
        st.shape("land", (90, 0, -0.45 * tall), (110, 110, tall), cls=STUFF, paint="leaf")


def roof(st: Furnisher, x, y, wide, deep, high) -> None:
    """A slab, beams, a pitched roof or a cloth on posts, centred at x, y."""
    r, q = st.rng, st.rng.random()
    wood = st.paint(("wood", "metal", "plaster")[r.integers(3)])
    thick = r.uniform(0.08, 0.4)
    for a in np.linspace(-0.46, 0.46, max(2, round(wide / r.uniform(2.2, 5)) + 1)):
        for b in (-0.46, 0.46):
            st.shape(
                "box" if r.random() < 0.6 else "cylinder",
                (x + a * wide, y + b * deep, 0),
                (thick, thick, high),
                cls=STUFF,
                paint=wood,
            )
    if q < 0.3:
        st.shape(
            "box",
            (x, y, high),
            (wide, deep, r.uniform(0.08, 0.4)),
            cls=STUFF,
            paint="plaster" if r.random() < 0.5 else wood,
        )
    elif q < 0.55:  # a pergola: beams across beams, perhaps grown over
        for b in (-0.46, 0.46):
            st.shape("box", (x, y + b * deep, high), (wide, 0.12, 0.2), cls=STUFF, paint=wood)
        for a in np.arange(-0.5, 0.5, r.uniform(0.25, 0.7) / wide):
            st.shape("box", (x + a * wide, y, high + 0.2), (0.07, deep * 1.1, 0.16), cls=STUFF, paint=wood)
        if r.random() < 0.5:
            for _ in range(r.integers(2, 9)):
                at = (x + r.uniform(-0.5, 0.5) * wide, y + r.uniform(-0.5, 0.5) * deep, high)
                st.shape("hedge", at, (*r.uniform(0.8, 2.5, 2), r.uniform(0.3, 0.7)), paint="leaf", cls=STUFF)
    elif q < 0.75:
        st.shape("roof", (x, y, high), (wide * 1.1, deep * 1.15, r.uniform(0.5, 2.5)), cls=STUFF, paint="ground")
        for a in np.arange(-0.5, 0.5, 0.8 / wide):
            st.shape("box", (x + a * wide, y, high - 0.1), (0.08, deep, 0.14), cls=STUFF, paint=wood)
    elif q < 0.9:
        lean = r.normal(0, 0.15)
        st.shape("box", (x, y, high), (wide, deep, 0.02), pitch=lean, cls=STUFF, paint="fabric")
    else:
        for a in np.arange(-0.4, 0.45, 2.6 / wide):
            st.shape("cone", (x + a * wide, y, high), (2.6, 2.6, 0.7), cls=STUFF, paint="fabric")
            st.shape("cylinder", (x + a * wide, y, 0), (0.06, 0.06, high + 0.2), cls=STUFF, paint="metal")


def swing(st: Furnisher, x, y, yaw) -> None:
    r, obj, c, s = st.rng, st.new_id(), np.cos(yaw), np.sin(yaw)
    wide, high, metal = r.uniform(2, 4), r.uniform(1.9, 2.6), st.paint("metal" if r.random() < 0.5 else "wood")
    thick = r.uniform(0.06, 0.14)
    for a in (-0.5, 0.5):
        for lean in (-0.35, 0.35):
            at = (x + c * a * wide + s * lean * high / 2, y + s * a * wide - c * lean * high / 2, high / 2)
            st.shape(
                "cylinder", at, (thick, thick, high * 1.06), yaw=yaw, pitch=lean, paint=metal, obj=obj, center=True
            )
    st.shape(
        "cylinder",
        (x, y, high),
        (thick, thick, wide * 1.05),
        yaw=yaw,
        roll=np.pi / 2,
        paint=metal,
        obj=obj,
        center=True,
    )
    for a in (-0.25, 0.25):
        for e in (-0.22, 0.22):
            st.shape(
                "cylinder",
                (x + c * (a * wide + e), y + s * (a * wide + e), 0.5),
                (0.015, 0.015, high - 0.5),
                paint=metal,
                obj=obj,
            )
        st.shape(
            "box", (x + c * a * wide, y + s * a * wide, 0.48), (0.46, 0.2, 0.04), yaw=yaw, paint="plaster", obj=obj
        )


def tower(st: Furnisher, x, y, yaw) -> None:
    """Posts and platforms with a slide, rails, sometimes a roof and a climbing net."""
    r, obj, c, s = st.rng, st.new_id(), np.cos(yaw), np.sin(yaw)
    at = lambda a, b: (x + c * a - s * b, y + s * a + c * b)  # noqa: E731
    w, deck, top, wood = (
        r.uniform(0.9, 1.8),
        r.uniform(0.8, 1.8),
        r.uniform(2.2, 3.4),
        st.paint("wood" if r.random() < 0.6 else "metal"),
    )
    for a in (-w / 2, w / 2):
        for b in (-w / 2, w / 2):
            st.shape(
                "box" if r.random() < 0.6 else "cylinder", (*at(a, b), 0), (0.1, 0.1, top), yaw=yaw, paint=wood, obj=obj
            )
    st.shape("box", (*at(0, 0), deck), (w, w, 0.06), yaw=yaw, paint=wood, obj=obj)
    bright = st.paint("plaster")
    for b in (-w / 2, w / 2):
        st.shape(
            "fence" if r.random() < 0.5 else "box", (*at(0, b), deck), (w, 0.04, 0.7), yaw=yaw, paint=bright, obj=obj
        )
    if r.random() < 0.6:
        st.shape("roof", (*at(0, 0), top), (w * 1.3, w * 1.3, 0.7), yaw=yaw, paint=bright, obj=obj)
    length, slide = deck / np.sin(0.6), st.paint("metal" if r.random() < 0.5 else "plaster")
    for wide, lift, off in ((0.5, 0.0, 0.0), (0.05, 0.12, -0.25), (0.05, 0.12, 0.25)):
        mid = (*at(w / 2 + length * np.cos(0.6) / 2, off), deck / 2 + lift)
        st.shape(
            "box",
            mid,
            (length, wide, 0.05 if wide > 0.1 else 0.2),
            yaw=yaw,
            roll=0.6,
            paint=slide,
            obj=obj,
            center=True,
        )
    ladder = (*at(-w / 2 - 0.2, 0), 0)
    st.shape("ladder", ladder, (0.5, 0.1, deck + 0.3), yaw=yaw + np.pi / 2, paint=wood, obj=obj)


def shelter(st: Furnisher, aspect: float) -> dict:
    r, kit = st.rng, st.kit
    wide, deep, high = r.uniform(4, 14), r.uniform(3, 9), r.uniform(2.2, 4.5)
    beyond(st, wide / 2 + r.uniform(0, 3))
    if r.random() < 0.7:
        st.shape(
            "box",
            (0, 0, -0.3),
            (wide * 1.2, deep * 1.4, 0.31),
            cls=STUFF,
            paint="floor" if r.random() < 0.6 else "ground",
        )
    roof(st, 0, 0, wide, deep, high)
    play = r.random() < 0.5
    for _ in range(r.integers(1, 5)):
        x, y, yaw, q = r.uniform(-0.35, 0.75) * wide, r.uniform(-0.6, 0.6) * deep, r.uniform(0, 6.3), r.random()
        if not st.free(x, y, 0.9):
            continue
        st.spots.append((x, y, 1.2))
        if play and q < 0.35:
            swing(st, x, y, yaw)
        elif play and q < 0.7:
            tower(st, x, y, yaw)
        elif play and kit.play:
            st.furniture(kit.play, x, y, yaw)
        elif q < 0.6:
            st.dining(x, y, yaw, r.uniform(0.8, 2.2), r.uniform(0.7, 1), people=0.2)
        else:
            st.furniture(kit.sofas + kit.street + kit.plants, x, y, yaw)
    for _ in range(r.integers(0, 8)):
        x, y = r.uniform(-0.3, 1) * wide, r.uniform(-0.7, 0.7) * deep
        if st.free(x, y, 0.4):
            st.furniture(kit.street + kit.seats + kit.bikes + kit.plants + kit.medium, x, y, r.uniform(0, 6.3))
    for _ in range(r.integers(0, 4)):
        st.person(r.uniform(-0.2, 0.8) * wide, r.uniform(-0.5, 0.5) * deep)
    if r.random() < 0.2:
        st.stairs(
            r.uniform(1, 4), r.uniform(-2, 2), r.choice([0, -np.pi / 2, np.pi / 2]), r.integers(3, 14), r.uniform(1, 4)
        )
    inside = r.random() < 0.7
    eye = (
        -r.uniform(0.2, 0.5) * wide * (1 if inside else 1.6),
        r.uniform(-0.4, 0.4) * deep,
        np.clip(r.normal(1.5, 0.3), 0.4, high - 0.3),
    )
    return look(
        st, eye, r.normal(-eye[1] / wide, 0.3), np.clip(r.normal(-0.03, 0.13), -0.6, 0.4), aspect, outdoor_light(st)
    )


def arcade(st: Furnisher, aspect: float) -> dict:
    """A covered walk beside a house, or a lane of market stalls, seen along its length."""
    r, kit = st.rng, st.kit
    wide, length, high = r.uniform(1.8, 4.5), r.uniform(10, 40), r.uniform(2.4, 5)
    st.shape("box", (0, 0, -0.5), (300, 300, 0.5), cls=STUFF, paint="ground")
    st.shape("box", (length / 2 - 3, 0, -0.3), (length, wide * 1.1, 0.31), cls=STUFF, paint="floor")
    paint, post = st.paint("facade"), st.paint("plaster" if r.random() < 0.6 else "wood")
    market = r.random() < 0.35
    if market:
        for x in np.arange(0, length, r.uniform(2.4, 3.4)):
            for side in (-1, 1):
                if r.random() < 0.25:
                    continue
                y, tall = side * (wide / 2 + 1), r.uniform(2, 2.6)
                st.shape(
                    "box", (x, y, tall), (2.4, 2.2, 0.03), pitch=side * r.uniform(0, 0.25), cls=STUFF, paint="fabric"
                )
                for a in (-1.1, 1.1):
                    st.shape("cylinder", (x + a, y - side, 0), (0.05, 0.05, tall), cls=STUFF, paint="metal")
                st.table(x, y - side * 0.4, 0, 2.2, 0.8, 0.8)
                st.clutter(x, y - side * 0.4, 0.8, 2, 0.7, r.integers(3, 9), desk=0, limit=0.4)
    else:
        st.shape(
            "facade" if r.random() < 0.5 else "box",
            (length / 2 - 3, wide / 2 + 1.5, 0),
            (length, 3, high + 3),
            cls=STUFF,
            paint=paint,
        )
        st.shape(
            "box",
            (length / 2 - 3, 0, high),
            (length, wide + 0.4, 0.3),
            cls=STUFF,
            paint=paint if r.random() < 0.5 else "wood",
        )
        for x in np.arange(-2.5, length - 3, r.uniform(2, 4.5)):
            thick = r.uniform(0.2, 0.5)
            st.shape(
                "cylinder" if r.random() < 0.5 else "box",
                (x, -wide / 2, 0),
                (thick, thick, high),
                cls=STUFF,
                paint=post,
            )
            if r.random() < 0.2:
                st.put(st.pick(kit.doors), (x + 1, wide / 2 - 0.05, 0), 1.0, 0.0, cls=STUFF)
        for _ in range(r.integers(2, 8)):
            st.tree(r.uniform(2, length), -wide / 2 - r.uniform(2, 20))
        if r.random() < 0.5:
            at = (length / 2, -wide / 2 - r.uniform(5, 15), 0)
            st.shape("facade", at, (length * 1.5, 4, r.uniform(4, 12)), yaw=np.pi, cls=STUFF, paint="facade")
    for _ in range(r.integers(1, 9)):
        x, y = r.uniform(1, length - 4), r.choice([-1, 1]) * wide * r.uniform(0.2, 0.45)
        if st.free(x, y, 0.4):
            st.furniture(kit.street + kit.seats + kit.bikes + kit.plants, x, y, r.uniform(0, 6.3))
    for _ in range(r.integers(0, 7)):
        st.person(r.uniform(1.2, length * 0.7), r.uniform(-0.4, 0.4) * wide)
    eye = (-r.uniform(0.3, 2), r.uniform(-0.35, 0.35) * wide, np.clip(r.normal(1.5, 0.25), 0.4, high - 0.3))
    return look(st, eye, r.normal(0, 0.25), r.normal(0, 0.1), aspect, outdoor_light(st))
