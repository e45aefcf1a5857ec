"""Procedural meshes: what the furniture packages lack (boxes, bottles, curtains, cables, trees, facades, rocks).

Every mesh fits the unit cube centred on the origin, so that an instance's scale is its size in metres.
"""

from __future__ import annotations

import numpy as np

Mesh = tuple[np.ndarray, np.ndarray, np.ndarray]  # vertices (v,3), triangles (t,3), texture coordinates (v,2)


def grid(fn, nu: int, nv: int) -> Mesh:
    """Surface (u,v) in [0,1]^2 -> xyz, sampled on nu x nv quads."""
    u, v = np.meshgrid(np.linspace(0, 1, nu + 1), np.linspace(0, 1, nv + 1), indexing="ij")
    xyz = np.stack(np.broadcast_arrays(*fn(u, v)), -1).reshape(-1, 3)
    i = np.arange((nu + 1) * (nv + 1)).reshape(nu + 1, nv + 1)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return xyz, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]), np.stack([u.ravel(), v.ravel()], 1)


def join(*meshes: Mesh) -> Mesh:
    shift = np.cumsum([0, *[len(m[0]) for m in meshes]])
    return (
        np.concatenate([m[0] for m in meshes]),
        np.concatenate([m[1] + s for m, s in zip(meshes, shift, strict=False)]),
        np.concatenate([m[2] for m in meshes]),
    )


def unit(mesh: Mesh) -> Mesh:
    low, high = mesh[0].min(0), mesh[0].max(0)
    return (mesh[0] - (low + high) / 2) / np.maximum(high - low, 1e-6), mesh[1], mesh[2]


def box(center=(0, 0, 0), size=(1, 1, 1)) -> Mesh:
    corner = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    tri = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    return corner * size + center, tri, corner[:, :2] + 0.5


def lathe(profile: np.ndarray, sides: int = 24) -> Mesh:
    """Profile rows (radius, height) turned about z."""
    r, z = np.asarray(profile, float).T
    t = np.linspace(0, 1, len(r))
    return grid(
        lambda u, v: (
            np.interp(v, t, r) * np.cos(u * 2 * np.pi),
            np.interp(v, t, r) * np.sin(u * 2 * np.pi),
            np.interp(v, t, z),
        ),
        sides,
        len(r) - 1,
    )


def tube(path: np.ndarray, radius: float, sides: int = 6) -> Mesh:
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    side = np.cross(tangent, [0.31, 0.17, 0.94])
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    up = np.cross(tangent, side)
    t = np.linspace(0, 1, len(path))
    pick = lambda a, v: np.stack([np.interp(v, t, a[:, k]) for k in range(3)])  # noqa: E731
    return grid(
        lambda u, v: (
            pick(path, v) + radius * (pick(side, v) * np.cos(u * 2 * np.pi) + pick(up, v) * np.sin(u * 2 * np.pi))
        ),
        sides,
        len(path) - 1,
    )


def ball(nu: int = 20, nv: int = 12, power: float = 1.0) -> Mesh:
    s = lambda x: np.sign(x) * np.abs(x) ** power  # noqa: E731
    return grid(
        lambda u, v: (
            s(np.cos(u * 2 * np.pi)) * s(np.sin(v * np.pi)),
            s(np.sin(u * 2 * np.pi)) * s(np.sin(v * np.pi)),
            -s(np.cos(v * np.pi)),
        ),
        nu,
        nv,
    )


def waves(rng, xyz: np.ndarray, frequency: float, count: int = 12) -> np.ndarray:
    k = rng.normal(size=(count, 3)) * frequency
    return (np.sin(xyz @ k.T + rng.uniform(0, 7, count)) / (1 + np.arange(count) * 0.2)).sum(1)


def lump(rng, frequency: float, amount: float, power: float = 1.0) -> Mesh:
    xyz, tri, uv = ball(28, 18, power)
    return unit((xyz * (1 + amount * waves(rng, xyz, frequency))[:, None], tri, uv))


