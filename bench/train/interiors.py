"""More recipes under a roof: long open rooms, corridors, kitchens, people close by. Often dim, with mixed light."""

from __future__ import annotations

import numpy as np
from furnish import Furnisher
from lens_and_sky import sample_hfov, sky_of
from rooms import along_wall, place_model
from shell import room_shell, wall
from stage import PERSON, STUFF


def look(st: Furnisher, eye, yaw: float, pitch: float, aspect: float, sky: dict) -> dict:
    r = st.rng
    to = np.array([np.cos(yaw), np.sin(yaw), np.tan(pitch)])
    roll = r.normal(0, 0.03) if r.random() < 0.85 else r.normal(0, 0.12)
    return st.finish(eye, np.array(eye) + to, sample_hfov(r, aspect), roll, sky)


def indoor_light(st: Furnisher, dim: float) -> dict:
    """A sky for the windows; with probability `dim` the lamps are made weak and uneven and the windows glare."""
    sky = sky_of(st, True)
    if st.rng.random() < dim:
        st.dim()
        sky["ambient"] = st.rng.uniform(0.003, 0.04)
        sky["gain"] *= 10 ** st.rng.uniform(0, 0.8)
    return sky


def standpoint(
    st: Furnisher, x: tuple[float, float], y: tuple[float, float], room: float = 0.25
) -> tuple[float, float]:
    """A free place in the rectangle, or the last one tried."""
    r = st.rng
    for _ in range(12):
        at = r.uniform(*x), r.uniform(*y)
        if st.free(*at, room):
            break
    return at


def open_plan(st: Furnisher, aspect: float) -> dict:
    """Dining, sitting and working places in one long room, walls half drawn between them, seen along its length."""
    r, kit = st.rng, st.kit
    wide, deep, high = r.uniform(3.6, 8.5), r.uniform(7, 15), r.uniform(2.25, 3.6)
    room_shell(st, wide, deep, high)
    cuts = np.sort(r.uniform(-0.2, 0.45, r.integers(0, 3))) * deep
    common = st.paint("wall")
    for y in cuts:
        gap, at = r.uniform(1.1, min(4.0, wide - 0.8)), r.uniform(0, 1)
        start = at * (wide - gap)
        head = r.choice([2.05, high - r.uniform(0.15, 0.4)])
        if r.random() < 0.75:
            wall(st, (-wide / 2, y), (wide / 2, y), high, [(start, start + gap, 0, head)], common)
        else:  # a low wall, a row of posts, a screen
            tall = r.choice([0.9, 1.2, 1.8])
            st.shape("box", (-wide / 2 + start / 2, y, 0), (max(0.3, start), 0.15, tall), cls=STUFF, paint=common)
            for x in r.uniform(-0.5, 0.5, 2) * wide:
                st.shape(
                    "box" if r.random() < 0.6 else "cylinder", (x, y, 0), (0.25, 0.25, high), cls=STUFF, paint=common
                )
    for y in np.arange(-0.42 * deep, 0.45 * deep, r.uniform(2.2, 3.6)):
        x, kind = r.uniform(-0.25, 0.25) * wide, r.random()
        if any(abs(y - c) < 0.8 for c in cuts):
            continue
        if kind < 0.4:
            yaw = r.choice([0, np.pi / 2]) + r.normal(0, 0.08)
            st.dining(x, y, yaw, r.uniform(1.0, 2.6), r.uniform(0.75, 1.2), people=0.25 * (r.random() < 0.3))
        elif kind < 0.75:
            st.lounge(x, y, r.choice([0, np.pi / 2, np.pi, -np.pi / 2]))
        elif kind < 0.85:
            for _ in range(r.integers(1, 4)):
                st.table(x + r.uniform(-1, 1), y + r.uniform(-0.6, 0.6), r.choice([0, np.pi / 2]), 1.5, 0.75, 0.73)
                st.clutter(x, y, 0.73, 1.3, 0.7, r.integers(2, 12), desk=0.8)
                st.furniture(kit.seats, x + r.normal(0, 0.6), y + r.normal(0, 0.9), r.uniform(0, 6.3))
    along_wall(st, wide, deep, place_model(st, kit.storage, 4), r.integers(3, 14))
    along_wall(st, wide, deep, place_model(st, kit.lamps + kit.plants + kit.medium + kit.seats), r.integers(2, 10))
    if r.random() < 0.5:
        along_wall(st, wide, deep, lambda x, y, yaw: st.shelf(x, y, yaw), r.integers(1, 6))
    if r.random() < 0.2:
        st.stairs(
            r.uniform(-0.3, 0.3) * wide,
            r.uniform(0, 0.3) * deep,
            r.choice([0, np.pi / 2, -np.pi / 2]),
            12,
            r.uniform(0.8, 1.4),
        )
    for _ in range(r.integers(0, 3) if r.random() < 0.5 else 0):
        st.person(*(r.uniform(-0.4, 0.4, 2) * (wide, deep)))
    for _ in range(12):  # with space ahead: no dividing wall close in front
        x, y = standpoint(st, (-0.42 * wide, 0.42 * wide), (-0.49 * deep, -0.1 * deep))
        if all(c < y or c > y + 2.5 for c in cuts):
            break
    z, pitch = np.clip(r.normal(1.35, 0.3), 0.4, high - 0.2), np.clip(r.normal(-0.13, 0.13), -0.7, 0.3)
    yaw = np.pi / 2 + r.normal(-x / wide, 0.35)
    st.foreground((x, y, z), yaw, 0.5)
    return look(st, (x, y, z), yaw, pitch, aspect, indoor_light(st, 0.5))


