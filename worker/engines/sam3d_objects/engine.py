"""Props by SAM 3D Objects: our pointmap goes in, so pose and scale come back in our camera frame and units."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from worker.arrays import F32, F64, U8, Bool
from worker.baking import bake
from worker.engines.contract import EngineNotice, Progress, PropRequest, PropResult
from worker.engines.sam3d_objects import frames, settings
from worker.engines.sam3d_objects.process import Child
from worker.errors import StageError
from worker.formats.gaussians import GaussianCloud, read_gaussians

LONGEST = 1600  # px; it looks at 518 px around the prop and 518 px of the whole
SCALES_MAY_DIFFER = 0.01


class Sam3dObjects:
    """`load` starts the user's environment and waits for its models; a crash ends one prop, not the others."""

    def load(self, device: str, tier: str) -> None:
        self.child = Child(settings.read())
        self.child.start()

    def run(self, request: PropRequest, progress: Progress) -> PropResult:
        """Raises StageError with a sentence; MemoryError where the GPU's memory runs out."""
        image, mask, points = _whole(request)
        if not mask.any():
            raise StageError(
                "props.empty_crop",
                "its cut-out holds nothing solid; mark the prop with a box, or leave it out",
                "其抠图中没有实体内容；请用框标出该道具，或将其排除",
            )
        progress(0.02)
        with tempfile.TemporaryDirectory(prefix="assetize-sam3d-") as name:
            folder = Path(name)
            arrays: dict[str, Any] = {"image": image, "mask": mask} | ({} if points is None else {"pointmap": points})
            np.savez(folder / "given.npz", **arrays)
            answer = self.child.ask({
                "given": str(folder / "given.npz"), "made": str(folder / "made.npz"),
                "gaussians": str(folder / "gaussians.ply"), "seed": request.seed % 2**31,
            })  # fmt: skip
            with np.load(folder / "made.npz") as stored:
                made = {key: stored[key] for key in stored.files}
            cloud = read_gaussians(folder / "gaussians.ply") if answer["gaussians"] else None
        progress(0.6)
        result = _result(request, made, cloud, posed=points is not None)
        result.measured |= {"gpu_mb": float(answer["gpu_mb"])} if answer["gpu_mb"] else {}
        progress(1.0)
        return result


def _whole(request: PropRequest) -> tuple[U8, Bool, F32 | None]:
    """The still, the prop's mask in it, and the pointmap in the engine's frame, at most `LONGEST` px; without a still,
    the crop alone.
    """
    solid = request.crop[..., 3] > 127
    if request.still is None:
        image, mask, points, trusted = request.crop[..., :3], solid, request.points, request.mask
    else:
        image, points, trusted = request.still, request.still_points, request.still_mask
        x, y, width, height = request.box
        mask = np.zeros(image.shape[:2], bool)
        mask[y : y + height, x : x + width] = solid
    factor = LONGEST / max(image.shape[:2])
    if factor < 1:
        size = round(image.shape[1] * factor), round(image.shape[0] * factor)
        rows = ((np.arange(size[1]) + 0.5) / size[1] * image.shape[0]).astype(int)
        columns = ((np.arange(size[0]) + 0.5) / size[0] * image.shape[1]).astype(int)
        pick = np.ix_(rows, columns)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        mask = mask[pick]
        points = None if points is None else points[pick]
        trusted = None if trusted is None else trusted[pick]
    return np.ascontiguousarray(image), mask, None if points is None else frames.pointmap_for(points, trusted)


def _result(request: PropRequest, made: dict[str, Any], cloud: GaussianCloud | None, posed: bool) -> PropResult:
    """Its object scaled to scene units, its origin at the foot, its pose a plain rotation and translation."""
    scales = np.asarray(made["scale"], np.float64)
    pose = [made["rotation"], made["translation"], scales]
    usable = all(np.isfinite(part).all() for part in pose) and scales.min() > 0 and np.linalg.norm(made["rotation"]) > 0
    if not usable:
        raise StageError(
            "props.sam3d_no_pose", "SAM 3D Objects gave a pose that is none; another seed may help",
            "SAM 3D Objects 给出的姿态无效；更换随机种子可能有效",
        )  # fmt: skip
    scale = float(np.cbrt(np.prod(scales))) if scales.size == 3 else float(scales.mean())
    notices = []
    if np.ptp(scales) > SCALES_MAY_DIFFER * scale:
        notices.append(EngineNotice("props.uneven_scale", {"label": request.label}))
    baked = bake(
        frames.object_from_glb(made["vertices"]).astype(np.float32), made["faces"],
        made["colours"].astype(np.float32) / 255, request.triangle_budget, request.label,
    )  # fmt: skip
    vertices = baked.mesh.vertices.astype(np.float64)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    foot = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    size = scale if posed else 1.0
    mesh = replace(baked.mesh, vertices=(size * (vertices - foot)).astype(np.float32))
    if cloud is not None:
        position = (size * (cloud.position - foot)).astype(np.float32)
        cloud = replace(cloud, position=position, scale=(size * cloud.scale).astype(np.float32))
    measured = {"iou": float(np.ravel(made["iou"])[0])} if "iou" in made else {}
    found = _pose(made, scale, foot).astype(np.float32) if posed else None
    return PropResult(mesh, cloud, found, posed, notices + baked.notices, measured)


def _pose(made: dict[str, Any], scale: float, foot: F64) -> F64:
    """4x4 camera_from_prop without scale, for a prop whose origin is the object's `foot`."""
    matrix = frames.camera_from_object(made["rotation"], made["translation"], scale)
    matrix[:3, 3] += matrix[:3, :3] @ foot
    matrix[:3, :3] /= scale
    return matrix
