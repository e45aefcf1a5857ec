"""The outline network through its own door: rough masks in, whole things out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harvest.conftest import example_with_truth
from worker.engines.embedded.outline import Outlines, _Square


@pytest.fixture(scope="module")
def outlines() -> Outlines:
    return Outlines()


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture(scope="module")
def things(examples_dir) -> list[tuple[np.ndarray, np.ndarray]]:
    """(still, true mask) of every prop of the three example stills that covers at least 0.4 % of it."""
    found = []
    for name in ("interior", "street", "tabletop"):
        image, ids, objects = example_with_truth(examples_dir, name)
        masks = [ids == thing["id"] for thing in objects if thing["is_prop"]]
        found += [(image, mask) for mask in masks if mask.mean() > 0.004]
    return found


def test_a_thing_is_found_again_from_its_middle(outlines, things) -> None:
    """Pointed at by what is left of it after its thin parts and rim are worn away."""
    before, after = [], []
    for image, mask in things:
        depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
        middle = depth > 0.3 * depth.max()
        found = outlines(image, middle)
        before.append(iou(middle, mask))
        after.append(iou(found.mask, mask))
    assert len(things) >= 6
    assert np.mean(after) > 0.75 > 0.6 > np.mean(before), (before, after)


def test_lost_feet_come_back(outlines, things) -> None:
    """The lowest quarter cut away: the outline reaches lower again in most cases, and never eats into the rest."""
    lower = []
    for image, mask in things:
        rows = np.flatnonzero(mask.any(axis=1))
        cut = mask.copy()
        cut[int(rows[0] + 0.75 * np.ptp(rows)) :] = False
        found = outlines(image, cut)
        assert (found.mask & cut).sum() > 0.8 * cut.sum()
        lower.append(iou(found.mask, mask) > iou(cut, mask))
    assert np.mean(lower) >= 0.6


def test_walls_and_floors_are_no_things(outlines, examples_dir) -> None:
    """Discs in places where no object of an example still is."""
    certain = []
    for name in ("interior", "street"):
        image, ids, objects = example_with_truth(examples_dir, name)
        stuff = np.isin(ids, [o["id"] for o in objects if o["label"] in ("floor", "wall", "ceiling", "road", "facade")])
        free = cv2.erode(stuff.astype(np.uint8), np.ones((81, 81))) > 0
        places = np.argwhere(free)
        rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
        for row, column in places[np.random.default_rng(2).integers(0, len(places), 10)]:
            certain.append(outlines(image, np.hypot(rows - row, columns - column) < 40).certainty)
    assert np.mean(np.array(certain) < 0.6) >= 0.9


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 90), st.integers(0, 60), st.integers(1, 100), st.integers(1, 70))
def test_a_square_goes_back_where_it_was_cut(x: int, y: int, w: int, h: int) -> None:
    """Also where it reaches beyond the frame: a mask put through is the mask again, but for a softened rim."""
    mask = np.zeros((70, 100), bool)
    mask[y : y + h, x : x + w] = True
    if not mask.any():
        return
    square = _Square.around(mask)
    cut = square.cut(mask.astype(np.float32), cv2.BORDER_CONSTANT)
    assert cut.shape == (256, 256) and cut.max() > 0.5
    back = square.back(cut * 2 - 1, mask.shape) > 0
    assert back.shape == mask.shape
    rim = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) != cv2.erode(mask.astype(np.uint8), np.ones((3, 3)))
    assert not ((back != mask) & ~rim).any()
