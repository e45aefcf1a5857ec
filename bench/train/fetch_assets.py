"""Pack the training assets into one small .npz: furniture, people, vehicles, textures and skies.

Everything is fetched by package name through its ordinary client and nothing of it is committed:

    apt-get download sweethome3d-furniture     820 models with true sizes (CC0 and CC-BY 3.0)
    pip download --no-deps robosuite           30 tiling textures (MIT)
    pip download --no-deps scikit-image        brick, grass, gravel (CC0/BSD)
    npm pack @pmndrs/assets                    18 HDRIs (CC0)

    python bench/train/fetch_assets.py --downloads DIR --out assets.npz

Meshes come out in metres, z up, front towards -y, the base of the bounding box centred on the origin.
"""

from __future__ import annotations

import argparse
import base64
import re
import subprocess
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import fast_simplification
import numpy as np

MAX_TRIANGLES = 2600
FURNITURE_TEXTURE = 128
TILING_TEXTURE = 256


def download(folder: Path) -> None:
    """Fetch the packages that `folder` does not hold yet."""
    wanted = {
        "sweethome3d-furniture*.deb": ["apt-get", "download", "sweethome3d-furniture"],
        "robosuite-*.whl": ["pip", "download", "-q", "--no-deps", "-d", ".", "robosuite==1.5.2"],
        "scikit_image-*.whl": ["pip", "download", "-q", "--no-deps", "-d", ".", "scikit-image"],
        "pmndrs-assets-*.tgz": ["npm", "pack", "@pmndrs/assets@1.7.0"],
    }
    for pattern, command in wanted.items():
        if not list(folder.glob(pattern)):
            subprocess.run(command, cwd=folder, check=True)
    if not (folder / "sh3d").exists():
        deb = next(folder.glob("sweethome3d-furniture*.deb"))
        subprocess.run(["dpkg", "-x", deb.name, "sh3d"], cwd=folder, check=True)
    if not (folder / "pm").exists():
        (folder / "pm").mkdir()
        subprocess.run(
            ["tar", "xzf", next(folder.glob("pmndrs-assets-*.tgz")).name, "-C", "pm"], cwd=folder, check=True
        )


def read_catalogue(archive: zipfile.ZipFile) -> list[dict[str, str]]:
    """Rows of PluginFurnitureCatalog.properties: one dict of key -> value per model."""
    rows: dict[int, dict[str, str]] = {}
    for line in archive.read("PluginFurnitureCatalog.properties").decode("latin-1").splitlines():
        match = re.match(r"(\w+)#(\d+)\s*=(.*)", line)
        if match:
            rows.setdefault(int(match[2]), {})[match[1]] = match[3].strip()
    return [rows[i] for i in sorted(rows)]


def read_mtl(text: str) -> dict[str, dict]:
    materials: dict[str, dict] = {}
    current: dict = {}
    for line in text.splitlines():
        word = line.split()
        if not word:
            continue
        if word[0] == "newmtl":
            current = materials[" ".join(word[1:])] = {"kd": [0.7] * 3, "ks": 0.0, "ns": 10.0, "d": 1.0, "map": None}
        elif word[0] == "Kd":
            current["kd"] = [float(x) for x in word[1:4]]
        elif word[0] == "Ks":
            current["ks"] = float(np.mean([float(x) for x in word[1:4]]))
        elif word[0] == "Ns":
            current["ns"] = float(word[1])
        elif word[0] == "d":
            current["d"] = float(word[-1])
        elif word[0] == "map_Kd":
            current["map"] = word[-1]
    return materials


