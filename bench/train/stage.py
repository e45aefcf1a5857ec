"""Placing things: turns 'this mesh, here, this big, painted so' into the rows the ray caster reads, and composes furniture."""

from __future__ import annotations

import numpy as np
from render import INST, LIGHT, SCENE, Library

OBJECT, STUFF, SKY, PERSON = 0, 1, 2, 3


def rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Turn about z by yaw, then lean about the object's own x (pitch) and y (roll)."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    if not pitch and not roll:
        return z
    return z @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])


class Kit:
    """The library sorted into what a scene asks for: lists of mesh numbers."""

    def __init__(self, library: Library):
        self.library = library
        library.top[:] = np.where(library.top > 0, library.top, library.size[:, 2])
        name, cat, size = [n.lower() for n in library.name], library.category, library.size
        rows = range(len(name))
        has = lambda i, *words: any(w in name[i] for w in words)  # noqa: E731
        self.people = [
            i for i in rows if cat[i] == "Characters" and has(i, "female", "male", "boy", "girl", "mannequin")
        ]
        self.standing = [i for i in self.people if size[i][2] > 1.0 and not has(i, "sitting", "lying")]
        self.sitting = [i for i in self.people if has(i, "sitting")]
        self.seats = [
            i
            for i in rows
            if has(i, "chair", "stool", "relax")
            and not has(i, "wheelchair", "high")
            and size[i][2] > 0.35
            and size[i][0] < 1.2
        ]
        self.sofas = [
            i for i in rows if has(i, "sofa", "couch", "futon", "bench", "day bed", "convertible") and size[i][0] > 1.0
        ]
        self.beds = [i for i in rows if has(i, " bed", "bed ") or name[i] == "bed"]
        self.tables = [
            i
            for i in rows
            if has(i, "table", "desk", "workbench")
            and 0.3 < library.top[i] < 1.2
            and size[i][0] > 0.5
            and not has(i, "lamp", "tennis", "bedside", "changing")
        ]
        self.storage = [
            i
            for i in rows
            if has(
                i,
                "bookcase",
                "cabinet",
                "shelves",
                "wardrobe",
                "dresser",
                "cupboard",
                "drawers",
                "fridge",
                "refrigerator",
                "chest",
                "vanity",
                "tv stand",
                "piano",
                "bedside",
                "locker",
                "oven",
                "washing",
                "radiator",
                "fireplace",
                "stove",
            )
            and size[i][2] > 0.3
        ]
        self.wall = [
            i
            for i in rows
            if library.elevation[i] > 0.5
            and size[i][1] < 0.5
            and size[i].max() < 2.5
            and cat[i] != "Doors and windows"
            and not has(i, "ceiling", "chandelier", "pendant", "hanging l")
        ]
        self.ceiling = [
            i for i in rows if has(i, "chandelier", "pendant", "ceiling", "hanging l", "track light", "fluorescent")
        ]
        self.lamps = [
            i
            for i in rows
            if has(i, "lamp")
            and not has(i, "post", "park", "wall", "outdoor", "street", "ceiling", "pendant", "chandelier", "camping")
        ]
        self.plants = [
            i
            for i in rows
            if has(
                i,
                "plant",
                "ficus",
                "bamboo",
                "flower",
                "orchid",
                "yucca",
                "lily",
                "cactus",
                "tulip",
                "spathi",
                "bonsai",
                "succulent",
            )
            and size[i][2] < 3
        ]
        self.trees = [
            i
            for i in rows
            if has(
                i,
                "acacia",
                "pine",
                "cypress",
                "poplar",
                "palm",
                "maple",
                "beech",
                "coconut",
                "sycamore",
                "peach",
                "bush",
            )
            and size[i][2] > 0.8
        ]
        self.cars = [
            i
            for i in rows
            if (cat[i] == "Vehicles"
            and size[i].max() > 2.5)
            or has(
                i,
                "sedan",
                "beetle",
                "smart car",
                "suv",
                "van",
                "bus",
                "truck",
                "chevrolet",
                "scenic",
                "peugeot",
                "seat leon",
                "ford focus",
            )
        ]
        self.cars = [
            i for i in self.cars if size[i].max() > 2.2 and not has(i, "biplane", "rowboat", "container", "elevator")
        ]
        self.bikes = [
            i
            for i in rows
            if has(i, "bike", "bicycle", "yamaha", "scooter", "tricycle", "wheelbarrow", "mower", "stroller")
            and not has(i, "indoor")
        ]
        self.doors = [i for i in rows if has(i, "door") and cat[i] == "Doors and windows" and not has(i, "garage")]
        self.windows = [i for i in rows if has(i, "window") and cat[i] == "Doors and windows"]
        self.street = [
            i
            for i in rows
            if has(
                i,
                "lamppost",
                "street l",
                "park light",
                "trash",
                "hydrant",
                "mailbox",
                "fence",
                "railing",
                "cone",
                "dustbin",
                "letters box",
                "outdoor lamp",
                "stone lantern",
                "barrel",
                "crate",
                "umbrella",
                "barnum",
                "fountain",
                "concrete bench",
                "painted bench",
                "wood bank",
                "swing",
                "seesaw",
                "goal",
                "tent",
            )
        ]
        self.animals = [
            i
            for i in rows
            if has(i, "cat", "dog", "deer", "horse", "rabbit", "bulldog", "teddy", "chicken")
            and cat[i] in ("Characters", "Exterior", "Miscellaneous", "Bedroom")
            and not has(i, "house", "hot", "scat")
        ]
        taken = {*self.people, *self.cars, *self.doors, *self.windows, *self.trees, *self.wall}
        self.small = [i for i in rows if 0.03 < size[i].max() < 0.55 and i not in taken and size[i].min() > 0.004]
        self.medium = [i for i in rows if 0.25 < size[i].max() < 1.6 and i not in taken and size[i][2] > 0.15]
        self.garage = [
            i
            for i in rows
            if has(
                i,
                "box",
                "barrel",
                "crate",
                "ladder",
                "pallet",
                "drill",
                "saw",
                "shovel",
                "tool",
                "broom",
                "bench",
                "mower",
                "shelves",
                "cabinet",
                "boiler",
                "heater",
                "chest",
                "locker",
                "fork lift",
                "bike",
                "motorbike",
                "suitcase",
                "punching",
                "freezer",
                "washing",
                "dustbin",
                "extinguisher",
            )
        ]
        self.any = [i for i in rows if size[i].max() < 4 and i not in self.doors]


