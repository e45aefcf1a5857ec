"""Scene recipes: rooms, table tops, streets, gardens, workshops, and heaps of anything. `make_scene(kit, seed, aspect)` is the door."""

from __future__ import annotations

import numpy as np
from stage import PERSON, STUFF, Kit, Stage


def sample_hfov(r: np.random.Generator, aspect: float) -> float:
    """Horizontal field of view in radians; what is drawn is the view over the long side, 20 to 95 degrees."""
    long_side = np.radians(np.clip(np.exp(r.normal(np.log(60), 0.33)), 20, 95))
    return long_side if aspect >= 1 else 2 * np.arctan(np.tan(long_side / 2) * aspect)


def sky_of(st: Stage, indoor: bool) -> dict:
    r = st.rng
    sky: dict = {
        "gain": r.uniform(0.7, 1.6) if not indoor else 10 ** r.uniform(-0.3, 1.3),
        "ambient": r.uniform(0.02, 0.12),
    }
    tint = 1 + r.normal(0, 0.08, 3)
    if r.random() < 0.5:
        sky |= {"image": int(r.integers(st.lib.skies)), "zenith": tint}
    else:
        blue = (
            np.array([0.35, 0.55, 1.0]) * r.uniform(0.5, 1.1) if r.random() < 0.6 else np.full(3, r.uniform(0.5, 1.2))
        )
        sky |= {
            "zenith": blue * tint,
            "horizon": np.array([1, 1, 1]) * r.uniform(0.6, 1.3) * tint,
            "clouds": r.uniform(0, 1.0) if r.random() < 0.6 else 0.0,
        }
    if r.random() < (0.08 if indoor else 0.25):
        sky |= {"fog": 10 ** r.uniform(-2.7, -1.1), "fog_colour": np.full(3, r.uniform(0.3, 1.1)) * tint}
    return sky


def wall(st: Stage, a, b, high, openings, paint, thick=0.12) -> None:
    """A wall from a to b (plan view) with rectangular openings (from, to, sill, head) along its length."""
    a, b = np.array(a, float), np.array(b, float)
    length = np.linalg.norm(b - a)
    yaw, d = np.arctan2(*(b - a)[::-1]), (b - a) / length

    def piece(s0, s1, z0, z1):
        if s1 - s0 > 0.005 and z1 - z0 > 0.005:
            st.shape("box", (*(a + d * (s0 + s1) / 2), z0), (s1 - s0, thick, z1 - z0), yaw=yaw, cls=STUFF, paint=paint)

    at = -thick
    for s0, s1, sill, head in sorted(openings):
        piece(at, s0, 0, high)
        piece(s0, s1, 0, sill)
        piece(s0, s1, head, high)
        at = s1
    piece(at, length + thick, 0, high)


