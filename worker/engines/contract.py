"""What engines take and give: typed dataclasses, numpy at the edge.

Frames: OpenCV camera axes (x right, y down, z forward), camera at the origin. Images: uint8 RGB, sRGB-encoded,
(H, W, 3), unless a field says linear. Masks: bool (H, W). Intrinsics: 3x3 for the still's own pixels, where pixel
(column i, row j) has its centre at (i + 0.5, j + 0.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, Protocol

from worker.arrays import F32, I32, U8, Bool
from worker.formats.gaussians import GaussianCloud
from worker.formats.mesh import TexturedMesh
from worker.pointmaps.object_box import ObjectBox

Progress = Callable[[float], None]  # 0..1 of this call


class Engine(Protocol):
    """Loaded once in its host, run for every still."""

    def load(self, device: str, tier: str) -> None: ...

    def run(self, request: Any, progress: Progress) -> Any: ...


class SurfaceClass(IntEnum):
    """Values of `GeometryResult.classes`."""

    STUFF = 0  # walls, floor, terrain, buildings
    OBJECT = 1
    SKY = 2
    PERSON = 3


@dataclass
class EngineNotice:
    """A remark for the session: `code` must be a key of the stage's NOTICES."""

    code: str
    params: dict[str, Any] = field(default_factory=dict)
    degraded: bool = False


# --- geometry -------------------------------------------------------------------------------------------------------
@dataclass
class GeometryRequest:
    image: U8
    hfov_deg: float | None  # the user's or the file's lens; wins over any estimate
    seed: int = 0
    tiled: bool = False  # look again through overlapping tiles, where the engine can


@dataclass
class GeometryResult:
    """`points` (H, W, 3) lie on their own pixel rays; where `mask` is False they hold a finite far value."""

    points: F32
    mask: Bool  # True where depth is to be trusted at all (not sky)
    confidence: F32  # (H, W) in 0..1
    intrinsics: F32
    unit: Literal["metre", "relative"]
    scale_basis: str
    gravity: F32  # (3,) unit, down
    gravity_source: Literal["engine", "assumed"]
    hfov_source: Literal["user", "exif", "engine", "assumed"]
    sky: Bool
    ground_plane: tuple[F32, float, float] | None = None  # unit up normal (3,), offset, confidence
    normals: F32 | None = None  # (H, W, 3) unit, facing the camera
    classes: U8 | None = None  # (H, W) SurfaceClass
    instances: I32 | None = None  # (H, W), 0 = none
    # Beside `instances`: (k, h, w) over the whole still, 0 = none, by each of k readings, which may disagree.
    instance_readings: I32 | None = None
    box_votes: F32 | None = None  # (10, h, w) over the whole still: worker/pointmaps/object_box.py says what each tells
    tiles: int = 0  # how many tiles went into the depth
    quality: dict[str, float] = field(default_factory=dict)  # the engine's own figures, for the session's record
    notices: list[EngineNotice] = field(default_factory=list)


# --- harvest --------------------------------------------------------------------------------------------------------
@dataclass
class HarvestRequest:
    image: U8
    rois: list[tuple[int, int, int, int]]  # x, y, w, h in the still's pixels
    max_props: int
    seed: int = 0
    points: F32 | None = None
    mask: Bool | None = None
    sky: Bool | None = None
    confidence: F32 | None = None
    intrinsics: F32 | None = None
    gravity: F32 | None = None
    ground_plane: tuple[F32, float, float] | None = None
    classes: U8 | None = None
    instances: I32 | None = None
    instance_readings: I32 | None = None  # (k, h, w)


@dataclass
class MaskProposal:
    """One thing that might be a prop. The stage, not the engine, applies the hero rules."""

    mask: Bool
    score: float  # 0..1
    source: str  # "saliency", "tile", "roi", "instances", ...
    label: str = "prop"
    is_person: bool = False


@dataclass
class HarvestResult:
    proposals: list[MaskProposal]
    notices: list[EngineNotice] = field(default_factory=list)


