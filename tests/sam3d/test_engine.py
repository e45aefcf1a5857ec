"""SAM 3D Objects' engine against a fake checkout with the same interface, in a real child process."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from worker.engines import registry
from worker.engines.contract import PropRequest
from worker.engines.sam3d_objects import settings
from worker.engines.sam3d_objects.cards import CARDS
from worker.engines.sam3d_objects.engine import Sam3dObjects
from worker.errors import StageError
from worker.hardware.machine import Machine
from worker.hardware.nvidia import Gpu
from worker.session.options import Options

CHECKOUT = Path(__file__).parent.parent / "fakes" / "sam3d_checkout"
BIG = Machine(8, 64_000, (Gpu("big", 40_000, "580.65"),))


def case(seed: int = 0, **more) -> dict:
    """A wedge that no turn maps onto itself, at a random known pose; `truth` is ours: columns, OpenCV axes."""
    random = np.random.default_rng(seed)
    solid = trimesh.creation.box([0.9, 0.5, 0.7])
    vertices = solid.vertices * (1 + 0.3 * (solid.vertices[:, 2:] > 0)) * 0.6
    rotation = Rotation.random(random_state=seed)
    translation, scale = random.uniform([-2, -1, 2], [2, 1, 8]), float(random.uniform(0.1, 3))
    half_turn = Rotation.from_rotvec([0, 0, np.pi])
    x, y, z, w = (half_turn * rotation).inv().as_quat()
    return {
        "vertices": vertices.tolist(), "faces": solid.faces.tolist(), "rotation": [w, x, y, z],
        "translation": half_turn.apply(translation).tolist(), "scale": [scale] * 3,
        "truth": (rotation.apply(scale * vertices) + translation).tolist(), **more,
    }  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`checkout(cases)` -> folder of a configured fake."""

    def build(cases: list[dict], timeout_s: float = 60.0, **truth) -> Path:
        folder = tmp_path / "checkout"
        shutil.copytree(CHECKOUT, folder)
        config = folder / "checkpoints" / "hf" / "pipeline.yaml"
        config.parent.mkdir(parents=True)
        config.write_text("fake: true\n")
        (config.parent / "truth.json").write_text(json.dumps({"cases": cases, **truth}))
        monkeypatch.setenv("ASSETIZE_SAM3D_CHECKOUT", str(folder))
        monkeypatch.setenv("ASSETIZE_SAM3D_PYTHON", sys.executable)
        monkeypatch.setenv("ASSETIZE_SAM3D_TIMEOUT_S", str(timeout_s))
        monkeypatch.setattr(settings, "MODULES", ("numpy",))
        return folder

    return build


@pytest.fixture
def engine():
    made = Sam3dObjects()
    yield made
    if hasattr(made, "child"):
        made.child.end()


def request(seed: int, height: int = 60, width: int = 80, **more) -> PropRequest:
    crop = np.full((30, 20, 4), 255, np.uint8)
    crop[:3, :, 3] = 0
    random = np.random.default_rng(1)
    points = random.normal(size=(height, width, 3)).astype(np.float32)
    mask = random.random((height, width)) < 0.9
    given = {"still": random.integers(0, 255, (height, width, 3), np.uint8), "still_points": points,
             "still_mask": mask} | more  # fmt: skip
    return PropRequest(crop, (40, 20, 20, 30), None, None, np.eye(3, dtype=np.float32),
                       np.array([0, 1, 0], np.float32), None, "thing", seed=seed, **given)  # fmt: skip


