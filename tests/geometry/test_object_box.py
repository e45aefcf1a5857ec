"""A box that every pixel of a solid speaks of is found again, from any side, in any part of the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.box_votes import votes_of
from worker.formats.pointmap import Pointmap, intrinsics_from_hfov, pixel_rays, read_pointmap, write_pointmap
from worker.pointmaps.object_box import ObjectBox, box_of

WIDTH, HEIGHT = 245, 175  # cells of 7 pixels: each has a middle pixel
K = intrinsics_from_hfov(WIDTH, HEIGHT, 55).astype(float)
RAYS = pixel_rays(HEIGHT, WIDTH, K).astype(float)


def scene(turn: float, sides, aside: float, away: float, pitch: float, heading: bool = True):
    """A box on a floor, the camera pitched down and rolled a little: (true box, points, mask, up, votes)."""
    up = np.array([0.05, -np.cos(pitch), -np.sin(pitch)])
    up /= np.linalg.norm(up)
    ahead = np.array([0.0, 0, 1]) - up[2] * up
    ahead /= np.linalg.norm(ahead)
    across = np.cross(ahead, up)
    first = np.cos(turn) * ahead + np.sin(turn) * across
    sides = np.asarray(sides, float)
    centre = away * ahead + aside * across + (0.5 * sides[2] - 1.4) * up
    box = ObjectBox(centre, np.stack([first, np.cross(up, first), up], axis=1), sides, heading, 1.0)
    enter, _ = box.crossed(RAYS)
    mask = np.isfinite(enter)
    points = (RAYS * np.where(mask, enter, 30.0)[..., None]).astype(np.float32)
    votes = votes_of([(mask, centre, first, sides, heading)], points, up, 7)
    return box, points, mask, up, votes


def apart(found: ObjectBox, true: ObjectBox) -> float:
    """Largest distance of a corner of one from the nearest of the other, over the diagonal: 0 for the same box."""
    gaps = np.linalg.norm(found.corners[:, None] - true.corners[None], axis=-1)
    return float(max(gaps.min(axis=0).max(), gaps.min(axis=1).max()) / np.linalg.norm(true.sides))


ANY = dict(
    turn=st.floats(-4, 4), aside=st.floats(-1.0, 1.0), away=st.floats(3, 6), pitch=st.floats(0.0, 0.6),
    sides=st.tuples(*[st.floats(0.4, 1.4)] * 3),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(**ANY)
def test_the_box_comes_back(turn, sides, aside, away, pitch) -> None:
    box, points, mask, up, votes = scene(turn, sides, aside, away, pitch)
    found = box_of(votes, mask, points, np.ones_like(mask), up)
    assert found is not None and found.heading_known and found.confidence > 0.8
    assert apart(found, box) < 1e-4
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(3), atol=1e-9)
    assert np.linalg.det(found.axes) == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.1, 10), **ANY)
def test_a_nearer_pointmap_means_a_smaller_box(turn, sides, aside, away, pitch, factor) -> None:
    """Votes are shares of the distance: whatever the pointmap's scale, box and points stay together."""
    box, points, mask, up, votes = scene(turn, sides, aside, away, pitch)
    found = box_of(votes, mask, points * np.float32(factor), np.ones_like(mask), up)
    assert found is not None
    np.testing.assert_allclose(found.corners.mean(axis=0), factor * box.centre, rtol=1e-3)
    assert np.prod(found.sides) == pytest.approx(factor**3 * np.prod(box.sides), rel=1e-3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), **ANY)
def test_noise_and_strangers_are_outvoted(turn, sides, aside, away, pitch, seed) -> None:
    box, points, mask, up, votes = scene(turn, sides, aside, away, pitch)
    rng = np.random.default_rng(seed)
    votes = votes.copy()
    votes[:9] += rng.normal(0, 0.05, votes[:9].shape).astype(np.float32)
    wrong = rng.random(votes.shape[1:]) < 0.2
    votes[:9, wrong] = rng.normal(0, 1, (9, wrong.sum()))
    votes[9] = np.where(wrong, -1.0, np.log(0.05))
    found = box_of(votes, mask, points, np.ones_like(mask), up)
    assert found is not None and found.heading_known
    assert apart(found, box) < 0.12


