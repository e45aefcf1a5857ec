# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a session folder: session.json and where its files lie.

Unknown keys are ignored and missing parts are told, not guessed: a session whose props failed is still a scene.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import FormatError, SessionError
from .frames import F64, camera_height, level_from_camera, world_from_camera

SCHEMA = "assetize.session/1"
STILL_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".exr")

STILL = "plate/still.png"
CLEAN = "plate/clean.png"
POINTS = "dust3r/points.ply"
POINTMAP = "dust3r/pointmap.npz"
SPLATS = "scene_visual/scene.ply"
BACKGROUND = "scene_visual/background.npz"
RECORD = "metadata.json"
REPORT = "report.html"


@dataclass(frozen=True)
class PropEntry:
    """One prop as session.json places it. `entry` is its whole record there."""

    id: str
    label: str
    glb: Path | None
    ply: Path | None
    camera_from_prop: F64
    camera_from_glb: F64
    dimensions: tuple[float, float, float]
    grounded: bool
    instance_of: str | None
    entry: dict[str, Any]
    record: dict[str, Any] | None


@dataclass(frozen=True)
class KeyLight:
    """`direction` is the unit vector towards the light in the camera frame; colour linear Rec.709."""

    direction: F64
    color: tuple[float, float, float]
    intensity: float
    angular_size_deg: float
    confidence: float


