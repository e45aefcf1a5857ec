"""Outlines are read as drawn, wanted things are those one could take, and the figures add up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import frames
from bench.frames import Frame, Thing

SHAPE = (100, 200)


def block(x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def runs(mask: np.ndarray) -> list[int]:
    """Run lengths column by column, beginning with the empty run (COCO's uncompressed RLE)."""
    flat = mask.T.ravel().astype(int)
    ends = [*(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    return np.diff([0, *ends]).tolist()


def test_polygons_and_runs_give_the_same_mask() -> None:
    mask = block(20, 30, 50, 40)
    assert (frames.decode({"label": "box", "rle": runs(mask)}, SHAPE) == mask).all()
    drawn = frames.decode({"label": "box", "polygons": [[20, 30, 70, 30, 70, 70, 20, 70]]}, SHAPE)
    assert np.count_nonzero(drawn ^ mask) <= 2 * (50 + 40)  # a pixel along the outline


def test_overlapping_polygons_leave_no_hole() -> None:
    drawn = frames.decode({"label": "box", "polygons": [[20, 30, 60, 30, 60, 70, 20, 70],
                                                        [40, 30, 80, 30, 80, 70, 40, 70]]}, SHAPE)
    assert drawn[50, 50]


def test_runs_of_another_picture_are_refused() -> None:
    with pytest.raises(ValueError, match="runs hold"):
        frames.decode({"label": "box", "rle": [10, 20]}, SHAPE)


@pytest.mark.parametrize(("kind", "mask", "wanted"), [
    ("thing", block(20, 30, 50, 40), True),
    ("vehicle", block(20, 30, 50, 40), False),
    ("person", block(20, 30, 50, 40), False),
    ("thing", block(20, 30, 5, 5), False),  # 0.1 % of the picture
    ("thing", block(10, 10, 180, 80), False),  # 72 %
    ("thing", block(0, 30, 20, 40), False),  # a third of its outline is the picture's edge
    ("thing", block(20, 30, 20, 40) | block(60, 30, 20, 40), False),  # two halves
])
def test_what_is_wanted(kind: str, mask: np.ndarray, wanted: bool) -> None:
    assert Thing("x", kind, mask).is_wanted() is wanted


def test_a_vehicle_is_wanted_when_asked_for() -> None:
    assert Thing("car", "vehicle", block(20, 30, 50, 40)).is_wanted(("thing", "vehicle"))


@pytest.fixture
def frame() -> Frame:
    return Frame("a", Path("a.jpg"), "drawn", [
        Thing("cup", "thing", block(10, 10, 30, 30)), Thing("box", "thing", block(60, 10, 30, 30)),
        Thing("car", "vehicle", block(100, 10, 30, 30)), Thing("heap", "crowd", block(140, 10, 50, 30)),
        Thing("she", "person", block(20, 55, 20, 40))])


def test_figures_of_one_picture(frame: Frame) -> None:
    cup, car = block(10, 10, 30, 30), block(100, 10, 30, 30)
    in_the_heap, she, wall = block(150, 15, 10, 10), block(22, 60, 16, 30), block(60, 60, 100, 30)
    figures = frames.judge_frame(frame, [cup, car, in_the_heap, she, wall])
    assert figures["recall"] == 0.5  # the cup, not the box
    assert figures["people taken"] == 1
    # The car may be taken and the heap says nothing: one right of cup, person and wall.
    assert figures["precision"] == pytest.approx(1 / 3)
    assert figures["IoU"] == 1 and figures["boundary F"] == 1


def test_the_summary_counts_pictures_and_things(frame: Frame) -> None:
    good = frames.judge_frame(frame, [block(10, 10, 30, 30), block(60, 10, 30, 30)])
    none = frames.judge_frame(Frame("b", Path("b.jpg"), "drawn", frame.things[3:]), [])
    whole = frames.summary([good, none])
    assert whole["pictures"] == 2 and whole["pictures with wanted things"] == 1
    assert whole["mean"]["recall"] == 1 and whole["mean"]["precision"] == 1
    assert whole["total"] == {"wanted": 2, "found": 2, "taken": 2, "people taken": 0, "people": 2}


def test_a_folder_is_read_and_an_unknown_kind_refused(tmp_path: Path) -> None:
    Image.new("RGB", SHAPE[::-1]).save(tmp_path / "a.png")
    record = {"width": 200, "height": 100, "source": "drawn", "things": [
        {"label": "cup", "kind": "thing", "polygons": [[10, 10, 40, 10, 40, 40, 10, 40]]}]}
    (tmp_path / "a.json").write_text(json.dumps(record), encoding="utf-8")
    frame = frames.read_frame(tmp_path / "a.json")
    assert frame.picture.name == "a.png" and frame.source == "drawn" and frame.things[0].is_wanted()
    record["things"][0]["kind"] = "prop"
    (tmp_path / "a.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ValueError, match="unknown kind prop"):
        frames.read_frame(tmp_path / "a.json")
