from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from tests.harvest.conftest import still_with_things
from worker.engines.contract import HarvestRequest, HarvestResult, MaskProposal
from worker.engines.embedded import CARDS, outline, saliency
from worker.engines.embedded.harvest import EmbeddedHarvest, _own_holes
from worker.engines.embedded.people import detect_people
from worker.errors import EngineUnavailable
from worker.session.harvest import HarvestManifest
from worker.stages import harvest


class Proposes:
    """An engine that answers with given masks; a box gets the box."""

    def __init__(self, *proposals: MaskProposal) -> None:
        self.proposals = proposals
        self.request: HarvestRequest | None = None

    def run(self, request: HarvestRequest, progress) -> HarvestResult:
        self.request = request
        boxes = []
        for x, y, w, h in request.rois:
            mask = np.zeros(request.image.shape[:2], dtype=bool)
            mask[y : y + h, x : x + w] = True
            boxes.append(MaskProposal(mask, 0.9, "roi"))
        return HarvestResult([*boxes, *self.proposals])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


@pytest.fixture(scope="module")
def engine() -> EmbeddedHarvest:
    engine = EmbeddedHarvest()
    engine.load("cpu", "full")
    return engine


def read(ctx) -> HarvestManifest:
    return HarvestManifest.model_validate_json(ctx.folder.harvest_manifest.read_text("utf-8"))


def test_finds_two_things_and_writes_what_it_says(stage, engine) -> None:
    image, things = still_with_things()
    ctx = stage(image, engine)
    result = harvest.run(ctx)
    manifest = read(ctx)
    found = [np.asarray(Image.open(ctx.folder.root / p.mask)) > 127 for p in manifest.props]
    for name, truth in things.items():
        assert max(iou(truth, mask) for mask in found) > 0.85, name
    assert [p.id for p in manifest.props] == [f"prop_{i:02d}" for i in range(1, len(found) + 1)]
    scores = [p.score for p in manifest.props]
    assert scores == sorted(scores, reverse=True)
    for prop, mask in zip(manifest.props, found, strict=True):
        crop = np.asarray(Image.open(ctx.folder.root / prop.crop))
        x, y, w, h = prop.crop_box
        assert crop.shape == (h, w, 4) and mask.shape == image.shape[:2]
        assert ((crop[..., 3] > 127) == mask[y : y + h, x : x + w]).all()
        assert mask.sum() == (crop[..., 3] > 127).sum()  # nothing of the prop lies outside its crop
    assert {p for p in result.outputs if not p.is_file()} == set()
    assert all(r.reasons for r in manifest.rejected)


def test_same_still_same_bytes(stage, engine) -> None:
    image, _ = still_with_things(240, 150)  # one look: enough to see any randomness
    ctx = stage(image, engine, rois=[(20, 50, 60, 60)])
    first = {p.name: p.read_bytes() for p in harvest.run(ctx).outputs}
    assert {p.name: p.read_bytes() for p in harvest.run(ctx).outputs} == first


@pytest.mark.parametrize("image", [
    np.zeros((48, 64, 3), np.uint8),
    np.full((12, 2000, 3), 128, np.uint8),
    np.zeros((1, 1, 3), np.uint8),
    np.random.default_rng(1).integers(0, 255, (150, 300, 3), dtype=np.uint8),
])
def test_nothing_there_is_said_and_is_no_error(stage, engine, image) -> None:
    ctx = stage(image, engine)
    harvest.run(ctx)
    assert read(ctx).props == []
    assert {"harvest.nothing_salient", "harvest.none_kept"} & {w.code for w in ctx.warnings}


def test_real_engine_cuts_the_users_box(stage, engine) -> None:
    image, things = still_with_things()
    rows, columns = np.nonzero(things["box"])
    roi = (int(columns.min()) - 6, int(rows.min()) - 6, int(np.ptp(columns)) + 12, int(np.ptp(rows)) + 12)
    ctx = stage(image, engine, rois=[roi], max_props=1)
    harvest.run(ctx)
    (prop,) = read(ctx).props
    assert prop.roi == 0
    assert iou(np.asarray(Image.open(ctx.folder.root / prop.mask)) > 127, things["box"]) > 0.8


def test_a_box_against_the_rules_is_taken_with_a_warning(stage) -> None:
    image, _ = still_with_things()
    ctx = stage(image, Proposes(), rois=[(0, 0, 480, 230)])
    harvest.run(ctx)
    (prop,) = read(ctx).props
    assert {"harvest.too_large", "harvest.truncated"} <= {r.code for r in prop.reasons}
    warning = next(w for w in ctx.warnings if w.code == "harvest.roi_forced")
    assert "Box 1" in warning.en and "第 1 个框" in warning.zh


def test_boxes_are_in_input_pixels(stage) -> None:
    image, _ = still_with_things()
    engine = Proposes()
    ctx = stage(image, engine, crop=(0, 40, 480, 270), rois=[(100, 140, 80, 90), (10, 0, 50, 30)])
    harvest.run(ctx)
    assert engine.request.rois == [(100, 100, 80, 90)]  # the second lies in the black bar
    assert "harvest.roi_outside" in {w.code for w in ctx.warnings}


