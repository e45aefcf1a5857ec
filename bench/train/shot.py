"""A camera as a film crew sets it up, and the things it frames: lens by focal length, marks on the floor, lamps."""

from __future__ import annotations

import numpy as np
from furnish import Furnisher
from stage import STUFF


def film_lens(r: np.random.Generator, aspect: float, shortest: float, longest: float) -> float:
    """Horizontal field of view in radians of a lens (mm, even in the logarithm) before a 36 mm wide sensor."""
    half = 18 / np.exp(r.uniform(np.log(shortest), np.log(longest)))
    return 2 * np.arctan(half * min(aspect, 1.0))


class Shot:
    """Where the camera stands and looks; finds places in its view where things are seen well."""

    def __init__(self, st: Furnisher, eye, yaw: float, pitch: float, hfov: float, aspect: float):
        self.st, self.eye, self.yaw, self.pitch, self.hfov, self.aspect = st, np.array(eye), yaw, pitch, hfov, aspect
        self.facing = yaw - np.pi / 2  # the heading of a thing whose front looks at the camera
        self.taken: list[tuple[float, float]] = []  # azimuth and half width as seen, radians

    def finish(self, sky: dict) -> dict:
        r = self.st.rng
        to = np.array([np.cos(self.yaw), np.sin(self.yaw), np.tan(self.pitch)])
        roll = r.normal(0, 0.012) if r.random() < 0.8 else r.normal(0, 0.07)
        return self.st.finish(self.eye, self.eye + to, self.hfov, roll, sky)

    def at(self, distance: float, side: float) -> tuple[float, float]:
        """The place `distance` ahead and `side` half picture widths to the left, in plan."""
        aside, c, s = side * distance * np.tan(self.hfov / 2), np.cos(self.yaw), np.sin(self.yaw)
        return self.eye[0] + c * distance - s * aside, self.eye[1] + s * distance + c * aside

    def on_plane(self, u: float, v: float, z: float) -> tuple[float, float] | None:
        """The point at height z seen at u, v (-1 to 1 across and up the picture), or None above the horizon."""
        half, c, s = np.tan(self.hfov / 2), np.cos(self.pitch), np.sin(self.pitch)
        right, up = u * half, v * half / self.aspect
        ahead, climb = c - s * up, s + c * up
        if climb * (z - self.eye[2]) <= 0:
            return None
        k = (z - self.eye[2]) / climb
        a, b = np.cos(self.yaw), np.sin(self.yaw)
        return self.eye[0] + k * (a * ahead + b * right), self.eye[1] + k * (b * ahead - a * right)

    def clear(self, x: float, y: float, radius: float, crowd: float = 0.2) -> bool:
        """Whether a thing would stand free; behind or before others as seen only with probability `crowd`."""
        if not self.st.free(x, y, radius):
            return False
        far, azimuth = np.hypot(x - self.eye[0], y - self.eye[1]), np.arctan2(y - self.eye[1], x - self.eye[0])
        wide = radius / max(far, radius)
        hidden = any(abs(azimuth - a) < 0.75 * (wide + w) for a, w in self.taken)
        if hidden and self.st.rng.random() > crowd:
            return False
        self.taken.append((azimuth, wide))
        return True

    def find(self, near: float, far: float, radius: float, inside=None, crowd: float = 0.2, tall: float = 0.0):
        """A free place in view between two distances, or None; mostly so far that a thing `tall` fits the picture."""
        r, half = self.st.rng, np.tan(self.hfov / 2)
        near = max(near, radius + 0.7)
        if r.random() < 0.88:
            near = max(near, 1.25 * radius / half, 0.45 * tall * self.aspect / half)
        for _ in range(10):
            d = np.exp(r.uniform(np.log(near), np.log(max(far, near * 1.15))))
            x, y = self.at(d, r.uniform(-0.95, 0.95))
            if (inside is None or inside(x, y)) and self.clear(x, y, radius, crowd):
                return x, y
        return None

    def heading(self, straight: float = 0.75) -> float:
        """Mostly turned towards the camera, within some 40 degrees; else any way."""
        r = self.st.rng
        return self.facing + (r.normal(0, 0.38) if r.random() < straight else r.uniform(0, 2 * np.pi))

    def stand(self, items: list, near: float, far: float, inside=None, straight=0.75, crowd=0.2, **options):
        """Stand one library model in view; returns (mesh, x, y, heading), or None where nothing was free."""
        mesh = self.st.pick(items)
        radius = float(self.st.lib.size[mesh][:2].max()) / 2
        at = self.find(near, far, radius, inside, crowd, float(self.st.lib.size[mesh][2]))
        if at is None:
            return None
        turn = self.heading(straight)
        self.st.furniture([mesh], *at, turn, **options)
        return mesh, *at, turn


