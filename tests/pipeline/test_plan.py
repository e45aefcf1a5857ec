"""The product's own stages as the conductor sees them, and the choice of engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.engines import registry
from worker.errors import EngineUnavailable
from worker.hardware.machine import Machine
from worker.hardware.nvidia import Gpu
from worker.pipeline.order import STAGES
from worker.pipeline.plan import Plan, choose_engines, read_spec, skipped_by_options
from worker.session.options import Options

SMALL = Machine(cores=2, memory_mb=4096)


def test_every_stage_stands_in_order_after_what_it_needs() -> None:
    specs = Plan().specs
    assert [spec.name for spec in specs] == list(STAGES)
    for number, spec in enumerate(specs):
        before = set(STAGES[:number])
        assert set(spec.requires) <= before, f"{spec.name} requires what comes later, or nothing that is there"
        later = (set(spec.uses) & set(STAGES)) - before
        assert not later, f"{spec.name} uses {later}, which come later"
        assert spec.weight > 0 and spec.timeout_s > 0 and spec.title_en and spec.title_zh


def test_every_stage_module_is_in_the_plan(repo_root: Path) -> None:
    modules = {path.stem for path in (repo_root / "worker" / "stages").glob("*.py")}
    assert modules - {"__init__", "base", "files"} == set(STAGES), "beside the three that stages share"


def test_every_embedded_engine_runs_on_a_small_machine() -> None:
    chosen = choose_engines(Plan(), Options(), SMALL, frozenset())
    engined = {spec.name for spec in Plan().specs if spec.engine}
    assert set(chosen) == engined
    assert all(isinstance(choice, registry.Choice) and choice.card.name == "embedded" for choice in chosen.values())


@pytest.mark.parametrize("text", ["SPEC = make()", "SPEC = StageSpec(name=NAME)", "OTHER = 1", ""])
def test_a_spec_that_is_no_literal_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    name = f"stage_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises((ValueError, TypeError)):
        read_spec(name)


def test_skips_follow_the_flags() -> None:
    assert set(skipped_by_options(Options())) == set()
    every = skipped_by_options(Options(skip_scene=True, skip_geometry=True, no_blend=True))
    assert set(every) == {"scene", "geometry", "blend"}
    assert "--skip_scene" in every["scene"].en and "--skip_scene" in every["scene"].zh


def test_the_pre_studys_flag_names_the_props_engine() -> None:
    from fake_plan import card

    cards = [card("embedded", "props"), card("trellis", "props", priority=5)]

    def chosen(**options: object) -> str:
        plan = Plan(("props_like",), "x", cards)
        plan.__dict__["specs"] = (registry_spec(),)
        return choose_engines(plan, Options(**options), SMALL, frozenset())["props_like"].card.name

    assert chosen() == "trellis"
    assert chosen(asset_gen_backend="embedded") == "embedded"
    assert chosen(asset_gen_backend="embedded", engines={"props": "trellis"}) == "trellis"
    with pytest.raises(EngineUnavailable) as caught:
        chosen(asset_gen_backend="sam3d_objects")
    assert caught.value.code == "engine.unknown" and "sam3d_objects" in caught.value.en
    assert "not installed" in caught.value.en and "trellis, embedded" in caught.value.en


def registry_spec():
    from worker.stages.base import StageSpec

    return StageSpec("props_like", "Props", "道具", 1.0, "props")


def test_the_best_tier_that_fits_is_taken() -> None:
    from fake_plan import card

    big = card("big", "scene", devices=("cuda", "cpu"), memory_mb={"full": 16000, "half": 6000, "low": 3000})
    gpu = Machine(8, 64000, (Gpu("A", 8000, "1"), Gpu("B", 4000, "1")))
    assert registry.fit(big, gpu) == ("cuda", "half")
    assert registry.fit(big, SMALL) == ("cpu", "low")
    assert registry.fit(big, Machine(2, 2000)) is None
    choice = registry.choose("scene", "auto", [big], gpu, frozenset())
    assert choice.tiers == ("half", "low"), "a retry only goes to safer tiers"


def test_shipped_weights_that_are_gone_mean_not_installed() -> None:
    from dataclasses import replace

    from fake_plan import card

    from worker.engines.card import WeightFile

    weights = [file for one in registry.all_cards() for file in one.weights if file.source == "shipped"]
    assert weights, "the embedded engines ship networks"
    assert not [part for one in registry.all_cards() if one.name == "embedded" for part in registry.missing_parts(one)]
    lost = replace(card("lost", "scene"), weights=(WeightFile("gone.onnx", 5, None, "shipped"),))
    refusal = registry.why_not(lost, SMALL, frozenset())
    assert refusal and refusal.code == "engine.not_installed" and "gone.onnx" in refusal.en
    assert registry.describe(lost, SMALL, frozenset())["installed"] is False


def test_a_broken_consent_file_accepts_nothing(fakes: None) -> None:
    path = registry.consent_file()
    path.parent.mkdir(parents=True)
    for text in ("", "{", "5", "[1, null]"):
        path.write_text(text)
        assert registry.accepted_engines() == frozenset()
    path.write_text('["closed"]')
    assert registry.accepted_engines() == {"closed"}


def test_whose_switch_for_tiles_a_panel_shows() -> None:
    rows = [registry.describe(card, Machine(8, 64000), frozenset()) for card in registry.all_cards()]
    assert {row["name"] for row in rows if "geometry_tiles" in row["heeds"]} == {"dust3r", "mast3r"}
