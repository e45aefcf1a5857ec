"""Recipes set up like film stills: a room, a street and a still life, staged for one camera with a real lens.

The other recipes scatter; here things stand where the camera sees them well. Lens, camera height, tilt and distance
are drawn apart from each other, so that only perspective tells the lens.
"""

from __future__ import annotations

import numpy as np
from furnish import Furnisher
from lens_and_sky import sky_of
from outdoors import buildings
from rooms import along_wall, place_model
from shell import room_shell, wall
from shot import Shot, film_lens, house_front, lamp, small_thing, sun_from, window_in
from stage import STUFF


def set_table(st: Furnisher, x: float, y: float, z: float, wide: float, deep: float, yaw: float, count: int) -> None:
    """One to three small things apart from each other on a table."""
    r, c, s, taken = st.rng, np.cos(yaw), np.sin(yaw), []
    for _ in range(count * 2):
        a, b = r.uniform(-0.36, 0.36) * wide, r.uniform(-0.32, 0.32) * deep
        if len(taken) < count and all(np.hypot(a - p, b - q) > 0.28 for p, q in taken):
            taken.append((a, b))
            small_thing(st, x + c * a - s * b, y + s * a + c * b, z, r.uniform(0, 6.3))


def film_set(st: Furnisher, wide: float, deep: float, high: float, front: bool, day: bool) -> None:
    """Floor, three or four walls, pictures on the back wall, windows in one side; the light through them."""
    r, paint = st.rng, st.paint("wall")
    st.shape("box", (0, 0, -0.1), (wide + 0.3, deep + (0.3 if front else 6), 0.1), cls=STUFF, paint="floor")
    if front or r.random() < 0.7:
        ceiling = paint if r.random() < 0.5 else st.paint("wall")
        st.shape("box", (0, 0, high), (wide + 0.3, deep + 0.3, 0.1), cls=STUFF, paint=ceiling)
    back = r.choice([-1, 1]) * (r.random() < 0.25)  # rarely a window in the back wall
    holes = []
    if back:
        w, at, sill = r.uniform(0.8, min(2.2, wide * 0.5)), r.uniform(0.1, 0.45), r.choice([0.05, 0.7, 0.9])
        holes = [(at * wide, at * wide + w, sill, min(high - 0.2, sill + r.uniform(1.0, 1.6)))]
    own = paint if r.random() < 0.75 else st.paint("wall")
    wall(st, (wide / 2, deep / 2), (-wide / 2, deep / 2), high, [(s, e, lo, hi) for s, e, lo, hi in holes], own)
    for s, e, lo, hi in holes:
        window_in(st, (wide / 2 - (s + e) / 2, deep / 2), (0, -1), e - s, lo, hi - lo, 10 ** r.uniform(0, 1) * day)
    lit = r.choice([-1, 1])
    for side in (-1, 1):
        openings = []
        if side == lit or r.random() < 0.15:
            w, sill, at = r.uniform(0.7, 1.9), r.choice([0.05, 0.6, 0.85]), r.uniform(0.3, 1.2)
            head = min(high - 0.15, sill + r.uniform(1.1, 1.9))
            while at + w < deep - 0.2 and len(openings) < 3:
                openings.append((at, at + w, sill, head))
                at += w + r.uniform(0.3, 1.5)
        a, b = (side * wide / 2, deep / 2), (side * wide / 2, -deep / 2)
        wall(st, a, b, high, openings, paint)
        for s0, s1, sill, head in openings:
            middle = (side * wide / 2, deep / 2 - (s0 + s1) / 2)
            power = 10 ** r.uniform(0.3, 1.2) * day
            window_in(st, middle, (-side, 0), s1 - s0, sill, head - sill, power)
    if front:
        wall(st, (-wide / 2, -deep / 2), (wide / 2, -deep / 2), high, [], paint)
    if day and r.random() < 0.55:
        sun_from(st, (0 if lit > 0 else np.pi) + r.uniform(-0.8, 0.8), r.uniform(0.2, 0.9), r.uniform(3, 25))
    if r.random() < 0.7:  # skirting
        board, tall = st.paint("wall" if r.random() < 0.5 else "wood"), r.uniform(0.05, 0.14)
        st.shape("box", (0, deep / 2 - 0.07, 0), (wide, 0.02, tall), cls=STUFF, paint=board)
        for e in (-1, 1):
            st.shape("box", (e * (wide / 2 - 0.07), 0, 0), (0.02, deep, tall), cls=STUFF, paint=board)
    count, z = r.integers(0, 5), r.uniform(1.25, 1.8)
    for u in (np.arange(count) + 0.5) / max(count, 1) - 0.5:
        w, h, x = r.uniform(0.25, 0.9), r.uniform(0.25, 0.8), wide * (u * 0.85 + r.normal(0, 0.02))
        if any(abs(wide / 2 - x - (s + e) / 2) < (w + e - s) / 2 + 0.15 for s, e, _, _ in holes):
            continue
        obj, low = st.new_id(), min(z, high - h - 0.1) - h / 2 * (z > 1.5)
        st.shape("box", (x, deep / 2 - 0.08, low), (w, 0.03, h), paint="wood", obj=obj)
        sheet = (w - 0.06, 0.006, h - 0.06)
        st.shape("box", (x, deep / 2 - 0.098, low + 0.03), sheet, paint="poster", obj=obj)


