"""The example stills against their true masks."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harvest.conftest import example_with_truth
from worker.engines.embedded.harvest import EmbeddedHarvest
from worker.formats.image import read_grey
from worker.session.harvest import HarvestManifest
from worker.stages import harvest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["interior", "street", "tabletop"])
def test_at_least_two_true_props_are_found(name, examples_dir, stage) -> None:
    """Counts true props (marked so by examples/make) matched by a harvested one with IoU of at least 0.5."""
    image, ids, objects = example_with_truth(examples_dir, name)
    engine = EmbeddedHarvest()
    engine.load("cpu", "full")
    ctx = stage(image, engine)
    harvest.run(ctx)
    manifest = HarvestManifest.model_validate_json(ctx.folder.harvest_manifest.read_text("utf-8"))
    masks = [read_grey(ctx.folder.root / prop.mask) > 127 for prop in manifest.props]
    truths = [ids == thing["id"] for thing in objects if thing["is_prop"]]
    hits = sum(any(np.sum(m & t) > 0.5 * np.sum(m | t) for m in masks) for t in truths)
    assert hits >= 2