def test_poses_and_scales_arrive_in_our_frame(checkout, engine):
    """Many props through one warm child: mesh and Gaussians stand where the truth says, to 1e-5 of their size."""
    cases = [case(seed) for seed in range(6)]
    folder = checkout(cases)
    engine.load("cuda", "full")
    first = engine.child._process.pid
    for seed, known in enumerate(cases):
        result = engine.run(request(seed), lambda _: None)
        truth = np.array(known["truth"])
        pose = result.camera_from_prop.astype(np.float64)
        placed = result.mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
        apart = np.linalg.norm(placed[:, None] - truth[None], axis=-1)
        assert apart.min(axis=1).max() < 1e-5 * np.ptp(truth) + 1e-5  # every vertex is a true one
        assert apart.min(axis=0).max() < 1e-5 * np.ptp(truth) + 1e-5  # and every true one is there
        splats = result.gaussians.position @ pose[:3, :3].T + pose[:3, 3]
        assert np.abs(splats - truth).max() < 1e-5 * np.ptp(truth) + 1e-5
        assert result.gaussians.scale == pytest.approx(0.01 * known["scale"][0], rel=1e-4)
        assert result.metric and np.allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-5)
        assert result.mesh.vertices[:, 2].min() == pytest.approx(0, abs=1e-5)
        assert np.abs(result.mesh.vertices[:, :2].min(0) + result.mesh.vertices[:, :2].max(0)).max() < 1e-5
        assert trimesh.Trimesh(result.mesh.vertices, result.mesh.faces).volume > 0
        assert result.measured["iou"] == pytest.approx(0.9)
    assert engine.child._process.pid == first
    seen = np.load(folder / "checkpoints" / "hf" / "seen_0.npz")
    asked = request(0)
    assert np.array_equal(seen["image"], asked.still)
    assert seen["mask"].sum() == 27 * 20 and seen["mask"][23:50, 40:60].all()
    wanted = np.where(asked.still_mask[..., None], asked.still_points * [-1, -1, 1], np.nan)
    assert np.allclose(seen["pointmap"], wanted, equal_nan=True)


def test_a_large_still_is_reduced_with_its_pointmap(checkout, engine):
    folder = checkout([case()])
    engine.load("cuda", "full")
    points = np.stack([*np.meshgrid(np.arange(2400), np.arange(1200)), np.ones((1200, 2400))], axis=-1)
    engine.run(request(0, still=np.zeros((1200, 2400, 3), np.uint8), still_points=points.astype(np.float32),
                       still_mask=None), lambda _: None)  # fmt: skip
    seen = np.load(folder / "checkpoints" / "hf" / "seen_0.npz")
    assert seen["image"].shape == (800, 1600, 3) and seen["pointmap"].shape == (800, 1600, 3)
    rows, columns = np.nonzero(seen["mask"])
    at = seen["pointmap"][rows, columns]
    assert -at[:, 0].max() >= 40 and -at[:, 0].min() <= 60 and -at[:, 1].max() >= 23 and -at[:, 1].min() <= 50


def test_without_geometry_it_makes_a_shape_but_no_pose(checkout, engine):
    checkout([case()])
    engine.load("cuda", "full")
    result = engine.run(request(0, still_points=None, still_mask=None), lambda _: None)
    assert result.camera_from_prop is None and not result.metric
    assert np.ptp(result.mesh.vertices) < 1


@pytest.mark.parametrize("act, code, words", [
    ("crash", "props.sam3d_crashed", "exit code 136"),
    ("exit", "props.sam3d_crashed", "exit code 3"),
    ("fail", "props.sam3d_refused", "ValueError: no such thing"),
    ("no_mesh", "props.sam3d_refused", "no mesh came back"),
    ("broken_gpu", "props.sam3d_refused", "illegal memory access"),
])  # fmt: skip
def test_a_failure_is_a_sentence_and_the_next_prop_is_built(checkout, engine, act, code, words):
    checkout([case(0, act=act), case(1)])
    engine.load("cuda", "full")
    with pytest.raises(StageError) as told:
        engine.run(request(0), lambda _: None)
    assert told.value.code == code and words in told.value.en and "SAM 3D Objects" in told.value.zh
    assert len(engine.run(request(1), lambda _: None).mesh.faces)


def test_running_out_of_memory_is_said_as_the_host_understands_it(checkout, engine):
    from worker.engines.faults import is_out_of_memory

    checkout([case(0, act="oom")])
    engine.load("cuda", "full")
    with pytest.raises(MemoryError) as told:
        engine.run(request(0), lambda _: None)
    assert is_out_of_memory(told.value)
    assert engine.child._process is None  # its memory is given back


def test_a_hang_is_ended_with_a_sentence(checkout, engine):
    checkout([case(0, act="hang"), case(1)], timeout_s=2)
    engine.load("cuda", "full")
    pid, started = engine.child._process.pid, time.monotonic()
    with pytest.raises(StageError, match="no answer for 2 s") as told:
        engine.run(request(0), lambda _: None)
    assert told.value.code == "props.sam3d_timeout" and "ASSETIZE_SAM3D_TIMEOUT_S" in told.value.zh
    assert time.monotonic() - started < 10 and not psutil.pid_exists(pid)


