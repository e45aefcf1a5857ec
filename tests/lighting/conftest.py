"""A finished plate (and geometry) with a lit ball on a floor, whose light is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from worker.formats.exr import write_exr
from worker.formats.image import write_png
from worker.formats.pointmap import Pointmap, intrinsics_from_hfov, pixel_rays, write_pointmap
from worker.formats.srgb import srgb8_from_linear
from worker.session.layout import SessionFolder
from worker.session.model import InputRecord, Lens, SceneRecord, Session, StageRecord, StageState
from worker.session.options import Options
from worker.stages.base import StageContext

SIZE = (120, 200)
LIGHT = np.array([-0.6, -0.64, -0.48])  # towards the light: left, up, behind the camera; unit length
AMBIENT, DIRECT, ALBEDO = 0.25, 0.5, 0.6


def ball_on_floor() -> tuple[np.ndarray, Pointmap]:
    """A Lambert ball (radius 1 at depth 4) on a floor 1 below the axis; linear picture and true pointmap."""
    K = intrinsics_from_hfov(SIZE[1], SIZE[0], 50.0)
    rays = pixel_rays(*SIZE, K).astype(float)
    center = np.array([0.0, 0.0, 4.0])
    a, b = (rays * rays).sum(-1), rays @ center
    root = b * b - a * (center @ center - 1.0)
    ball = root > 0
    floor = rays[..., 1] > 0.05
    ground = np.where(floor, 1 / np.maximum(rays[..., 1], 0.05), 20)
    depth = np.where(ball, (b - np.sqrt(np.maximum(root, 0))) / a, ground)
    points = rays * depth[..., None]
    normals = np.where(ball[..., None], points - center, np.where(floor[..., None], [0.0, -1, 0], [0.0, 0, -1]))
    shading = AMBIENT + DIRECT * np.maximum(normals @ LIGHT, 0)
    linear = (ALBEDO * shading[..., None] * np.array([1.0, 0.9, 0.7])).astype(np.float32)
    everywhere = np.ones(SIZE, dtype=bool)
    pointmap = Pointmap(
        points.astype(np.float32), everywhere, everywhere.astype(np.float32), K, ~everywhere, normals.astype(np.float32)
    )
    return linear, pointmap


@pytest.fixture
def make_context(tmp_path: Path):
    def make(engine: object, notices: dict, linear=None, geometry=True, hdr=False, lens=None, **options):
        folder = SessionFolder(tmp_path / "session")
        picture, pointmap = ball_on_floor()
        linear = picture if linear is None else linear
        write_exr(folder.linear, linear)
        write_png(folder.still, srgb8_from_linear(linear))
        height, width = SIZE
        done = {"plate": StageRecord(state=StageState.DONE)}
        scene = None
        if geometry:
            write_pointmap(folder.pointmap, pointmap)
            done["geometry"] = StageRecord(state=StageState.DONE)
            scene = SceneRecord(
                width=width, height=height, intrinsics=pointmap.intrinsics.tolist(), hfov_deg=50.0,
                hfov_source="user", unit="metre", median_depth=5.0, scale_basis="drawn", gravity=(0, 1, 0),
                gravity_source="assumed",
            )  # fmt: skip
        record = InputRecord(
            name="still.png", sha256="0" * 64, bytes=1, format="PNG", width=width, height=height, mode="RGB",
            bit_depth=8, color_space="sRGB", crop=(0, 0, width, height), hdr=hdr, lens=lens or Lens(),
        )  # fmt: skip
        session = Session(
            tool_version="0", session_id="0", created="2026-01-01T00:00:00Z", updated="2026-01-01T00:00:00Z",
            input=record, options={}, stages=done, scene=scene,
        )  # fmt: skip
        return StageContext(folder, session, Options(**options), folder.still, lambda f, note: None, notices, engine)

    return make
