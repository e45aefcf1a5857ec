"""session.json: the one document that Blender, the report, the service and a second run read.

Frame of everything in it: the still's camera at the origin, OpenCV axes (x right, y down, z forward), lengths in
`scene.unit`. Matrices are row-major nested lists acting on column vectors.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Vec3 = tuple[float, float, float]
Matrix3 = tuple[Vec3, Vec3, Vec3]
Vec4 = tuple[float, float, float, float]
Matrix4 = tuple[Vec4, Vec4, Vec4, Vec4]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")


class Notice(Model):
    """One truthful remark, in both languages; `code` is stable ("geometry.layout_preview")."""

    code: str
    en: str
    zh: str
    params: dict[str, Any] = {}


class Lens(Model):
    """What the file or the user said of the lens; None where nobody said."""

    hfov_deg: float | None = None
    focal_mm: float | None = None
    focal_35mm: float | None = None
    source: Literal["user", "exif", "none"] = "none"


class InputRecord(Model):
    """The still as it came. `crop` is x, y, width, height of the picture area in upright original pixels."""

    name: str
    sha256: str
    bytes: int
    format: str
    width: int
    height: int
    mode: str
    bit_depth: int
    color_space: str
    has_alpha: bool = False
    exif_orientation: int = 1
    crop: tuple[int, int, int, int]
    scale: float = 1.0  # working pixels per cropped original pixel; below 1 where a huge still was reduced
    hdr: bool = False
    view_exposure: float = 1.0  # still.png = sRGB of this times still_linear.exr; not 1 only for scene-linear files
    lens: Lens = Lens()  # `lens.hfov_deg` is that of the still as cropped
    aigc_label: str | None = None  # an AI-content label found in the file, carried forward word for word

    def to_still_box(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int] | None:
        """A box of upright original pixels (x, y, width, height) in the still's pixels; None where nothing is left.

        Rounded outwards, at least one pixel, clipped to the still.
        """
        left, top, width, height = self.crop
        still_width, still_height = int(width * self.scale + 1e-6), int(height * self.scale + 1e-6)
        x0 = max(0, math.floor((box[0] - left) * self.scale + 1e-6))
        y0 = max(0, math.floor((box[1] - top) * self.scale + 1e-6))
        x1 = min(still_width, math.ceil((box[0] + box[2] - left) * self.scale - 1e-6))
        y1 = min(still_height, math.ceil((box[1] + box[3] - top) * self.scale - 1e-6))
        return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


class StageState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class StageRecord(Model):
    """What one stage did. `outputs` maps session-relative POSIX paths to sha256."""

    state: StageState = StageState.PENDING
    engine: str | None = None
    engine_version: str | None = None
    engine_choice: Notice | None = None  # why this engine
    weights_sha256: dict[str, str] = {}
    licence_code: str | None = None  # SPDX or named terms
    licence_weights: str | None = None
    commercial_use: Literal["yes", "no", "terms"] | None = None
    degraded: bool = False  # the result is less than this engine's best; a warning says how
    seed: int | None = None
    device: str | None = None
    tier: str | None = None
    attempts: int = 0
    seconds: float | None = None
    peak_memory_mb: float | None = None
    peak_gpu_memory_mb: float | None = None  # what tensors took of a CUDA device; None where none was used
    warnings: list[Notice] = []
    error: Notice | None = None
    outputs: dict[str, str] = {}
    quality: dict[str, float | None] = {}  # measured figures, e.g. {"psnr_db": 28.4}
    details: dict[str, Any] = {}


class GroundPlane(Model):
    """Points x with normal . x + offset = 0; `normal` is unit length and points up (away from the ground)."""

    normal: Vec3
    offset: float
    confidence: float


class Dimensions(Model):
    """Size of a prop along its own axes, in scene units: x width, y depth, z height."""

    width: float
    depth: float
    height: float


class PlacedProp(Model):
    """One prop standing in the scene.

    The prop frame is Z-up, right-handed, origin at the ground contact, front facing -Y (Blender's habit). Its PLY is
    stored in that frame; its GLB is the same shape in glTF's Y-up axes. So:
    x_camera = camera_from_prop @ x_prop (PLY), and = camera_from_glb @ x_glb as any glTF reader loads it.
    """

    id: str
    label: str
    glb: str | None = None
    ply: str | None = None
    mask: str
    crop: str
    record: str | None = None
    camera_from_prop: Matrix4
    camera_from_glb: Matrix4
    dimensions: Dimensions
    silhouette_iou: float | None = None
    pose_confidence: float | None = None
    grounded: bool = False
    instance_of: str | None = None
    quality: dict[str, float | None] = {}
    warnings: list[Notice] = []


class KeyLight(Model):
    """`direction` is the unit vector from the scene TOWARDS the light, camera frame. Colour linear Rec.709, max 1."""

    direction: Vec3
    color: Vec3
    intensity: float
    angular_size_deg: float
    confidence: float


class LightRecord(Model):
    probe: str
    level_from_camera: Matrix3  # turns camera-frame directions into the probe's level frame
    key: KeyLight | None = None
    coverage: float  # share of the sphere that the frame really saw, 0..1
    exposure: float = 1.0


class SceneRecord(Model):
    """Camera and world. `gravity` is the unit vector DOWN in the camera frame."""

    width: int
    height: int
    intrinsics: Matrix3
    hfov_deg: float
    hfov_source: Literal["user", "exif", "engine", "assumed"]
    unit: Literal["metre", "relative"]
    median_depth: float
    scale_basis: str  # one English sentence: where the scale comes from
    gravity: Vec3
    gravity_source: Literal["engine", "assumed"]
    ground_plane: GroundPlane | None = None
    props: list[PlacedProp] = []
    light: LightRecord | None = None


class Session(Model):
    schema_: Literal["assetize.session/1"] = Field(default="assetize.session/1", alias="schema")
    tool_version: str
    session_id: str  # UUID5 of input sha256 and options: the same run has the same identity
    created: str  # ISO 8601 UTC
    updated: str
    state: Literal["running", "done", "partial", "failed", "cancelled"] = "running"
    input: InputRecord
    options: dict[str, Any]
    stages: dict[str, StageRecord]
    scene: SceneRecord | None = None

    model_config = ConfigDict(extra="forbid", populate_by_name=True, ser_json_inf_nan="null")
