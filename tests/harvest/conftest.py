"""A session folder with a still in it, and a way to run the harvest stage on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from worker.formats.image import read_rgb, write_png
from worker.session.layout import SessionFolder
from worker.session.model import InputRecord, Session
from worker.session.options import Options
from worker.stages import harvest
from worker.stages.base import StageContext


def still_with_things(width: int = 480, height: int = 270) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A textured wall and floor with a red ball, a white vase-like shape and a blue box; the masks beside it."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:height, :width]
    image = np.where((rows < 0.55 * height)[..., None], (150, 160, 155), (120, 95, 70)).astype(np.float64)
    image += rng.normal(0, 3, image.shape)
    ball = np.hypot(columns - 0.2 * width, rows - 0.62 * height) < 0.13 * height
    box = (abs(columns - 0.78 * width) < 0.07 * width) & (abs(rows - 0.6 * height) < 0.15 * height)
    things = {"ball": ball, "box": box}
    for mask, color in ((ball, (200, 40, 35)), (box, (30, 60, 170))):
        shade = 1 - 0.5 * (columns - columns[mask].mean()) / width * 4
        image[mask] = (np.array(color)[None] * shade[mask][:, None]).clip(0, 255)
    return image.clip(0, 255).astype(np.uint8), things


def example_with_truth(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """An example still, the object number of each of its pixels, and the objects."""
    image = read_rgb(folder / f"{name}.png")
    ids = cv2.imread(str(folder / "truth" / f"{name}_ids.png"), cv2.IMREAD_UNCHANGED)
    ids = cv2.resize(ids, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return image, ids, json.loads((folder / "truth" / f"{name}.json").read_text("utf-8"))["objects"]


@pytest.fixture
def stage(tmp_path: Path) -> Callable[..., StageContext]:
    """`stage(image, engine, **options)` -> context with the still on disk."""

    def build(image: np.ndarray, engine: Any, crop: tuple[int, int, int, int] | None = None,
              **options: Any) -> StageContext:
        height, width = image.shape[:2]
        folder = SessionFolder(tmp_path / "session")
        write_png(folder.still, image)
        record = InputRecord(
            name="still.png", sha256="0" * 64, bytes=1, format="PNG", width=width, height=height, mode="RGB",
            bit_depth=8, color_space="sRGB", crop=crop or (0, 0, width, height),
        )
        session = Session(tool_version="0", session_id="0", created="", updated="", input=record, options={}, stages={})
        return StageContext(folder, session, Options(**options), tmp_path, lambda f, n: None, harvest.NOTICES,
                            engine=engine)

    return build
