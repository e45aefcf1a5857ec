"""The engine in the real pipeline on the CPU: meaningless weights, right files and frames, failures in sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData

pytest.importorskip("torch")

from tests.sharp.twin import CARD, DISPARITY_BIAS, TINY, random_state, write_weights
from worker.engines.registry import all_cards
from worker.errors import EngineUnavailable
from worker.formats.gaussians import read_gaussians
from worker.formats.pointmap import read_pointmap
from worker.hardware.machine import this_machine
from worker.host.pool import HostPool
from worker.pipeline.conductor import Conductor
from worker.pipeline.job import Job
from worker.pipeline.plan import Plan
from worker.session.layout import SessionFolder
from worker.session.model import Session
from worker.session.options import Options

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("ASSETIZE_WEIGHTS_DIR", str(tmp_path / "weights"))
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture
def pool(home: None) -> Iterator[HostPool]:
    with HostPool() as hosts:
        yield hosts


def run(pool: HostPool, root: Path, stages=("plate", "geometry", "scene"), accepted: bool = True, **options: Any):
    root.mkdir(exist_ok=True)
    still = root / "still.png"
    if not still.exists():
        with Image.open(ROOT / "examples" / "interior.png") as picture:
            picture.convert("RGB").resize((320, 180), Image.Resampling.LANCZOS).save(still)
    cards = [card for card in all_cards() if card.name == "embedded"] + [CARD]
    options = {"engines": {"scene": "sharp"}, **options}
    job = Job(still, Options(**options), root / "out", fresh=True)
    names = frozenset({"sharp"} if accepted else ())
    plan = Plan(stages, cards=cards)
    outcome = Conductor(job, pool, lambda event: None, plan=plan, machine=this_machine(), accepted=names).run()
    return SessionFolder(outcome.folder), Session.model_validate_json(
        (outcome.folder / "session.json").read_text("utf-8")
    )


def test_the_scene_stands_in_the_sessions_frame_and_scale(pool: HostPool, tmp_path: Path) -> None:
    write_weights(tmp_path / "weights")
    stages = ("plate", "geometry", "harvest", "clean_plate", "scene", "package", "report")
    folder, session = run(pool, tmp_path / "a", stages)
    record = session.stages["scene"]
    assert (record.state, record.engine, record.tier) == ("done", "sharp", "cpu")
    layer = TINY.grid**2
    assert record.details["layers"] == [layer, layer] and record.details["precision"] == "float32"
    cloud = read_gaussians(folder.scene_ply)
    assert len(cloud) == 2 * layer and (np.diff(cloud.scale, axis=1) <= 1e-6 * cloud.scale[:, :1]).all()

    # Every Gaussian of the first layer is on its pixel's ray, give or take the network's own small moves.
    pointmap = read_pointmap(folder.pointmap)
    pixels = cloud.position[:layer] @ pointmap.intrinsics.T
    pixels = (pixels[:, :2] / pixels[:, 2:]).reshape(TINY.grid, TINY.grid, 2)
    middles = (np.arange(TINY.grid) + 0.5) / TINY.grid
    assert np.abs(pixels[..., 0] - 320 * middles).max() < 1 and np.abs(pixels[..., 1].T - 180 * middles).max() < 1

    # Depth is the session's in the middle, whatever the network made of it.
    removed = np.asarray(Image.open(folder.removed_mask)) > 127
    trusted = pointmap.mask & ~pointmap.sky & ~removed
    rows, columns = (np.minimum((middles * size).astype(int), size - 1) for size in (180, 320))
    at = np.ix_(rows, columns)
    sure = trusted[at] & (pointmap.confidence[at] >= np.median(pointmap.confidence[at][trusted[at]]))
    ratio = pointmap.depth[at][sure] / cloud.position[:layer, 2].reshape(TINY.grid, TINY.grid)[sure]
    assert np.median(ratio) == pytest.approx(1, abs=0.02)
    assert "scene.scaled" in {warning.code for warning in record.warnings}

    comments = PlyData.read(str(folder.scene_ply)).comments
    assert f"layers: {layer} {layer}" in comments
    with np.load(folder.background) as background:
        kept = ~removed
        assert np.array_equal(background["points"][kept], pointmap.points[kept])
        assert np.isfinite(background["points"]).all()

    # The licence, everywhere a user looks.
    assert record.commercial_use == "no" and "apple-amlr" in (record.licence_weights or "")
    assert "apple-amlr" in json.dumps(json.loads((folder.root / "metadata.json").read_text("utf-8")))
    assert "apple-amlr" in (folder.root / "report.html").read_text("utf-8")

    # The same seed and still give the same bytes, from the host that is warm now.
    again, _ = run(pool, tmp_path / "a", stages)
    assert again.scene_ply.read_bytes() == folder.scene_ply.read_bytes()


def test_a_crash_costs_one_retry(pool: HostPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_weights(tmp_path / "weights")
    bomb = tmp_path / "bomb"
    bomb.touch()
    monkeypatch.setenv("SHARP_TWIN_DIES", str(bomb))
    _, session = run(pool, tmp_path / "b", keep_props=True)
    assert (session.stages["scene"].state, session.stages["scene"].attempts) == ("done", 2) and not bomb.exists()


def test_numbers_that_are_none_fail_in_a_sentence(pool: HostPool, tmp_path: Path) -> None:
    write_weights(tmp_path / "weights", **{DISPARITY_BIAS.replace(".", "__"): float("nan")})
    folder, session = run(pool, tmp_path / "c", keep_props=True)
    error = session.stages["scene"].error
    assert session.state == "partial" and error is not None and "Traceback" not in error.en and error.zh != error.en
    assert not folder.scene_ply.exists()


def test_wrong_weights_are_named(pool: HostPool, tmp_path: Path) -> None:
    import torch

    path = write_weights(tmp_path / "weights")
    state = random_state()
    del state["feature_model.fusion.out_conv.bias"]
    torch.save(state, path)
    _, session = run(pool, tmp_path / "d", keep_props=True)
    error = session.stages["scene"].error
    assert error is not None and error.code == "weights.differ" and "feature_model.fusion.out_conv.bias" in error.en


def test_without_weights_or_consent_it_does_not_start(pool: HostPool, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="assetize engines install sharp"):
        run(pool, tmp_path / "e")
    write_weights(tmp_path / "weights")
    with pytest.raises(EngineUnavailable, match="non-commercial scientific research") as told:
        run(pool, tmp_path / "e", accepted=False)
    assert told.value.code == "engine.licence"