def corridor(st: Furnisher, aspect: float) -> dict:
    """A passage with doors, cabinets and a row of ceiling lights, seen along its length."""
    r, kit = st.rng, st.kit
    wide, deep, high = r.uniform(1.2, 3.2), r.uniform(6, 32), r.uniform(2.2, 3.4)
    room_shell(st, wide, deep, high)
    st.lights.clear()
    tint, half_lit = np.array([1, r.uniform(0.8, 1), r.uniform(0.6, 1)]), r.uniform(0.4, 1)
    tiled = r.random() < 0.5
    for y in np.arange(-deep / 2 + r.uniform(0.5, 2), deep / 2, r.uniform(1.5, 4.5)):
        on = r.random() < half_lit
        size = (0.6, 0.6, 0.03) if tiled else (r.uniform(0.1, 0.3), 1.2, 0.05)
        st.shape("box", (0, y, high - 0.03), size, paint="light" if on else "plaster", cls=STUFF, shadow=False)
        if on and len(st.lights) < 7:
            st.light((0, y, high - 0.07), tint * 10 ** r.uniform(-0.2, 0.7), kind=2, half=0.3)
    if not st.lights:
        st.light((0, 0, high - 0.3), tint * 3, radius=0.1)
    for side in (-1, 1):
        if r.random() < 0.6:
            at = r.uniform(-0.5, 0) * deep
            while at < 0.5 * deep * r.uniform(0.2, 1):
                w, d, h = r.uniform(0.6, 1.2), r.uniform(0.3, 0.6) * min(1, wide / 2), r.choice([0.8, 1.3, 2.0, 2.2])
                if r.random() < 0.75:
                    at_x = side * (wide / 2 - d / 2 - 0.02)
                    st.shape("box", (at_x, at, 0), (d, w * 0.97, min(h, high - 0.1)), paint="plaster")
                    if h < 1.4:
                        st.item(at_x, at, h, limit=0.35)
                at += w + (r.uniform(0, 3) if r.random() < 0.3 else 0)
    if wide > 2.2:
        for _ in range(r.integers(0, 5)):
            side = r.choice([-1, 1])
            st.furniture(
                kit.seats + kit.plants + kit.storage,
                side * (wide / 2 - 0.4),
                r.uniform(-0.4, 0.45) * deep,
                side * np.pi / 2,
            )
    for _ in range(r.integers(0, 3)):
        st.person(r.uniform(-0.35, 0.35) * wide, r.uniform(-0.3, 0.4) * deep)
    x, y = standpoint(st, (-0.3 * wide, 0.3 * wide), (-0.49 * deep, -0.3 * deep))
    eye = (x, y, np.clip(r.normal(1.45, 0.25), 0.4, high - 0.2))
    return look(st, eye, np.pi / 2 + r.normal(0, 0.2), r.normal(-0.06, 0.1), aspect, indoor_light(st, 0.3))