def film_room(st: Furnisher, aspect: float) -> dict:
    """A furnished room from the height of a person's eyes: pieces along the back wall, others free, all well seen."""
    r, kit = st.rng, st.kit
    hfov = film_lens(r, aspect, 18, 55)
    wide, high, day = r.uniform(3, 8.5), r.uniform(2.3, 3.6), r.random() < 0.72
    # deep enough that the lens takes in some of the back wall
    deep, front = max(r.uniform(3.2, 9), min(9, r.uniform(1.6, 3.2) / (2 * np.tan(hfov / 2)) + 0.6)), r.random() < 0.7
    if r.random() < 0.7:
        film_set(st, wide, deep, high, front, day)
    else:
        front = True
        room_shell(st, wide, deep, high)
    z = r.choice([r.uniform(0.9, 1.3), r.uniform(1.3, 1.85), r.uniform(0.35, 0.9)], p=[0.33, 0.57, 0.1])
    eye = np.array([r.uniform(-0.36, 0.36) * wide, -deep / 2 + (0.3 if front else r.uniform(-2.5, 0.3)), z])
    if front and r.random() < 0.35:
        eye[1] += r.uniform(0, 0.3) * deep
    aim = np.array([r.normal(0, 0.2) * wide, deep / 2])
    yaw = np.arctan2(aim[1] - eye[1], aim[0] - eye[0]) + r.normal(0, 0.12)
    reach = deep / 2 - eye[1]
    pitch = (
        np.arctan2(r.uniform(0.3, 1.4) - z, r.uniform(0.6, 1) * reach) if r.random() < 0.6 else r.normal(-0.08, 0.09)
    )
    shot = Shot(st, eye, yaw, np.clip(pitch, -0.5, 0.15), hfov, aspect)
    if r.random() < 0.6:
        x, y = shot.at(r.uniform(0.45, 0.8) * reach, r.normal(0, 0.25))
        size = (r.uniform(1.2, 3), r.uniform(1, 2.2), 0.012)
        st.shape("box", (x, y, 0), size, yaw=r.normal(0, 0.2), cls=STUFF, paint="fabric")
    at = -wide / 2 + r.uniform(0, 0.8)  # along the back wall, from left to right
    while at < wide / 2 - 0.4:
        items = (kit.storage, kit.sofas, kit.plants, kit.seats, kit.lamps, kit.tables)
        mesh = st.pick(items[r.choice(6, p=[0.36, 0.26, 0.12, 0.12, 0.06, 0.08])])
        w, d, _ = st.lib.size[mesh]
        if at + w > wide / 2 - 0.05:
            break
        x, y = at + w / 2, deep / 2 - d / 2 - r.uniform(0.08, 0.2)
        st.put(mesh, (x, y, 0), 1.0, r.normal(0, 0.04))
        st.spots += [(x + e * w / 3, y, min(w / 3, d / 2 + 0.1)) for e in (-1, 0, 1)]
        if 0.35 < st.lib.top[mesh] < 1.3 and mesh in kit.storage + kit.tables:
            set_table(st, x, y, st.lib.top[mesh], w, d, 0, r.integers(0, 3))
        at += w + r.uniform(0.1, 1.8)
    inside = lambda x, y: abs(x) < wide / 2 - 0.35 and -deep / 2 + 0.3 < y < deep / 2 - 0.5  # noqa: E731
    night = 0 if day else 2
    for _ in range(r.integers(2, 9)):
        q, far = r.random(), reach - 0.4
        if q < 0.3:
            shot.stand(kit.seats, 1.2, far, inside)
        elif q < 0.55:
            put = shot.stand(kit.tables, 1.5, far, inside)
            if put:
                mesh, x, y, turn = put
                set_table(st, x, y, st.lib.top[mesh], *st.lib.size[mesh][:2], turn, r.integers(1, 4))
        elif q < 0.69:
            shot.stand(kit.sofas, 2.0, far, inside)
        elif q < 0.82:
            shot.stand(kit.plants + kit.medium, 1.2, far, inside)
        elif q < 0.91 or night > 0:
            spot = shot.find(1.6, far, 0.25, inside, tall=1.5)
            if spot:
                night -= 1
                lamp(
                    st, *spot, 0, r.uniform(1.2, 1.8), 10 ** r.uniform(-0.5, 0.6) * (1 if r.random() < 0.6 else not day)
                )
                st.spots.append((*spot, 0.25))
        else:
            shot.stand(kit.storage + kit.animals, 1.6, far, inside)
    if r.random() < 0.4:
        for _ in range(r.integers(1, 4)):
            shot.stand(kit.standing, 1.4, reach - 0.3, inside, crowd=0.5)
    if r.random() < 0.4:
        along_wall(st, wide, deep, place_model(st, kit.storage + kit.plants, 1), r.integers(1, 5))
    sky = sky_of(st, True)
    sky["ambient"] = r.uniform(0.01, 0.08)
    if not day:
        sky["gain"], sky["ambient"] = 0.02 * sky["gain"], r.uniform(0.003, 0.03)
        if not st.lights or r.random() < 0.4:
            st.light((*r.uniform(-0.3, 0.3, 2) * (wide, deep), high - 0.35), np.array([1, 0.8, 0.6]) * 4, radius=0.2)
    return shot.finish(sky)


