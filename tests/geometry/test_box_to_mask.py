"""Boxes are brought to what the picture shows, as far as they are unsure of themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.geometry.test_object_box import K, apart, scene
from worker.pointmaps.box_to_mask import aligned, believed_box

UNSURE = 0.3  # confidence of a box whose sides err by a third


@settings(max_examples=20, deadline=None)
@given(size=st.floats(0.75, 1.4), tall=st.floats(0.75, 1.4), aside=st.floats(-0.1, 0.1), turn=st.floats(0, 1.5))
def test_an_unsure_box_comes_to_its_mask(size, tall, aside, turn) -> None:
    true, _, mask, _, _ = scene(turn, (0.9, 0.6, 0.8), 0.3, 4.0, 0.3)
    across = np.cross(true.centre, true.axes[:, 2])
    across /= np.linalg.norm(across)
    wrong = replace(true, centre=true.centre + aside * across, sides=true.sides * [size, size, tall], confidence=UNSURE)
    found = aligned(wrong, mask, K)
    assert apart(found, true) < max(0.06, 0.7 * apart(wrong, true))
    edges = [box.projected(K) for box in (found, true)]
    assert np.abs(edges[0] - edges[1]).max() < 0.06 * (edges[1][2:] - edges[1][:2]).max() + 1


def test_a_sure_box_stays() -> None:
    true, _, mask, _, _ = scene(0.4, (0.9, 0.6, 0.8), 0.3, 4.0, 0.3)
    part = mask.copy()
    part[:, : int(np.median(np.nonzero(mask)[1]))] = False
    sure, unsure = (aligned(replace(true, confidence=c), part, K) for c in (0.97, UNSURE))
    assert apart(sure, true) < 0.03 < apart(unsure, true)


def test_lost_feet_are_kept_as_a_possibility() -> None:
    true, _, mask, up, _ = scene(0.4, (0.5, 0.5, 1.4), 0.0, 5.0, 0.2)
    rows = np.nonzero(mask)[0]
    cut = mask.copy()
    cut[int(np.quantile(rows, 0.7)) :] = False
    unsure = replace(true, confidence=UNSURE)
    whole, lost = aligned(unsure, mask, K), aligned(unsure, cut, K)
    assert whole.below < 0.1 * true.sides[2] < lost.below
    foot = float(lost.underside @ up) - lost.below
    assert foot == pytest.approx(float(true.underside @ up), abs=0.1 * true.sides[2])


def test_the_frame_s_border_is_no_edge() -> None:
    """A thing cut by the frame keeps its size."""
    true, _, mask, _, _ = scene(0.4, (0.9, 0.6, 0.8), 1.75, 3.2, 0.3)
    assert mask[:, -1].any() and not mask[-1].any()
    found = aligned(replace(true, confidence=UNSURE), mask, K)
    assert apart(found, true) < 0.05


def test_what_is_believed_is_told() -> None:
    true, points, mask, up, votes = scene(0.4, (0.9, 0.6, 0.8), 0.3, 4.0, 0.3)
    every = np.ones_like(mask)
    box, facts = believed_box(votes, mask, points, every, up, K)
    assert box is not None and apart(box, true) < 0.02
    assert facts["state"] == "known" and facts["heading_known"] and facts["fit"] > 0.9
    assert believed_box(None, mask, points, every, up, K) == (None, {"state": "none"})
    unsure = votes.copy()
    unsure[9] = 0.5
    assert believed_box(unsure, mask, points, every, up, K)[1]["state"] == "unsure"