@dataclass
class SessionData:
    """A session folder, read. Arrays and pictures stay on disk until asked for."""

    root: Path
    document: dict[str, Any]
    width: int
    height: int
    intrinsics: F64
    hfov_deg: float
    unit: str
    median_depth: float
    gravity: F64
    ground: tuple[F64, float] | None
    props: list[PropEntry]
    probe: Path | None
    key_light: KeyLight | None
    missing: list[str] = field(default_factory=list)  # session-relative names of files that a whole session has

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def session_id(self) -> str:
        return str(self.document.get("session_id", ""))

    def file(self, relative: str) -> Path | None:
        """The file of that session-relative name, or None where the session lacks it."""
        path = self.root / relative
        return path if path.is_file() else None

    @property
    def still(self) -> Path | None:
        return self.file(STILL)

    @property
    def plate(self) -> Path | None:
        """What the background wears: the clean plate, or the still where no prop was removed."""
        return self.file(CLEAN) or self.file(STILL)

    def stage(self, name: str) -> dict[str, Any]:
        """session.json's record of a stage, empty where it has none."""
        record = self.document.get("stages", {}).get(name)
        return record if isinstance(record, dict) else {}

    def background(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
        """(depth (H, W), trust mask (H, W)) of the set without its props, else of the still as it is, else None."""
        path = self.file(BACKGROUND) or self.file(POINTMAP)
        if path is None:
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                points, mask = arrays["points"], arrays["mask"].astype(bool)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise FormatError(
                "session.npz",
                f"{path.name} cannot be read: it is no intact numpy archive.",
                f"无法读取 {path.name}：它不是完整的 numpy 文件。",
            ) from error
        if points.shape != (*mask.shape, 3) or mask.shape != (self.height, self.width):
            raise FormatError(
                "session.npz",
                f"{path.name} does not have the still's size ({self.width} x {self.height}).",
                f"{path.name} 与静帧尺寸（{self.width} x {self.height}）不符。",
            )
        return points[..., 2].astype(np.float32), mask

    def ground_height(self) -> tuple[float, str]:
        """Height of the camera above the ground, and what that rests on.

        Without a ground plane the lowest prop stands on z = 0, without props the lowest hundredth of the set.
        """
        height = camera_height(self.gravity, self.ground)
        if height is not None:
            return height, "ground plane"
        up = level_from_camera(self.gravity)[2]
        if self.props:
            return -min(float(up @ prop.camera_from_prop[:3, 3]) for prop in self.props), "lowest prop"
        background = self.background()
        if background is not None and background[1].any():
            depth, mask = background
            v, u = np.nonzero(mask)
            rays = np.stack([u + 0.5, v + 0.5, np.ones(len(u))], axis=-1) @ np.linalg.inv(self.intrinsics).T
            return -float(np.percentile((rays * depth[v, u, None]) @ up, 1)), "lowest points"
        return 0.0, "nothing"

    def world_from_camera(self) -> F64:
        return world_from_camera(self.gravity, self.ground_height()[0])


def wanted_files(document: dict[str, Any], there: Collection[str]) -> list[str]:
    """Of the files that are `there`, those that an import and its panel read; session.json itself left out."""
    scene = document.get("scene") or {}
    names: list[Any] = [STILL, CLEAN, POINTS, SPLATS, BACKGROUND if BACKGROUND in there else POINTMAP, RECORD, REPORT]
    names += ["lighting_probe.json", (scene.get("light") or {}).get("probe")]
    for prop in scene.get("props") or []:
        names += [prop.get(key) for key in ("glb", "ply", "crop", "record")]
    return [name for name in dict.fromkeys(names) if name in there]


def read_session(root: Path) -> SessionData:
    """Raises SessionError where there is no session, an unknown schema, or no scene in it."""
    root = Path(root).expanduser().resolve()
    manifest = root / "session.json" if root.is_dir() else root
    if manifest.name != "session.json" or not manifest.is_file():
        raise SessionError(
            "session.none",
            f"{root} is no session folder: it has no session.json. Choose the folder that a run made.",
            f"{root} 不是会话文件夹：其中没有 session.json。请选择运行生成的文件夹。",
        )
    try:
        document = json.loads(manifest.read_text(encoding="utf-8"))
        schema = document["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SessionError(
            "session.broken",
            f"{manifest} is not intact. Run the still again to mend the session.",
            f"{manifest} 已损坏。请重新运行该静帧以修复会话。",
        ) from error
    if schema != SCHEMA:
        raise SessionError(
            "session.schema",
            f"{manifest.parent.name} was written as {schema}; this add-on reads {SCHEMA}. Update the older of the two.",
            f"{manifest.parent.name} 的格式为 {schema}，本插件读取 {SCHEMA}。请更新较旧的一方。",
        )
    scene = document.get("scene")
    if not isinstance(scene, dict):
        name = manifest.parent.name
        raise SessionError(
            "session.no_scene",
            f"{name} has no scene: its geometry stage did not finish. {_failure(document, 'en')}".strip(),
            f"{name} 中没有场景：几何阶段未完成。{_failure(document, 'zh')}",
        )
    try:
        return _read_scene(manifest.parent, document, scene)
    except (KeyError, TypeError, ValueError) as error:
        raise SessionError(
            "session.broken",
            f"{manifest} lacks part of its scene ({error}). Run the still again to mend the session.",
            f"{manifest} 的场景数据不完整（{error}）。请重新运行该静帧以修复会话。",
        ) from error


def _failure(document: dict[str, Any], language: str) -> str:
    error = document.get("stages", {}).get("geometry", {}).get("error") or {}
    return str(error.get(language, ""))


def _read_scene(root: Path, document: dict[str, Any], scene: dict[str, Any]) -> SessionData:
    plane = scene.get("ground_plane")
    light = scene.get("light") or {}
    key = light.get("key")
    session = SessionData(
        root=root,
        document=document,
        width=int(scene["width"]),
        height=int(scene["height"]),
        intrinsics=_matrix(scene["intrinsics"], 3),
        hfov_deg=float(scene["hfov_deg"]),
        unit=str(scene["unit"]),
        median_depth=float(scene["median_depth"]),
        gravity=np.asarray(scene["gravity"], dtype=np.float64),
        ground=(np.asarray(plane["normal"], dtype=np.float64), float(plane["offset"])) if plane else None,
        props=[_read_prop(root, entry) for entry in scene.get("props", [])],
        probe=_inside(root, light.get("probe")),
        key_light=None
        if not key
        else KeyLight(
            np.asarray(key["direction"], dtype=np.float64),
            tuple(map(float, key["color"])),  # type: ignore[arg-type]
            float(key["intensity"]),
            float(key["angular_size_deg"]),
            float(key["confidence"]),
        ),
    )
    wanted = [STILL, BACKGROUND, POINTS, SPLATS]
    session.missing = [name for name in wanted if session.file(name) is None]
    if session.probe is None:
        session.missing.append("lighting/probe.exr")
    return session


def _matrix(rows: Any, size: int) -> F64:
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise ValueError(f"a {size}x{size} matrix")
    return matrix


def _inside(root: Path, relative: str | None) -> Path | None:
    """The named file if it is there and inside the session; a session from elsewhere must not point out of itself."""
    if not relative:
        return None
    path = (root / relative).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None


def _read_prop(root: Path, entry: dict[str, Any]) -> PropEntry:
    record_path = _inside(root, entry.get("record"))
    record = None
    if record_path is not None:
        try:
            record = json.loads(record_path.read_text(encoding="utf-8"))
        except ValueError:
            record = None
    size = entry["dimensions"]
    return PropEntry(
        id=str(entry["id"]),
        label=str(entry["label"]),
        glb=_inside(root, entry.get("glb")),
        ply=_inside(root, entry.get("ply")),
        camera_from_prop=_matrix(entry["camera_from_prop"], 4),
        camera_from_glb=_matrix(entry["camera_from_glb"], 4),
        dimensions=(float(size["width"]), float(size["depth"]), float(size["height"])),
        grounded=bool(entry.get("grounded", False)),
        instance_of=entry.get("instance_of"),
        entry=entry,
        record=record,
    )