def kitchen(st: Furnisher, aspect: float) -> dict:
    """Counters full of things under wall cabinets; often seen from close by and above."""
    r, kit = st.rng, st.kit
    wide, deep, high = r.uniform(2.2, 5), r.uniform(2.4, 6), r.uniform(2.3, 3)
    room_shell(st, wide, deep, high)
    front, top = st.paint("plaster" if r.random() < 0.6 else "wood"), st.paint("wood" if r.random() < 0.5 else "metal")
    upper, tiles = r.random() < 0.75, st.paint("floor")
    rows = [(0.0, deep / 2 - 0.32, 0.0, wide)]
    if r.random() < 0.6:
        rows.append((wide / 2 - 0.32, 0.0, -np.pi / 2, deep))
    if r.random() < 0.3 and wide > 3:
        rows.append((r.uniform(-0.2, 0.2), deep / 2 - 2.1, np.pi, r.uniform(1.2, 2.4)))
    for x, y, yaw, length in rows:
        c, s, island = np.cos(yaw), np.sin(yaw), len(rows) > 2 and yaw == np.pi
        at = -length / 2
        while at < length / 2 - 0.4:
            mesh = st.pick(kit.counters)
            w = float(st.lib.size[mesh][0]) if r.random() < 0.45 else r.uniform(0.4, 0.9)
            u = at + w / 2
            place = (x + c * u, y + s * u, 0)
            if w == float(st.lib.size[mesh][0]):
                st.put(mesh, place, 1.0, yaw)
            else:
                st.shape("box", place, (w * 0.985, 0.6, 0.86), yaw=yaw, paint=front)
                knob = (place[0] + s * 0.31, place[1] - c * 0.31, r.uniform(0.6, 0.8))
                st.shape("box", knob, (w * 0.5, 0.02, 0.02), yaw=yaw, paint="metal")
            if upper and not island and r.random() < 0.8:
                b = (x + c * u - s * 0.13, y + s * u + c * 0.13, r.uniform(1.35, 1.5))
                if r.random() < 0.5:
                    st.put(st.pick(kit.upper), b, 1.0, yaw)
                else:
                    st.shape("box", b, (w * 0.98, 0.33, r.uniform(0.5, 0.8)), yaw=yaw, paint=front)
            at += w
        st.shape("box", (x, y, 0.865), (length, 0.64, 0.04), yaw=yaw, paint=top)
        if not island:
            back = (x - s * 0.31, y + c * 0.31, 0.9)
            st.shape("box", back, (length, 0.015, r.uniform(0.2, 0.6)), yaw=yaw, cls=STUFF, paint=tiles)
        st.clutter(x, y, 0.905, length * 0.95, 0.5, r.integers(4, 26), yaw, desk=0.05, limit=0.42)
        st.spots.append((x, y, 0.3))
    if r.random() < 0.6:
        x, y = r.uniform(-0.2, 0.2) * wide, -0.2 * deep
        st.dining(x, y, r.choice([0, np.pi / 2]), r.uniform(0.8, 1.6), r.uniform(0.6, 0.9), people=0.1)
    along_wall(st, wide, deep, place_model(st, kit.storage + kit.medium), r.integers(0, 5))
    if r.random() < 0.3:
        st.person(r.uniform(-0.3, 0.3) * wide, r.uniform(-0.1, 0.2) * deep)
    x, y, yaw, length = rows[r.integers(len(rows))]
    target = np.array(
        [x + np.cos(yaw) * r.uniform(-0.3, 0.3) * length, y + np.sin(yaw) * r.uniform(-0.3, 0.3) * length]
    )
    a, d = yaw - np.pi / 2 + r.normal(0, 0.5), r.uniform(0.8, 3.2)
    eye = np.clip(
        target + d * np.array([np.cos(a), np.sin(a)]), (-0.47 * wide, -0.47 * deep), (0.47 * wide, 0.47 * deep)
    )
    z = r.uniform(1.1, 1.9)
    to = target - eye
    pitch = np.clip(np.arctan2(r.uniform(0.6, 1.3) - z, np.linalg.norm(to)) + r.normal(0, 0.1), -1.1, 0.3)
    return look(st, (*eye, z), np.arctan2(to[1], to[0]) + r.normal(0, 0.25), pitch, aspect, indoor_light(st, 0.4))