@pytest.mark.parametrize("lost", ["feet", "left half", "all but a strip"])
def test_a_mask_that_lacks_a_part_still_finds_the_whole(lost) -> None:
    box, points, mask, up, votes = scene(0.6, (0.9, 0.5, 1.1), -0.4, 4.0, 0.3)
    rows, columns = np.nonzero(mask)
    part = mask.copy()
    if lost == "feet":
        part[int(np.quantile(rows, 0.6)) :] = False
    elif lost == "left half":
        part[:, : int(np.median(columns))] = False
    else:
        part[:, int(np.median(columns)) + 9 :] = part[:, : int(np.median(columns)) - 9] = False
    found = box_of(votes, part, points, np.ones_like(mask), up)
    assert found is not None and apart(found, box) < 1e-3


def test_round_things_face_the_camera() -> None:
    box, points, mask, up, votes = scene(0.5, (0.6, 0.6, 0.8), 0.9, 3.5, 0.2, heading=False)
    found = box_of(votes, mask, points, np.ones_like(mask), up)
    assert found is not None and not found.heading_known
    np.testing.assert_allclose(found.sides, box.sides, rtol=1e-3)
    sight = found.centre - (found.centre @ up) * up
    assert found.axes[:, 1] @ sight / np.linalg.norm(sight) > 0.99


def test_a_long_side_tells_the_heading_that_the_vector_does_not() -> None:
    box, points, mask, up, votes = scene(0.7, (1.4, 0.5, 0.6), 0.0, 4.0, 0.3, heading=False)
    found = box_of(votes, mask, points, np.ones_like(mask), up)
    assert found is not None and found.heading_known and apart(found, box) < 1e-3


def test_nothing_is_claimed_of_little_or_of_discord() -> None:
    _, points, mask, up, votes = scene(0.7, (0.9, 0.5, 0.6), 0.0, 4.0, 0.3)
    everywhere = np.ones_like(mask)
    speck = np.zeros_like(mask)
    speck[np.nonzero(mask)[0][:1], np.nonzero(mask)[1][:1]] = True
    assert box_of(votes, speck, points, everywhere, up) is None
    assert box_of(votes, mask, points, ~everywhere, up) is None
    rng = np.random.default_rng(1)
    torn = votes.copy()
    torn[:3] = rng.normal(0, 1.0, torn[:3].shape)
    assert box_of(torn, mask, points, everywhere, up) is None


def test_rays_cross_where_they_should() -> None:
    box = ObjectBox(np.array([0.0, 0, 5]), np.eye(3), np.array([2.0, 2, 2]), True, 1.0)
    enter, leave = box.crossed(np.array([[0, 0, 1.0], [0, 0.1, 1], [0.5, 0, 1], [0, 0, -1]]))
    np.testing.assert_allclose(enter, [4, 4, np.nan, np.nan])
    np.testing.assert_allclose(leave, [6, 6, np.nan, np.nan])
    mask = np.zeros((HEIGHT, WIDTH), bool)
    assert box.fit(mask, K) == 0
    edge = K[0, 0] / 4
    mask[int(87.5 - edge) : int(87.5 + edge), int(122.5 - edge) : int(122.5 + edge)] = True
    assert box.fit(mask, K) > 0.95
    assert box.fit(np.roll(mask, 45, axis=1), K) < 0.6


def test_votes_are_kept_with_the_pointmap(tmp_path) -> None:
    _, points, mask, _, votes = scene(0.6, (0.9, 0.5, 1.1), 0.4, 4.0, 0.3)
    every = np.ones_like(mask)
    kept = Pointmap(points, every, every.astype(np.float32), K.astype(np.float32), ~every, box_votes=votes)
    write_pointmap(tmp_path / "with.npz", kept)
    write_pointmap(tmp_path / "without.npz", Pointmap(*list(vars(kept).values())[:5]))
    read = read_pointmap(tmp_path / "with.npz")
    assert read.box_votes is not None and read.box_votes.dtype == np.float32 and read.normals is None
    np.testing.assert_allclose(read.box_votes, votes, rtol=1e-3, atol=1e-3)
    assert read_pointmap(tmp_path / "without.npz").box_votes is None
