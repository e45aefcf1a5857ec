"""A session folder with a drawn still: grey floor, brown wall, blue sky, a red box standing on the floor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from worker.arrays import U8
from worker.formats.image import write_png
from worker.session.layout import SessionFolder
from worker.session.model import InputRecord, Lens, Session
from worker.session.options import Options
from worker.stages.base import StageContext


@pytest.fixture
def street() -> U8:
    image = np.zeros((180, 320, 3), dtype=np.uint8)
    image[:50] = (120, 160, 220)
    image[50:110] = (130, 100, 70)
    image[110:] = (110, 112, 108)
    image[80:150, 140:190] = (190, 40, 30)
    return image


@pytest.fixture
def make_context(tmp_path: Path):
    def make(image: U8, engine: object, notices: dict, options: Options | None = None, lens: Lens | None = None):
        folder = SessionFolder(tmp_path / "session")
        write_png(folder.still, image)
        height, width = image.shape[:2]
        record = InputRecord(
            name="still.png", sha256="0" * 64, bytes=1, format="PNG", width=width, height=height, mode="RGB",
            bit_depth=8, color_space="sRGB", crop=(0, 0, width, height), lens=lens or Lens(),
        )  # fmt: skip
        session = Session(
            tool_version="0", session_id="00000000-0000-4000-8000-000000000000", created="2026-01-01T00:00:00Z",
            updated="2026-01-01T00:00:00Z",
            input=record, options={}, stages={},
        )  # fmt: skip
        return StageContext(
            folder, session, options or Options(), folder.still, lambda fraction, note: None, notices, engine
        )

    return make
