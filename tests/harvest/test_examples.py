"""The example stills against their true masks."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from worker.engines.embedded.harvest import EmbeddedHarvest
from worker.formats.image import read_grey, read_rgb
from worker.session.harvest import HarvestManifest
from worker.stages import harvest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["interior", "street", "tabletop"])
def test_at_least_two_true_props_are_found(name, examples_dir, stage) -> None:
    """Counts true props (marked so by examples/make) matched by a harvested one with IoU of at least 0.5."""
    image = read_rgb(examples_dir / f"{name}.png")
    ids = cv2.imread(str(examples_dir / "truth" / f"{name}_ids.png"), cv2.IMREAD_UNCHANGED)
    ids = cv2.resize(ids, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    objects = json.loads((examples_dir / "truth" / f"{name}.json").read_text("utf-8"))["objects"]
    engine = EmbeddedHarvest()
    engine.load("cpu", "full")
    ctx = stage(image, engine)
    harvest.run(ctx)
    manifest = HarvestManifest.model_validate_json(ctx.folder.harvest_manifest.read_text("utf-8"))
    masks = [read_grey(ctx.folder.root / prop.mask) > 127 for prop in manifest.props]
    truths = [ids == thing["id"] for thing in objects if thing["is_prop"]]
    hits = sum(any(np.sum(m & t) > 0.5 * np.sum(m | t) for m in masks) for t in truths)
    assert hits >= 2