def leaves(rng, count: int, size: float, spread: str) -> Mesh:
    """Loose quads filling a crown (spread 'crown'), a tuft from one root ('tuft') or a hedge ('box')."""
    if spread == "tuft":
        parts = []
        for _ in range(count):
            yaw, lean, length = rng.uniform(0, 6.28), rng.uniform(0.15, 1.2), rng.uniform(0.5, 1)
            t = np.linspace(0, 1, 6)
            out, z = length * np.sin(lean) * t**1.5, length * np.cos(lean * t) * t
            center = np.stack([out * np.cos(yaw), out * np.sin(yaw), z], 1)
            across = np.array([-np.sin(yaw), np.cos(yaw), 0]) * size
            parts.append(
                grid(
                    lambda u, v, c=center, a=across: [
                        np.interp(u, np.linspace(0, 1, 6), c[:, k])
                        + (v - 0.5) * a[k] * np.sin(np.clip(u, 0.04, 0.97) * np.pi)
                        for k in range(3)
                    ],
                    5,
                    1,
                )
            )
        return unit(join(*parts))
    p = rng.uniform(-1, 1, (count * 3, 3)) if spread == "box" else rng.normal(size=(count * 3, 3))
    if spread == "crown":
        p = p / np.linalg.norm(p, axis=1, keepdims=True) * rng.uniform(0.25, 1, (len(p), 1)) ** 0.5
        p = p[waves(rng, p, 2.5, 6) > -0.6]
    p = p[:count]
    a, b = rng.normal(size=(2, len(p), 3))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b -= (a * b).sum(1, keepdims=True) * a
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    a, b = a * size, b * size * 0.6
    xyz = np.stack([p - a, p + b, p + a, p - b], 1).reshape(-1, 3)
    i = np.arange(len(p))[:, None] * 4
    return unit(
        (
            xyz,
            np.concatenate([i + np.array([0, 1, 2]), i + np.array([0, 2, 3])]),
            np.tile([[0, 0], [1, 0], [1, 1], [0, 1]], (len(p), 1)),
        )
    )


def branches(rng) -> Mesh:
    parts = [tube(np.array([[0, 0, 0], [0.02, 0, 0.3], [0.03, 0.02, 0.6], [0, 0, 0.95]]), 0.035)]
    for _ in range(rng.integers(5, 14)):
        z, yaw, reach = rng.uniform(0.3, 0.85), rng.uniform(0, 6.28), rng.uniform(0.12, 0.35)
        t = np.linspace(0, 1, 5)[:, None]
        end = np.array([np.cos(yaw) * reach, np.sin(yaw) * reach, rng.uniform(0.05, 0.35)])
        parts.append(tube(np.array([0, 0, z]) + t * end + np.array([0, 0, 0.06]) * np.sin(t * 3), 0.012, 5))
    return unit(join(*parts))


def cable(rng) -> Mesh:
    knots = np.cumsum(rng.normal(size=(7, 3)) * [1, 1, 0.05], 0)
    t = np.linspace(0, 6, 48)
    path = np.stack([np.interp(t, np.arange(7), knots[:, k]) for k in range(3)], 1)
    for _ in range(6):
        path[1:-1] = (path[:-2] + path[1:-1] * 2 + path[2:]) / 4
    return unit(tube(path, 0.06, 5))


def wheel(spokes: int) -> Mesh:
    a = np.linspace(0, 2 * np.pi, 33)
    parts = [
        tube(np.stack([np.cos(a), 0 * a, np.sin(a)], 1), 0.06, 6),
        tube(np.stack([np.cos(a), 0 * a, np.sin(a)], 1) * 0.86, 0.03, 5),
        tube(np.array([[0, -0.15, 0], [0, 0.15, 0.0]]), 0.09),
    ]
    for k in range(spokes):
        t = 2 * np.pi * k / spokes
        parts.append(
            tube(
                np.array([[0.05 * np.cos(t), 0, 0.05 * np.sin(t)], [0.9 * np.cos(t + 0.2), 0, 0.9 * np.sin(t + 0.2)]]),
                0.012,
                4,
            )
        )
    return unit(join(*parts))


def frame(rng, bars: int) -> Mesh:
    """A thing made of straight and bent tubes: bicycle frames, racks, railings, machine parts."""
    p = rng.uniform(-0.5, 0.5, (bars + 1, 3)) * [1, 0.25, 1]
    parts = [
        tube(
            np.linspace(p[i], p[rng.integers(0, i + 1)] if rng.random() < 0.4 and i else p[i + 1], 4),
            rng.uniform(0.01, 0.04),
            6,
        )
        for i in range(bars)
    ]
    for _ in range(bars // 3):
        m = lathe([[0, 0], [1, 0], [1, 1], [0, 1]], 14)
        parts.append(
            (
                (m[0] - [0, 0, 0.5]) @ np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.04, 0.16)
                + p[rng.integers(bars)],
                m[1],
                m[2],
            )
        )
    return unit(join(*parts))


