"""A finished plate and geometry of a small drawn set, for stages that come after them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from worker.formats.image import write_png
from worker.formats.pointmap import Pointmap, intrinsics_from_hfov, pixel_rays, write_pointmap
from worker.session.layout import SessionFolder
from worker.session.model import InputRecord, SceneRecord, Session, StageRecord, StageState
from worker.session.options import Options
from worker.stages.base import StageContext

SIZE = (120, 200)


@pytest.fixture
def make_context(tmp_path: Path):
    """A wall at depth 6, patterned softly; with `prop`, a red card at depth 2 that the clean plate lacks."""

    def make(engine: object, notices: dict, prop: bool = True, **options) -> StageContext:
        height, width = SIZE
        folder = SessionFolder(tmp_path / "session")
        v, u = np.mgrid[:height, :width]
        wall = np.stack([110 + 60 * np.sin(u / 9), 110 + 60 * np.cos(v / 7), 120 + 40 * np.sin((u + v) / 11)], axis=-1)
        removed = (np.abs(u - 95) < 28) & (np.abs(v - 65) < 28) & prop
        card = (np.abs(u - 95) < 25) & (np.abs(v - 65) < 25) & prop
        still = np.where(card[..., None], (200, 30, 20), wall)
        write_png(folder.still, still.astype(np.uint8))
        write_png(folder.clean, wall.astype(np.uint8))
        write_png(folder.removed_mask, removed)
        K = intrinsics_from_hfov(width, height, 60.0)
        depth = np.where(card, 2.0, 6.0)
        points = (pixel_rays(height, width, K) * depth[..., None]).astype(np.float32)
        everywhere = np.ones(SIZE, dtype=bool)
        write_pointmap(folder.pointmap, Pointmap(points, everywhere, np.ones(SIZE, np.float32), K, ~everywhere))
        scene = SceneRecord(
            width=width, height=height, intrinsics=K.tolist(), hfov_deg=60.0, hfov_source="user", unit="metre",
            median_depth=6.0, scale_basis="drawn", gravity=(0, 1, 0), gravity_source="assumed",
        )  # fmt: skip
        record = InputRecord(
            name="still.png", sha256="0" * 64, bytes=1, format="PNG", width=width, height=height, mode="RGB",
            bit_depth=8, color_space="sRGB", crop=(0, 0, width, height),
        )  # fmt: skip
        done = {name: StageRecord(state=StageState.DONE) for name in ("plate", "geometry", "clean_plate")}
        session = Session(
            tool_version="0", session_id="00000000-0000-4000-8000-000000000000",
            created="2026-01-01T00:00:00Z", updated="2026-01-01T00:00:00Z",
            input=record, options={}, stages=done, scene=scene,
        )  # fmt: skip
        return StageContext(folder, session, Options(**options), folder.still, lambda f, note: None, notices, engine)

    return make