def film_street(st: Furnisher, aspect: float) -> dict:
    """A street, a yard or a square at eye height: fronts, things and people on the ground before them, sky and haze."""
    r, kit = st.rng, st.kit
    hfov = film_lens(r, aspect, 22, 80)
    mood = r.choice(["grey", "sun", "dusk", "night"], p=[0.3, 0.42, 0.18, 0.1])
    lit = {"grey": 0.1, "sun": 0.05, "dusk": 0.4, "night": 0.45}[mood]
    st.shape("box", (0, 0, -0.5), (400, 400, 0.5), cls=STUFF, paint="ground")
    half, far, kind = r.uniform(1.8, 8), r.uniform(7, 45), r.random()
    if r.random() < 0.5:  # road or paving
        st.shape("box", (0, 0, -0.4), (400, half * r.uniform(0.8, 1.7), 0.41), cls=STUFF, paint="ground")
    if r.random() < 0.4:
        for side in (-1, 1):
            walk = (400, r.uniform(0.8, 2), 0.4 + r.uniform(0.06, 0.15))
            st.shape("box", (0, side * half, -0.4), walk, cls=STUFF, paint="floor" if r.random() < 0.3 else "ground")
    rows = (-1, 1) if kind < 0.5 else ((r.choice([-1, 1]),) if kind < 0.75 else ())
    for side in rows:
        if r.random() < 0.3:
            buildings(st, side, 45, half)
            continue
        at = r.uniform(-6, 0)
        while at < far + 4:
            w = r.uniform(4, 13)
            tall, back = r.uniform(3, 12), r.choice([0, 0, r.uniform(0, 1.5)])
            turn, y = (0 if side > 0 else np.pi), side * (half + back)
            if r.random() < 0.45:
                front = (at + w / 2, y + side * 2.5, 0)
                st.shape("facade", front, (w, 5, tall), yaw=turn, cls=STUFF, paint="facade")
            else:
                house_front(st, at + w / 2, y, turn, w, tall, lit)
            at += w + (r.uniform(0.5, 4) if r.random() < 0.2 else 0)
    if kind >= 0.75 or r.random() < 0.55:  # what closes the view
        turn, q = -np.pi / 2 + r.normal(0, 0.25) * (not rows), r.random()
        wide, tall = r.uniform(6, 16) + 2 * half * len(rows), r.uniform(3, 11)
        if q < 0.5:
            house_front(st, far, r.normal(0, 1), turn, wide, tall, lit)
        elif q < 0.8:
            st.shape("facade", (far + 2.5, 0, 0), (wide, 5, tall), yaw=turn, cls=STUFF, paint="facade")
        else:
            kind_, paint = ("hedge", "leaf") if r.random() < 0.6 else ("box", "facade")
            st.shape(kind_, (far, 0, 0), (wide, 1, r.uniform(1.2, 3)), yaw=turn, cls=STUFF, paint=paint)
    for _ in range(r.integers(2, 9) if kind >= 0.75 else r.integers(0, 3)):
        x, y = r.uniform(5, 50), r.normal(0, 9)
        if x > far + 2 or (not rows and abs(y) > 2.5):
            st.tree(x, y)
    eye = np.array(
        [
            r.uniform(-2, 0),
            r.uniform(-0.5, 0.5) * half,
            r.uniform(1.15, 1.85) if r.random() < 0.85 else r.uniform(0.4, 3),
        ]
    )
    yaw = r.normal(-eye[1] / 12, 0.14) if rows else r.normal(0, 0.25)
    pitch = r.normal(-0.015, 0.03) + hfov / aspect * r.normal(-0.05, 0.17)
    shot = Shot(st, eye, yaw, np.clip(pitch, -0.3, 0.25), hfov, aspect)
    inside = lambda x, y: (not rows or abs(y) < half - 0.3) and x < far - 0.7  # noqa: E731
    zoom = np.tan(0.5) / np.tan(hfov / 2) if r.random() < 0.7 else 1  # a long lens mostly stands back
    near, deep = 2.2 * max(1, zoom**0.7), min(far - 0.5, r.uniform(7, 20) * max(1, zoom**0.8))
    bench = [i for i in kit.sofas if "bench" in st.lib.name[i].lower()] or kit.seats
    for _ in range(r.integers(0, 3)):
        shot.stand(kit.cars, max(near, 5), deep * 1.3, inside, straight=0.3, crowd=0.3)
    for _ in range(r.integers(3, 12)):
        items = (kit.street, kit.bikes, kit.seats, bench, kit.plants, kit.animals, kit.garage, kit.tables)
        pick = items[r.choice(8, p=[0.34, 0.16, 0.1, 0.1, 0.13, 0.05, 0.07, 0.05])]
        put = shot.stand(pick, near, deep, inside)
        if put and pick is kit.tables:
            set_table(st, *put[1:3], st.lib.top[put[0]], *st.lib.size[put[0]][:2], put[3], r.integers(0, 3))
    for _ in range(r.integers(0, 5)):
        shot.stand(kit.standing, near, deep, inside, crowd=0.5)
    if r.random() < 0.3:  # crates or stones
        for _ in range(r.integers(1, 4)):
            w, spot = r.uniform(0.25, 0.7), shot.find(near, deep, 0.4, inside)
            if spot:
                shape = ("rock", "box", "bag")[r.integers(3)]
                st.shape(shape, (*spot, 0), (w, w, w * r.uniform(0.5, 1)), yaw=r.uniform(0, 6), paint="plaster")
    sky = sky_of(st, False)
    if hfov < 0.8 and "image" in sky:  # a photographed sky is too coarse for a long lens
        del sky["image"]
        sky |= {"zenith": np.array([0.4, 0.6, 1]) * r.uniform(0.4, 1.1), "clouds": r.uniform(0, 1)}
    if mood == "sun":
        sun_from(st, yaw + r.uniform(-np.pi, np.pi), r.uniform(0.12, 1.1), r.uniform(2, 8) * sky["gain"])
    elif mood != "grey":
        sky["gain"] *= 0.25 if mood == "dusk" else 0.02
        for _ in range(r.integers(2, 6)):
            x, y = shot.at(r.uniform(3, max(4, far)), r.uniform(-1, 1))
            warm = np.array([1, r.uniform(0.6, 0.9), r.uniform(0.3, 0.7)])
            st.light((x, np.clip(y, -half, half), r.uniform(2.5, 5)), warm * r.uniform(1, 12), radius=0.12)
    sky["ambient"] = 0.25 * sky["gain"]
    if r.random() < 0.25:
        sky |= {"fog": 10 ** r.uniform(-2.7, -1.4), "fog_colour": np.full(3, r.uniform(0.4, 1)) * sky["gain"]}
    return shot.finish(sky)