def test_limit_and_people_are_told(stage) -> None:
    image, things = still_with_things()
    person = np.zeros(image.shape[:2], dtype=bool)
    person[40:230, 210:270] = True
    engine = Proposes(MaskProposal(things["ball"], 0.9, "tile"), MaskProposal(things["box"], 0.8, "tile"),
                      MaskProposal(person, 0.99, "tile", is_person=True))
    ctx = stage(image, engine, max_props=1)
    harvest.run(ctx)
    manifest = read(ctx)
    assert len(manifest.props) == 1
    assert sorted(r.reasons[0].code for r in manifest.rejected) == ["harvest.over_limit", "harvest.person"]
    assert {"harvest.people_left_out", "harvest.more_than_asked"} <= {w.code for w in ctx.warnings}


def test_manifest_is_plain_json_with_a_schema_name(stage) -> None:
    image, things = still_with_things()
    ctx = stage(image, Proposes(MaskProposal(things["ball"], 0.9, "tile")))
    harvest.run(ctx)
    data = json.loads(ctx.folder.harvest_manifest.read_text("utf-8"))
    assert data["schema"] == "assetize.harvest/1"
    xs = [x for polygon in data["props"][0]["outline"] for x, _ in polygon]
    columns = np.nonzero(things["ball"].any(axis=0))[0]
    assert abs(min(xs) - columns.min()) <= 1 and abs(max(xs) - columns.max()) <= 1


def test_the_card_names_the_shipped_weights() -> None:
    files = {file.name: file for file in next(card for card in CARDS if card.stage == "harvest").weights}
    for module in (saliency, outline):
        data, file = module.WEIGHTS.read_bytes(), files.pop(module.WEIGHTS.name)
        assert file.bytes == len(data)
        assert file.sha256 == module.WEIGHTS_SHA256 == hashlib.sha256(data).hexdigest()
    assert not files


@pytest.mark.parametrize("module", [saliency, outline])
def test_damaged_weights_are_refused(module, tmp_path, monkeypatch) -> None:
    damaged = tmp_path / module.WEIGHTS.name
    damaged.write_bytes(module.WEIGHTS.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(module, "WEIGHTS", damaged)
    with pytest.raises(EngineUnavailable, match=f"{damaged.name} is missing or damaged"):
        EmbeddedHarvest().load("cpu", "full")


def test_no_people_in_a_picture_without_any() -> None:
    image, _ = still_with_things()
    assert detect_people(image) == []


def test_a_hole_of_the_same_thing_is_filled_and_a_view_through_it_is_not():
    mask = np.zeros((120, 160), bool)
    mask[20:100, 20:140] = True
    mask[40:60, 40:60] = mask[40:60, 90:110] = False
    mask[50, 20:40] = False  # a crack from the outside into the first
    things = np.where(mask, 7, 0).astype(np.int32)
    things[40:60, 40:60] = 7  # its own seat
    things[40:60, 90:110] = 9  # another thing, seen through it
    holes = _own_holes(mask, things)
    assert holes[42:58, 42:58].all() and not holes[:, 85:].any() and not (holes & mask).any()
    assert not _own_holes(mask, np.zeros_like(things)).any()


class Sees:
    """Stands in for the outline network: hands every rough mask back."""

    def __init__(self, certainty: float = 0.9, person: float = 0.0) -> None:
        self.certainty, self.person = certainty, person

    def __call__(self, image: np.ndarray, mask: np.ndarray) -> outline.Outline:
        return outline.Outline(mask, self.certainty, self.person)


def proposed(engine: EmbeddedHarvest, seen: Sees, readings: list[np.ndarray]) -> list[MaskProposal]:
    engine._outlines = seen
    blank = np.full((*readings[0].shape, 3), 128, np.uint8)
    engine._saliency = lambda picture: np.zeros(picture.shape[:2], np.float32)
    request = HarvestRequest(blank, [], 8, instances=np.zeros_like(readings[0]), instance_readings=np.stack(readings))
    return engine.run(request, lambda done: None).proposals


def test_readings_that_agree_score_better_and_doubted_outlines_go() -> None:
    engine = EmbeddedHarvest()
    one, two = np.zeros((2, 240, 320), np.int32)
    one[60:120, 60:140] = two[62:120, 60:141] = 3
    two[140:200, 200:280] = 5  # one reading alone sees this
    both = proposed(engine, Sees(), [one, two, two * (two == 3)])
    assert len(both) == 2 and both[0].mask[90, 100] and both[1].mask[170, 240]
    assert both[0].score > 1.05 * both[1].score and both[0].source == "instances"
    assert proposed(engine, Sees(certainty=0.5), [one, two]) == []
    assert all(p.is_person for p in proposed(engine, Sees(person=0.8), [one]))
