"""The picture test on the examples: the lifted scene, rendered where the camera stood, shows the plate."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from worker.engines.contract import GeometryRequest, SceneRequest
from worker.engines.embedded.layout import LayoutPreview
from worker.engines.embedded.splats import EmbeddedSplats
from worker.formats.image import read_rgb
from worker.formats.pointmap import pixel_rays
from worker.formats.rasteriser import psnr_db, render

HALF = 0.5  # seconds instead of minutes; a smaller picture has more detail a pixel, so this is the harder test


def lifted(still: np.ndarray, **fields):
    engine = EmbeddedSplats()
    engine.load("cpu", "full")
    request = SceneRequest(
        still=still, clean=None, removed=None, confidence=np.ones(still.shape[:2], np.float32),
        gravity=np.float32([0, 1, 0]), keep_props=True, **fields,
    )  # fmt: skip
    return engine.run(request, lambda fraction: None).gaussians


def scaled_still(examples_dir: Path, name: str, scale: float) -> np.ndarray:
    still = read_rgb(examples_dir / f"{name}.png")
    return cv2.resize(still, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(("name", "scale"), [("interior", HALF), ("street", 1.0), ("tabletop", HALF)])
def test_with_true_depth(examples_dir: Path, name: str, scale: float) -> None:
    still = scaled_still(examples_dir, name, scale)
    height, width = still.shape[:2]
    truth = json.loads((examples_dir / "truth" / f"{name}.json").read_text("utf-8"))
    K = (np.array(truth["intrinsics"]) * [[scale], [scale], [1]]).astype(np.float32)
    with np.load(examples_dir / "truth" / f"{name}.npz") as stored:
        depth = cv2.resize(stored["depth"].astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    sky = ~np.isfinite(depth)
    points = (pixel_rays(height, width, K) * np.where(sky, 1e3, depth)[..., None]).astype(np.float32)
    cloud = lifted(still, points=points, mask=~sky, sky=sky, intrinsics=K)
    assert len(cloud) < 1.5 * height * width
    picture = render(cloud, np.eye(4), K, (height, width))
    assert psnr_db(picture.color, still / 255) >= 27
    # 1.5 % of the median depth aside, the frame's own rim left out: what was hidden is there.
    pose = np.eye(4)
    pose[0, 3] = 0.015 * float(np.median(depth[~sky]))
    aside = render(cloud, pose, K, (height, width))
    assert (aside.alpha[:, 16:-16] < 0.95).mean() < 0.005


def test_with_the_layout_preview(examples_dir: Path) -> None:
    still = scaled_still(examples_dir, "street", HALF)
    seen = LayoutPreview().run(GeometryRequest(still, None), lambda fraction: None)
    cloud = lifted(still, points=seen.points, mask=seen.mask, sky=seen.sky, intrinsics=seen.intrinsics)
    picture = render(cloud, np.eye(4), seen.intrinsics, still.shape[:2])
    assert psnr_db(picture.color, still / 255) >= 27