def bars(count: int, rails: int, thick: float) -> Mesh:
    parts = [box((x, 0, 0), (thick, thick, 1)) for x in np.linspace(-0.5, 0.5, count)] + [
        box((0, 0, z), (1, thick, thick * 1.4)) for z in np.linspace(-0.45, 0.45, rails)
    ]
    return unit(join(*parts))


def rack(shelves: int, back: bool) -> Mesh:
    t = 0.03
    parts = [box((0, 0, z), (1, 1, t)) for z in np.linspace(-0.5 + t / 2, 0.5 - t / 2, shelves)]
    parts += (
        [box((x, y, 0), (0.03, 0.08, 1)) for x in (-0.485, 0.485) for y in (-0.46, 0.46)]
        if not back
        else [box((x, 0, 0), (0.03, 1, 1)) for x in (-0.485, 0.485)] + [box((0, 0.49, 0), (1, 0.02, 1))]
    )
    return join(*parts)


def facade(rng) -> Mesh:
    """A wall with window recesses, ledges and frames; x along the street, front towards -y."""
    nx, nz, wx, wz, recess = (
        rng.integers(3, 9),
        rng.integers(2, 7),
        rng.uniform(0.35, 0.75),
        rng.uniform(0.4, 0.8),
        rng.uniform(0.1, 0.45),
    )
    parts = [box((0, 0.25, 0), (1, 0.5, 1))]
    front, cx, cz = -0.5, 1 / nx, 1 / nz
    for j in range(nz + 1):
        high = cz * (1 - wz) if 0 < j < nz else cz * (1 - wz) / 2
        z = -0.5 + j * cz + (high / 2 if j == 0 else -high / 2 if j == nz else 0)
        parts.append(box((0, -recess / 2, z), (1, recess, high)))
        if rng.random() < 0.4:
            parts.append(box((0, -recess / 2 - 0.04, z), (1, recess + 0.08, high * 0.3)))
    for i in range(nx + 1):
        wide = cx * (1 - wx) if 0 < i < nx else cx * (1 - wx) / 2
        parts.append(
            box(
                (-0.5 + i * cx + (wide / 2 if i == 0 else -wide / 2 if i == nx else 0), -recess / 2, 0),
                (wide, recess, 1),
            )
        )
    style = rng.random()
    for i in range(nx):
        for j in range(nz):
            x, z = -0.5 + (i + 0.5) * cx, -0.5 + (j + 0.5) * cz
            if style < 0.6:
                parts.append(box((x, -0.01, z), (0.006, 0.06, cz * wz)))
                parts.append(box((x, -0.01, z + cz * wz * 0.2), (cx * wx, 0.05, 0.006)))
            if style > 0.75 and j:
                parts.append(box((x, -recess - 0.2, z - cz * wz * 0.5), (cx * wx * 1.1, 0.5, 0.01)))
    mesh = join(*parts)
    return mesh[0] * [1, 1 / max(0.5, abs(front)) * 0.5, 1], mesh[1], mesh[2]