# --- clean plate ----------------------------------------------------------------------------------------------------
@dataclass
class CleanPlateRequest:
    image: U8
    hole: Bool  # True where new picture is wanted
    seed: int = 0


@dataclass
class CleanPlateResult:
    image: U8  # equal to the request outside the hole
    notices: list[EngineNotice] = field(default_factory=list)


# --- scene ----------------------------------------------------------------------------------------------------------
@dataclass
class SceneRequest:
    still: U8
    clean: U8 | None  # None: no props were removed
    removed: Bool | None  # where clean differs from still
    points: F32
    mask: Bool
    confidence: F32
    sky: Bool
    intrinsics: F32
    gravity: F32
    normals: F32 | None = None
    ground_plane: tuple[F32, float, float] | None = None
    keep_props: bool = False
    seed: int = 0


@dataclass
class SceneResult:
    """`background_*`: the pointmap with the props taken away (clean plate geometry), used for the Blender proxy.

    `layers`: how many of the Gaussians, in their order, what the camera sees is made of, and what it hides.
    """

    gaussians: GaussianCloud
    background_points: F32 | None = None  # (H, W, 3)
    layers: tuple[int, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)  # plain values for session.json
    notices: list[EngineNotice] = field(default_factory=list)


# --- lighting -------------------------------------------------------------------------------------------------------
@dataclass
class LightingRequest:
    linear: F32  # (H, W, 3) scene-linear Rec.709
    intrinsics: F32
    gravity: F32
    clipped_at: float  # linear value at which the file's white clips; inf for HDR input
    points: F32 | None = None
    normals: F32 | None = None
    mask: Bool | None = None
    sky: Bool | None = None
    seed: int = 0


@dataclass
class LightingResult:
    """`equirect` (h, 2h, 3) linear, level frame (worker/session/frames.py): top row zenith, middle column heading,
    columns to the right turn right.
    """

    equirect: F32
    coverage_map: F32  # (h, 2h) 1 where the frame saw it, falling to 0
    coverage: float  # solid-angle share really seen
    sh9: F32  # (9, 3) radiance coefficients, real SH, level frame, order l0; y z x; xy yz 3z2-1 xz x2-y2
    key_direction: F32 | None  # (3,) towards the light, camera frame
    key_color: F32 | None
    key_intensity: float
    key_angular_size_deg: float
    key_confidence: float
    exposure: float
    notices: list[EngineNotice] = field(default_factory=list)


# --- props ----------------------------------------------------------------------------------------------------------
@dataclass
class PropRequest:
    crop: U8  # (h, w, 4) RGBA, straight alpha, foreground colours estimated
    box: tuple[int, int, int, int]  # where the crop lies in the still: x, y, w, h
    points: F32 | None  # (h, w, 3) of the crop, camera frame
    mask: Bool | None
    intrinsics: F32
    gravity: F32
    ground_plane: tuple[F32, float, float] | None
    label: str
    relief: bool = True  # False: `points` tell where the prop stands, not its shape (a guessed layout)
    triangle_budget: int = 20_000
    seed: int = 0
    truncated: bool = False  # the frame's border cuts it
    occluded: bool = False  # something nearer hides part of it
    object_box: ObjectBox | None = None  # the upright box around the thing, where the geometry engine told it
    still: U8 | None = None  # the whole picture, for engines that look around the prop
    still_points: F32 | None = None  # (H, W, 3) and, where they are to be trusted, (H, W)
    still_mask: Bool | None = None


@dataclass
class PropResult:
    """`camera_from_prop` is the engine's own pose where it has one; placement refines or finds it.

    `measured` holds the engine's own figures for the record, e.g. {"crop_score": 0.8, "voxels": 21400}.
    """

    mesh: TexturedMesh
    gaussians: GaussianCloud | None
    camera_from_prop: F32 | None  # 4x4
    metric: bool  # True: the mesh is already in scene units; False: unit box, placement finds the scale
    notices: list[EngineNotice] = field(default_factory=list)
    measured: dict[str, float] = field(default_factory=dict)