class Stage:
    """One scene being built. Positions are of the base centre unless `center` is set; sizes are metres."""

    def __init__(self, kit: Kit, rng: np.random.Generator):
        self.kit, self.rng, self.lib = kit, rng, kit.library
        self.rows: list[np.ndarray] = []
        self.forward: list[np.ndarray] = []
        self.lights: list[np.ndarray] = []
        self.spots: list[tuple[float, float, float]] = []  # footprints taken: x, y, radius
        self.next_id = 1
        self.wild = rng.random() < 0.13  # the wrong texture on everything: shape must carry
        self.drab = rng.uniform(0, 1)
        self.accent = rng.uniform(0, 1, (4, 3)) ** 1.5

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def pick(self, items: list) -> int:
        return items[self.rng.integers(len(items))]

    def colour(self, bright: float = 0.5) -> np.ndarray:
        r = self.rng
        if r.random() < 0.13:
            return self.accent[r.integers(4)]
        grey = r.uniform(0.03, 1) ** (0.4 / max(bright, 0.05))
        return np.clip(grey * (1 + (r.uniform(-1, 1, 3)) * r.uniform(0, 0.6) ** (1 + 2 * self.drab)), 0.01, 0.95)

    def paint(self, kind: str) -> np.ndarray:
        """Fields 16-39 of an instance (see raycast.cu): tint, texture, gloss, dirt, pattern."""
        r, m = self.rng, np.zeros(INST - 16, np.float32)
        tiling, printed = self.lib.tiling, self.lib.printed
        m[3], m[4], m[5], m[7], m[8] = (
            -2,
            r.uniform(0.5, 2.5),
            r.uniform(0.3, 0.9),
            0.3 * r.random() ** 3,
            10 ** r.uniform(-0.3, 1.4),
        )
        m[0:3] = self.colour()
        m[20], m[21], m[22] = r.uniform(0, 6.28) if r.random() < 0.4 else 0, *r.random(2)
        if self.wild and kind not in ("light", "model") and r.random() < 0.8:
            kind = "random"
        if kind == "model":
            m[3], m[0:3] = -1, np.clip(r.normal(1, 0.12) * (1 + r.normal(0, 0.06, 3)), 0.5, 1.5)
            if r.random() < 0.35:
                m[10], m[0:3] = r.uniform(0.4, 1), self.colour(0.7) * 1.4
            if r.random() < (0.7 if self.wild else 0.07):
                return self.paint("random")
        elif kind == "wall":
            m[0:3] = (
                np.clip(r.uniform(0.35, 0.9) * (1 + r.normal(0, 0.07, 3)), 0.05, 0.92)
                if r.random() < 0.75
                else self.colour(0.6)
            )
            if r.random() < 0.3:
                m[3], m[4] = self.pick(tiling), r.uniform(0.4, 2)
                m[0:3] = 0.4 + 0.6 * m[0:3]
            if r.random() < 0.12:
                m[11], m[12], m[13:16] = r.uniform(1, 8), r.choice([1, 2, 3, 5]), m[0:3] * r.uniform(0.6, 1.2)
            m[7] *= 0.4
        elif kind == "floor":
            m[0:3] = np.clip(r.uniform(0.15, 0.9) * (1 + r.normal(0, 0.12, 3)), 0.03, 0.95)
            q = r.random()
            if q < 0.65:
                m[3], m[4] = self.pick(tiling), r.uniform(0.3, 1.5)
                m[0:3] = 0.3 + 0.7 * m[0:3]
            if r.random() < 0.5:
                m[11], m[12], m[13:16] = r.uniform(0.8, 8), r.choice([2, 3, 3, 5, 5, 1]), m[0:3] * r.uniform(0.4, 1.1)
            if r.random() < 0.5:
                m[5], m[6] = r.uniform(0.03, 0.35), r.uniform(0.02, 0.3)
        elif kind == "ground":
            m[3], m[4], m[7] = self.pick(tiling), r.uniform(0.15, 1.2), r.uniform(0.05, 0.4)
            m[0:3] = np.clip(r.uniform(0.25, 0.9) * (1 + r.normal(0, 0.15, 3)), 0.03, 0.95)
            m[8] = 10 ** r.uniform(-0.8, 0.8)
        elif kind in ("wood", "fabric", "metal", "plaster"):
            if r.random() < 0.6:
                m[3], m[4] = self.pick(tiling), r.uniform(0.6, 4)
            if kind == "metal":
                m[5], m[6] = r.uniform(0.05, 0.4), r.uniform(0.1, 0.6)
            if kind == "fabric" and r.random() < 0.4:
                m[11], m[12], m[13:16] = r.uniform(3, 30), r.choice([1, 2, 5, 6]), self.colour()
        elif kind == "leaf":
            m[0:3] = (
                np.array([0.25, 0.42, 0.1]) * r.uniform(0.3, 1.3) * (1 + r.normal(0, 0.25, 3))
                if r.random() < 0.85
                else self.colour()
            )
            m[7] = 0.5
        elif kind in printed:
            m[3], m[0:3] = -3 - self.pick(printed[kind]), r.uniform(0.6, 1)
        elif kind == "light":
            m[0:3], m[9] = 1, r.uniform(1.5, 8)
        elif kind == "facade":
            m[0:3] = np.clip(r.uniform(0.2, 0.85) * (1 + r.normal(0, 0.15, 3)), 0.04, 0.9)
            if r.random() < 0.5:
                m[3], m[4] = self.pick(tiling), r.uniform(0.15, 0.6)
            if r.random() < 0.6:
                m[11], m[12], m[13:16] = r.uniform(0.2, 0.6), 4 if r.random() < 0.6 else 3, self.colour(0.3) * 0.5
            m[8] = 10 ** r.uniform(-0.6, 0.6)
        elif kind == "random":
            m[3] = self.pick(tiling) if r.random() < 0.6 else -3 - int(r.integers(0, max(tiling) + 1))
            m[4], m[0:3] = 10 ** r.uniform(-0.7, 0.8), np.clip(self.colour(0.8) + 0.3, 0, 1.2)
            if r.random() < 0.3:
                m[11], m[12], m[13:16] = 10 ** r.uniform(-0.3, 1.3), r.integers(1, 7), self.colour()
        if r.random() < 0.12 and kind not in ("light", "leaf"):
            m[5], m[6] = r.uniform(0.02, 0.3), r.uniform(0.03, 0.3)
        if r.random() < 0.15:
            m[19] = r.uniform(0.02, 0.25)
        return m

    def put(
        self,
        mesh: int,
        at,
        size=None,
        yaw=0.0,
        pitch=0.0,
        roll=0.0,
        cls=OBJECT,
        obj=None,
        paint="model",
        center=False,
        shadow=True,
    ) -> int:
        """Place one mesh. `size` (3,) stretches a unit shape; for a library model it is a single scale. Returns the object id."""
        library = mesh < len(self.lib.name)
        scale = np.full(3, 1.0 if size is None else size) if library else np.broadcast_to(np.asarray(size, float), 3)
        scale = np.maximum(scale, 1e-3)
        turn = rotation(yaw, pitch, roll)
        t = np.array(at, float)
        if not center and not library:
            t = t + [0, 0, scale[2] / 2]
        elif center and library:
            t = t - turn @ [0, 0, self.lib.size[mesh][2] * scale[2] / 2]
        row = np.zeros(INST, np.float32)
        inverse = turn.T / scale[:, None]
        row[0:12] = np.concatenate([inverse, -(inverse @ t)[:, None]], 1).ravel()
        obj = 0 if cls == STUFF else self.new_id() if obj is None else obj
        row[12:16] = mesh, cls, obj, 0 if shadow else 1
        row[16:] = self.paint(paint) if isinstance(paint, str) else paint
        row[32:35] = scale
        self.rows.append(row)
        self.forward.append(np.concatenate([turn * scale, t[:, None]], 1))
        return obj

    def shape(self, kind: str, at, size, **options) -> int:
        return self.put(self.pick(self.lib.shape[kind]), at, size, **options)

    def free(self, x: float, y: float, radius: float) -> bool:
        return all((x - a) ** 2 + (y - b) ** 2 > (radius + c) ** 2 * 0.8 for a, b, c in self.spots)

    def furniture(
        self, items: list, x: float, y: float, yaw: float, z: float = 0.0, claim: bool = True, **options
    ) -> tuple[int, int]:
        """A library model on the floor; returns (mesh, object id)."""
        mesh = self.pick(items)
        if claim:
            self.spots.append((x, y, float(self.lib.size[mesh][:2].max()) / 2))
        cls = PERSON if mesh in self.kit.people else OBJECT
        s = self.rng.uniform(0.9, 1.1)
        return mesh, self.put(mesh, (x, y, z), s, yaw, cls=cls, **options)

    def light(self, at, colour, radius=0.08, kind=0, normal=(0, 0, -1), half=0.3) -> None:
        row = np.zeros(LIGHT, np.float32)
        row[0:3], row[3], row[4:7], row[7], row[8:11], row[11] = at, radius, colour, kind, normal, half
        self.lights.append(row)

    def sun(self, strength: float, low: float = 0.15) -> np.ndarray:
        r = self.rng
        yaw, height = r.uniform(0, 2 * np.pi), np.arcsin(r.uniform(low, 1))
        d = np.array([np.cos(yaw) * np.cos(height), np.sin(yaw) * np.cos(height), np.sin(height)])
        warm = np.clip(1.1 - height, 0, 1) * r.uniform(0, 1)
        self.light(
            d, strength * np.array([1, 1 - 0.25 * warm, 1 - 0.5 * warm]), radius=r.choice([0.01, 0.03, 0.15]), kind=1
        )
        return d

    # ---- composed things
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

    def table(self, x, y, yaw, wide, deep, high) -> int:
        r, obj, wood = self.rng, self.new_id(), self.paint("wood")
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

    def finish(self, eye, target, hfov: float, roll: float, sky: dict) -> dict[str, np.ndarray]:
        """Camera and sky (see raycast.cu for the parameter slots)."""
        eye, target = np.array(eye, float), np.array(target, float)
        f = target - eye
        f /= np.linalg.norm(f) + 1e-9
        right = np.cross(f, [0.0, 0.0, 1.0]) if abs(f[2]) < 0.999 else np.array([1.0, 0, 0])
        right /= np.linalg.norm(right) + 1e-9
        down = np.cross(f, right)
        right, down = right * np.cos(roll) + down * np.sin(roll), down * np.cos(roll) - right * np.sin(roll)
        p = np.zeros(SCENE, np.float32)
        p[0:3], p[3:6], p[6:9], p[9:12], p[12] = eye, right, down, f, 0.5 / np.tan(hfov / 2)
        p[16], p[17], p[18] = sky.get("image", -1), self.rng.random(), sky.get("gain", 1.0)
        p[19:22], p[22:25], p[25:28] = sky.get("zenith", 1.0), sky.get("horizon", 1.0), sky.get("ambient", 0.1)
        p[28], p[29:32], p[32], p[34] = (
            sky.get("fog", 0.0),
            sky.get("fog_colour", 0.7),
            sky.get("clouds", 0.0),
            self.rng.integers(1, 60000),
        )
        up = np.array([-right[2], -down[2], -f[2]])  # world down in camera axes, negated below
        return {
            "inst": np.stack(self.rows),
            "forward": np.stack(self.forward),
            "lights": np.stack(self.lights).astype(np.float32) if self.lights else np.zeros((0, LIGHT), np.float32),
            "params": p,
            "up": (-up).astype(np.float32),
        }
