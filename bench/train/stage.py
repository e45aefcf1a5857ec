"""Placing things: turns 'this mesh, here, this big, painted so' into the rows the ray caster reads."""

from __future__ import annotations

import numpy as np
from kit import Kit
from library import INST, LIGHT, SCENE

OBJECT, STUFF, SKY, PERSON = 0, 1, 2, 3


def rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Turn about z by yaw, then lean about the object's own x (pitch) and y (roll)."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    if not pitch and not roll:
        return z
    return z @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])


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
        # one sort of timber for most wooden things, as in most homes; often dark
        self.timber = np.array([0.42, 0.24, 0.12]) * 10 ** rng.uniform(-0.9, 0.35) * (1 + rng.normal(0, 0.12, 3))
        self.timber_share = rng.choice([0.0, 0.5, 0.85])

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
        fit = lambda kind: self.pick(self.lib.material[kind] if r.random() < 0.78 else tiling)  # noqa: E731
        if self.wild and kind not in ("light", "model") and r.random() < 0.8:
            kind = "random"
        if kind == "model":
            m[3], m[0:3] = -1, np.clip(r.normal(1, 0.12) * (1 + r.normal(0, 0.06, 3)), 0.5, 1.5)
            if r.random() < 0.35:
                m[10], m[0:3] = r.uniform(0.4, 1), self.colour(0.7) * 1.4
            elif r.random() < 0.3 * self.timber_share:
                m[10], m[0:3] = r.uniform(0.5, 1), self.timber * r.uniform(1.5, 3)
            if r.random() < (0.7 if self.wild else 0.07):
                return self.paint("random")
        elif kind == "wall":
            m[0:3] = (
                np.clip(r.uniform(0.35, 0.9) * (1 + r.normal(0, 0.07, 3)), 0.05, 0.92)
                if r.random() < 0.75
                else self.colour(0.6)
            )
            if r.random() < 0.35:
                m[3], m[4] = fit("wall"), r.uniform(0.4, 2)
                m[0:3] = 0.4 + 0.6 * m[0:3]
            if r.random() < 0.12:
                m[11], m[12], m[13:16] = r.uniform(1, 8), r.choice([1, 2, 3, 5]), m[0:3] * r.uniform(0.6, 1.2)
            m[7] *= 0.25
        elif kind == "floor":
            m[0:3] = np.clip(r.uniform(0.15, 0.9) * (1 + r.normal(0, 0.12, 3)), 0.03, 0.95)
            q = r.random()
            if q < 0.65:
                m[3], m[4] = fit("floor"), r.uniform(0.3, 1.5)
                m[0:3] = 0.3 + 0.7 * m[0:3]
            if r.random() < 0.5:
                m[11], m[12], m[13:16] = r.uniform(0.8, 8), r.choice([2, 3, 3, 5, 5, 1]), m[0:3] * r.uniform(0.4, 1.1)
            if r.random() < 0.35 * self.timber_share:
                m[0:3] = np.clip(self.timber * r.uniform(0.8, 1.5), 0.01, 0.9)
            if r.random() < 0.55:
                m[5], m[6] = r.uniform(0.03, 0.35), r.uniform(0.02, 0.3) if r.random() < 0.8 else r.uniform(0.3, 0.6)
        elif kind == "ground":
            m[3], m[4], m[7] = fit("ground"), r.uniform(0.15, 1.2), r.uniform(0.05, 0.4)
            m[0:3] = np.clip(r.uniform(0.25, 0.9) * (1 + r.normal(0, 0.15, 3)), 0.03, 0.95)
            m[8] = 10 ** r.uniform(-0.8, 0.8)
        elif kind in ("wood", "fabric", "metal", "plaster"):
            if r.random() < 0.6:
                m[3], m[4] = fit({"plaster": "wall"}.get(kind, kind)), r.uniform(0.6, 4)
            if kind == "wood" and r.random() < self.timber_share:
                m[0:3] = np.clip(self.timber * r.uniform(0.8, 1.3), 0.01, 0.9)
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
                m[3], m[4] = fit("facade"), r.uniform(0.15, 0.6)
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
        """Place one mesh. `size` stretches a unit shape (3,), or scales a library model. Returns the object id."""
        library = mesh < len(self.lib.name)
        scale = np.full(3, 1.0 if size is None else size) if library else np.broadcast_to(np.asarray(size, float), 3)
        scale = np.maximum(scale, 1e-3)
        turn = rotation(yaw, pitch, roll)
        t = np.array(at, float)
        if not center and not library:
            t = t + np.array([0, 0, scale[2] / 2])
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

    def dim(self) -> None:
        """Mixed light: most lamps fade and take on colours of their own; little is lit, some of it glaring."""
        r = self.rng
        for row in self.lights:
            if row[7] != 1:
                row[4:7] *= 10 ** r.uniform(-1.6, 0.3) * (1 + r.normal(0, 0.2, 3)).clip(0.3, 1.7)

    def sun(self, strength: float, low: float = 0.15) -> np.ndarray:
        r = self.rng
        yaw, height = r.uniform(0, 2 * np.pi), np.arcsin(r.uniform(low, 1))
        d = np.array([np.cos(yaw) * np.cos(height), np.sin(yaw) * np.cos(height), np.sin(height)])
        warm = np.clip(1.1 - height, 0, 1) * r.uniform(0, 1)
        self.light(
            d, strength * np.array([1, 1 - 0.25 * warm, 1 - 0.5 * warm]), radius=r.choice([0.01, 0.03, 0.15]), kind=1
        )
        return d

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