def room_shell(st: Stage, wide: float, deep: float, high: float, garage: bool = False) -> None:
    """Floor, ceiling, four walls with doors, windows, curtains, pictures, skirting; window and ceiling lights."""
    r = st.rng
    st.shape("box", (0, 0, -0.1), (wide + 0.3, deep + 0.3, 0.1), cls=STUFF, paint="floor")
    if r.random() < 0.93:
        st.shape("box", (0, 0, high), (wide + 0.3, deep + 0.3, 0.1), cls=STUFF, paint="wall")
    corner = [(-wide / 2, -deep / 2), (wide / 2, -deep / 2), (wide / 2, deep / 2), (-wide / 2, deep / 2)]
    common, day = st.paint("wall"), r.random() < 0.72
    panel = 0
    for k in range(4):
        a, b = np.array(corner[k]), np.array(corner[(k + 1) % 4])
        length, d = np.linalg.norm(b - a), (b - a) / np.linalg.norm(b - a)
        inward, yaw = np.array([-d[1], d[0]]), np.arctan2(d[1], d[0]) + np.pi  # a model's front (-y) faces the room
        openings, at = [], r.uniform(0.2, 1)
        while at < length - 0.9:
            q = r.random()
            if q < 0.34:
                w, sill = min(r.uniform(0.6, 2.6), length - at - 0.2), r.choice([0.02, 0.5, 0.8, 1.0])
                openings.append((at, at + w, sill, min(high - 0.1, sill + r.uniform(0.9, 1.9))))
            elif q < 0.5:
                w = r.uniform(0.75, 1.1)
                openings.append((at, at + w, 0, min(high - 0.05, 2.1)))
            else:
                w = 0.3
            at += w + r.uniform(0.3, 2)
        wall(st, a, b, high, openings, common if r.random() < 0.8 else st.paint("wall"))
        for s0, s1, sill, head in openings:
            c, w, h = a + d * (s0 + s1) / 2, s1 - s0, head - sill
            if sill == 0:
                if r.random() < 0.75:
                    mesh = st.pick(st.kit.doors)
                    if r.random() < 0.5:
                        st.put(mesh, (*c, 0), min(w / st.lib.size[mesh][0], h / st.lib.size[mesh][2]), yaw, cls=STUFF)
                    else:
                        st.shape("box", (*c, 0), (w, 0.06, h), yaw=yaw, cls=STUFF, paint="wood")
                        st.shape(
                            "ball", (*(c + inward * 0.06 + d * w * 0.4), 1.0), (0.05,) * 3, paint="metal", center=True
                        )
                else:
                    out = c - inward * r.uniform(1, 4)
                    st.shape("box", (*out, -0.1), (6, 0.1, 3.2), yaw=yaw, cls=STUFF, paint="wall")
                    st.shape("box", (*(c - inward * 2), -0.11), (6, 4, 0.1), yaw=yaw, cls=STUFF, paint="floor")
                    st.shape("box", (*(c - inward * 2), high), (6, 4, 0.1), yaw=yaw, cls=STUFF, paint="wall")
                for e in (-1, 1):
                    st.shape(
                        "box",
                        (*(c + d * e * w / 2 + inward * 0.05), 0),
                        (0.08, 0.06, h),
                        yaw=yaw,
                        cls=STUFF,
                        paint="wood",
                    )
                continue
            trim, t = st.paint("wood" if r.random() < 0.3 else "wall"), r.uniform(0.03, 0.07)
            for e in np.linspace(-1, 1, r.integers(2, 5)):
                st.shape("box", (*(c + d * e * (w - t) / 2), sill), (t, 0.07, h), yaw=yaw, cls=STUFF, paint=trim)
            for e in np.linspace(0, 1, r.integers(2, 4)):
                st.shape("box", (*c, sill + e * (h - t)), (w, 0.07, t), yaw=yaw, cls=STUFF, paint=trim)
            st.shape("box", (*(c + inward * 0.12), sill - 0.04), (w + 0.2, 0.25, 0.04), yaw=yaw, cls=STUFF, paint=trim)
            if r.random() < 0.25:  # a pane that is opaque in practice: frosted, blown out, or night
                pane = st.paint("light" if day else "metal")
                pane[0:3], pane[9] = (1, r.uniform(1, 10)) if day else (0.02, 0)
                st.shape("box", (*c, sill), (w, 0.02, h), yaw=yaw, cls=STUFF, paint=pane, shadow=False)
            if day and panel < 3:
                panel += 1
                st.light(
                    (*(c + inward * 0.1), sill + h / 2),
                    w * h * 10 ** r.uniform(0, 1) * np.array([1, 1, 1]) * (1 + r.normal(0, 0.07, 3)),
                    kind=2,
                    normal=(*inward, 0),
                    half=min(w, h) / 2,
                )
            if r.random() < 0.45:
                cloth, drop = st.paint("fabric"), r.choice([sill - 0.1, 0.03])
                for e in (-1, 1):
                    cw = r.uniform(0.2, 0.5) * w if r.random() < 0.8 else w * 0.52
                    st.shape(
                        "curtain",
                        (*(c + inward * 0.15 + d * e * (w / 2 + 0.1 - cw / 2)), drop),
                        (cw, 0.1, head + 0.12 - drop),
                        yaw=yaw,
                        paint=cloth,
                        cls=STUFF,
                    )
            elif r.random() < 0.2:
                for z in np.arange(sill + h * r.uniform(0, 0.7), head, 0.045):
                    st.shape(
                        "box", (*(c + inward * 0.05), z), (w, 0.03, 0.004), yaw=yaw, pitch=0.5, cls=STUFF, paint=trim
                    )
        for _ in range(r.integers(0, 5)):  # things on the wall where it is whole
            s, w, h = r.uniform(0.3, length - 0.3), r.uniform(0.15, 1.1), r.uniform(0.15, 0.9)
            if any(s0 - w / 2 < s < s1 + w / 2 for s0, s1, _, _ in openings):
                continue
            c, z, q = a + d * s, r.uniform(1.0, max(1.1, high - 1.1)), r.random()
            if q < 0.6:
                obj, pic = st.new_id(), st.paint("poster")
                st.shape("box", (*(c + inward * 0.075), z), (w, 0.03, h), yaw=yaw, paint="wood", obj=obj)
                st.shape(
                    "box", (*(c + inward * 0.092), z + 0.025), (w - 0.05, 0.006, h - 0.05), yaw=yaw, paint=pic, obj=obj
                )
            elif q < 0.8:
                mesh = st.pick(st.kit.wall)
                st.put(mesh, (*(c + inward * (0.06 + st.lib.size[mesh][1] / 2)), z), 1.0, yaw)
            else:
                st.shape("box", (*(c + inward * 0.16), z), (r.uniform(0.4, 1.4), 0.22, 0.03), yaw=yaw, paint="wood")
                for e in np.arange(-0.25, 0.3, 0.13):
                    st.item(*(c + inward * 0.16 + d * e), z + 0.03, limit=0.25)
        if r.random() < 0.6:
            st.shape(
                "box",
                (*((a + b) / 2 + inward * 0.07), 0),
                (length, 0.02, r.uniform(0.05, 0.14)),
                yaw=yaw,
                cls=STUFF,
                paint="wood",
            )
    if day and r.random() < 0.45:
        st.sun(r.uniform(3, 25), 0.1)
    warm = np.array([1, r.uniform(0.7, 1), r.uniform(0.45, 1)])
    for _ in range(r.integers(0 if day else 1, 4)):
        x, y, power = r.uniform(-0.35, 0.35) * wide, r.uniform(-0.35, 0.35) * deep, 10 ** r.uniform(0, 1)
        if garage or r.random() < 0.3:
            st.shape(
                "box", (x, y, high - 0.06), (1.2, 0.2, 0.05), yaw=r.choice([0, np.pi / 2]), paint="light", shadow=False
            )
            st.light((x, y, high - 0.08), warm * power * 2, kind=2, half=0.5)
        elif r.random() < 0.5:
            mesh = st.pick(st.kit.ceiling)
            top = high - st.lib.size[mesh][2]
            st.put(mesh, (x, y, top), 1.0, r.uniform(0, 6.3), shadow=False)
            st.light((x, y, top + 0.1), warm * power)
        else:
            st.light((x, y, high - r.uniform(0.1, 0.8)), warm * power, radius=r.uniform(0.03, 0.25))