def build_shapes(seed: int = 7) -> dict[str, list[Mesh]]:
    """Name -> variants."""
    rng = np.random.default_rng(seed)
    circle = lambda r: lathe([[0, -0.5], [r, -0.5], [r, 0.5], [0, 0.5]])  # noqa: E731
    out: dict[str, list[Mesh]] = {
        "box": [box()],
        "cylinder": [circle(0.5)],
        "ball": [unit(ball())],
        "cushion": [unit(ball(24, 14, 0.55)), unit(ball(24, 14, 0.4))],
        "cone": [lathe([[0, -0.5], [0.5, -0.5], [0, 0.5]])],
        "shade": [lathe([[0.5, -0.5], [0.3, 0.5]]), lathe([[0.5, -0.5], [0.48, 0.5]])],
        "roof": [
            unit(
                (
                    np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [-1, 0, 1], [1, 0, 1.0]]),
                    np.array([[0, 1, 5], [0, 5, 4], [2, 3, 4], [2, 4, 5], [0, 4, 3], [1, 2, 5]]),
                    np.zeros((6, 2)),
                )
            )
        ],
        "wheel": [wheel(n) for n in (0, 5, 12, 24)],
        "fence": [bars(n, r, t) for n, r, t in ((12, 2, 0.03), (24, 2, 0.012), (6, 3, 0.03))],
        "ladder": [bars(2, 9, 0.06)],
        "rack": [rack(n, b) for n in (3, 4, 5, 6, 8) for b in (False, True)],
        "facade": [facade(rng) for _ in range(10)],
        "rock": [lump(rng, 2.0, 0.08) for _ in range(4)] + [lump(rng, 5.0, 0.03) for _ in range(2)],
        "bag": [lump(rng, 1.5, 0.05, 0.6) for _ in range(4)],
        "crumple": [lump(rng, 6, 0.05, 0.7) for _ in range(3)],
        "crown": [leaves(rng, 1100, s, "crown") for s in (0.09, 0.14, 0.2, 0.07, 0.12)],
        "hedge": [leaves(rng, 1100, s, "box") for s in (0.09, 0.13)],
        "tuft": [leaves(rng, n, s, "tuft") for n, s in ((14, 0.12), (26, 0.08), (60, 0.03), (9, 0.3), (120, 0.02))],
        "trunk": [branches(rng) for _ in range(5)],
        "cable": [cable(rng) for _ in range(8)],
        "frame": [frame(rng, n) for n in (6, 9, 14, 20, 28)],
    }
    bottles = []
    for _ in range(8):
        neck, shoulder, belly = rng.uniform(0.12, 0.3), rng.uniform(0.5, 0.75), rng.uniform(0.38, 0.5)
        bottles.append(
            unit(
                lathe(
                    [
                        [0, -0.5],
                        [belly, -0.5],
                        [belly * rng.uniform(0.8, 1.1), shoulder - 0.6],
                        [belly, shoulder - 0.5],
                        [neck, shoulder - 0.3],
                        [neck, 0.45],
                        [neck * 1.1, 0.5],
                        [0, 0.5],
                    ]
                )
            )
        )
    handle = np.linspace(-1.3, 1.3, 9)
    cups = [
        unit(
            join(
                lathe([[0, -0.5], [a, -0.5], [b, 0.5], [b * 0.9, 0.5], [a * 0.9, -0.42], [0, -0.42]]),
                tube(np.stack([b + 0.2 * np.cos(handle) - 0.06, 0 * handle, 0.3 * np.sin(handle)], 1), 0.04),
            )
        )
        for a, b in ((0.38, 0.42), (0.25, 0.45), (0.42, 0.42))
    ]
    out |= {"bottle": bottles, "cup": cups}
    out["bowl"] = [
        unit(
            lathe(
                [[0, -0.5], [0.25, -0.5], [0.42, -0.1], [0.5, 0.5], [0.47, 0.5], [0.38, -0.05], [0.2, -0.4], [0, -0.4]],
                28,
            )
        ),
        unit(lathe([[0, -0.5], [0.3, -0.5], [0.5, 0.4], [0.5, 0.5], [0.28, -0.2], [0, -0.2]], 28)),
    ]
    ring = np.linspace(0, 2 * np.pi, 29)
    out["ring"] = [unit(tube(np.stack([np.cos(ring), np.sin(ring), 0 * ring], 1), r, 10)) for r in (0.15, 0.35, 0.5)]
    fold = []
    for _ in range(6):
        k, amp, ph = rng.uniform(12, 45), rng.uniform(0.2, 0.5), rng.uniform(0, 6)
        fold.append(
            unit(
                grid(
                    lambda u, v, k=k, a=amp, p=ph: (
                        u,
                        a * np.sin(k * u + p + v) * (0.5 + 0.5 * v) + 0.2 * np.sin(k * 0.37 * u + 2 * v),
                        1 - v,
                    ),
                    110,
                    6,
                )
            )
        )
    out["curtain"] = fold
    heaps, lands = [], []
    for _ in range(5):
        m = grid(lambda u, v: (u, v, 0 * u), 26, 26)
        e = np.clip(1.1 - np.hypot(m[0][:, 0] - 0.5, m[0][:, 1] - 0.5) * 2.2, 0, 1)
        heaps.append(unit((np.c_[m[0][:, :2], e**0.5 * (1 + 0.25 * waves(rng, m[0], 9))], m[1], m[2])))
        m = grid(lambda u, v: (u, v, 0 * u), 44, 44)
        lands.append(unit((np.c_[m[0][:, :2], waves(rng, m[0], 5) + 0.3 * waves(rng, m[0], 14)], m[1], m[2])))
    out |= {"heap": heaps, "land": lands}
    return {k: [unit(m) if k not in ("facade",) else m for m in v] for k, v in out.items()}
