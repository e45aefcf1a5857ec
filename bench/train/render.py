"""Assets in, pictures out: loads the pack, builds the hierarchies and drives the ray caster on CUDA or the CPU."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
import torch
from boxes import true_boxes
from library import INST, LIGHT, MAX_LIGHTS, SCENE, Library
from pictures import decode, halve
from shapes import build_shapes
from textures import build_textures

HERE = Path(__file__).parent


def compile_kernel(cuda: bool, folder: Path) -> ctypes.CDLL:
    """The ray caster, built once per source and kept in `folder`; a build that does not load here is made again."""
    source = HERE / "raycast.cu"
    kind = f"{'cuda' if cuda else 'cpu'}_{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}"
    out = folder / f"raycast_{kind}.so"
    if out.exists():
        with contextlib.suppress(OSError):
            return ctypes.CDLL(str(out))
    out = folder / f"raycast_{kind}_{os.getpid()}.so"
    cuda_flags = ["nvcc", "-O3", "--use_fast_math", "-std=c++17", "-gencode=arch=compute_90,code=sm_90"]
    cuda_flags += ["-Xcompiler", "-fopenmp,-fPIC", "--shared"]
    cpu_flags = ["g++", "-O3", "-march=native", "-x", "c++", "-fopenmp", "-shared", "-fPIC"]
    subprocess.run([*(cuda_flags if cuda else cpu_flags), "-o", str(out), str(source)], check=True)
    kept = out.rename(folder / f"raycast_{kind}.so")
    return ctypes.CDLL(str(kept))


def unpack(data: np.ndarray, ends: np.ndarray) -> list[bytes]:
    return [data[a:b].tobytes() for a, b in zip([0, *ends[:-1]], ends, strict=True)]


MATERIALS = {
    "wood": ("wood",),
    "wall": ("plaster", "brick", "varnished", "ceramic"),
    "floor": ("wood", "tile", "felt", "brick", "ceramic", "gray-plaster"),
    "ground": ("dirt", "grass", "gravel", "brick", "clay", "tile"),
    "metal": ("steel", "metal", "brass"),
    "fabric": ("felt",),
    "facade": ("brick", "plaster", "clay"),
}
MADE = {"wood": ("wood",), "floor": ("wood", "marble"), "fabric": ("weave", "stripe"), "ground": ("noise",)}


def by_material(names: list[str], first: int, made: dict[str, list[int]]) -> dict[str, list[int]]:
    """Texture numbers fit for each material: photographed ones by name, then those made by rule."""
    return {
        kind: [first + i for i, n in enumerate(names) if any(w in n for w in words)]
        + [t for k in MADE.get(kind, ()) for t in made[k]]
        for kind, words in MATERIALS.items()
    }


class World(ctypes.Structure):
    _fields_ = [(n, ctypes.c_void_p) for n in ("blas", "tris", "shade", "mats", "texs", "texels", "root", "sky")]


class Renderer:
    """Holds the meshes and textures on a device and renders batches of scenes."""

    def __init__(self, pack: Path, device: str, build: Path):
        self.device = torch.device(device)
        self.lib = compile_kernel(self.device.type == "cuda", build)
        data = dict(np.load(pack))  # once: a lazy archive would unpack a member at every look
        meshes = []
        for first, count, base in zip(data["tri_first"], data["tri_count"], data["vert_first"], strict=True):
            tri = data["tri"][first : first + count].astype(np.int64)
            last = base + tri.max() + 1
            uv = data["uv"][base:last].astype(np.float32)
            meshes.append(
                (
                    data["xyz"][base:last] * data["xyz_scale"],
                    tri,
                    np.nan_to_num(uv, posinf=0, neginf=0),
                    data["tri_mat"][first : first + count],
                )
            )
        shapes, numbers = build_shapes(), {}
        for key, variants in shapes.items():
            numbers[key] = list(range(len(meshes), len(meshes) + len(variants)))
            meshes += [
                (v[0].astype(np.float32), v[1], v[2].astype(np.float32), np.zeros(len(v[1]), np.uint16))
                for v in variants
            ]
        self.low = np.stack([m[0].min(0) for m in meshes]).astype(np.float32)
        self.high = np.stack([m[0].max(0) for m in meshes]).astype(np.float32)

        pictures = [decode(b) for b in unpack(data["tex_data"], data["tex_ends"])]
        alphas = [decode(b) if b else None for b in unpack(data["alpha_data"], data["alpha_ends"])]
        furniture = len(pictures)
        tiling = [decode(b) for b in unpack(data["tiling_data"], data["tiling_ends"])]
        made = build_textures()
        pictures += tiling + [m[1] for m in made]
        alphas += [None] * (len(pictures) - furniture)
        printed = {"all": list(range(furniture))}
        for i, (kind, _) in enumerate(made):
            printed.setdefault(kind, []).append(furniture + len(tiling) + i)
        small = torch.from_numpy(data["sky"].astype(np.float32)).permute(0, 3, 1, 2)
        skies = torch.nn.functional.interpolate(small, (256, 512), mode="bilinear").permute(0, 2, 3, 1).numpy()
        skies = skies / np.maximum(np.median(skies[:, :128].mean(-1), axis=(1, 2)), 1e-2)[:, None, None, None]
        self.stock = Library(
            [str(n) for n in data["name"]],
            [str(n) for n in data["category"]],
            data["size"].astype(np.float32),
            data["top"],
            data["elevation"],
            numbers,
            list(range(furniture, furniture + len(tiling)))
            + [t for k in ("noise", "weave", "wood", "marble", "stripe") for t in printed[k]],
            printed,
            by_material([str(n) for n in data["tiling_name"]], furniture, printed),
            len(skies),
        )

        blocks, table, offset = [], [], 0
        for picture, alpha in zip(pictures, alphas, strict=True):
            rgba = np.dstack(
                [picture, np.full(picture.shape[:2], 255, np.uint8) if alpha is None else alpha * 255]
            ).astype(np.uint8)
            table.append((offset, rgba.shape[0]))
            while True:
                blocks.append(rgba.reshape(-1, 4).copy())
                offset += len(blocks[-1])
                if rgba.shape[0] == 1:
                    break
                rgba = halve(rgba)
        material = data["material"]
        mats = np.zeros(len(material), np.dtype([("f", "f4", 6), ("tex", "i4"), ("alpha", "i4")]))
        mats["f"][:, :3], mats["f"][:, 3], mats["tex"] = (
            material[:, :3] ** 1.6,
            material[:, 4],
            material[:, 3].astype(int),
        )
        mats["alpha"] = [int(t >= 0 and alphas[int(t)] is not None) for t in material[:, 3]]

        corners = np.concatenate([m[0][m[1]] for m in meshes]).astype(np.float32)
        count = np.array([len(m[1]) for m in meshes], np.int32)
        first = np.cumsum([0, *count[:-1]]).astype(np.int32)
        mat = np.concatenate([m[3] for m in meshes]).astype(np.int32)
        ptr = lambda a: ctypes.c_void_p(a.ctypes.data)  # noqa: E731
        packed = np.zeros((len(mat), 3), np.int32)
        self.lib.corner_normals(ptr(corners), ptr(first), ptr(count), len(count), ptr(packed))
        shade = np.zeros(len(mat), np.dtype([("n", "i4", 3), ("uv", "f4", 6), ("mat", "i4")]))
        shade["n"], shade["mat"] = packed, mat
        shade["uv"] = np.concatenate([m[2][m[1]].reshape(-1, 6) for m in meshes])
        nodes, order, root = (
            np.zeros((len(mat) * 2 + len(count), 16), np.float32),
            np.zeros(len(mat), np.int32),
            np.zeros(len(count), np.int32),
        )
        used = self.lib.build_meshes(
            ptr(corners), ptr(first), ptr(count), len(count), ptr(nodes), ptr(order), ptr(root)
        )
        tris = np.zeros(len(mat), np.dtype([("v", "f4", 9), ("id", "i4"), ("mat", "i4"), ("pad", "i4")]))
        c = corners[order]
        tris["v"] = np.concatenate([c[:, 0], c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]], 1)
        tris["id"], tris["mat"] = order, mats["alpha"][mat[order]]
        self.keep = [
            torch.from_numpy(np.ascontiguousarray(a).view(np.uint8).reshape(-1)).to(self.device)
            for a in (
                nodes[:used],
                tris,
                shade,
                mats,
                np.array(table, np.int32),
                np.concatenate(blocks),
                root,
                np.minimum(skies, 60).astype(np.float16),
            )
        ]
        self.world = World(*[k.data_ptr() for k in self.keep])

    def __call__(self, scenes: list[dict[str, np.ndarray]], width: int, height: int) -> dict[str, torch.Tensor]:
        """Scenes -> depth (n,h,w) metres, 0 for sky; linear rgb (n,h,w,3); camera normals; ids; classes."""
        n = len(scenes)
        count = np.array([len(s["inst"]) for s in scenes], np.int32)
        room = int(count.max()) + 1
        inst = np.zeros((n, room, INST), np.float32)
        bounds = np.zeros((n, room, 6), np.float32)
        params, lights = np.zeros((n, SCENE), np.float32), np.zeros((n, MAX_LIGHTS, LIGHT), np.float32)
        for i, s in enumerate(scenes):
            k = len(s["inst"])
            inst[i, :k] = s["inst"]
            mesh = s["inst"][:, 12].astype(int)
            m, t = s["forward"][:, :, :3], s["forward"][:, :, 3]
            c, h = (self.low[mesh] + self.high[mesh]) / 2, (self.high[mesh] - self.low[mesh]) / 2
            center, half = np.einsum("nij,nj->ni", m, c) + t, np.einsum("nij,nj->ni", np.abs(m), h) + 1e-4
            bounds[i, :k, :3], bounds[i, :k, 3:] = center - half, center + half
            params[i], lights[i, : len(s["lights"])] = s["params"], s["lights"][:MAX_LIGHTS]
            params[i, 33] = min(len(s["lights"]), MAX_LIGHTS)
            # the scene holds the lens as a share of the width; pixels are square
            params[i, 12:16] = s["params"][12] * width, s["params"][12] * width, width / 2, height / 2
        nodes = np.zeros((n, room, 16), np.float32)
        ptr = lambda a: ctypes.c_void_p(a.ctypes.data if isinstance(a, np.ndarray) else a.data_ptr())  # noqa: E731
        self.lib.build_scenes(ptr(bounds), ptr(count), n, room, ptr(nodes))
        put = [torch.from_numpy(a).to(self.device, non_blocking=True) for a in (nodes, inst, params, lights)]
        new = lambda *s, dtype=torch.float32: torch.empty((n, height, width, *s), dtype=dtype, device=self.device)  # noqa: E731
        depth, rgb, bounce, scratch, albedo, normal, ids = (
            new(),
            new(3),
            new(3),
            new(3),
            new(3),
            new(3),
            new(dtype=torch.int32),
        )
        stream = torch.cuda.current_stream().cuda_stream if self.device.type == "cuda" else 0
        error = self.lib.render(
            ctypes.byref(self.world),
            *[ptr(p) for p in put],
            room,
            n,
            width,
            height,
            *[ptr(a) for a in (depth, rgb, bounce, scratch, albedo, normal, ids)],
            ctypes.c_void_p(stream),
        )
        if error:
            raise RuntimeError(f"The ray caster failed with CUDA error {error}.")
        return {
            "depth": depth,
            "rgb": rgb,
            "normal": normal,
            "object": ids & 0xFFFF,
            "class": ids >> 16,
            "up": torch.from_numpy(np.stack([s["up"] for s in scenes])).to(self.device),
            "focal": torch.from_numpy(params[:, 12] / width).to(self.device),
            "boxes": torch.from_numpy(np.stack([true_boxes(s, self.low, self.high) for s in scenes])).to(self.device),
        }
