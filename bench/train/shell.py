"""The shell of a room: floor, ceiling, walls with doors, windows, curtains and pictures, and its lights."""

from __future__ import annotations

import numpy as np
from furnish import Furnisher
from stage import STUFF


def wall(st: Furnisher, a, b, high, openings, paint, thick=0.12) -> None:
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


def room_shell(st: Furnisher, wide: float, deep: float, high: float, garage: bool = False) -> None:
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
