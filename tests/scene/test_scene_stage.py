"""The scene stage: files that agree with each other, a figure that is measured, and warnings that are true."""

from __future__ import annotations

import numpy as np
import pytest
from plyfile import PlyData

from worker.engines.contract import SceneResult
from worker.engines.embedded.splats import EmbeddedSplats
from worker.errors import StageError
from worker.formats.image import read_rgb
from worker.formats.rasteriser import psnr_db
from worker.metadata.labels import label_outputs
from worker.session.atomic import sha256_of
from worker.stages import scene


def loaded() -> EmbeddedSplats:
    engine = EmbeddedSplats()
    engine.load("cpu", "full")
    return engine


def test_clean_plate_scene(make_context) -> None:
    ctx = make_context(loaded(), scene.NOTICES)
    result = scene.run(ctx)
    assert result.quality["psnr_db"] > scene.EXPECTED_DB and result.quality["holes_share"] < 0.01
    assert result.details["compared_with"] == "plate/clean.png" and not ctx.warnings
    preview, clean = read_rgb(ctx.folder.scene_preview), read_rgb(ctx.folder.clean)
    assert psnr_db(preview / 255, clean / 255) == pytest.approx(result.quality["psnr_db"], abs=0.1)
    ply = PlyData.read(str(ctx.folder.scene_ply))
    assert len(ply["vertex"]) == result.details["gaussians"]
    assert ply.comments[0].startswith("AIGC {") and any("unit: metre" in comment for comment in ply.comments)
    with np.load(ctx.folder.background) as background:
        assert background["mask"].all()
        assert np.allclose(background["points"][..., 2], 6.0, rtol=0.01), "the card is gone from the geometry too"
    assert result.sha256 == {path: sha256_of(path) for path in result.outputs}
    # The host finds the PLY labelled as it would label it, and leaves it alone; a picture it still labels itself.
    assert label_outputs(ctx.session, ctx.folder, ctx.card, result.outputs) == [ctx.folder.scene_preview]


def test_keep_props_shows_the_still(make_context) -> None:
    ctx = make_context(loaded(), scene.NOTICES, keep_props=True)
    result = scene.run(ctx)
    assert result.details["compared_with"] == "plate/still.png" and result.quality["psnr_db"] > scene.EXPECTED_DB
    preview = read_rgb(ctx.folder.scene_preview).astype(int)
    assert preview[65, 95, 0] > 180 and preview[65, 95, 1] < 50
    depth = PlyData.read(str(ctx.folder.scene_ply))["vertex"]["z"]
    assert (depth < 2.1).sum() > 100 and (depth > 5.9).sum() > 10_000


def test_missing_clean_plate_is_said(make_context) -> None:
    ctx = make_context(loaded(), scene.NOTICES)
    ctx.session.stages["clean_plate"].state = "failed"
    result = scene.run(ctx)
    assert [w.code for w in ctx.warnings] == ["scene.props_left_in"]
    assert result.details["compared_with"] == "plate/still.png"


class Spoilt(EmbeddedSplats):
    def __init__(self, damage) -> None:
        self.load("cpu", "full")
        self.damage = damage

    def run(self, request, progress) -> SceneResult:
        result = super().run(request, progress)
        self.damage(result.gaussians)
        return result


def grey(cloud) -> None:
    cloud.color[:] = 0.1


def infinite(cloud) -> None:
    cloud.scale[3] = np.inf


def test_a_bad_likeness_is_said(make_context) -> None:
    ctx = make_context(Spoilt(grey), scene.NOTICES)
    assert scene.run(ctx).quality["psnr_db"] < 15
    assert ctx.degraded and ctx.warnings[0].code == "scene.low_fidelity"


def test_infinite_splats_are_refused(make_context) -> None:
    ctx = make_context(Spoilt(infinite), scene.NOTICES)
    with pytest.raises(StageError) as caught:
        scene.run(ctx)
    assert caught.value.code == "engine.not_finite" and not ctx.folder.scene_ply.exists()


def test_same_input_same_bytes(make_context) -> None:
    ctx = make_context(loaded(), scene.NOTICES)
    first = [path.read_bytes() for path in scene.run(ctx).outputs]
    assert first == [path.read_bytes() for path in scene.run(ctx).outputs]