def company(st: Furnisher, aspect: float) -> dict:
    """People close to the camera, standing, seated or at a table, in a room or in the open."""
    r, kit = st.rng, st.kit
    indoors = r.random() < 0.7
    if indoors:
        wide, deep = r.uniform(3, 8), r.uniform(4, 9)
        room_shell(st, wide, deep, r.uniform(2.3, 3.4))
        st.spots.append((0.0, -0.2 * deep, 1.0))
        along_wall(
            st, wide, deep, place_model(st, kit.storage + kit.sofas + kit.plants + kit.lamps, 3), r.integers(3, 14)
        )
        if r.random() < 0.4:
            along_wall(st, wide, deep, lambda x, y, yaw: st.shelf(x, y, yaw), 3)
    else:
        wide, deep = 10.0, 12.0
        st.shape("box", (0, 0, -0.3), (300, 300, 0.3), cls=STUFF, paint="ground")
        for _ in range(r.integers(2, 9)):
            st.tree(r.uniform(-12, 12), r.uniform(5, 30))
        if r.random() < 0.7:
            at = (r.uniform(-4, 4), r.uniform(5, 14), 0)
            st.shape(
                "facade" if r.random() < 0.6 else "box",
                at,
                (r.uniform(8, 25), 4, r.uniform(3, 9)),
                cls=STUFF,
                paint="facade",
            )
        for _ in range(r.integers(0, 6)):
            st.furniture(kit.street + kit.bikes + kit.cars, r.uniform(-6, 6), r.uniform(3, 12), r.uniform(0, 6.3))
    start = -0.42 * deep
    seated = r.random() < 0.5
    if seated and r.random() < 0.6:
        st.dining(
            r.normal(0, 0.2),
            start + r.uniform(1.0, 2.0),
            r.normal(0, 0.3),
            r.uniform(0.9, 2.2),
            r.uniform(0.7, 1.1),
            people=0.6,
        )
    for _ in range(r.integers(1, 5)):
        d = 10 ** r.uniform(-0.15, 0.55)
        x, y, turn = r.uniform(-0.45, 0.45) * d, start + d, r.normal(0, 1.0)
        at = (x, y, 0.0)
        if seated:
            if r.random() < 0.7:
                st.furniture(kit.seats, x, y, turn)
            st.put(st.pick(kit.sitting), at, r.uniform(0.9, 1.1), turn, cls=PERSON)
        else:
            st.put(st.pick(kit.standing), at, r.uniform(0.9, 1.1), turn, cls=PERSON)
    z = r.uniform(0.9, 1.35) if seated else r.uniform(1.0, 1.8)
    if indoors:
        sky = indoor_light(st, 0.5)
    else:
        sky = sky_of(st, False)
        if r.random() < 0.7:
            st.sun(r.uniform(1.5, 7) * sky["gain"])
        sky["ambient"] = 0.25 * sky["gain"]
    return look(st, (r.normal(0, 0.1), start, z), np.pi / 2 + r.normal(0, 0.15), r.normal(-0.05, 0.12), aspect, sky)
