"""Composed furnishings: shelves of books, desks with screens and clutter, trees, people."""

from __future__ import annotations

import numpy as np
from stage import OBJECT, PERSON, STUFF, Stage


class Furnisher(Stage):
    """A stage that knows how to build the common things out of single meshes."""

    def books(self, x, y, z, length, yaw, depth=0.18, high=0.26, obj=None) -> None:
        """A row of standing books along the yaw direction."""
        r, at, c, s = self.rng, -length / 2, np.cos(yaw), np.sin(yaw)
        if r.random() < 0.45:
            h = r.uniform(0.6, 0.95) * high
            self.shape("box", (x, y, z), (length * r.uniform(0.5, 1), depth, h), yaw=yaw, paint="spines", obj=obj)
            return
        while at < length / 2 - 0.02:
            w, h = r.uniform(0.012, 0.06), r.uniform(0.6, 1) * high
            if r.random() < 0.9:
                self.shape(
                    "box",
                    (x + c * (at + w / 2), y + s * (at + w / 2), z),
                    (w * 0.96, depth * r.uniform(0.7, 1), h),
                    yaw=yaw,
                    roll=r.normal(0, 0.03) if r.random() < 0.2 else 0,
                    paint="cover" if r.random() < 0.3 else "plaster",
                    obj=obj,
                )
            at += w + (r.uniform(0, 0.1) if r.random() < 0.06 else 0)

    def shelf(self, x, y, yaw, z=0.0, garage=False) -> None:
        r, obj = self.rng, self.new_id()
        w, d, h = r.uniform(0.6, 1.8), r.uniform(0.22, 0.5), r.uniform(0.7, 2.3)
        pick = r.integers(len(self.lib.shape["rack"]))
        mesh, n = self.lib.shape["rack"][pick], (3, 3, 4, 4, 5, 5, 6, 6, 8, 8)[pick]
        self.put(mesh, (x, y, z), (w, d, h), yaw, paint="metal" if garage else "wood", obj=obj)
        self.spots.append((x, y, w / 2))
        c, s, gap = np.cos(yaw), np.sin(yaw), h / (n - 1)
        for k in range(n - 1 if r.random() < 0.7 else n):
            base = z + k * gap + 0.02
            if not garage and r.random() < 0.6 and 0.15 < gap < 0.7:
                self.books(x, y, base, w * 0.9, yaw, d * 0.7, min(gap * 0.9, 0.32), obj)
            else:
                for a in np.arange(-w / 2 + 0.1, w / 2 - 0.05, r.uniform(0.15, 0.4)):
                    self.item(x + c * a, y + s * a, base, limit=min(gap * 0.85, 0.45), boxes=0.55 if garage else 0.1)

    def item(self, x, y, z, limit=0.5, boxes=0.1) -> None:
        """One small thing standing at a point."""
        r = self.rng
        yaw, q = r.uniform(0, 2 * np.pi), r.random()
        if q < boxes:
            s = r.uniform(0.3, 1, 3) * limit
            self.shape("box", (x, y, z), s, yaw=yaw, paint=("plaster", "cover", "poster", "fabric")[r.integers(4)])
        elif q < 0.5:
            for _ in range(6):
                mesh = self.pick(self.kit.small)
                if self.lib.size[mesh].max() < limit * 1.2:
                    break
            s = min(1.0, limit / max(self.lib.size[mesh].max(), 1e-3)) * r.uniform(0.8, 1.15)
            self.put(mesh, (x, y, z), s, yaw)
        elif q < 0.58:
            s, obj = min(r.uniform(0.12, 0.3), limit), self.new_id()
            for _ in range(r.integers(1, 7)):
                t = r.uniform(0.01, 0.05)
                self.shape(
                    "box",
                    (x, y, z),
                    (s * 0.75, s, t),
                    yaw=yaw + r.normal(0, 0.2),
                    paint="cover" if r.random() < 0.6 else "plaster",
                    obj=obj,
                )
                z += t
        elif q < 0.68:
            w, h = r.uniform(0.05, 0.1), min(r.uniform(0.1, 0.34), limit)
            self.shape("bottle", (x, y, z), (w, w, h), paint="metal" if r.random() < 0.4 else "poster")
        elif q < 0.76:
            w = r.uniform(0.07, 0.11)
            self.shape("cup", (x, y, z), (w * 1.3, w, r.uniform(0.07, 0.12)), yaw=yaw, paint="plaster")
        elif q < 0.8:
            w = min(r.uniform(0.1, 0.3), limit)
            self.shape("bowl", (x, y, z), (w, w, w * r.uniform(0.15, 0.5)), paint="plaster")
        elif q < 0.84:
            w = min(r.uniform(0.04, 0.24), limit)
            self.shape(
                "ball" if r.random() < 0.5 else "ring",
                (x, y, z),
                (w, w, w * r.uniform(0.3, 1)),
                yaw=yaw,
                paint="plaster",
            )
        elif q < 0.88:
            w = min(r.uniform(0.1, 0.4), limit)
            self.shape(
                "bag" if r.random() < 0.5 else "crumple", (x, y, z), w * r.uniform(0.5, 1.2, 3), yaw=yaw, paint="fabric"
            )
        elif q < 0.93:
            w, obj, h = min(r.uniform(0.1, 0.3), limit) * 0.6, self.new_id(), min(limit, 0.6)
            self.shape("shade", (x, y, z), (w, w, w * 0.8), roll=np.pi, paint="plaster", obj=obj)
            self.shape(
                "tuft" if r.random() < 0.8 else "crown",
                (x, y, z + w * 0.7),
                (h, h, h * r.uniform(0.5, 1.1)),
                yaw=yaw,
                paint="leaf",
                obj=obj,
            )
        else:
            w = min(r.uniform(0.04, 0.2), limit)
            self.shape(
                "cylinder",
                (x, y, z),
                (w, w, min(limit, r.uniform(0.02, 0.3))),
                paint="poster" if r.random() < 0.5 else "plaster",
            )

    def screen(self, x, y, z, yaw) -> None:
        r, obj = self.rng, self.new_id()
        w = r.uniform(0.35, 0.75)
        h, fat = w * r.uniform(0.55, 0.8), r.uniform(0.02, 0.06) if r.random() < 0.8 else r.uniform(0.25, 0.4)
        front = np.array([np.sin(yaw), -np.cos(yaw)])
        self.shape("box", (x, y, z), (w * 0.4, w * 0.3, 0.02), yaw=yaw, paint="metal", obj=obj)
        self.shape("box", (x, y, z), (0.06, 0.05, 0.25), yaw=yaw, paint="metal", obj=obj)
        lift = z + r.uniform(0.06, 0.16)
        self.shape("box", (x, y, lift), (w, fat, h), yaw=yaw, paint="metal", obj=obj)
        glow = self.paint("screen")
        glow[9] = r.uniform(0, 2) if r.random() < 0.7 else 0
        if r.random() < 0.4:
            glow = self.paint("metal")
            glow[0:3] = 0.02
        self.shape(
            "box",
            (x + front[0] * fat / 2, y + front[1] * fat / 2, lift + 0.02),
            (w * 0.94, 0.006, h - 0.04),
            yaw=yaw,
            paint=glow,
            obj=obj,
        )
        if r.random() < 0.7:
            k = front * r.uniform(0.2, 0.35)
            self.shape(
                "box",
                (x + k[0], y + k[1], z),
                (0.44, 0.15, 0.02),
                yaw=yaw + r.normal(0, 0.1),
                paint="screen" if r.random() < 0.3 else "metal",
            )

    def clutter(self, x, y, z, wide, deep, count, yaw=0.0, desk=0.3, limit=0.45) -> None:
        """`count` small things on a rectangle; sometimes a screen, papers and cables among them."""
        r, c, s = self.rng, np.cos(yaw), np.sin(yaw)
        spot = lambda a, b: (x + c * a - s * b, y + s * a + c * b)  # noqa: E731
        if r.random() < desk and wide > 0.5:
            for _ in range(r.integers(1, 3)):
                self.screen(*spot(r.uniform(-0.3, 0.3) * wide, r.uniform(0, 0.35) * deep), z, yaw + r.normal(0, 0.3))
        for _ in range(count):
            a, b = r.uniform(-0.47, 0.47, 2) * (wide, deep)
            q = r.random()
            if q < 0.14:
                self.shape(
                    "box",
                    (*spot(a, b), z),
                    (*(r.uniform(0.1, 0.3, 2)), 0.004),
                    yaw=r.uniform(0, 6.3),
                    paint="poster" if r.random() < 0.6 else "screen",
                )
            elif q < 0.2:
                self.shape(
                    "cable",
                    (*spot(a, b), z),
                    (*(r.uniform(0.2, 0.7, 2)), 0.015),
                    yaw=r.uniform(0, 6.3),
                    paint="plaster",
                )
            else:
                self.item(*spot(a, b), z, limit=r.uniform(0.12, limit))

    def table(self, x, y, yaw, wide, deep, high, top=None) -> int:
        r, obj, wood = self.rng, self.new_id(), self.paint("wood") if top is None else top
        thick, c, s = r.uniform(0.02, 0.06), np.cos(yaw), np.sin(yaw)
        round_ = r.random() < 0.2
        self.shape(
            "cylinder" if round_ else "box", (x, y, high - thick), (wide, deep, thick), yaw=yaw, paint=wood, obj=obj
        )
        legs = wood if r.random() < 0.6 else self.paint("metal")
        if round_ or r.random() < 0.15:
            self.shape("cylinder", (x, y, 0), (0.1, 0.1, high - thick), paint=legs, obj=obj)
        else:
            t = r.uniform(0.03, 0.08)
            for a in (-1, 1):
                for b in (-1, 1):
                    u, v = a * (wide / 2 - t), b * (deep / 2 - t)
                    self.shape(
                        "box" if r.random() < 0.9 else "cylinder",
                        (x + c * u - s * v, y + s * u + c * v, 0),
                        (t, t, high - thick),
                        yaw=yaw,
                        paint=legs,
                        obj=obj,
                    )
        self.spots.append((x, y, max(wide, deep) / 2))
        return obj

    def tree(self, x, y, z=0.0) -> None:
        r = self.rng
        if r.random() < 0.4:
            self.furniture(self.kit.trees, x, y, r.uniform(0, 6.3), z, claim=False)
            return
        h, obj = r.uniform(2, 11), self.new_id()
        self.shape(
            "trunk", (x, y, z), (h * 0.5, h * 0.5, h * r.uniform(0.7, 1)), yaw=r.uniform(0, 6.3), paint="wood", obj=obj
        )
        if r.random() < 0.85:
            for _ in range(r.integers(1, 4)):
                s = h * r.uniform(0.35, 0.7)
                self.shape(
                    "crown",
                    (x + r.normal(0, 0.1) * h, y + r.normal(0, 0.1) * h, z + h * r.uniform(0.3, 0.6)),
                    (s, s, s * r.uniform(0.7, 1.3)),
                    yaw=r.uniform(0, 6.3),
                    paint="leaf",
                    obj=obj,
                )

    def person(self, x, y, z=0.0, sitting=False) -> None:
        items = self.kit.sitting if sitting and self.kit.sitting else self.kit.standing
        self.furniture(items, x, y, self.rng.uniform(0, 6.3), z, claim=not sitting)

    def dining(self, x, y, yaw, wide, deep, seats=True, people=0.0) -> None:
        """A laid or bare table with chairs pushed up to it on all sides."""
        r, c, s = self.rng, np.cos(yaw), np.sin(yaw)
        self.table(x, y, yaw, wide, deep, r.uniform(0.7, 0.78))
        self.clutter(x, y, 0.76, wide * 0.9, deep * 0.9, r.integers(0, 16), yaw, desk=0.05)
        mesh = self.pick(self.kit.chairs)  # the same chair all round, mostly
        same, count = r.random() < 0.85, max(1, int(wide / r.uniform(0.55, 0.9)))
        places = [(a, e) for e in (-1, 1) for a in (np.arange(count) + 0.5) / count - 0.5]
        for a, e in places if seats else []:
            if r.random() < 0.15:
                continue
            u, v, turn = (
                a * wide,
                e * (deep / 2 + r.uniform(-0.1, 0.3)),
                yaw + (np.pi if e < 0 else 0) + r.normal(0, 0.12),
            )
            at = (x + c * u - s * v, y + s * u + c * v, 0)
            self.put(mesh if same else self.pick(self.kit.chairs), at, 1.0, turn)
            if r.random() < people:
                self.put(self.pick(self.kit.sitting), at, r.uniform(0.9, 1.05), turn, cls=PERSON)
        for e in (-1, 1):
            if seats and r.random() < 0.5:
                u = e * (wide / 2 + r.uniform(0, 0.25))
                self.put(mesh, (x + c * u, y + s * u, 0), 1.0, yaw - e * np.pi / 2 + r.normal(0, 0.1))

    def lounge(self, x, y, yaw) -> None:
        """Sofas and armchairs about a low table, on a rug."""
        r, c, s = self.rng, np.cos(yaw), np.sin(yaw)
        at = lambda a, b: (x + c * a - s * b, y + s * a + c * b)  # noqa: E731
        if r.random() < 0.6:
            self.shape(
                "box", (x, y, 0), (r.uniform(1.5, 3), r.uniform(1.4, 2.4), 0.015), yaw=yaw, cls=STUFF, paint="fabric"
            )
        self.furniture(self.kit.sofas, *at(r.normal(0, 0.2), r.uniform(1.0, 1.5)), yaw + r.normal(0, 0.05))
        if r.random() < 0.7:
            mesh, _ = self.furniture(self.kit.low_tables, x, y, yaw)
            self.clutter(x, y, self.lib.top[mesh], *self.lib.size[mesh][:2] * 0.8, r.integers(0, 7), yaw, desk=0)
        for e in (-1, 1):
            if r.random() < 0.6:
                self.furniture(
                    self.kit.seats + self.kit.sofas,
                    *at(e * r.uniform(1.2, 1.7), r.uniform(-0.4, 0.5)),
                    yaw - e * 1.4 + r.normal(0, 0.3),
                )
        for _ in range(r.integers(0, 4)):
            self.shape(
                "cushion",
                (*at(r.uniform(-0.8, 0.8), r.uniform(0.9, 1.3)), r.uniform(0.42, 0.55)),
                r.uniform(0.3, 0.5, 3) * (1, 1, 0.4),
                yaw=yaw,
                pitch=r.normal(0.8, 0.3),
                paint="fabric",
            )

    def stairs(self, x, y, yaw, steps, wide, z=0.0) -> None:
        """A flight going up along its own y."""
        r, c, s = self.rng, np.cos(yaw), np.sin(yaw)
        rise, tread, paint, open_ = r.uniform(0.15, 0.19), r.uniform(0.24, 0.32), self.paint("floor"), r.random() < 0.3
        for k in range(steps):
            low = z + k * rise if open_ else z
            high = 0.05 if open_ else (k + 1) * rise
            at = (x - s * k * tread, y + c * k * tread, low + (rise - 0.05 if open_ else 0))
            self.shape("box", at, (wide, tread + 0.02, high), yaw=yaw, cls=STUFF, paint=paint)
        if r.random() < 0.6:
            for e in (-1, 1):
                for k in range(0, steps, 2):
                    a, b = e * wide / 2, k * tread
                    at = (x + c * a - s * b, y + s * a + c * b, z + (k + 1) * rise)
                    self.shape("cylinder", at, (0.03, 0.03, 0.9), cls=STUFF, paint="metal")

    def pile(self, x, y, z, radius, count) -> None:
        """Things lying on and against each other every way up, as tipped out of a box."""
        r = self.rng
        for k in range(count):
            a, d = r.uniform(0, 6.3), radius * r.random() ** 0.5
            at = (x + d * np.cos(a), y + d * np.sin(a), z + r.uniform(0.02, 0.05) + 0.05 * (k > count / 2))
            turn = {"yaw": r.uniform(0, 6.3), "pitch": r.choice([0, 1.57, r.normal(0, 0.4)]), "roll": r.normal(0, 0.3)}
            if r.random() < 0.5:
                mesh = self.pick(self.kit.small)
                self.put(mesh, at, min(1.0, 0.22 / float(self.lib.size[mesh].max())), center=True, **turn)
            else:
                kind = ("box", "bottle", "cylinder", "ball", "cup", "bowl", "ring", "bag", "cushion")[r.integers(9)]
                size = r.uniform(0.04, 0.2, 3)
                self.shape(
                    kind, at, size, center=True, paint=("poster", "plaster", "cover", "metal")[r.integers(4)], **turn
                )

    def loom(self, eye: np.ndarray, target: np.ndarray, half: float) -> None:
        """Something big at the frame's edge and far nearer than what is looked at: an arm, a box, a machine's head.
        `half` is the tangent of half the field of view.
        """
        r, ahead = self.rng, target - eye
        right = np.cross(ahead, [0.0, 0.01, 1.0])
        right, turn = right / np.linalg.norm(right), r.uniform(0, 2 * np.pi)
        up, near = np.cross(right, ahead) / np.linalg.norm(ahead), r.uniform(0.35, 0.75)
        aside = r.uniform(0.6, 1.1) * near * np.linalg.norm(ahead) * half
        at = eye + near * ahead + aside * (np.cos(turn) * right + 0.75 * np.sin(turn) * up)
        self.shape(
            ("cylinder", "box", "box", "bag", "bottle", "cushion")[r.integers(6)],
            at,
            r.uniform(0.2, 0.7, 3) * near * np.linalg.norm(ahead),
            yaw=r.uniform(0, 6.3),
            pitch=r.normal(0, 0.5),
            paint=("metal", "plaster", "fabric", "cover")[r.integers(4)],
            center=True,
        )

    def foreground(self, eye, yaw: float, share: float) -> None:
        """With probability `share`, things close before the camera: what stands beyond must then be far."""
        r = self.rng
        if r.random() > share:
            return
        c, s = np.cos(yaw), np.sin(yaw)
        if eye[2] > 1.0 and r.random() < 0.35:  # a table set just in front, chair backs towards the lens
            deep = r.uniform(0.7, 1.2)
            reach, aside = deep / 2 + r.uniform(0.6, 1.3), r.normal(0, 0.4)
            turn = yaw - np.pi / 2 + (r.normal(0, 0.15) if r.random() < 0.5 else r.uniform(0, 6.3))
            at = (eye[0] + c * reach - s * aside, eye[1] + s * reach + c * aside)
            self.dining(*at, turn, r.uniform(0.9, 2.4), deep, people=0.2 * (r.random() < 0.3))
            return
        kit = self.kit
        near = (kit.chairs, kit.seats, kit.tables, kit.plants, kit.standing, kit.sofas, kit.medium)[r.integers(7)]
        for _ in range(r.integers(1, 3)):
            mesh = self.pick(near)
            reach = r.uniform(0.5, 1.3) + float(self.lib.size[mesh][:2].max()) / 2
            aside = r.choice([-1, 1]) * r.uniform(0.2, 0.7) * reach
            at = (eye[0] + c * reach - s * aside, eye[1] + s * reach + c * aside, 0)
            self.put(mesh, at, 1.0, r.uniform(0, 6.3), cls=PERSON if mesh in kit.people else OBJECT)
