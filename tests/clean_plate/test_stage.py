from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from worker.engines.contract import CleanPlateResult
from worker.engines.embedded.inpaint import EmbeddedInpaint
from worker.formats.image import read_grey, read_rgb, write_png
from worker.harvest.shadow import contact_shadow
from worker.session.atomic import write_json
from worker.session.harvest import HarvestedProp, HarvestManifest
from worker.session.layout import SessionFolder
from worker.session.model import InputRecord, Session
from worker.session.options import Options
from worker.stages import clean_plate
from worker.stages.base import StageContext

H, W = 240, 360


def table_with_block(shadow: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A grey block on a table, with or without a dark ellipse at its foot; picture, block, shadow's true mask."""
    image = np.full((H, W, 3), (150, 120, 90), dtype=np.uint8)
    block = np.zeros((H, W), dtype=bool)
    block[80:160, 140:220] = True
    ellipse = cv2.ellipse(np.zeros((H, W), np.uint8), (188, 160), (56, 11), 0, 0, 360, 1, -1).astype(bool)
    if shadow:
        image[ellipse] = (75, 60, 45)
    image[block] = (90, 95, 100)
    noise = np.random.default_rng(0).normal(0, 2, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8), block, ellipse & ~block


def context(tmp_path: Path, image: np.ndarray, masks: list[np.ndarray], engine) -> StageContext:
    folder = SessionFolder(tmp_path)
    write_png(folder.still, image)
    props = []
    for number, mask in enumerate(masks, 1):
        name = f"prop_{number:02d}"
        write_png(folder.prop_mask(name), mask)
        props.append(HarvestedProp(
            label="prop", label_zh="道具", source="roi", score=1, bbox=(0, 0, 1, 1), area=0.1, id=name,
            mask=folder.relative(folder.prop_mask(name)), crop="", crop_box=(0, 0, 1, 1),
        ))
    manifest = HarvestManifest(width=W, height=H, depth_used=False, props=props)
    write_json(folder.harvest_manifest, manifest.model_dump(mode="json", by_alias=True))
    record = InputRecord(name="a.png", sha256="", bytes=1, format="PNG", width=W, height=H, mode="RGB", bit_depth=8,
                         color_space="sRGB", crop=(0, 0, W, H))
    session = Session(tool_version="0", session_id="0", created="", updated="", input=record, options={}, stages={})
    return StageContext(folder, session, Options(), tmp_path, lambda f, n: None, clean_plate.NOTICES, engine=engine)


@pytest.fixture(scope="module")
def engine() -> EmbeddedInpaint:
    engine = EmbeddedInpaint()
    engine.load("cpu", "full")
    return engine


def test_contact_shadow_is_found_and_only_where_it_is() -> None:
    image, block, truth = table_with_block(shadow=True)
    found = contact_shadow(image, block, np.zeros_like(block))
    assert (found & truth).sum() > 0.6 * truth.sum()
    assert (found & ~truth).sum() < 0.15 * truth.sum()
    image, block, _ = table_with_block(shadow=False)
    assert contact_shadow(image, block, np.zeros_like(block)).sum() == 0


def test_prop_and_shadow_go_and_the_rest_stays(tmp_path, engine) -> None:
    image, block, shadow = table_with_block(shadow=True)
    ctx = context(tmp_path, image, [block], engine)
    result = clean_plate.run(ctx)
    clean, removed = read_rgb(ctx.folder.clean), read_grey(ctx.folder.removed_mask)
    assert set(np.unique(removed)) == {0, 255}
    assert (clean[removed == 0] == image[removed == 0]).all()
    assert (removed[block] == 255).all()
    table = np.array([150, 120, 90])
    assert np.abs(clean[block].mean(axis=0) - table).max() < 12
    assert np.abs(clean[shadow].mean(axis=0) - table).max() < 25  # it was 75 away
    assert result.quality["painted_share"] == pytest.approx((removed > 0).mean())


def test_without_props_the_plate_is_the_still_and_says_so(tmp_path, engine) -> None:
    image, _, _ = table_with_block(shadow=True)
    ctx = context(tmp_path, image, [], engine)
    clean_plate.run(ctx)
    assert (read_rgb(ctx.folder.clean) == image).all()
    assert not read_grey(ctx.folder.removed_mask).any()
    assert [w.code for w in ctx.warnings] == ["clean_plate.nothing_removed"]


def test_an_engine_that_paints_outside_is_put_right(tmp_path) -> None:
    class Sloppy:
        def run(self, request, progress):
            return CleanPlateResult(np.zeros_like(request.image))

    image, block, _ = table_with_block(shadow=False)
    ctx = context(tmp_path, image, [block], Sloppy())
    clean_plate.run(ctx)
    removed = read_grey(ctx.folder.removed_mask) > 0
    clean = read_rgb(ctx.folder.clean)
    assert (clean[~removed] == image[~removed]).all() and (clean[removed] == 0).all()
    assert ctx.degraded and ctx.warnings[0].code == "clean_plate.touched_outside"