def film_table(st: Furnisher, aspect: float) -> dict:
    """A still life: three to nine small things on a surface before a wall, a window, the dark or a far room."""
    r, kit = st.rng, st.kit
    hfov = film_lens(r, aspect, 28, 105)
    z, wide, deep = r.uniform(0.4, 1.0), r.uniform(0.8, 3.2), r.uniform(0.6, 1.8)
    pitch = np.radians(r.choice([r.uniform(14, 50), r.uniform(3, 15), r.uniform(45, 75)], p=[0.68, 0.22, 0.1]))
    # how wide a piece of the surface is framed is drawn apart from the lens
    frame = np.exp(r.uniform(np.log(0.45), np.log(2.0))) * min(1, aspect)
    reach = np.clip(frame / (2 * np.tan(hfov / 2)), 0.4, 2.4)
    turn = r.normal(0, 0.3) if r.random() < 0.8 else r.normal(0, 0.8)
    yaw, target = np.pi / 2 + turn, np.array([r.normal(0, 0.12) * wide, r.uniform(-0.3, 0.15) * deep, z])
    eye = target - reach * np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    eye[2] = max(eye[2], z + 0.07)
    # the point aimed at lies anywhere between the picture's middle and its lower third
    shot = Shot(st, eye, yaw, -pitch + r.uniform(-0.05, 0.6) * np.arctan(np.tan(hfov / 2) / aspect), hfov, aspect)
    back, dark = deep / 2 + r.choice([0.02, r.uniform(0.02, 0.5), r.uniform(0.3, 2.5)]), False
    q = r.random()
    if q < 0.25:  # a room behind
        w, d = max(r.uniform(3.5, 7), 2 * abs(eye[0]) + 1), max(r.uniform(4, 8), 2 * abs(eye[1]) + 1)
        st.spots += [(*eye[:2], 0.6), (0.0, 0.0, max(wide, deep) / 2)]
        room_shell(st, w, d, r.uniform(2.3, 3.2))
        along_wall(st, w, d, place_model(st, kit.storage + kit.sofas, 2), r.integers(3, 10))
        along_wall(st, w, d, place_model(st, kit.plants + kit.lamps + kit.seats), r.integers(0, 6))
    else:
        dark = q > 0.85
        st.shape("box", (0, 0, -0.1), (14, 14, 0.1), cls=STUFF, paint="floor")
        paint = st.paint("fabric" if dark else "wall")
        if dark:
            paint[0:3], back = r.uniform(0.005, 0.06), back + r.uniform(0, 1.5)
        if q < 0.45:  # a window in the wall behind
            s, w, sill = r.uniform(-0.9, 0.9), r.uniform(0.7, 1.8), z + r.uniform(-0.1, 0.4)
            high = r.uniform(0.8, 1.5)
            wall(st, (6, back), (-6, back), 3.2, [(6 - s - w / 2, 6 - s + w / 2, sill, sill + high)], paint)
            window_in(st, (s, back), (0, -1), w, sill, high, 10 ** r.uniform(0, 1))
        else:
            st.shape("box", (0, back + 0.06, 0), (14, 0.12, 3.5), cls=STUFF, paint=paint)
            if r.random() < 0.25:
                size = (r.uniform(0.3, 0.8), 0.03, r.uniform(0.3, 0.8))
                st.shape("box", (r.normal(0, 0.5), back - 0.02, z + r.uniform(0.15, 0.5)), size, paint="poster")
        side = r.choice([-1, 1]) * (wide / 2 + r.uniform(0.05, 2))
        if r.random() < 0.4 and eye[0] * np.sign(side) < abs(side) - 0.3:
            st.shape("box", (side, 0, 0), (0.1, 10, 3.2), cls=STUFF, paint=paint)
        st.spots.append((0, back + 1, 0.8))
    top = st.paint(
        ("wood", "floor", "plaster", "fabric", "metal", "random")[r.choice(6, p=[0.4, 0.22, 0.14, 0.14, 0.05, 0.05])]
    )
    if not st.wild and r.random() < 0.4:  # timber as it comes
        top[0:3] = np.clip(
            np.array([0.62, 0.38, 0.2]) * 10 ** r.uniform(-0.6, 0.2) * (1 + r.normal(0, 0.1, 3)), 0.01, 0.95
        )
    first = len(st.rows)
    st.table(0, 0, 0, wide, deep, z, top)
    is_round = int(st.rows[first][12]) in st.lib.shape["cylinder"]
    if r.random() < 0.15:  # a cloth or mat
        size = (r.uniform(0.3, 0.6), r.uniform(0.25, 0.5), 0.004)
        st.shape("box", (*target[:2], z), size, yaw=r.normal(0, 0.3), paint="fabric")
    for _ in range(r.integers(0, 3) if r.random() < 0.3 else 0):
        st.furniture(kit.chairs, r.uniform(-0.5, 0.5) * wide, deep / 2 + r.uniform(0.25, 0.7), r.normal(0, 0.3))
    placed: list[tuple[float, float, float]] = []
    for _ in range(60):
        if len(placed) >= 9 or (len(placed) >= 3 and r.random() < 0.08):
            break
        at = shot.on_plane(r.uniform(-0.85, 0.85), r.uniform(-0.8, 0.9), z)
        if at is None or abs(at[0]) > wide / 2 - 0.15 or abs(at[1]) > deep / 2 - 0.15:
            continue
        if is_round and np.hypot(at[0] / wide, at[1] / deep) > 0.4:
            continue
        if np.hypot(at[0] - eye[0], at[1] - eye[1]) < 0.3 + 0.2 * (pitch < 0.4):
            continue
        far = [np.hypot(at[0] - a, at[1] - b) - w / 2 for a, b, w in placed]
        if all(d > 0.14 for d in far):
            placed.append((*at, small_thing(st, *at, z, r.uniform(0, 6.3))))
    warm = np.array([1, r.uniform(0.75, 1), r.uniform(0.5, 1)])
    a, up = yaw + r.uniform(-2.4, 2.4), r.uniform(0.5, 1.6)
    d = r.uniform(0.7, 2.2)
    key = np.array([target[0] + d * np.cos(a), min(target[1] + d * np.sin(a), back - 0.1), z + up])
    if r.random() < 0.8 or not st.lights:
        to = (target - key) / np.linalg.norm(target - key)
        st.light(key, warm * 10 ** r.uniform(0, 1), kind=2, normal=to, half=r.choice([0.08, 0.25, 0.6]))
        st.lights.insert(0, st.lights.pop())  # first, for only so many count
    sky = sky_of(st, True)
    sky["gain"] = 10 ** r.uniform(-1.3, 0.3) * (0.2 if dark else 1)
    sky["ambient"] = r.uniform(0.005, 0.08)
    if r.random() < 0.2:
        sun_from(st, a, r.uniform(0.3, 0.9), r.uniform(2, 8))
    sky["fog"] = 0.0
    return shot.finish(sky)
