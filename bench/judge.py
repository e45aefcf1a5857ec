"""One session folder against the truth of its still: a flat dict of figures, None where there is nothing to measure.

Reads the folder with independent readers (numpy, trimesh, plyfile, OpenEXR, json), not with the worker's own, except
for the reference rasteriser.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import trimesh
from PIL import Image, ImageDraw
from plyfile import PlyData
from scipy.spatial.transform import Rotation

from bench import light
from bench import metrics as m
from bench.truth import TrueObject, Truth
from worker.formats.gaussians import GaussianCloud
from worker.formats.rasteriser import render

Figures = dict[str, float | None]
POINTS = 4000  # surface samples a prop
F_TOLERANCE = 0.05  # of the true object's diagonal


def judge(truth: Truth, session: Path) -> dict[str, Any]:
    """All figures of one still; {"figures", "props", "stages", "state"}."""
    record = json.loads((session / "session.json").read_text(encoding="utf-8"))
    scene = record.get("scene") or {}
    crop = record["input"]["crop"]
    figures: Figures = {}
    factor = None
    if (session / "dust3r" / "pointmap.npz").exists() and scene:
        figures |= camera_figures(truth, scene, crop)
        depth, factor = depth_figures(truth, session, scene, crop)
        figures |= depth
    props: list[dict[str, Any]] = []
    if (session / "props" / "harvest_manifest.json").exists():
        harvest, pairs = harvest_figures(truth, session, crop)
        figures |= harvest
        if factor is not None:
            placed = {p["id"]: p for p in scene.get("props", [])}
            props = [prop_figures(truth, thing, placed[key], session, scene, crop, factor) for key, thing in pairs
                     if key in placed and placed[key].get("glb")]
    figures |= mean_of(props)
    if (session / "scene_visual" / "scene.ply").exists() and factor is not None:
        figures |= splat_figures(truth, session, scene, crop, factor)
    if scene.get("light"):
        figures |= light_figures(truth, session, scene["light"])
    stages = {name: {"state": s["state"], "engine": s.get("engine"), "seconds": s.get("seconds"),
                     "peak_memory_mb": s.get("peak_memory_mb"), "degraded": s.get("degraded")}
              for name, s in record["stages"].items()}
    return {"figures": figures, "props": props, "stages": stages, "state": record["state"]}


def in_still(array: m.Array, crop: list[int], shape: tuple[int, int], fill: float = 0) -> m.Array:
    """A plate-sized array (h, w) at the pixels of the whole still: bars cropped off come back as `fill`."""
    x, y, w, h = crop
    rows = ((np.arange(h) + 0.5) * array.shape[0] / h).astype(int)
    columns = ((np.arange(w) + 0.5) * array.shape[1] / w).astype(int)
    out = np.full(shape, fill, array.dtype)
    out[y : y + h, x : x + w] = array[np.ix_(rows, columns)]
    return out


def camera_figures(truth: Truth, scene: dict[str, Any], crop: list[int]) -> Figures:
    hfov = np.degrees(2 * np.arctan(crop[2] / 2 / truth.record["intrinsics"][0][0]))
    return {"hfov error, deg": abs(scene["hfov_deg"] - float(hfov)),
            "gravity error, deg": m.angle_degrees(scene["gravity"], truth.record["gravity"])}


def depth_figures(truth: Truth, session: Path, scene: dict[str, Any], crop: list[int]
                  ) -> tuple[Figures, float | None]:
    """Depth errors over the pixels with true depth that the session trusts, and the scale that brings it to metres."""
    with np.load(session / "dust3r" / "pointmap.npz") as data:
        full, trusted = data["points"][..., 2].astype(float), data["mask"]
    shape, stride = truth.ids.shape, truth.stride
    predicted = in_still(full, crop, shape, np.nan)[::stride, ::stride]
    mask = in_still(trusted, crop, shape)[::stride, ::stride]
    known = np.isfinite(truth.depth)
    where = known & mask & (predicted > 0)
    figures: Figures = {"depth covered": float(where.sum() / max(known.sum(), 1))}
    if where.sum() < 100:
        return figures, None
    t = truth.depth
    free = m.align_disparity(predicted, t, where)
    scaled = m.align_scale(predicted, t, where)
    figures |= {
        "AbsRel (scale+shift)": m.abs_rel(free, t, where), "delta<1.25 (scale+shift)": m.delta_inliers(free, t, where),
        "AbsRel (scale)": m.abs_rel(scaled, t, where), "delta<1.25 (scale)": m.delta_inliers(scaled, t, where),
        "ordinal accuracy": m.ordinal_accuracy(predicted, t, where),
        "depth edge F1": m.depth_boundary_f(np.where(mask, predicted, np.inf), t),
    }
    # What knowing nothing gives: the lower in the picture, the nearer.
    rows = np.broadcast_to(1 / (1 + np.arange(t.shape[0], dtype=float))[:, None], t.shape)
    figures["AbsRel of rows alone"] = m.abs_rel(m.align_disparity(rows, t, where), t, where)
    metric = scene["unit"] == "metre"
    figures["AbsRel (as given)"] = m.abs_rel(predicted, t, where) if metric else None
    figures["delta<1.25 (as given)"] = m.delta_inliers(predicted, t, where) if metric else None
    return figures, float(np.median(t[where] / predicted[where]))


def harvest_figures(truth: Truth, session: Path, crop: list[int]) -> tuple[Figures, list[tuple[str, TrueObject]]]:
    """Recall and precision at IoU 0.5, contour F, people taken; and which prop is which true object."""
    manifest = json.loads((session / "props" / "harvest_manifest.json").read_text(encoding="utf-8"))
    masks = [in_still(np.asarray(Image.open(session / p["mask"]).convert("L")), crop, truth.ids.shape) > 127
             for p in manifest["props"]]
    wanted = [o for o in truth.objects if o.is_prop]
    # Cut, half hidden or small things, and vehicles, may be taken or left.
    others = [o for o in truth.objects if o.kind in ("prop", "vehicle") and not o.is_prop and truth.mask(o).any()]
    true_masks = [truth.mask(o) for o in wanted]
    found = m.match_masks(masks, true_masks, [truth.mask(o) for o in others])
    people = np.isin(truth.ids, [o.id for o in truth.objects if o.kind == "person"])
    tolerance = max(1.0, 0.0075 * float(np.hypot(*truth.ids.shape)))  # 0.75 % of the diagonal, as DAVIS has it
    contours = [m.boundary_f(masks[i], true_masks[j], tolerance) for i, j, _ in found.pairs]
    figures: Figures = {
        "harvest recall": None if not wanted else found.recall, "harvest precision": _number(found.precision),
        "harvest IoU": _mean([score for *_, score in found.pairs]), "harvest boundary F": _mean(contours),
        "people taken": float(sum((mask & people).sum() > 0.5 * mask.sum() for mask in masks)),
        "props taken": float(len(masks)), "props wanted": float(len(wanted)), "props found": float(len(found.pairs)),
    }
    return figures, [(manifest["props"][i]["id"], wanted[j]) for i, j, _ in found.pairs]


def prop_figures(truth: Truth, thing: TrueObject, placed: dict[str, Any], session: Path, scene: dict[str, Any],
                 crop: list[int], factor: float) -> dict[str, Any]:
    """Shape and place of one found prop, in metres after the scene's one scale factor."""
    glb = trimesh.load(session / placed["glb"], force="mesh", process=False)
    pose, from_glb = np.array(placed["camera_from_prop"]), np.array(placed["camera_from_glb"])
    camera = np.asarray(glb.vertices) @ from_glb[:3, :3].T + from_glb[:3, 3]
    rigid = pose.copy()  # a scaled pose is split: the scale goes to the points, the box keeps a pure rotation
    rigid[:3, :3] /= np.cbrt(max(np.linalg.det(pose[:3, :3]), 1e-12))
    rigid[:3, 3] *= factor
    vertices = camera * factor
    local = (vertices - rigid[:3, 3]) @ rigid[:3, :3]
    assert thing.camera_from_object is not None and thing.low is not None and thing.high is not None
    true_pose = thing.camera_from_object
    diagonal = float(np.linalg.norm(thing.high - thing.low))
    foot = true_pose[:3, 3] + truth.up * thing.low[2]
    gap, sunk = m.ground_contact(vertices, truth.up, -float(truth.up @ foot))
    K = np.array(scene["intrinsics"])
    size = (scene["width"], scene["height"])
    seen = in_still(silhouette(camera, np.asarray(glb.faces), K, size), crop, truth.ids.shape)
    out: dict[str, Any] = {
        "id": placed["id"], "label": thing.label,
        "bbox IoU": m.box_iou(m.Box(rigid, local.min(0), local.max(0)), m.Box(true_pose, thing.low, thing.high)),
        "silhouette IoU": m.iou(seen, truth.mask(thing)), "ground gap": gap, "penetration": sunk,
    }
    mesh = truth.mesh(thing)
    if mesh is not None:
        true_points = m.sample_surface(*mesh, POINTS)
        points = m.sample_surface(vertices, np.asarray(glb.faces), POINTS)
        there = true_points @ true_pose[:3, :3].T + true_pose[:3, 3]
        out["chamfer / diagonal"] = m.chamfer(points, there) / diagonal
        out["F-score"] = m.f_score(points, there, F_TOLERANCE * diagonal)
        fold = symmetry(true_points, diagonal)
        out["yaw error, deg"] = m.yaw_error(rigid[:3, :3], true_pose[:3, :3], truth.up, fold) if fold else None
    return out