def along_wall(st: Stage, wide: float, deep: float, what, tries: int) -> None:
    """Call what(x, y, yaw) at free places along the walls, backs to the wall."""
    r = st.rng
    for _ in range(tries):
        side, off = r.integers(4), r.uniform(0.28, 0.5)
        x, y, yaw = [(r.uniform(-0.45, 0.45) * wide, deep / 2 - off, 0.0), (r.uniform(-0.45, 0.45) * wide, off - deep / 2, np.pi),
                     (off - wide / 2, r.uniform(-0.45, 0.45) * deep, np.pi / 2), (wide / 2 - off, r.uniform(-0.45, 0.45) * deep, -np.pi / 2)][side]  # fmt: skip
        if st.free(x, y, 0.4):
            what(x, y, yaw)


def place_model(st: Stage, items: list, top: int = 0):
    def put(x, y, yaw):
        mesh, _ = st.furniture(items, x, y, yaw + st.rng.normal(0, 0.03))
        if st.lib.top[mesh] > 0.2 and st.rng.random() < 0.6:
            w, d = st.lib.size[mesh][:2] * 0.8
            st.clutter(x, y, st.lib.top[mesh], w, d, st.rng.integers(1, 4 + top), yaw)

    return put


def room_camera(st: Stage, wide: float, deep: float, high: float, aspect: float) -> tuple:
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


def room(st: Stage, aspect: float) -> dict:
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
    return st.finish(*room_camera(st, wide, deep, high, aspect), sky_of(st, True))


def table_top(st: Stage, aspect: float) -> dict:
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
    st.clutter(0, 0, z, wide, deep, r.integers(5, 36), desk=0.5, limit=r.choice([0.3, 0.5]))
    if r.random() < 0.2:
        st.person(r.uniform(-0.4, 0.4), deep / 2 + r.uniform(0.3, 0.8))
    for _ in range(r.integers(0, 4)):
        st.furniture(st.kit.seats, *(r.uniform(-1.2, 1.2, 2) + [0, 0.5]), r.uniform(0, 6.3))
    target = np.array([*(r.uniform(-0.3, 0.3, 2) * (wide, deep)), z + r.uniform(-0.05, 0.15)])
    pitch = np.radians(np.clip(r.normal(32, 20), -5, 89))
    yaw, reach = r.normal(-np.pi / 2, 0.6), 10 ** r.uniform(-0.3, 0.4)
    eye = target + reach * np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    eye[2] = max(eye[2], z + 0.08)
    roll = (
        r.uniform(-np.pi, np.pi) if pitch > 0.8 and r.random() < 0.5 else r.normal(0, 0.06)
    )  # a camera over a table may face anywhere
    return st.finish(eye, target, sample_hfov(r, aspect), roll, sky_of(st, True))


