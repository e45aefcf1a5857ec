"""The engine as the product runs it, with the twin's weights where an installation has them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from spine_fixtures import fakes  # noqa: F401 - the hosts of the pipeline's test find the twin through it

torch = pytest.importorskip("torch")

from trellis_twin import CARD, TINY, Twin, save_twin  # noqa: E402

from worker.engines import registry  # noqa: E402
from worker.engines.contract import PropRequest  # noqa: E402
from worker.engines.trellis import CARDS, cards, engine  # noqa: E402
from worker.engines.trellis.config import TrellisConfig  # noqa: E402
from worker.engines.trellis.settings import read_settings  # noqa: E402
from worker.errors import EngineUnavailable, StageError, WeightsError  # noqa: E402
from worker.hardware.machine import Machine, Torch  # noqa: E402
from worker.hardware.nvidia import Gpu  # noqa: E402
from worker.stages import props  # noqa: E402
from worker.weights import store  # noqa: E402


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSETIZE_WEIGHTS_DIR", str(tmp_path / "weights"))
    save_twin(tmp_path / "weights" / "twin")
    return tmp_path / "weights" / "twin"


def crop_of(size: int = 400, solid: bool = True) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    inside = (np.hypot(x - size / 2, y - size / 2) < size / 3) & solid
    return np.dstack([x % 256, y % 256, np.full_like(x, 90), 255 * inside]).astype(np.uint8)


def request(rgba: np.ndarray, label: str = "cup", seed: int = 0) -> PropRequest:
    return PropRequest(rgba, (0, 0, *rgba.shape[1::-1]), None, None, np.eye(3, dtype=np.float32),
                       np.array([0, 1, 0], np.float32), None, label, triangle_budget=800, seed=seed)  # fmt: skip


@pytest.mark.parametrize("tier, codes", [("cpu", []), ("gaussians", ["props.coarse_mesh"])])
def test_a_crop_becomes_a_closed_textured_mesh_and_gaussians(weights, tier, codes):
    twin = Twin()
    twin.load("cpu", tier)
    told: list[float] = []
    found = twin.run(request(crop_of()), told.append)
    mesh = trimesh.Trimesh(found.mesh.vertices, found.mesh.faces)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    assert mesh.is_watertight and mesh.volume == pytest.approx((6 / 8) ** 3, rel=0.2)
    assert len(found.mesh.faces) <= 800 and found.mesh.texture.ndim == 3
    assert found.camera_from_prop is None and not found.metric
    assert found.gaussians is not None and 0 < len(found.gaussians) <= 32 * 8**3
    assert found.gaussians.position.dtype == np.float32
    assert [notice.code for notice in found.notices if notice.code not in ("props.shattered",)] == codes
    assert told == sorted(told) and told[-1] == 1.0


def test_one_prop_that_fails_leaves_the_engine_whole(weights):
    twin = Twin()
    twin.load("cpu", "cpu")
    with pytest.raises(StageError, match="nothing solid"):
        twin.run(request(crop_of(solid=False)), lambda _: None)
    assert len(twin.run(request(crop_of()), lambda _: None).mesh.faces)


def test_the_job_survives_an_engine_that_dies_in_native_code(weights, tmp_path, examples_dir):
    """Through conductor and host, on what harvest finds in an example: one process dies, the next tier delivers."""
    from worker.host.pool import HostPool
    from worker.pipeline.conductor import Conductor
    from worker.pipeline.job import Job
    from worker.pipeline.plan import Plan
    from worker.session.options import Options

    small = tmp_path / "tabletop.png"
    with Image.open(examples_dir / "tabletop.png") as still:
        still.convert("RGB").resize((still.width // 4, still.height // 4)).save(small)
    embedded = [card for card in registry.all_cards() if card.name == "embedded"]
    fragile = replace(CARD, priority=99, entry="trellis_twin:Fragile")
    plan = Plan(names=("plate", "harvest", "props"), cards=(*embedded, fragile))
    with HostPool() as pool:
        job = Job(small, Options(max_props=1), tmp_path / "out")
        outcome = Conductor(job, pool, plan=plan, accepted=frozenset()).run()
    record = json.loads((outcome.folder / "session.json").read_text("utf-8"))["stages"]["props"]
    assert record["state"] == "done", record
    assert record["engine"] == "twin" and record["attempts"] == 2 and record["degraded"]
    assert "props.coarse_mesh" in [warning["code"] for warning in record["warnings"]]
    made = sorted(path.suffix for path in (outcome.folder / "props_3d").iterdir())
    assert made == [".glb", ".ply"]


def test_weights_of_another_network_are_told_before_any_prop(weights):
    save_twin(weights)
    other = weights / "latent_flow.safetensors"
    other.write_bytes((weights / "image.safetensors").read_bytes())
    twin = Twin()
    twin.load("cpu", "cpu")
    with pytest.raises(WeightsError, match=r"latent_flow\.safetensors holds another network"):
        twin.run(request(crop_of()), lambda _: None)


def test_the_pipelines_own_settings_win(weights):
    path = weights / "pipeline.json"
    said = json.loads(path.read_text("utf-8"))
    said["args"]["slat_normalization"]["std"] = [2.0] * 8
    said["args"]["sparse_structure_sampler"]["params"] = {"steps": 12, "cfg_strength": 7.5}
    path.write_text(json.dumps(said), "utf-8")
    config = read_settings(path, TrellisConfig())
    assert config.std == (2.0,) * 8 and config.mean == pytest.approx(TINY.mean)
    assert (config.structure_sampling.steps, config.structure_sampling.guidance) == (12, 7.5)
    assert config.structure_sampling.interval == (0.5, 1.0) and config.latent_sampling.steps == 3


SHORT = '{"args": {"slat_normalization": {"mean": [0], "std": [1]}}}'


@pytest.mark.parametrize("text", ["", "[]", '{"args": {}}', SHORT])
def test_settings_that_are_none_are_told(tmp_path, text):
    path = tmp_path / "pipeline.json"
    path.write_text(text, "utf-8")
    with pytest.raises(WeightsError, match=r"not TRELLIS' pipeline\.json"):
        read_settings(path, TrellisConfig())


def test_a_hash_that_differs_from_the_reported_is_told_and_used(weights, monkeypatch, caplog):
    file = Twin.files[1]
    path = store.path_of("twin", file)
    receipt = store.Receipt(path.stat().st_size, "1" * 64, "https://example.org")
    store.receipt_path(path).write_text(store.receipt_text(receipt), "utf-8")
    monkeypatch.setitem(engine.REPORTED_SHA256, file.name, "2" * 64)
    twin = Twin()
    twin.load("cpu", "cpu")
    assert "a third party reported " + "2" * 64 in caplog.text


def installed(monkeypatch) -> None:
    monkeypatch.setattr(store, "is_there", lambda *_: True)


GPU = Machine(8, 32000, (Gpu("NVIDIA RTX 3060", 12288, "580.82.07"),), torch=Torch("2.13.0", "13.0"))


def test_auto_takes_trellis_on_a_gpu_and_leaves_it_on_a_cpu(monkeypatch):
    installed(monkeypatch)
    here = registry.all_cards()
    chosen = registry.choose("props", "auto", here, GPU, frozenset())
    assert (chosen.card.name, chosen.device, chosen.tier) == ("trellis", "cuda", "full")
    without = Machine(8, 32000, torch=Torch("2.13.0"))
    chosen = registry.choose("props", "auto", here, without, frozenset())
    assert chosen.card.name == "embedded" and "too slow here" in chosen.why.en
    named = registry.choose("props", "trellis", here, without, frozenset())
    assert (named.device, named.tier) == ("cpu", "cpu") and named.tiers == ("cpu",)


def test_a_smaller_card_gets_a_smaller_tier_and_the_smallest_none(monkeypatch):
    installed(monkeypatch)
    (card,) = CARDS
    for memory, tier in sorted((memory, tier) for tier, memory in card.memory_mb.items() if tier != "cpu"):
        machine = replace(GPU, gpus=(Gpu("card", memory, "580.82.07"),), memory_mb=4000)
        assert registry.choose("props", "trellis", [card], machine, frozenset()).tier == tier
    tiny = replace(GPU, gpus=(Gpu("card", 2048, "580.82.07"),), memory_mb=4000)
    with pytest.raises(EngineUnavailable):
        registry.choose("props", "trellis", [card], tiny, frozenset())


def test_the_card_tells_what_a_user_must_know():
    (card,) = CARDS
    assert sum(file.bytes for file in card.weights if file.bytes_exact) == pytest.approx(4.05e9, rel=0.01)
    assert card.licence.commercial == "yes" and "MIT" in card.licence.weights and "Apache-2.0" in card.licence.weights
    assert not registry.needs_acceptance(card)
    assert all(file.sha256 is None for file in card.weights), "no official hash is published"
    assert set(cards.REPORTED_SHA256) < {file.name for file in card.weights}


def test_every_notice_of_the_engine_has_its_sentence():
    import re

    folder = Path(engine.__file__).parent
    text = "".join(path.read_text("utf-8") for path in folder.glob("*.py"))
    codes = set(re.findall(r'EngineNotice\("([\w.]+)"', text))
    assert codes >= {"props.coarse_mesh", "props.too_many_voxels", "props.wider_numbers"}
    assert codes <= set(props.NOTICES)