def read_obj(text: str) -> tuple[np.ndarray, np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Vertices, texture coordinates, and per material (n,3) vertex and texture indices (-1 for none)."""
    verts: list[str] = []
    coords: list[str] = []
    faces: dict[str, list] = {}
    libs: list[str] = []
    group = faces.setdefault("", [])
    for line in text.splitlines():
        if line.startswith("v "):
            verts.append(line[2:])
        elif line.startswith("vt "):
            coords.append(" ".join(line[3:].split()[:2]))
        elif line.startswith("f "):
            corners = []
            for corner in line[2:].split():
                part = corner.split("/")
                corners.append((int(part[0]), int(part[1]) if len(part) > 1 and part[1] else 0))
            for k in range(1, len(corners) - 1):
                group.append((corners[0], corners[k], corners[k + 1]))
        elif line.startswith("usemtl"):
            group = faces.setdefault(line[6:].strip(), [])
        elif line.startswith("mtllib"):
            libs.append(line[6:].strip())
    xyz = np.array(" ".join(verts).split(), np.float32).reshape(-1, 3)
    uv = np.array(" ".join(coords).split(), np.float32).reshape(-1, 2) if coords else np.zeros((1, 2), np.float32)
    out = {}
    for name, rows in faces.items():
        if rows:
            index = np.array(rows, np.int64)
            vi, ti = index[..., 0], index[..., 1]
            vi = np.where(vi < 0, vi + len(xyz), vi - 1)
            ti = np.where(ti < 0, ti + len(uv), ti - 1)
            out[name] = (vi, ti)
    return xyz, uv, out, libs


def decimate(
    xyz: np.ndarray, tri: np.ndarray, uv: np.ndarray, target: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quadric decimation of one material's triangles; texture coordinates follow the nearest old vertex."""
    if len(tri) <= target or len(tri) < 12:
        return xyz, tri, uv
    _, first, weld = np.unique(np.round(xyz / 1e-5).astype(np.int64), axis=0, return_index=True, return_inverse=True)
    welded = weld.reshape(-1)[tri]
    welded = welded[(welded[:, 0] != welded[:, 1]) & (welded[:, 1] != welded[:, 2]) & (welded[:, 0] != welded[:, 2])]
    if len(welded) <= max(8, target):
        return xyz, tri, uv
    points, faces = fast_simplification.simplify(
        xyz[first], welded.astype(np.int32), target_count=max(8, target), agg=4
    )
    from scipy.spatial import cKDTree

    _, nearest = cKDTree(xyz).query(points)
    return points.astype(np.float32), faces, uv[nearest]


def load_model(job: tuple[str, dict[str, str]]) -> dict | None:
    """One catalogue row -> mesh in metres with per-triangle material numbers, or None when it cannot be used."""
    path, row = job
    try:
        with zipfile.ZipFile(path) as archive:
            name = row["model"].lstrip("/")
            folder = name.rsplit("/", 1)[0]
            xyz, uv, groups, libs = read_obj(archive.read(name).decode("latin-1"))
            names = set(archive.namelist())
            mtl: dict[str, dict] = {}
            for lib in libs:
                if f"{folder}/{lib}" in names:
                    mtl.update(read_mtl(archive.read(f"{folder}/{lib}").decode("latin-1")))
            used = np.unique(np.concatenate([g[0].ravel() for g in groups.values()]))
            if "modelRotation" in row:
                xyz = xyz @ np.array(row["modelRotation"].split(), np.float32).reshape(3, 3).T
            low, high = xyz[used].min(0), xyz[used].max(0)
            size = np.array([float(row["width"]), float(row["height"]), float(row["depth"])], np.float32) / 100
            xyz = (xyz - (low + high) / 2) / np.maximum(high - low, 1e-6) * size
            xyz = np.stack([xyz[:, 0], -xyz[:, 2], xyz[:, 1] + size[1] / 2], 1)
            total = sum(len(g[0]) for g in groups.values())
            keep = min(1.0, MAX_TRIANGLES / total)
            parts, textures = [], {}
            for key, (vi, ti) in groups.items():
                material = mtl.get(key, {"kd": [0.7] * 3, "ks": 0.0, "ns": 10.0, "d": 1.0, "map": None})
                if (
                    material["d"] < 0.45
                ):  # panes and drinking glass: what stands behind is what a depth truth would hold
                    continue
                pair = np.stack([vi.ravel(), np.maximum(ti.ravel(), 0)], 1)
                unique, inverse = np.unique(pair, axis=0, return_inverse=True)
                points, tex = xyz[unique[:, 0]], uv[np.minimum(unique[:, 1], len(uv) - 1)]
                points, faces, tex = decimate(points, inverse.reshape(-1, 3), tex, int(len(vi) * keep))
                if material["map"] and f"{folder}/{material['map']}" in names:
                    raw = cv2.imdecode(
                        np.frombuffer(archive.read(f"{folder}/{material['map']}"), np.uint8), cv2.IMREAD_UNCHANGED
                    )
                    if raw is not None and raw.dtype == np.uint8:
                        raw = raw if raw.ndim == 3 else cv2.cvtColor(raw, cv2.COLOR_GRAY2BGR)
                        alpha = raw[..., 3:4] if raw.shape[2] == 4 else np.full((*raw.shape[:2], 1), 255, np.uint8)
                        raw = cv2.resize(
                            np.concatenate([raw[..., :3], alpha], 2),
                            (FURNITURE_TEXTURE,) * 2,
                            interpolation=cv2.INTER_AREA,
                        )
                        textures[f"{folder}/{material['map']}"] = raw
                        material = {**material, "tex": f"{folder}/{material['map']}"}
                parts.append((points, faces, tex, material))
            if not parts:
                return None
            return {
                "name": row.get("name", ""),
                "category": row.get("category", ""),
                "size": size[[0, 2, 1]],
                "top": float(row.get("dropOnTopElevation", 0)) / 100,
                "elevation": float(row.get("elevation", 0)) / 100,
                "creator": row.get("creator", ""),
                "id": row.get("id", ""),
                "parts": parts,
                "textures": textures,
            }
    except Exception as error:  # a broken third-party file must not stop the pack; it is named in the log
        print("skipped", row.get("id"), repr(error)[:120])
        return None


def read_hdri(path: Path) -> np.ndarray:
    import OpenEXR

    data = base64.b64decode(re.search(r"base64,([^'\"]+)", path.read_text())[1])
    target = path.parent / (path.name + ".tmp.exr")
    target.write_bytes(data)
    channels = OpenEXR.File(str(target)).channels()
    rgb = channels["RGB"].pixels if "RGB" in channels else np.stack([channels[c].pixels for c in "RGB"], -1)
    target.unlink()
    return cv2.resize(np.minimum(rgb.astype(np.float32), 6e4), (256, 128), interpolation=cv2.INTER_AREA).astype(
        np.float16
    )


def write_pack(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An .npz that `numpy.load` reads, packed by LZMA: meshes come out a third smaller than by numpy's own zlib."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as handle:
                np.lib.format.write_array(handle, np.asanyarray(array), allow_pickle=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--downloads", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.downloads.mkdir(parents=True, exist_ok=True)
    download(args.downloads)
    jobs = []
    for archive in sorted(args.downloads.glob("sh3d/**/*.sh3f")):
        with zipfile.ZipFile(archive) as handle:
            jobs += [(str(archive), row) for row in read_catalogue(handle) if "model" in row]
    with ProcessPoolExecutor(2) as pool:
        models = [m for m in pool.map(load_model, jobs, chunksize=8) if m]

    texture_names: dict[str, int] = {}
    texture_bytes: list[bytes] = []
    alpha_bytes: list[bytes] = []
    materials: list[list[float]] = []
    material_keys: dict[tuple, int] = {}
    verts, coords, tris, tri_mats, index = [], [], [], [], []
    for model in models:
        base, first, count = sum(len(p[0]) for p in []), sum(map(len, tris)), 0
        base = 0
        low = np.concatenate([p[0] for p in model["parts"]]).min(0)
        for points, faces, tex, material in model["parts"]:
            number = -1
            if "tex" in material:
                if material["tex"] not in texture_names:
                    raw = model["textures"][material["tex"]]
                    texture_names[material["tex"]] = len(texture_bytes)
                    texture_bytes.append(
                        cv2.imencode(".jpg", raw[..., :3], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
                    )
                    cut = raw[..., 3] < 128
                    alpha_bytes.append(
                        cv2.imencode(".png", (~cut).astype(np.uint8))[1].tobytes() if cut.mean() > 0.02 else b""
                    )
                number = texture_names[material["tex"]]
            key = (*np.round(material["kd"], 3), number, round(material["ks"], 2), round(material["ns"], 0))
            if key not in material_keys:
                material_keys[key] = len(materials)
                materials.append([*key])
            verts.append(points - [0, 0, min(0.0, low[2])])
            coords.append(tex)
            tris.append(faces + base)
            tri_mats.append(np.full(len(faces), material_keys[key]))
            base += len(points)
            count += len(faces)
        index.append((first, count, base))
    cuts = np.cumsum([0, *[i[2] for i in index]])
    xyz, scale = np.concatenate(verts), 1 / 2000.0  # half a millimetre
    tiling, tiling_names = [], []
    for wheel, prefix in (
        ("robosuite-*.whl", "robosuite/models/assets/textures/"),
        ("scikit_image-*.whl", "skimage/data/"),
    ):
        with zipfile.ZipFile(next(args.downloads.glob(wheel))) as handle:
            for name in sorted(handle.namelist()):
                stem = name.rsplit("/", 1)[-1]
                if (
                    name.startswith(prefix)
                    and name.endswith(".png")
                    and ("robosuite" in name or stem in ("brick.png", "grass.png", "gravel.png"))
                ):
                    raw = cv2.imdecode(np.frombuffer(handle.read(name), np.uint8), cv2.IMREAD_COLOR)
                    raw = cv2.resize(raw, (TILING_TEXTURE,) * 2, interpolation=cv2.INTER_AREA)
                    tiling.append(cv2.imencode(".jpg", raw, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
                    tiling_names.append(stem)
    skies = [(p.name.split(".")[0], read_hdri(p)) for p in sorted(args.downloads.glob("pm/package/hdri/*.exr.js"))]

    def pack(blobs: list[bytes]) -> dict[str, np.ndarray]:
        return {"data": np.frombuffer(b"".join(blobs), np.uint8), "ends": np.cumsum([len(b) for b in blobs])}

    out = {
        "xyz": np.clip(np.round(xyz / scale), -32768, 32767).astype(np.int16),
        "xyz_scale": np.float32(scale),
        "uv": np.concatenate(coords).astype(np.float16),
        "tri": np.concatenate(tris).astype(np.uint16),
        "tri_mat": np.concatenate(tri_mats).astype(np.uint16),
        "tri_first": np.array([i[0] for i in index]),
        "tri_count": np.array([i[1] for i in index]),
        "vert_first": cuts[:-1],
        "size": np.stack([m["size"] for m in models]),
        "top": np.array([m["top"] for m in models], np.float32),
        "elevation": np.array([m["elevation"] for m in models], np.float32),
        "name": np.array([m["name"] for m in models]),
        "category": np.array([m["category"] for m in models]),
        "id": np.array([m["id"] for m in models]),
        "creator": np.array([m["creator"] for m in models]),
        "material": np.array(materials, np.float32),
        "tiling_name": np.array(tiling_names),
        "sky": np.stack([s[1] for s in skies]),
        "sky_name": np.array([s[0] for s in skies]),
    }
    for label, blobs in (("tex", texture_bytes), ("alpha", alpha_bytes), ("tiling", tiling)):
        out |= {f"{label}_{k}": v for k, v in pack(blobs).items()}
    write_pack(args.out, out)
    size = args.out.stat().st_size / 2**20
    print(f"{len(models)} models, {len(out['tri'])} triangles, {len(texture_bytes)} textures, {size:.1f} MiB")


if __name__ == "__main__":
    main()
