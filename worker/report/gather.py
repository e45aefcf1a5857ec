"""What the page shows, taken from the session folder: plain dictionaries for the template, blocks for report.js.

Everything is optional but the session itself: a partial session gets a truthful page too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from worker.formats.glb import read_glb
from worker.formats.image import read_rgb
from worker.formats.mesh import TexturedMesh
from worker.formats.pointmap import read_pointmap
from worker.formats.silhouette import rasterise
from worker.metadata.licences import ledger
from worker.report import embed, turntable
from worker.session.harvest import HarvestedProp, HarvestManifest
from worker.session.layout import SessionFolder
from worker.session.model import KeyLight, LightRecord, PlacedProp, Session

# Quality figures worth a line in the table: code -> (English, Chinese, format)
FIGURES: dict[str, tuple[str, str, str]] = {
    "psnr_db": ("PSNR", "PSNR", "{:.1f} dB"),
    "reprojection_px": ("points off their pixels", "点与像素偏差", "{:.3f} px"),
    "trusted_share": ("depth trusted in", "可信深度占比", "{:.0%}"),
    "mean_confidence": ("mean confidence", "平均置信度", "{:.2f}"),
    "kept_share": ("confident in", "置信区域占比", "{:.0%}"),
    "confidence_threshold": ("raw confidence at least", "原始置信度下限", "{:.2f}"),
    "ray_residual_px": ("raw points off their rays", "原始点偏离射线", "{:.2f} px"),
    "own_hfov_deg": ("network's own field of view", "网络自估视角", "{:.1f}°"),
    "props": ("props", "道具", "{:.0f}"),
    "rejected": ("left out", "未采用", "{:.0f}"),
    "painted_share": ("painted anew", "重绘占比", "{:.1%}"),
    "shadow_share": ("of it contact shadow", "其中接触阴影", "{:.1%}"),
    "built": ("built", "已构建", "{:.0f}"),
    "failed": ("failed", "失败", "{:.0f}"),
    "gaussians": ("Gaussians", "高斯数", "{:,.0f}"),
    "coverage": ("sphere seen", "所见球面", "{:.1%}"),
    "mean_iou": ("mean silhouette IoU", "平均轮廓交并比", "{:.2f}"),
    "holes_share": ("holes", "空洞", "{:.1%}"),
    "key_confidence": ("key light confidence", "主光置信度", "{:.2f}"),
    "crop_score": ("crop quality", "抠图质量", "{:.2f}"),
    "iou": ("engine's own silhouette IoU", "引擎自身轮廓交并比", "{:.2f}"),
    "in_box": ("keeps to its box", "符合包围盒", "{:.0%}"),
    "silhouette_iou": ("silhouette IoU", "轮廓交并比", "{:.2f}"),
}


@dataclass
class Page:
    """`view` is the template's; `blocks` goes into the page as JSON for report.js."""

    view: dict[str, Any]
    blocks: dict[str, Any]


