"""Recipes under a roof: rooms, table tops, workshops."""

from __future__ import annotations

import numpy as np
from furnish import Furnisher
from lens_and_sky import sample_hfov, sky_of
from shell import room_shell
from stage import STUFF


def along_wall(st: Furnisher, wide: float, deep: float, what, tries: int) -> None:
    """Call what(x, y, yaw) at free places along the walls, backs to the wall."""
    r = st.rng
    for _ in range(tries):
        side, off = r.integers(4), r.uniform(0.28, 0.5)
        x, y, yaw = [
            (r.uniform(-0.45, 0.45) * wide, deep / 2 - off, 0.0),
            (r.uniform(-0.45, 0.45) * wide, off - deep / 2, np.pi),
            (off - wide / 2, r.uniform(-0.45, 0.45) * deep, np.pi / 2),
            (wide / 2 - off, r.uniform(-0.45, 0.45) * deep, -np.pi / 2),
        ][side]
        if st.free(x, y, 0.4):
            what(x, y, yaw)


def place_model(st: Furnisher, items: list, top: int = 0):
    def put(x, y, yaw):
        mesh, _ = st.furniture(items, x, y, yaw + st.rng.normal(0, 0.03))
        if st.lib.top[mesh] > 0.2 and st.rng.random() < 0.6:
            w, d = st.lib.size[mesh][:2] * 0.8
            st.clutter(x, y, st.lib.top[mesh], w, d, st.rng.integers(1, 4 + top), yaw)

    return put


def room_camera(st: Furnisher, wide: float, deep: float, high: float, aspect: float) -> tuple:
    """Of a few free standpoints, one that has space ahead and things in view."""
    r = st.rng
    hfov = sample_hfov(r, aspect)
    spots = np.array(st.spots) if st.spots else np.zeros((0, 3))
    best = None
    for _ in range(14):
        x, y, yaw = *(r.uniform(-0.47, 0.47, 2) * (wide, deep)), r.uniform(0, 2 * np.pi)
        c, s = np.cos(yaw), np.sin(yaw)
        ahead = min(
            (np.sign(c) * wide / 2 - x) / (c + 1e-9 * np.sign(c)), (np.sign(s) * deep / 2 - y) / (s + 1e-9 * np.sign(s))
        )
        to = spots[:, :2] - (x, y)
        far, side = to @ (c, s), np.abs(to @ (-s, c))
        seen = ((far > 0.8) & (side < far * np.tan(hfov / 2))).sum()
        score = min(seen, 5) + 1.2 * min(ahead, 4) - 4 * (not st.free(x, y, 0.25)) + r.normal(0, 1.0)
        if best is None or score > best[0]:
            best = (score, x, y, yaw)
    _, x, y, yaw = best
    z = np.clip(r.normal(1.4, 0.3), 0.3, high - 0.2)
    pitch = np.clip(r.normal(-0.17, 0.16), -0.9, 0.35) if r.random() < 0.9 else r.uniform(-1.2, -0.4)
    return (
        (x, y, z),
        (x + np.cos(yaw), y + np.sin(yaw), z + np.tan(pitch)),
        hfov,
        r.normal(0, 0.03) if r.random() < 0.8 else r.normal(0, 0.15),
    )