def symmetry(points: m.Array, diagonal: float) -> int:
    """How many-fold a thing is about its own Z: 1, 2 or 4; 0 where every turn looks the same and yaw means nothing."""

    def same(degrees: float) -> bool:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        return m.chamfer(points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]), points) < 0.02 * diagonal

    if same(31) and same(77):
        return 0
    return 4 if same(90) else 2 if same(180) else 1


def silhouette(vertices: m.Array, faces: m.Array, K: m.Array, size: tuple[int, int]) -> m.Mask:
    """All triangles of a camera-frame mesh filled, (H, W) bool."""
    picture = Image.new("1", (size[0] * 2, size[1] * 2))
    draw = ImageDraw.Draw(picture)
    uv = (vertices / np.maximum(vertices[:, 2:], 1e-6)) @ K.T[:, :2] * 2
    for face in faces[(vertices[faces, 2] > 1e-6).all(1)]:
        draw.polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in uv[face]], fill=1)
    return np.array(picture).reshape(size[1], 2, size[0], 2).mean((1, 3)) > 0.5


def splat_figures(truth: Truth, session: Path, scene: dict[str, Any], crop: list[int], factor: float) -> Figures:
    """The Gaussians, with the props' own, at the still's camera and at the true views beside it."""
    cloud = read_clouds(session, scene)
    cloud = GaussianCloud(cloud["position"] * factor, cloud["scale"] * factor, cloud["rotation"], cloud["opacity"],
                          cloud["color"])
    width, height = scene["width"], scene["height"]
    home = _picture(session / "plate" / "still.png", (width, height))
    K = np.array(scene["intrinsics"], np.float32)
    seen = render(cloud, np.eye(4), K, (height, width)).color
    figures: Figures = {"splat PSNR at the still, dB": m.psnr(seen, home),
                        "splat SSIM at the still": m.ssim(seen, home), "splat GMSD at the still": m.gmsd(seen, home)}
    if truth.folder is None:
        return figures
    # Plate pixels to the whole still's, with the session's own lens: a wrong one shows as it would to its user.
    to_still = np.array([[crop[2] / width, 0, crop[0]], [0, crop[3] / height, crop[1]], [0, 0, 1]])
    for name, view in truth.record["views"].items():
        true = _picture(truth.folder / f"view_{name}.png", None)
        h, w = true.shape[:2]
        share = np.diag([w / truth.record["width"], h / truth.record["height"], 1])
        scaled = (share @ to_still @ K).astype(np.float32)
        made = render(cloud, np.linalg.inv(np.array(view["still_from_view"])), scaled, (h, w)).color
        figures[f"splat PSNR {name}, dB"] = m.psnr(made, true)
        figures[f"splat SSIM {name}"] = m.ssim(made, true)
        figures[f"splat GMSD {name}"] = m.gmsd(made, true)
    return figures


