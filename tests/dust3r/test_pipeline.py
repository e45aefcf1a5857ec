"""The engine in the real pipeline on the CPU: meaningless weights, right files and frames, failures in sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plyfile import PlyData

pytest.importorskip("torch")

from tests.dust3r.truth import room_picture
from tests.dust3r.twin import CARD, write_weights
from worker.engines.registry import all_cards
from worker.errors import EngineUnavailable
from worker.formats.image import write_png
from worker.formats.pointmap import read_pointmap
from worker.hardware.machine import this_machine
from worker.host.pool import HostPool
from worker.pipeline.conductor import Conductor
from worker.pipeline.job import Job, Outcome
from worker.pipeline.plan import Plan
from worker.session.layout import SessionFolder
from worker.session.model import Session
from worker.session.options import Options

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where weights and the bomb of tests/dust3r/twin.py lie; hosts are told when they start."""
    root = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "2")
        patch.setenv("ASSETIZE_WEIGHTS_DIR", str(root / "weights"))
        patch.setenv("DUST3R_TWIN_DIES", str(root / "bomb"))
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            patch.setenv(name, str(root / name))
        yield root


@pytest.fixture(scope="module")
def pool(home: Path) -> Iterator[HostPool]:
    """One for all tests: hosts stay warm, as in the service."""
    with HostPool() as hosts:
        yield hosts


def run(pool: HostPool, root: Path, accepted: bool = True, stages=("plate", "geometry"), **options: Any) -> Outcome:
    still = root / "still.png"
    if not still.exists():
        root.mkdir(exist_ok=True)
        write_png(still, room_picture(144, 256, 224))
    cards = [card for card in all_cards() if card.stage != "geometry"] + [CARD]
    plan = Plan(stages, cards=cards)
    names = frozenset({"dust3r"} if accepted else ())
    options = {"engines": {"geometry": "dust3r"}, **options}
    job = Job(still, Options(**options), root / "out", fresh=True)
    return Conductor(job, pool, lambda event: None, plan=plan, machine=this_machine(), accepted=names).run()


def record(outcome: Outcome) -> dict[str, Any]:
    return json.loads((outcome.folder / "session.json").read_text("utf-8"))


def test_without_weights_or_consent_it_does_not_start(home: Path, pool: HostPool, tmp_path: Path) -> None:
    path = write_weights(home / "weights", depth_bias=1.5)
    with pytest.raises(EngineUnavailable) as told:
        run(pool, tmp_path / "f", accepted=False)
    assert told.value.code == "engine.licence" and "CC BY-NC-SA 4.0" in told.value.en
    path.unlink()
    with pytest.raises(EngineUnavailable, match="assetize engines install dust3r"):
        run(pool, tmp_path / "f")


def test_another_networks_and_broken_weights_are_told(home: Path, pool: HostPool, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = write_weights(home / "weights", depth_bias=1.5)
    state = load_file(path)
    del state["enc_blocks.1.attn.qkv.bias"]
    save_file(state, path)
    error = Session.model_validate(record(run(pool, tmp_path / "e"))).stages["geometry"].error
    assert error is not None and error.code == "weights.differ" and "enc_blocks.1.attn.qkv.bias" in error.en

    write_weights(home / "weights", depth_bias=float("nan"))
    session = Session.model_validate(record(run(pool, tmp_path / "c")))
    error = session.stages["geometry"].error
    assert session.state == "partial" and error is not None and error.code == "geometry.no_geometry"
    assert "Traceback" not in error.en and error.zh != error.en
    pool.close()  # the broken network must not stay warm for the next test


def test_a_session_with_it_is_valid_and_its_points_project_to_their_pixels(
    home: Path, pool: HostPool, tmp_path: Path
) -> None:
    write_weights(home / "weights", depth_bias=1.5)
    outcome = run(pool, tmp_path / "a", stages=("plate", "geometry", "harvest"))
    session = Session.model_validate(record(outcome))
    geometry = session.stages["geometry"]
    assert (geometry.state, geometry.engine, geometry.tier) == ("done", "dust3r", "fp32")
    assert session.stages["harvest"].state == "done", "it copes without classes and instances"
    assert geometry.commercial_use == "no" and "CC BY-NC-SA 4.0" in (geometry.licence_weights or "")
    assert geometry.warnings[0].code == "geometry.single_image"
    assert {"kept_share", "confidence_threshold"} <= geometry.quality.keys()
    scene = session.scene
    assert scene is not None and (scene.unit, scene.width, scene.height) == ("relative", 256, 144)
    folder = SessionFolder(outcome.folder)
    assert not folder.segmentation.exists()
    pointmap = read_pointmap(folder.pointmap)
    cloud = PlyData.read(str(folder.points))["vertex"]
    assert len(cloud) == int(pointmap.mask.sum()) > 0
    xyz = np.stack([cloud["x"], cloud["y"], cloud["z"]], -1)
    pixels = xyz @ np.asarray(scene.intrinsics).T
    pixels = pixels[:, :2] / pixels[:, 2:] - 0.5
    assert np.abs(pixels - np.argwhere(pointmap.mask)[:, ::-1]).max() < 0.05
    # The same seed and still give the same bytes, from the host that is warm now.
    before = folder.pointmap.read_bytes()
    again = SessionFolder(run(pool, tmp_path / "a").folder)
    assert again.pointmap.read_bytes() == before


def test_the_users_lens_and_tiles_reach_the_engine(home: Path, pool: HostPool, tmp_path: Path) -> None:
    write_weights(home / "weights", depth_bias=1.5)
    root = tmp_path / "b"
    root.mkdir()
    write_png(root / "still.png", room_picture(360, 660, 600))
    session = Session.model_validate(record(run(pool, root, hfov_deg=40.0, geometry_tiles=True)))
    assert session.scene is not None and session.scene.hfov_source == "user"
    assert session.scene.hfov_deg == pytest.approx(40, abs=1e-3)
    focal = 330 / math.tan(math.radians(20))
    assert session.scene.intrinsics[0][0] == pytest.approx(focal, rel=1e-5)
    geometry = session.stages["geometry"]
    codes = {w.code for w in geometry.warnings}
    # Meaningless weights: every tile tells another story, which may leave none in use, but never in silence.
    assert geometry.details["tiles"] > 0 or {"geometry.tiles_refused", "geometry.not_tiled"} <= codes


def test_a_crash_costs_one_retry(home: Path, pool: HostPool, tmp_path: Path) -> None:
    write_weights(home / "weights", depth_bias=1.5)
    bomb = home / "bomb"
    bomb.touch()
    session = Session.model_validate(record(run(pool, tmp_path / "d")))
    geometry = session.stages["geometry"]
    assert (geometry.state, geometry.attempts) == ("done", 2) and not bomb.exists()