def test_one_that_always_crashes_is_given_up(checkout, engine):
    checkout([case(0, act="crash")])
    engine.load("cuda", "full")
    codes = []
    for _ in range(3):
        with pytest.raises(StageError) as told:
            engine.run(request(0), lambda _: None)
        codes.append(told.value.code)
    assert codes == ["props.sam3d_crashed", "props.sam3d_crashed", "props.sam3d_given_up"]


def test_models_that_do_not_load_are_told(checkout, engine):
    checkout([case()], load="fail")
    with pytest.raises(StageError, match="checkpoint is damaged"):
        engine.load("cuda", "full")


def test_a_pose_of_nothing_is_refused(checkout, engine):
    checkout([case(0, scale=[float("nan")] * 3), case(1, rotation=[0.0, 0.0, 0.0, 0.0])])
    engine.load("cuda", "full")
    for seed in (0, 1):
        with pytest.raises(StageError) as told:
            engine.run(request(seed), lambda _: None)
        assert told.value.code == "props.sam3d_no_pose"


# --- settings -------------------------------------------------------------------------------------------------------
@pytest.fixture
def bare(monkeypatch, tmp_path):
    for name in settings.VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(settings, "settings_file", lambda: tmp_path / "sam3d_objects.json")
    return tmp_path / "sam3d_objects.json"


def test_without_settings_it_says_which_are_missing(bare, engine):
    refusal = registry.why_not(CARDS[0], BIG, frozenset())
    assert refusal.code == "engine.not_installed"
    assert "ASSETIZE_SAM3D_CHECKOUT" in refusal.en and "ASSETIZE_SAM3D_PYTHON" in refusal.zh
    with pytest.raises(StageError) as told:
        engine.load("cuda", "full")
    assert told.value.code == "props.sam3d_not_configured" and "docs/engines.md" in told.value.en


def test_what_is_configured_and_not_there_is_named(bare, tmp_path, monkeypatch):
    monkeypatch.setenv("ASSETIZE_SAM3D_CHECKOUT", str(tmp_path / "nowhere"))
    monkeypatch.setenv("ASSETIZE_SAM3D_PYTHON", str(tmp_path / "python"))
    lacking = settings.missing()
    assert [word in " ".join(lacking) for word in ("inference.py", "python", "pipeline.yaml")] == [True] * 3


def test_an_environment_without_its_packages_is_told(checkout, monkeypatch):
    checkout([case()])
    monkeypatch.setattr(settings, "MODULES", ("json", "no_such_module_a", "no_such_module_b"))
    settings._missing_modules.cache_clear()
    assert settings.missing() == [f"no_such_module_a, no_such_module_b in {sys.executable}"]
    settings._missing_modules.cache_clear()


def test_settings_may_come_from_the_file_and_the_environment_wins(bare, tmp_path, monkeypatch):
    bare.write_text(json.dumps({"checkout": "~/sam", "python": str(tmp_path), "timeout_s": 30}))
    found = settings.read()
    assert found.checkout == Path("~/sam").expanduser() and found.python == tmp_path and found.timeout_s == 30
    assert found.config == found.checkout / "checkpoints" / "hf" / "pipeline.yaml"
    monkeypatch.setenv("ASSETIZE_SAM3D_CHECKOUT", str(tmp_path))
    monkeypatch.setenv("ASSETIZE_SAM3D_TIMEOUT_S", "soon")
    assert settings.read().checkout == tmp_path and settings.read().timeout_s == settings.DEFAULT_TIMEOUT_S
    bare.write_text("{broken")
    assert settings.read().python is None


def test_the_licence_is_asked_for_and_then_it_runs(checkout):
    checkout([case()])
    settings._missing_modules.cache_clear()
    refusal = registry.why_not(CARDS[0], BIG, frozenset())
    assert refusal.code == "engine.licence" and "military" in refusal.en
    assert registry.why_not(CARDS[0], BIG, frozenset({"sam3d_objects"})) is None
    small = Machine(8, 64_000, (Gpu("small", 8_000, "580.65"),))
    assert registry.why_not(CARDS[0], small, frozenset({"sam3d_objects"})).code == "engine.does_not_fit"


def test_the_pre_study_name_is_understood():
    assert Options(asset_gen_backend="sam3d").asset_gen_backend == "sam3d_objects"
