"""SAM 3D Objects through the props and placement stages: its pose puts the prop where the still shows it."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.props.conftest import l_shape, shoot
from tests.props.test_stages import both, session, silhouette  # noqa: F401
from worker.engines.sam3d_objects import settings
from worker.engines.sam3d_objects.cards import CARDS
from worker.engines.sam3d_objects.engine import Sam3dObjects
from worker.formats.silhouette import iou
from worker.host import messages
from worker.host.process import HostProcess, Limits, Measured
from worker.stages import props

CHECKOUT = Path(__file__).parent.parent / "fakes" / "sam3d_checkout"


def case_of(shot) -> dict:
    """What SAM 3D Objects would say of the shot's solid, were it perfect: the body in a unit cube, and its pose."""
    solid = l_shape()
    size = float(solid.extents.max())
    middle = solid.bounds.mean(axis=0)
    rotation = shot.pose[:3, :3]
    translation = rotation @ middle + shot.pose[:3, 3]
    half_turn = Rotation.from_rotvec([0, 0, np.pi])
    x, y, z, w = (half_turn * Rotation.from_matrix(rotation)).inv().as_quat()
    return {"vertices": ((solid.vertices - middle) / size).tolist(), "faces": solid.faces.tolist(),
            "rotation": [w, x, y, z], "translation": half_turn.apply(translation).tolist(),
            "scale": [size] * 3}  # fmt: skip


@pytest.fixture
def shot(tmp_path, monkeypatch):
    made = shoot(l_shape(), 20, 35)
    folder = tmp_path / "checkout"
    shutil.copytree(CHECKOUT, folder)
    (folder / "checkpoints" / "hf").mkdir(parents=True)
    (folder / "checkpoints" / "hf" / "pipeline.yaml").write_text("fake: true\n")
    (folder / "checkpoints" / "hf" / "truth.json").write_text(json.dumps({"cases": [case_of(made)]}))
    monkeypatch.setenv("ASSETIZE_SAM3D_CHECKOUT", str(folder))
    monkeypatch.setenv("ASSETIZE_SAM3D_PYTHON", sys.executable)
    monkeypatch.setattr(settings, "MODULES", ("numpy",))
    return made


def test_its_own_pose_is_taken_and_the_prop_stands_in_its_place(session, shot):  # noqa: F811
    folder, record = session(shot)
    engine = Sam3dObjects()
    engine.load("cuda", "full")
    try:
        first, _, scene = both(folder, record, engine)
    finally:
        engine.child.end()
    assert not first.warnings
    facts = record.stages["props"].details["props"]["prop_01"]
    assert facts["metric"] and facts["measured"] == {"iou": 0.9} and facts["seconds"] > 0 and facts["memory_mb"] > 0
    prop = scene.props[0]
    assert prop.silhouette_iou > 0.95 and prop.ply is not None
    assert iou(silhouette(folder, scene, shot.alpha.shape), shot.alpha >= 128) > 0.95
    size = sorted([prop.dimensions.width, prop.dimensions.depth, prop.dimensions.height])
    np.testing.assert_allclose(size, sorted(l_shape().extents), rtol=0.02)
    yaw = np.array(prop.camera_from_prop)[:3, :3] @ [0, -1, 0] @ (shot.pose[:3, :3] @ [0, -1, 0])
    assert yaw > np.cos(np.radians(3))


def test_in_an_engine_host_its_process_ends_with_the_host(session, shot):  # noqa: F811
    """The whole way: conductor's message, host, child. The host is ended; the child goes with it."""
    folder, record = session(shot)
    record.session_id = "5f3a7c7e-0000-5000-8000-000000000001"
    card = replace(CARDS[0], devices=("cpu",))
    request = {
        "stage": "props", "module": "worker.stages.props", "folder": str(folder.root), "source": str(folder.still),
        "options": {}, "session": record.model_dump(mode="json", by_alias=True), "card": messages.card_to_json(card),
        "device": "cpu", "tier": "full", "safer_tier": False,
    }  # fmt: skip
    host = HostProcess("props")
    measured = Measured()
    try:
        told = host.run(request, Limits(120.0), lambda fraction, note: None, threading.Event(), measured)
        children = host._process.children(recursive=True)
        assert told["details"]["props"]["prop_01"]["triangles"] > 0 and len(children) == 1
        assert "libraries print to stdout" in measured.log
    finally:
        host.kill()
    assert not any(child.is_running() and child.status() != "zombie" for child in children)


@pytest.mark.parametrize("room", ["baking", "engines/sam3d_objects", "engines/trellis"])
def test_every_notice_given_is_one_that_the_stage_can_say(room):
    text = "".join(path.read_text("utf-8") for path in (Path(props.__file__).parents[1] / room).glob("*.py"))
    codes = set(re.findall(r'EngineNotice\(\s*"([\w.]+)"', text))
    assert codes and codes <= set(props.NOTICES)