def room(st: Furnisher, aspect: float) -> dict:
    r, kit = st.rng, st.kit
    wide, deep, high = r.uniform(2.4, 6.5), r.uniform(2.6, 7.5), r.uniform(2.25, 3.2)
    style = r.choice(["living", "office", "kitchen", "bedroom", "hall", "store"], p=[0.32, 0.25, 0.12, 0.12, 0.09, 0.1])
    room_shell(st, wide, deep, high, style == "store")
    if r.random() < 0.4:
        st.shape(
            "box" if r.random() < 0.7 else "cylinder",
            (*(r.uniform(-0.2, 0.2, 2) * (wide, deep)), 0),
            (r.uniform(1, 3), r.uniform(1, 3), 0.015),
            yaw=r.choice([0, r.uniform(0, 3)]),
            cls=STUFF,
            paint="fabric",
        )
    small = min(wide, deep) > 3
    if style in ("living", "office", "kitchen") and small:
        for _ in range(r.integers(2, 7 if style == "office" else 4)):
            x, y, yaw = *(r.uniform(-0.28, 0.28, 2) * (wide, deep)), r.choice([0, np.pi / 2, r.uniform(0, 6.3)])
            if not st.free(x, y, 0.9):
                continue
            if r.random() < 0.5:
                mesh, _ = st.furniture(kit.tables, x, y, yaw)
                w, d, z = *st.lib.size[mesh][:2], st.lib.top[mesh]
            else:
                w, d, z = r.uniform(0.8, 2.2), r.uniform(0.6, 1.1), r.choice([0.42, 0.73, 0.75, 0.9])
                st.table(x, y, yaw, w, d, z)
            st.clutter(x, y, z, w * 0.9, d * 0.9, r.integers(0, 14), yaw, desk=0.7 if style == "office" else 0.1)
            if z > 0.6:
                for _ in range(r.integers(0, 7)):
                    side = r.choice([-1, 1])
                    a, b, turn = (
                        r.uniform(-0.45, 0.45) * w,
                        side * (d / 2 + r.uniform(0, 0.35)),
                        (yaw if side > 0 else yaw + np.pi) + r.normal(0, 0.35),
                    )
                    cx, cy = x + np.cos(yaw) * a - np.sin(yaw) * b, y + np.sin(yaw) * a + np.cos(yaw) * b
                    st.furniture(kit.seats, cx, cy, turn, claim=False)
                    st.spots.append((cx, cy, 0.3))
        if r.random() < 0.15:  # a low partition
            st.shape(
                "box",
                (*(r.uniform(-0.3, 0.3, 2) * (wide, deep)), 0),
                (r.uniform(1, 3), 0.06, r.uniform(1, 1.8)),
                yaw=r.choice([0, np.pi / 2]),
                paint="fabric",
            )
    if style == "bedroom":
        along_wall(st, wide, deep, place_model(st, kit.beds), 2)
    if style == "living":
        along_wall(st, wide, deep, place_model(st, kit.sofas), r.integers(2, 6))
        for _ in range(r.integers(0, 3)):
            x, y = r.uniform(-0.35, 0.35, 2) * (wide, deep)
            if st.free(x, y, 0.5):
                st.furniture(kit.seats, x, y, r.uniform(0, 6.3))
    for x, y, _ in list(st.spots):  # cushions and throws
        if style in ("living", "bedroom") and r.random() < 0.3:
            st.shape(
                "cushion",
                (x + r.normal(0, 0.2), y + r.normal(0, 0.2), r.uniform(0.4, 0.55)),
                r.uniform(0.3, 0.5, 3) * (1, 1, 0.4),
                yaw=r.uniform(0, 6.3),
                pitch=r.normal(0, 0.5),
                paint="fabric",
            )
    if style == "store" or r.random() < 0.45:
        along_wall(st, wide, deep, lambda x, y, yaw: st.shelf(x, y, yaw, garage=style == "store"), r.integers(1, 5))
    along_wall(st, wide, deep, place_model(st, kit.storage, 4), r.integers(3, 14))
    along_wall(st, wide, deep, place_model(st, kit.lamps + kit.plants + kit.medium), r.integers(2, 12))
    for _ in range(r.integers(0, 16)):  # floor clutter
        x, y = r.uniform(-0.46, 0.46, 2) * (wide, deep)
        if st.free(x, y, 0.2):
            if r.random() < 0.5:
                st.item(x, y, 0, limit=0.5, boxes=0.4)
            elif r.random() < 0.4:
                st.shape(
                    "heap",
                    (x, y, 0),
                    (r.uniform(0.3, 1), r.uniform(0.3, 1), r.uniform(0.1, 0.35)),
                    yaw=r.uniform(0, 6),
                    paint="fabric",
                )
            else:
                st.furniture(kit.medium, x, y, r.uniform(0, 6.3))
    if r.random() < 0.12:  # clothes on hooks or a rail
        x, y = r.uniform(-0.4, 0.4, 2) * (wide, deep)
        for k in range(r.integers(2, 7)):
            st.shape(
                "curtain",
                (x + k * 0.07, y, 0.7),
                (r.uniform(0.35, 0.5), r.uniform(0.05, 0.15), r.uniform(0.6, 1)),
                yaw=1.4 + r.normal(0, 0.15),
                paint="fabric",
            )
    if r.random() < 0.4:
        for _ in range(r.integers(1, 4)):
            x, y = r.uniform(-0.4, 0.4, 2) * (wide, deep)
            if st.free(x, y, 0.3):
                st.person(x, y)
    eye, target, *lens = room_camera(st, wide, deep, high, aspect)
    st.foreground(eye, np.arctan2(target[1] - eye[1], target[0] - eye[0]), 0.25)
    sky = sky_of(st, True)
    if r.random() < 0.3:
        st.dim()
        sky["ambient"] *= 0.4
    return st.finish(eye, target, *lens, sky)