def gather(folder: SessionFolder, session: Session, language: str) -> Page:
    manifest = _manifest(folder, session)
    meshes = _meshes(folder, session)
    blocks: dict[str, Any] = {"meshes": {}}
    cloud = _cloud(folder, session)
    if cloud is not None:
        blocks["points"] = cloud
    share = min(embed.TRIANGLES, embed.MESH_BUDGET // max(1, len(meshes)))
    for prop_id, mesh in meshes.items():
        blocks["meshes"][prop_id] = embed.mesh_block(mesh, share)
    done = [record for record in session.stages.values() if record.seconds is not None]
    used = [record.commercial_use for record in session.stages.values() if record.commercial_use]
    view = {
        "language": language,
        "session": session,
        "state": _state(session),
        "degraded": any(record.degraded for record in session.stages.values()),
        "stages": _stages(session),
        "remarks": _remarks(session),
        "pictures": _pictures(folder),
        "size": (manifest.width, manifest.height) if manifest else None,
        "props": _props(folder, session, manifest.props, meshes, blocks) if manifest else [],
        "rejected": manifest.rejected if manifest else [],
        "light": _light(session.scene.light if session.scene else None),
        "tests": _tests(folder, session),
        "files": sorted((path, name, digest) for name, record in session.stages.items()
                        for path, digest in record.outputs.items()),
        "seconds": sum(record.seconds or 0.0 for record in done),
        "memory_mb": max((record.peak_memory_mb or 0.0 for record in session.stages.values()), default=0.0),
        "gpu_memory_mb": max((record.peak_gpu_memory_mb or 0.0 for record in session.stages.values()), default=0.0),
        "commercial_all": all(answer == "yes" for answer in used) if used else None,
        "has_points": cloud is not None,
    }
    return Page(view, blocks)


def _state(session: Session) -> str:
    """The report is written while its own stage runs: what the others did decides."""
    if session.state == "running" and any(record.state == "failed" for record in session.stages.values()):
        return "partial"
    return str(session.state)


def _there(session: Session, stage: str) -> bool:
    record = session.stages.get(stage)
    return record is not None and record.state == "done"


def _manifest(folder: SessionFolder, session: Session) -> HarvestManifest | None:
    if not _there(session, "harvest") or not folder.harvest_manifest.is_file():
        return None
    return HarvestManifest.model_validate_json(folder.harvest_manifest.read_text("utf-8"))


def _placed(session: Session) -> dict[str, PlacedProp]:
    return {prop.id: prop for prop in session.scene.props} if session.scene else {}


def _meshes(folder: SessionFolder, session: Session) -> dict[str, TexturedMesh]:
    """Meshes by prop id, in the prop frame. A file that cannot be read is left out; its stage has told why."""
    found = {}
    if _there(session, "props"):
        for path in sorted(folder.prop_glb("x").parent.glob("*.glb")):
            try:
                found[path.stem] = read_glb(path)
            except (ValueError, OSError, KeyError, IndexError):
                continue
    return found


def _cloud(folder: SessionFolder, session: Session) -> dict[str, Any] | None:
    if not _there(session, "geometry") or not folder.pointmap.is_file():
        return None
    pointmap = read_pointmap(folder.pointmap)
    if not pointmap.mask.any():
        return None
    still = read_rgb(folder.still)
    # A few far points would make everything else a speck in the viewer's 16-bit box.
    near = pointmap.mask & (pointmap.depth <= 3 * np.percentile(pointmap.depth[pointmap.mask], 90))
    height, width = still.shape[:2]
    block = embed.points_block(pointmap.points, still, near)
    block["fov"] = 2 * math.atan(height / 2 / float(pointmap.intrinsics[1, 1]))
    block["aspect"] = width / height
    return block


def _pictures(folder: SessionFolder) -> dict[str, str | None]:
    return {
        "still": embed.picture(folder.still),
        "clean": embed.picture(folder.clean),
        "removed": embed.picture(folder.removed_mask, 600),
        "depth": embed.picture(folder.depth_preview),
        "probe": embed.picture(folder.probe_preview),
        "balls": embed.picture(folder.relight_balls),
    }


def _stages(session: Session) -> list[dict[str, Any]]:
    longest = max((record.seconds or 0.0 for record in session.stages.values()), default=0.0) or 1.0
    terms = {entry.stage: entry for entry in ledger(session)}
    rows = []
    for name, record in session.stages.items():
        figures = [
            (*_figure_name(code), _figure(code, value))
            for code, value in record.quality.items()
            if value is not None and math.isfinite(value)
        ]
        rows.append({
            "name": name,
            "record": record,
            "state": str(record.state),
            "bar": round(100 * (record.seconds or 0.0) / longest, 1),
            "figures": figures,
            "terms": terms.get(name),
        })
    return rows


def _figure(code: str, value: float) -> str:
    if code in FIGURES:
        return FIGURES[code][2].format(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _figure_name(code: str) -> tuple[str, str]:
    if code in FIGURES:
        return FIGURES[code][:2]
    return code.replace("_", " "), code.replace("_", " ")


def _remarks(session: Session) -> list[dict[str, Any]]:
    """Errors first, then remarks, in the order of the stages."""
    errors = [
        {"stage": name, "notice": record.error, "kind": "error"}
        for name, record in session.stages.items() if record.error is not None
    ]
    remarks = [
        {"stage": name, "notice": notice, "kind": "degraded" if record.degraded else "remark"}
        for name, record in session.stages.items() for notice in record.warnings
    ]
    return errors + remarks


def _props(
    folder: SessionFolder, session: Session, props: list[HarvestedProp], meshes: dict[str, TexturedMesh],
    blocks: dict[str, Any],
) -> list[dict[str, Any]]:
    if not props:
        return []
    still = Image.fromarray(read_rgb(folder.still))
    strips = {name: embed.encoded(Image.fromarray(turntable.strip(mesh))) for name, mesh in meshes.items()}
    return [_prop(folder, session, prop, still, meshes, strips, blocks) for prop in props]


def _prop(
    folder: SessionFolder, session: Session, prop: HarvestedProp, still: Image.Image, meshes: dict[str, TexturedMesh],
    strips: dict[str, str], blocks: dict[str, Any],
) -> dict[str, Any]:
    placed = _placed(session).get(prop.id)
    shape = Path(placed.glb).stem if placed is not None and placed.glb else prop.id  # of near-identical props another's
    mesh = meshes.get(shape)
    built = None
    if placed is not None and mesh is not None and session.scene is not None:
        pose = np.asarray(placed.camera_from_prop, dtype=np.float64)
        vertices = mesh.vertices.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
        scene = session.scene
        built = rasterise(vertices, mesh.faces, np.asarray(scene.intrinsics), scene.height, scene.width).mask
    return {
        "prop": prop,
        "placed": placed,
        "crop": embed.picture(folder.root / prop.crop, embed.CROP_SIDE),
        "silhouette": embed.silhouette(still, prop.crop_box, prop.outline, built),
        "has_built": built is not None,
        "relit": embed.picture(folder.prop_relit(prop.id), 2 * embed.CROP_SIDE),
        "mesh": blocks["meshes"].get(shape),
        "shape": shape,
        "turntable": strips.get(shape),
        "made": _made(session, shape) if mesh is not None else None,
    }


def _made(session: Session, prop_id: str) -> dict[str, Any]:
    """How a prop was made: the stage's record (engine, licence) and what building this one took."""
    record = session.stages["props"]
    facts = record.details.get("props", {}).get(prop_id, {})
    measured = [(*_figure_name(code), _figure(code, value)) for code, value in facts.get("measured", {}).items()]
    return {"record": record, "seconds": facts.get("seconds"), "memory_mb": facts.get("memory_mb"),
            "gpu_mb": facts.get("gpu_mb"), "measured": measured}  # fmt: skip


def _light(light: LightRecord | None) -> dict[str, Any] | None:
    if light is None:
        return None
    return {"record": light, "key": _key(light.key, light) if light.key is not None else None}


def _key(key: KeyLight, light: LightRecord) -> dict[str, Any]:
    """Where the key light stands, seen from the camera: azimuth to the right of ahead, elevation, both in degrees."""
    right, ahead, up = np.asarray(light.level_from_camera) @ np.asarray(key.direction)
    azimuth = math.degrees(math.atan2(right, ahead))
    color = [round(255 * max(0.0, min(1.0, c)) ** (1 / 2.2)) for c in key.color]
    return {
        "azimuth": round(abs(azimuth)),
        "side": "left" if azimuth < 0 else "right",
        "end": "ahead" if abs(azimuth) <= 90 else "behind",
        "elevation": round(math.degrees(math.asin(max(-1.0, min(1.0, float(up)))))),
        # A plan from above, camera in the middle looking up the page.
        "plan": (round(50 + 40 * float(right), 1), round(50 - 40 * float(ahead), 1)),
        "color": "#{:02x}{:02x}{:02x}".format(*color),
        "record": key,
    }


def _tests(folder: SessionFolder, session: Session) -> list[dict[str, Any]]:
    rows = []
    for key, stage, path in (
        ("splats", "scene", folder.scene_preview),
        ("blend", "blend", folder.blend_preview),
    ):
        image = embed.picture(path, 700)
        if image is None or not _there(session, stage):
            continue
        record = session.stages[stage]
        against = record.details.get("compared_with") == folder.relative(folder.clean)
        rows.append({"key": key, "image": image, "psnr": record.quality.get("psnr_db"), "clean": against})
    return rows