def read_clouds(session: Path, scene: dict[str, Any]) -> dict[str, m.Array]:
    """scene.ply and every placed prop's PLY as one cloud in the camera frame."""
    parts = []
    entries = [(session / "scene_visual" / "scene.ply", np.eye(4))]
    entries += [(session / p["ply"], np.array(p["camera_from_prop"])) for p in scene.get("props", []) if p.get("ply")]
    for path, pose in entries:
        v = PlyData.read(str(path))["vertex"]
        column = lambda *names, v=v: np.stack([np.asarray(v[n], np.float32) for n in names], -1)  # noqa: E731
        size = np.cbrt(np.linalg.det(pose[:3, :3]))
        turn = Rotation.from_matrix(pose[:3, :3] / size)
        quaternion = column("rot_1", "rot_2", "rot_3", "rot_0")  # scipy wants x y z w
        rotation = (turn * Rotation.from_quat(quaternion)).as_quat()[:, [3, 0, 1, 2]]
        parts.append({
            "position": column("x", "y", "z") @ pose[:3, :3].T.astype(np.float32) + pose[:3, 3].astype(np.float32),
            "scale": np.exp(column("scale_0", "scale_1", "scale_2")) * np.float32(size),
            "rotation": rotation.astype(np.float32),
            "opacity": 1 / (1 + np.exp(-np.asarray(v["opacity"], np.float32))),
            "color": np.clip(0.5 + 0.28209479177387814 * column("f_dc_0", "f_dc_1", "f_dc_2"), 0, None),
        })
    return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}


