from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.formats.pointmap import Pointmap, intrinsics_from_hfov, pixel_rays
from worker.harvest import rules
from worker.stages import harvest

H, W = 360, 640
IMAGE = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)


def rectangle(x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    mask[y : y + h, x : x + w] = True
    return mask


def judged(mask: np.ndarray, score: float = 0.8, **more) -> rules.Judged:
    item = rules.Judged(mask, score, "tile", **more)
    rules.judge(item, IMAGE, more.pop("depth", None))
    return item


def codes(item: rules.Judged) -> set[str]:
    return {code for code, _ in item.fatal}


def box_before_wall(mask: np.ndarray, box_depth: float, wall_depth: float) -> Pointmap:
    rays = pixel_rays(H, W, intrinsics_from_hfov(W, H, 60))
    depth = np.where(mask, box_depth, wall_depth)[..., None].astype(np.float32)
    full = np.ones((H, W), dtype=bool)
    return Pointmap(rays * depth, full, full.astype(np.float32), intrinsics_from_hfov(W, H, 60), ~full)


def test_a_plain_thing_passes() -> None:
    item = judged(rectangle(200, 100, 120, 140))
    assert not item.fatal and not item.truncated
    assert 0.4 < item.score <= 1


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        (rectangle(100, 100, 20, 40), "harvest.too_small"),
        (rectangle(100, 100, 31, 30), "harvest.too_few_pixels"),
        (rectangle(10, 10, 600, 200), "harvest.too_large"),
        (rectangle(0, 100, 60, 140), "harvest.truncated"),
        (rectangle(100, 100, 80, 60) | rectangle(300, 100, 80, 60), "harvest.fragments"),
    ],
)
def test_each_rule_names_itself(mask: np.ndarray, code: str) -> None:
    assert code in codes(judged(mask))


def test_people_are_never_props() -> None:
    assert codes(judged(rectangle(200, 100, 100, 200), is_person=True)) == {"harvest.person"}


def test_depth_tells_things_from_pictures_and_from_the_occluded() -> None:
    mask = rectangle(200, 100, 120, 140)
    for box_depth, wall_depth, expected in ((2.0, 3.0, set()), (3.0, 3.0, {"harvest.flat"}),
                                            (3.0, 2.0, {"harvest.occluded"})):
        item = rules.Judged(mask, 0.8, "tile")
        rules.judge(item, IMAGE, box_before_wall(mask, box_depth, wall_depth))
        # A box of constant depth is flat too, but its depth step makes it a thing.
        assert codes(item) - ({"harvest.flat"} if box_depth > wall_depth else set()) == expected


def test_parts_go_and_the_whole_stays() -> None:
    whole, part = judged(rectangle(100, 100, 200, 150)), judged(rectangle(150, 120, 80, 80), 0.84)
    rules.drop_duplicates([part, whole])
    assert not whole.fatal and codes(part) == {"harvest.part"}


def test_a_group_gives_way_to_its_members() -> None:
    group = judged(rectangle(100, 100, 220, 100))
    left, right = judged(rectangle(100, 100, 100, 100)), judged(rectangle(220, 100, 100, 100))
    rules.drop_duplicates([group, left, right])
    assert codes(group) == {"harvest.group"} and not left.fatal and not right.fatal


def test_the_users_box_wins_over_a_better_score() -> None:
    own = judged(rectangle(100, 100, 100, 100), 0.1, roi=0)
    found = judged(rectangle(102, 100, 100, 100), 0.99)
    rules.drop_duplicates([found, own])
    assert not own.fatal and codes(found) == {"harvest.duplicate"}


def test_tidy_drops_specks_and_pinholes_only() -> None:
    mask = rectangle(100, 100, 100, 100)
    mask[150, 150] = False  # pinhole
    mask[110:150, 110:150] = False  # a real hole
    mask[10:13, 10:13] = True  # a speck
    clean = rules.tidy(mask)
    assert clean[150, 150] and not clean[130, 130] and not clean[11, 11]


@given(x=st.integers(0, 600), y=st.integers(0, 330), w=st.integers(1, 640), h=st.integers(1, 360))
def test_any_box_gets_a_verdict_and_a_score(x: int, y: int, w: int, h: int) -> None:
    item = judged(rectangle(x, y, w, h))
    assert 0 <= item.score <= 1
    for code, params in item.fatal + item.remarks:
        for text in harvest.NOTICES[code]:
            assert text.format(**params)


def test_no_pixel_shows_two_things() -> None:
    clear, doubtful = judged(rectangle(100, 100, 100, 100), 0.9), judged(rectangle(140, 80, 110, 100), 0.6)
    beside = judged(rectangle(195, 100, 100, 100), 0.5)
    rules.drop_duplicates([doubtful, beside, clear])
    assert codes(doubtful) == {"harvest.overlap"} and not clear.fatal and not beside.fatal