def table_top(st: Furnisher, aspect: float) -> dict:
    """Close and downward views over a crowded desk, shelf, counter or floor."""
    r = st.rng
    wide, deep, z = r.uniform(0.7, 2.4), r.uniform(0.5, 1.3), r.uniform(0.4, 0.95)
    floor = r.random() < 0.15
    if r.random() < 0.7:
        room_shell(st, r.uniform(3, 7), r.uniform(3, 7), r.uniform(2.3, 3.2))
        along_wall(st, 5, 5, place_model(st, st.kit.storage, 2), r.integers(0, 6))
        along_wall(st, 4, 4, place_model(st, st.kit.seats + st.kit.medium), r.integers(0, 6))
        if r.random() < 0.4:
            along_wall(st, 5, 5, lambda x, y, yaw: st.shelf(x, y, yaw), 2)
    else:
        st.shape("box", (0, 0, -0.1), (9, 9, 0.1), cls=STUFF, paint="floor")
        for k in range(r.integers(0, 3)):
            st.shape("box", (0, 1.5 + 2 * r.random(), 0), (9, 0.1, 3), yaw=k * 1.57, cls=STUFF, paint="wall")
        for _ in range(r.integers(1, 3)):
            st.light(
                (*r.uniform(-2, 2, 2), r.uniform(1.5, 3)),
                np.array([1, r.uniform(0.8, 1), r.uniform(0.6, 1)]) * r.uniform(2, 8),
                radius=r.uniform(0.05, 0.4),
            )
    z = 0 if floor else z
    if not floor:
        st.table(0, 0, 0, wide, deep, z)
    if r.random() < 0.25:
        st.shape("box", (0, deep / 2, z), (wide * 1.2, 0.04, r.uniform(0.3, 0.7)), paint="fabric")
    if r.random() < 0.5:
        st.light(
            (*r.uniform(-0.8, 0.8, 2), z + r.uniform(0.4, 1.2)),
            r.uniform(0.3, 2) * np.array([1, 0.9, 0.75]),
            radius=0.05,
        )
    piled = r.random() < 0.2
    if piled:
        st.pile(0, 0, z, r.uniform(0.12, 0.35), r.integers(5, 24))
    st.clutter(
        0, 0, z, wide, deep, r.integers(0, 8) if piled else r.integers(5, 36), desk=0.5, limit=r.choice([0.3, 0.5])
    )
    if r.random() < 0.2:
        st.person(r.uniform(-0.4, 0.4), deep / 2 + r.uniform(0.3, 0.8))
    for _ in range(r.integers(0, 4)):
        st.furniture(st.kit.seats, *(r.uniform(-1.2, 1.2, 2) + np.array([0, 0.5])), r.uniform(0, 6.3))
    target = np.array([*(r.uniform(-0.3, 0.3, 2) * (wide, deep)), z + r.uniform(-0.05, 0.15)])
    pitch = np.radians(np.clip(r.normal(32, 20), -5, 89))
    yaw, reach = r.normal(-np.pi / 2, 0.6), 10 ** r.uniform(-0.3, 0.4)
    eye = target + reach * np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    eye[2] = max(eye[2], z + 0.08)
    roll = (
        r.uniform(-np.pi, np.pi) if pitch > 0.8 and r.random() < 0.5 else r.normal(0, 0.06)
    )  # a camera over a table may face anywhere
    hfov = sample_hfov(r, aspect)
    if r.random() < 0.25:
        st.loom(eye, target, np.tan(hfov / 2))
    return st.finish(eye, target, hfov, roll, sky_of(st, True))