def light_figures(truth: Truth, session: Path, lit: dict[str, Any]) -> Figures:
    figures: Figures = {}
    key = lit.get("key")
    if key and "key_light" in truth.record:
        figures["key light error, deg"] = m.angle_degrees(
            key["direction"], truth.record["key_light"]["direction_to_light"])
    if truth.folder is None:
        return figures
    if key:
        figures["key vs mean light, deg"] = m.angle_degrees(
            key["direction"], truth.record["probe"]["dominant_to_light"])
    made = light.camera_equirect(light.shrink(_exr(session / lit["probe"])), np.array(lit["level_from_camera"]))
    mirror, grey, inside = light.balls(made)
    true_mirror, true_grey, _ = light.balls(_exr(truth.folder / "probe.exr"))
    figures["mirror ball si-RMSE"] = m.scale_invariant_rmse(mirror, true_mirror, inside)
    figures["grey ball si-RMSE"] = m.scale_invariant_rmse(grey, true_grey, inside)
    # What knowing nothing gives: the same light from everywhere.
    figures["grey ball, even light"] = m.scale_invariant_rmse(inside[..., None] * np.ones(3), true_grey, inside)
    figures["mirror ball, even light"] = m.scale_invariant_rmse(inside[..., None] * np.ones(3), true_mirror, inside)
    figures["grey ball colour, deg"] = m.rgb_angular_error(grey, true_grey, inside)
    return figures


def _exr(path: Path) -> m.Array:
    channels = OpenEXR.File(str(path)).channels()
    if "RGB" in channels:
        return np.asarray(channels["RGB"].pixels, float)
    if "RGBA" in channels:
        return np.asarray(channels["RGBA"].pixels, float)[..., :3]
    return np.stack([np.asarray(channels[k].pixels, float) for k in "RGB"], -1)


def _picture(path: Path, size: tuple[int, int] | None) -> m.Array:
    picture = Image.open(path).convert("RGB")
    if size and picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(picture, np.float32) / 255


def mean_of(props: list[dict[str, Any]]) -> Figures:
    keys = ("bbox IoU", "silhouette IoU", "chamfer / diagonal", "F-score", "yaw error, deg", "ground gap",
            "penetration")
    return {f"prop {key}": _mean([p[key] for p in props if p.get(key) is not None]) for key in keys}


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