def lamp(st: Furnisher, x: float, y: float, z: float, high: float, power: float) -> None:
    """A lamp with foot, stem and a glowing shade that lets its light through."""
    r, obj, metal = st.rng, st.new_id(), st.paint("metal")
    wide = min(high * r.uniform(0.45, 0.8), r.uniform(0.28, 0.5))
    drop, warm = wide * r.uniform(0.55, 0.9), np.array([1, r.uniform(0.65, 0.9), r.uniform(0.35, 0.7)])
    st.shape("cylinder", (x, y, z), (wide * 0.6, wide * 0.6, 0.02), paint=metal, obj=obj)
    if high < 0.7 and r.random() < 0.6:
        st.shape("bottle", (x, y, z), (wide * 0.5, wide * 0.5, high - drop * 0.6), paint="plaster", obj=obj)
    else:
        st.shape("cylinder", (x, y, z), (0.025, 0.025, high - drop * 0.5), paint=metal, obj=obj)
    shade = st.paint("fabric")
    shade[0:3], shade[9], shade[11] = warm**0.4, min(power, 1.0) * r.uniform(0.4, 2.5), 0
    st.shape("shade", (x, y, z + high - drop), (wide, wide, drop), paint=shade, obj=obj, shadow=False)
    if power > 0:
        st.light((x, y, z + high - drop / 2), warm * power, radius=wide * 0.25)


def small_thing(st: Furnisher, x: float, y: float, z: float, yaw: float) -> float:
    """One thing as it is set on a table for a picture; returns how wide it is."""
    r, q = st.rng, st.rng.random()
    if q < 0.5:
        mesh, s = st.pick(st.kit.still), r.uniform(0.9, 1.15)
        st.put(mesh, (x, y, z), s, yaw)
        return float(st.lib.size[mesh][:2].max() * s)
    obj, colour = st.new_id(), st.paint("plaster")
    if r.random() < 0.5:
        colour[0:3] = r.uniform(0.02, 0.9, 3)
        colour[3] = -2
    if r.random() < 0.4:
        colour[5], colour[6] = r.uniform(0.05, 0.3), r.uniform(0.03, 0.15)
    if q < 0.62:  # books lying in a stack
        w, t0 = r.uniform(0.14, 0.27), z
        for _ in range(r.integers(1, 5)):
            t, turn = r.uniform(0.012, 0.05), yaw + r.normal(0, 0.12)
            cover = st.paint("cover" if r.random() < 0.4 else "plaster")
            st.shape("box", (x, y, t0), (w * r.uniform(1.2, 1.5), w, t), yaw=turn, paint=cover, obj=obj)
            t0 += t
        return w * 1.6
    if q < 0.72:  # fruit, one or a few
        size, skin = r.uniform(0.05, 0.1), np.array([0.8, r.uniform(0.1, 0.7), 0.05]) * r.uniform(0.5, 1)
        for k in range(r.integers(1, 4)):
            fruit = st.paint("plaster")
            fruit[0:3], fruit[3], fruit[11] = np.clip(skin * (1 + r.normal(0, 0.15, 3)), 0.02, 0.95), -2, 0
            tall = r.uniform(0.85, 1.3)
            at = (x + k * size * 1.06 * np.cos(yaw), y + k * size * 1.06 * np.sin(yaw), z)
            st.shape("ball", at, (size, size, size * tall), paint=fruit)
        return size * 2
    if q < 0.79:  # a bowl with fruit in it
        w = r.uniform(0.18, 0.34)
        h = w * r.uniform(0.3, 0.5)
        st.shape("bowl", (x, y, z), (w, w, h), paint=colour, obj=obj)
        for k in range(r.integers(0, 7)):
            a, size = k * 1.05 + r.uniform(0, 0.3), w * r.uniform(0.26, 0.34)
            fruit = st.paint("plaster")
            fruit[0:3], fruit[3], fruit[11] = (r.uniform(0.4, 0.9), r.uniform(0.1, 0.7), 0.06), -2, 0
            at = (x + 0.24 * w * np.cos(a), y + 0.24 * w * np.sin(a), z + h * 0.5 + (k > 3) * size * 0.5)
            st.shape("ball", at, (size,) * 3, paint=fruit, obj=obj)
        return w
    if q < 0.88:  # a cup, mostly on its saucer
        w = r.uniform(0.07, 0.11)
        if r.random() < 0.7:
            st.shape("cylinder", (x, y, z), (w * 1.7, w * 1.7, 0.008), paint=colour, obj=obj)
        st.shape("cup", (x, y, z + 0.008), (w * 1.3, w, w * r.uniform(0.7, 1.1)), yaw=yaw, paint=colour, obj=obj)
        return w * 1.7
    if q < 0.965:  # a vase, bare or with flowers
        w = r.uniform(0.08, 0.22)
        h = w * r.uniform(1.2, 2.4)
        st.shape("bottle" if r.random() < 0.7 else "shade", (x, y, z), (w, w, h), paint=colour, obj=obj)
        if r.random() < 0.5:
            st.shape("tuft", (x, y, z + h * 0.9), (h, h, h * r.uniform(0.7, 1.3)), paint="leaf", obj=obj)
        return w
    lamp(st, x, y, z, r.uniform(0.25, 0.5), 10 ** r.uniform(-1, 0.3) if r.random() < 0.6 else 0)
    return 0.3