def workshop(st: Furnisher, aspect: float) -> dict:
    """A garage or cellar: racks, boxes, machines, bicycles, pipes."""
    r, kit = st.rng, st.kit
    wide, deep, high = r.uniform(3, 8), r.uniform(3.5, 9), r.uniform(2.2, 3.6)
    room_shell(st, wide, deep, high, True)
    for _ in range(r.integers(1, 4)):
        x, y, yaw, q = *(r.uniform(-0.3, 0.3, 2) * (wide, deep)), r.uniform(0, 6.3), r.random()
        if not st.free(x, y, 0.6):
            continue
        if q < 0.5:
            st.furniture(kit.bikes, x, y, yaw)
        elif q < 0.65 and min(wide, deep) > 5:
            st.furniture(kit.cars, x, y, yaw)
        else:  # a machine of tubes and wheels
            obj, c, s = st.new_id(), np.cos(yaw), np.sin(yaw)
            for e in (-0.65, 0.65):
                st.shape("wheel", (x + c * e, y + s * e, 0), (0.62, 0.12, 0.62), yaw=yaw, paint="metal", obj=obj)
            for _ in range(r.integers(1, 4)):
                st.shape(
                    "frame",
                    (x, y, r.uniform(0.2, 0.5)),
                    (r.uniform(0.7, 1.4), r.uniform(0.2, 0.5), r.uniform(0.4, 0.7)),
                    yaw=yaw,
                    paint="metal",
                    obj=obj,
                )
            st.shape("cushion", (x - c * 0.2, y - s * 0.2, 0.7), (0.6, 0.25, 0.14), yaw=yaw, paint="fabric", obj=obj)
            st.spots.append((x, y, 0.9))
    along_wall(st, wide, deep, lambda x, y, yaw: st.shelf(x, y, yaw, garage=True), r.integers(2, 7))
    along_wall(st, wide, deep, place_model(st, kit.garage, 4), r.integers(2, 9))
    for _ in range(r.integers(2, 16)):
        x, y = r.uniform(-0.46, 0.46, 2) * (wide, deep)
        if st.free(x, y, 0.25):
            q = r.random()
            if q < 0.5:
                z = 0.0
                for _ in range(r.integers(1, 4)):
                    sz = r.uniform(0.2, 0.7, 3)
                    st.shape(
                        "box", (x, y, z), sz, yaw=r.uniform(0, 6.3), paint="cover" if r.random() < 0.3 else "plaster"
                    )
                    z += sz[2]
                st.spots.append((x, y, 0.3))
            elif q < 0.75:
                st.item(x, y, 0, limit=0.6)
            else:
                st.shape(
                    ("ladder", "bag", "ring", "cylinder")[r.integers(4)],
                    (x, y, 0),
                    (r.uniform(0.3, 0.7), r.uniform(0.2, 0.6), r.uniform(0.3, 1.6)),
                    yaw=r.uniform(0, 6.3),
                    roll=r.normal(0, 0.1),
                    paint="metal",
                )
    for _ in range(r.integers(0, 5)):
        st.shape(
            "cylinder",
            (r.uniform(-0.5, 0.5) * wide, r.uniform(-0.5, 0.5) * deep, high - r.uniform(0.1, 0.5)),
            (0.08, 0.08, r.uniform(2, deep)),
            pitch=np.pi / 2,
            yaw=r.choice([0, np.pi / 2]),
            cls=STUFF,
            paint="metal",
            center=True,
        )
    if r.random() < 0.25:
        st.person(*(r.uniform(-0.4, 0.4, 2) * (wide, deep)))
    return st.finish(*room_camera(st, wide, deep, high, aspect), sky_of(st, True))