def outdoor_light(st: Stage) -> dict:
    sky, r = sky_of(st, False), st.rng
    if r.random() < 0.7:
        st.sun(r.uniform(1.5, 7) * sky["gain"])
    if r.random() < 0.12:  # dusk or night with lamps
        sky["gain"] *= 0.1
        for _ in range(4):
            st.light((*r.uniform(-8, 8, 2), r.uniform(2.5, 5)), np.array([1, 0.8, 0.5]) * r.uniform(2, 20), radius=0.1)
    sky["ambient"] = 0.25 * sky["gain"]
    return sky


def buildings(st: Stage, side: float, length: float, near: float) -> None:
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


def street(st: Stage, aspect: float) -> dict:
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
        for k in range(3):
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
    return st.finish(
        eye,
        eye + [np.cos(yaw), np.sin(yaw), np.tan(pitch)],
        sample_hfov(r, aspect),
        r.normal(0, 0.025),
        outdoor_light(st),
    )


def garden(st: Stage, aspect: float) -> dict:
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
            a, far = r.uniform(-0.8, 0.8), r.uniform(60, 130)
            st.shape(
                "land",
                (far * np.cos(a), far * np.sin(a), -2),
                (90, 90, r.uniform(10, 50)),
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
    return st.finish(
        eye,
        eye + [np.cos(yaw), np.sin(yaw), np.tan(pitch)],
        sample_hfov(r, aspect),
        r.normal(0, 0.03),
        outdoor_light(st),
    )


def workshop(st: Stage, aspect: float) -> dict:
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


def heap(st: Stage, aspect: float) -> dict:
    """Anything anywhere: no layout to learn by heart, only shape, shading and overlap."""
    r, kit = st.rng, st.kit
    if r.random() < 0.7:
        st.shape("box", (0, 0, -0.1), (30, 30, 0.1), cls=STUFF, paint="random")
    for k in range(r.integers(0, 4)):
        st.shape(
            "box",
            (r.uniform(4, 9), 0, -1),
            (0.1, 30, r.uniform(1, 8)),
            yaw=r.uniform(-1.2, 1.2),
            cls=STUFF,
            paint="random",
        )
    shapes = [k for k in st.lib.shape if k not in ("land", "facade")]
    for _ in range(r.integers(15, 70)):
        depth = 10 ** r.uniform(0, 0.9)
        at = (depth, r.normal(0, 0.45) * depth, r.uniform(0, 0.6) * depth * (r.random() < 0.7))
        turn = (
            {"yaw": r.uniform(0, 6.3), "pitch": r.normal(0, 0.5), "roll": r.normal(0, 0.5)}
            if r.random() < 0.6
            else {"yaw": r.uniform(0, 6.3)}
        )
        if r.random() < 0.6:
            mesh = st.pick(kit.any)
            st.put(
                mesh,
                at,
                r.uniform(0.2, 0.9) * depth * 0.4 / st.lib.size[mesh].max() * 1.5,
                paint="model" if r.random() < 0.5 else "random",
                cls=PERSON if mesh in kit.people else 0,
                **turn,
            )
        else:
            st.shape(shapes[r.integers(len(shapes))], at, r.uniform(0.05, 0.5, 3) * depth, paint="random", **turn)
    for _ in range(r.integers(1, 4)):
        st.light(
            (*r.uniform(-2, 3, 2), r.uniform(1, 5)),
            r.uniform(2, 20) * (1 + r.normal(0, 0.15, 3)),
            radius=r.uniform(0.02, 0.5),
        )
    pitch = r.normal(-0.15, 0.25)
    return st.finish(
        (0, 0, r.uniform(0.5, 2.5)),
        (1, r.normal(0, 0.2), 1.2 + np.tan(pitch)),
        sample_hfov(r, aspect),
        r.normal(0, 0.1),
        sky_of(st, r.random() < 0.5),
    )


RECIPES = ((room, 0.42), (table_top, 0.2), (street, 0.14), (garden, 0.1), (workshop, 0.09), (heap, 0.05))


def make_scene(kit: Kit, seed: int, aspect: float) -> dict[str, np.ndarray]:
    """One scene for pictures of width/height `aspect`; the same seed gives the same scene."""
    r = np.random.default_rng(seed)
    recipe = RECIPES[r.choice(len(RECIPES), p=[w for _, w in RECIPES])][0]
    scene = recipe(Stage(kit, r), aspect)
    scene["recipe"] = np.int64([f for f, _ in RECIPES].index(recipe))
    return scene