def window_in(st: Furnisher, middle, inward, wide: float, sill: float, high: float, power: float) -> None:
    """Bars, ledge and daylight for a hole in a wall; `middle` in plan, `inward` the unit normal into the room."""
    r, inward, middle = st.rng, np.array(inward, float), np.array(middle, float)
    along, yaw = np.array([inward[1], -inward[0]]), np.arctan2(-inward[0], inward[1])
    trim, t = st.paint("wall"), r.uniform(0.03, 0.07)
    for e in np.linspace(-1, 1, r.integers(2, 4)):
        st.shape("box", (*(middle + along * e * (wide - t) / 2), sill), (t, 0.08, high), yaw=yaw, cls=STUFF, paint=trim)
    for e in np.linspace(0, 1, r.integers(2, 4)):
        st.shape("box", (*middle, sill + e * (high - t)), (wide, 0.08, t), yaw=yaw, cls=STUFF, paint=trim)
    st.shape("box", (*(middle + inward * 0.1), sill - 0.04), (wide + 0.2, 0.2, 0.04), yaw=yaw, cls=STUFF, paint=trim)
    if r.random() < 0.3:  # blown out, as most windows on film are
        pane = st.paint("light")
        st.shape(
            "box", (*(middle - inward * 0.05), sill), (wide, 0.01, high), yaw=yaw, cls=STUFF, paint=pane, shadow=False
        )
    day = np.array([r.uniform(0.75, 1), r.uniform(0.85, 1), 1]) * power * wide * high
    at = (*(middle + inward * 0.12), sill + high / 2)
    st.light(at, day, kind=2, normal=(*inward, 0), half=min(wide, high) / 2)
    if r.random() < 0.45:
        cloth = st.paint("fabric")
        for e in (-1, 1):
            at = (*(middle + inward * 0.16 + along * e * (wide / 2 + 0.05)), 0.03)
            st.shape("curtain", at, (wide * 0.3, 0.12, sill + high + 0.12), yaw=yaw, cls=STUFF, paint=cloth)


def sun_from(st: Furnisher, yaw: float, height: float, strength: float) -> None:
    """A sun in the direction `yaw` (plan) and at `height` (radians), redder the lower it stands."""
    r, low = st.rng, np.clip(1 - height / 0.7, 0, 1)
    d = np.array([np.cos(yaw) * np.cos(height), np.sin(yaw) * np.cos(height), np.sin(height)])
    warm = np.array([1, 1 - 0.3 * low, 1 - 0.6 * low])
    st.light(d, strength * warm, radius=r.choice([0.008, 0.02, 0.06]), kind=1)


def house_front(st: Furnisher, x: float, y: float, yaw: float, wide: float, high: float, lit: float) -> None:
    """A plain front with windows in rows (panes dark, mirroring or lit), a door and a plinth; its face at x, y."""
    r, c, s = st.rng, np.cos(yaw), np.sin(yaw)
    at = lambda a, b: (x + c * a - s * b, y + s * a + c * b)  # noqa: E731
    paint, trim = st.paint("facade"), st.paint("wall")
    st.shape("box", (*at(0, 2.5), 0), (wide, 5, high), yaw=yaw, cls=STUFF, paint=paint)
    w, h, storey = r.uniform(0.7, 1.4), r.uniform(1.0, 1.9), r.uniform(2.7, 3.5)
    columns = max(1, int(wide / (w + r.uniform(0.8, 2.2))))
    glass = st.paint("metal")
    glass[0:3], glass[3], glass[5], glass[6] = r.uniform(0.01, 0.08), -2, 0.05, r.uniform(0.1, 0.5)
    lamp_lit = st.paint("light")
    lamp_lit[0:3], lamp_lit[9] = (1, r.uniform(0.6, 0.8), r.uniform(0.3, 0.55)), r.uniform(0.5, 4)
    door = r.integers(columns)
    for floor in range(min(3, int(high / storey))):
        for k in range(columns):
            a, z = ((k + 0.5) / columns - 0.5) * wide, floor * storey + r.choice([0.8, 0.9])
            if floor == 0 and k == door:
                st.shape("box", (*at(a, -0.04), 0), (1.05, 0.1, 2.15), yaw=yaw, cls=STUFF, paint="wood")
                continue
            st.shape("box", (*at(a, -0.02), z - 0.08), (w + 0.18, 0.1, h + 0.16), yaw=yaw, cls=STUFF, paint=trim)
            pane = lamp_lit if r.random() < lit else glass
            st.shape("box", (*at(a, -0.035), z), (w, 0.1, h), yaw=yaw, cls=STUFF, paint=pane, shadow=False)
    if r.random() < 0.5:
        st.shape("box", (*at(0, -0.06), 0), (wide, 0.12, r.uniform(0.2, 0.7)), yaw=yaw, cls=STUFF, paint=trim)
    if r.random() < 0.5:
        st.shape("box", (*at(0, -0.1), high - 0.3), (wide, 0.4, 0.3), yaw=yaw, cls=STUFF, paint=trim)
