"""What is made of the network's points: lens, rays, margins, edges, tiles, and what happens to nonsense."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from tests.dust3r.truth import FOCAL, HEIGHT, WIDTH, TruthNetwork, room_depth, room_picture, truth_engine
from worker.engines.contract import GeometryRequest, GeometryResult
from worker.engines.dust3r import depth, lens, tiles
from worker.engines.dust3r.engine import Dust3rEngine, Mast3rEngine
from worker.engines.dust3r.view import extend_planes, is_usual_shape, look
from worker.errors import StageError

HFOV = math.degrees(2 * math.atan(WIDTH / 2 / FOCAL))


def run(engine: Dust3rEngine, still: np.ndarray, hfov: float | None = None, tiled: bool = False) -> GeometryResult:
    return engine.run(GeometryRequest(still, hfov, tiled=tiled), lambda fraction: None)


def true_depth(height: int = HEIGHT, width: int = WIDTH, focal: float = FOCAL) -> np.ndarray:
    x = (np.arange(width) + 0.5 - width / 2) / focal
    y = (np.arange(height)[:, None] + 0.5 - height / 2) / focal
    return room_depth(*np.broadcast_arrays(x, y))


def log_error(result: GeometryResult, truth: np.ndarray) -> np.ndarray:
    """Of depth, the scale taken out."""
    error = np.log(result.points[..., 2]) - np.log(truth)
    return error - np.median(error)


def on_its_rays(result: GeometryResult) -> float:
    projected = (result.points / result.points[..., 2:]) @ result.intrinsics.T.astype(np.float64)
    height, width = result.mask.shape
    off = np.hypot(projected[..., 0] - np.arange(width) - 0.5, projected[..., 1] - np.arange(height)[:, None] - 0.5)
    return float(off.max())


# --- the view -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("still", "seen"),
    [
        ((1080, 1920), (288, 512)),
        ((1716, 4096), (208, 512)),
        ((1080, 1998), (272, 512)),
        ((768, 1024), (384, 512)),
        ((1920, 1080), (512, 288)),
        ((500, 500), (512, 512)),
        ((90, 160), (288, 512)),
        ((1, 64), (16, 512)),
    ],
)
def test_sizes(still: tuple[int, int], seen: tuple[int, int]) -> None:
    """Upstream's, except that a square is seen whole and a sliver is widened to one patch."""
    view = look(np.zeros((*still, 3), np.uint8))
    assert view.network_input().shape == (3, *seen)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700))
def test_every_seen_pixel_maps_back_into_the_still(height: int, width: int) -> None:
    view = look(np.zeros((height, width, 3), np.uint8))
    across, down = view.offsets()
    rows, columns = view.small.shape[:2]
    left, top, w, h = view.box
    assert h % 16 == w % 16 == 0 and left >= 0 and left + w <= columns and top >= 0 and top + h <= rows
    assert min(rows - h, columns - w) >= 0 and max(rows - h, columns - w) < 16
    for offsets, length, step in ((across, width, width / columns), (down, height, height / rows)):
        assert np.abs(offsets).max() < length / 2 and np.allclose(np.diff(offsets), step)


def test_a_ramp_is_seen_where_it_is() -> None:
    """A picture whose red tells its column and green its row: what the network gets agrees with `offsets`."""
    height, width = 421, 1000
    still = np.zeros((height, width, 3), np.uint8)
    still[..., 0] = np.arange(width) // 4
    still[..., 1] = (np.arange(height) // 2)[:, None]
    view = look(still)
    across, down = view.offsets()
    pixels = (view.network_input() + 1) * 127.5
    # A pixel of the still is a quarter step of red and half a step of green.
    assert abs((pixels[0].mean(0) - (across + width / 2 - 2) / 4)[4:-4].mean()) < 0.02
    assert abs((pixels[1].mean(1) - (down + height / 2 - 1) / 2)[4:-4].mean()) < 0.02


@pytest.mark.parametrize("name", ["interior", "street", "tabletop"])
def test_what_the_cut_leaves_out_goes_on_as_it_was(name: str, repo_root: Path) -> None:
    """True depth of the examples, cut as for the network and given back: nearly all of the margin within 2 %."""
    with np.load(repo_root / "examples" / "truth" / f"{name}.npz") as data:
        truth = data["depth"].astype(np.float64)
    assert json.loads((repo_root / "examples" / "truth" / f"{name}.json").read_text("utf-8"))["depth_stride"] == 2
    log_depth = np.log(np.where(np.isfinite(truth), truth, 200)).astype(np.float32)
    rows, columns = log_depth.shape
    box = (7, 7, columns - 14, rows - 14)  # the most that can be left out
    inside = log_depth[7:-7, 7:-7]
    full = extend_planes(inside, box, (rows, columns))
    assert np.array_equal(full[7:-7, 7:-7], inside)
    margin = np.ones(log_depth.shape, bool)
    margin[7:-7, 7:-7] = False
    margin &= np.isfinite(truth)
    copied = np.pad(inside, 7, mode="edge")
    error, of_copy = np.abs(full - log_depth)[margin], np.abs(copied - log_depth)[margin]
    assert np.mean(error < 0.02) > 0.9 and error.mean() < 0.7 * of_copy.mean()


def test_unusual_shapes() -> None:
    shapes = {(1080, 1920): True, (768, 1024): True, (1716, 4096): True, (500, 500): False, (100, 400): False}
    assert {shape: is_usual_shape(np.zeros((*shape, 3), np.uint8)) for shape in shapes} == shapes


# --- the lens -------------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(st.floats(120, 3000), st.integers(0, 2**31), st.floats(0.0, 0.3))
def test_the_focal_is_found_among_flying_points(focal: float, seed: int, spoilt: float) -> None:
    rng = np.random.default_rng(seed)
    across, down = np.arange(48) * 10.0 - 235, np.arange(30) * 10.0 - 145
    z = rng.uniform(1, 9, (30, 48))
    points = np.stack([z * across / focal, z * down[:, None] / focal, z], -1)
    bad = rng.random((30, 48)) < spoilt
    points[bad, 2] *= rng.uniform(0.1, 5, bad.sum())
    found = lens.weighted_focal(points.astype(np.float32), np.ones((30, 48)), across, down)
    assert found == pytest.approx(focal, rel=1e-3)


def test_points_without_a_lens() -> None:
    across, down = np.arange(8) - 3.5, np.arange(6) - 2.5
    mirrored = np.stack([*np.meshgrid(-across, -down), np.ones((6, 8))], -1).astype(np.float32)
    assert lens.weighted_focal(mirrored, np.ones((6, 8)), across, down) is None
    on_axis = np.zeros((6, 8, 3), np.float32)
    on_axis[..., 2] = 1
    assert lens.weighted_focal(on_axis, np.ones((6, 8)), across, down) is None


def test_sure_points_count_more() -> None:
    across, down = np.arange(8) - 3.5, np.arange(6) - 2.5
    u, v = np.meshgrid(across, down)
    focal = np.where(np.arange(8) < 5, 10.0, 20.0)  # five columns say 10, three say 20
    points = np.stack([u / focal, v / focal, np.ones_like(u)], -1).astype(np.float32)
    weight = np.where(np.arange(8) < 5, 1.0, 9.0) * np.ones((6, 8))
    assert lens.weighted_focal(points, np.ones((6, 8)), across, down) < 13
    assert lens.weighted_focal(points, weight, across, down) > 17


# --- the engine with a network that knows the truth -----------------------------------------------------------------
def test_a_room() -> None:
    still = room_picture()
    result = run(truth_engine(still), still)
    assert on_its_rays(result) < 0.05
    assert math.degrees(2 * math.atan(WIDTH / 2 / result.intrinsics[0, 0])) == pytest.approx(HFOV, abs=0.01)
    assert result.hfov_source == "engine" and result.unit == "relative"
    error = np.abs(log_error(result, true_depth()))
    assert np.mean(error < 0.02) > 0.98
    assert result.gravity @ [0, 1, 0] > 0.999 and result.gravity_source == "engine"
    assert result.ground_plane is not None
    # The floor is 1.2 under the camera and eye height is 1.6: everything is 4 / 3 as large.
    assert result.points[HEIGHT // 2, WIDTH // 2, 2] == pytest.approx(5 * 1.6 / 1.2, rel=0.02)
    assert not result.sky.any() and result.mask.mean() > 0.99
    assert result.quality["ray_residual_px"] < 0.05 and result.quality["own_hfov_deg"] == pytest.approx(HFOV, abs=0.01)
    assert np.abs(np.linalg.norm(result.normals, axis=-1) - 1).max() < 1e-3


def test_two_scales_of_one_room_are_one_scene() -> None:
    """DUSt3R's scale is arbitrary, so it must not reach the session."""
    still = room_picture()
    small, large = (run(truth_engine(still, scale=scale), still) for scale in (0.003, 40.0))
    assert np.allclose(small.points, large.points, rtol=1e-3)


def test_metres() -> None:
    still = room_picture()
    result = run(truth_engine(still, kind=Mast3rEngine), still)
    assert result.unit == "metre" and "not measured" in result.scale_basis
    assert result.points[HEIGHT // 2, WIDTH // 2, 2] == pytest.approx(5, rel=0.01)
    assert result.ground_plane is not None and result.ground_plane[1] == pytest.approx(1.2, rel=0.02)


@pytest.mark.parametrize("hfov", [25.0, 80.0])
def test_the_users_lens_wins(hfov: float) -> None:
    still = room_picture()
    result = run(truth_engine(still), still, hfov)
    assert result.hfov_source == "user" and on_its_rays(result) < 0.05
    assert math.degrees(2 * math.atan(WIDTH / 2 / result.intrinsics[0, 0])) == pytest.approx(hfov, abs=1e-3)
    assert result.quality["own_hfov_deg"] == pytest.approx(HFOV, abs=0.01), "and the network's own is told"


@pytest.mark.parametrize("size", [(333, 120), (97, 233), (64, 64), (5, 160), (1, 3)])
def test_any_size(size: tuple[int, int]) -> None:
    still = room_picture(*size, focal=0.85 * max(size))
    result = run(truth_engine(still, focal=0.85 * max(size)), still)
    assert result.points.shape == (*size, 3) and np.isfinite(result.points).all()
    assert (result.points[..., 2] > 0).all() and on_its_rays(result) < 0.1


def test_the_posts_edge_has_nothing_hanging_in_the_air() -> None:
    def blurred(points, conf, number) -> None:
        import cv2

        z = np.exp(cv2.GaussianBlur(np.log(points[..., 2]), (3, 3), 0))
        points *= (z / points[..., 2])[..., None]

    still = room_picture()
    result = run(truth_engine(still, spoil=blurred), still)
    row = result.points[HEIGHT // 2 + 43, WIDTH // 2 : WIDTH // 2 + 144, 2] / (1.6 / 1.2)
    assert (np.abs(row - 2) < 0.1).sum() > 18 and ((row > 2.15) & (row < 4.6)).sum() <= 2


# --- nonsense -------------------------------------------------------------------------------------------------------
def everything_behind(points, conf, number) -> None:
    points[..., 2] *= -1


def no_numbers(points, conf, number) -> None:
    points[:] = np.nan


def no_confidence(points, conf, number) -> None:
    conf[:] = np.inf


@pytest.mark.parametrize("spoil", [everything_behind, no_numbers, no_confidence])
def test_nonsense_is_told_in_a_sentence(spoil) -> None:
    still = room_picture()
    with pytest.raises(StageError, match="made no geometry") as told:
        run(truth_engine(still, spoil=spoil), still)
    assert told.value.code == "geometry.no_geometry" and told.value.zh != told.value.en


def test_half_nonsense_costs_only_its_own_half() -> None:
    def spoil(points, conf, number) -> None:
        points[:, ::9] = np.nan
        points[::7, :, 2] = -3
        conf[5, 5] = np.nan

    still = room_picture()
    result = run(truth_engine(still, spoil=spoil), still)
    assert np.isfinite(result.points).all() and (result.points[..., 2] > 0).all() and on_its_rays(result) < 0.05
    assert np.median(np.abs(log_error(result, true_depth()))) < 0.02
    assert 0.5 < result.mask.mean() < 0.95


def test_nobody_sure_of_anything() -> None:
    """Confidence 1 everywhere is the least there is: weights would all be zero, and nothing is thrown away for it."""

    def spoil(points, conf, number) -> None:
        conf[:] = 1

    still = room_picture()
    result = run(truth_engine(still, spoil=spoil), still)
    assert result.quality["own_hfov_deg"] == pytest.approx(HFOV, abs=0.01)
    assert result.mask.any() and result.confidence.max() == 0


def test_a_plain_bright_top_is_sky_unless_the_network_is_sure_of_it() -> None:
    still = room_picture()
    still[:144] = (150, 190, 250)

    def unsure(points, conf, number) -> None:
        conf[: conf.shape[0] // 3] = 1.05

    seen = run(truth_engine(still), still)
    assert not seen.sky.any(), "a blue wall near the camera is a wall"
    result = run(truth_engine(still, spoil=unsure), still)
    assert result.sky[:137].mean() > 0.95 and not result.sky[151:].any()
    assert not (result.mask & result.sky).any()
    assert result.points[10, 10, 2] > result.points[..., 2][~result.sky].max()


def test_where_all_is_sky_no_depth_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "sky_of", lambda view, *_: np.ones(view.small.shape[:2], bool))
    still = room_picture()
    result = run(truth_engine(still), still)
    assert result.sky.all() and not result.mask.any() and not result.confidence.any()
    assert np.isfinite(result.points).all() and (result.points[..., 2] > 0).all() and on_its_rays(result) < 0.01


# --- tiles ----------------------------------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(st.integers(100, 9000), st.integers(100, 9000))
def test_windows_cover_the_still(height: int, width: int) -> None:
    found = tiles.windows(height, width)
    assert len(found) <= tiles.MOST
    if not found:
        assert max(height, width) < 1.25 * tiles.SHORTEST
        return
    assert len({(w.width, w.height) for w in found}) == 1, "one size, so one captured graph"
    seen = np.zeros((height // 4 + 1, width // 4 + 1), bool)
    for w in found:
        assert w.left >= 0 and w.top >= 0 and w.left + w.width <= width and w.top + w.height <= height
        seen[w.top // 4 : (w.top + w.height) // 4 + 1, w.left // 4 : (w.left + w.width) // 4 + 1] = True
    assert seen.all()


def spoilt_scales(points, conf, number) -> None:
    """Every pass in a scale of its own, the tiles tilted as a camera that looks elsewhere sees them."""
    rng = np.random.default_rng(number)
    v, u = np.mgrid[-1 : 1 : points.shape[0] * 1j, -1 : 1 : points.shape[1] * 1j]
    tilt = rng.uniform(0.2, 5) * (np.exp(0.1 * rng.normal() * u + 0.1 * rng.normal() * v) if number else 1)
    points *= np.broadcast_to(tilt, points.shape[:2])[..., None]


def blurred_whole(points, conf, number) -> None:
    import cv2

    spoilt_scales(points, conf, number)
    if number == 0:
        points[..., 2] = cv2.GaussianBlur(points[..., 2], (0, 0), 4)


def test_tiles_give_back_what_the_whole_pass_blurred() -> None:
    still = room_picture()
    plain = run(truth_engine(still, spoil=blurred_whole), still, HFOV)
    tiled = run(truth_engine(still, spoil=blurred_whole), still, HFOV, tiled=True)
    assert tiled.tiles == len(tiles.windows(HEIGHT, WIDTH)) > 1
    before, after = (np.abs(log_error(r, true_depth())) for r in (plain, tiled))
    assert after.mean() < 0.7 * before.mean()
    assert on_its_rays(tiled) < 0.05
    # No seam: where the truth is smooth, neighbours differ no more than a little.
    wall = np.log(tiled.points[HEIGHT // 2 - 40 : HEIGHT // 2 + 40, 288:374, 2])
    assert np.abs(np.diff(wall, axis=1)).max() < 0.02


def garbage(points, conf, number) -> None:
    if number:
        rng = np.random.default_rng(number)
        import cv2

        wild = cv2.resize(rng.normal(0, 1, (5, 7)), points.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        points *= np.exp(wild)[..., None]


def one_tile_wild(points, conf, number) -> None:
    spoilt_scales(points, conf, number)
    if number == 2:
        points[: points.shape[0] // 2] *= 3
    if number == 3:
        points[:] = np.nan


@pytest.mark.parametrize("spoil", [spoilt_scales, garbage, one_tile_wild])
def test_tiles_never_break_the_frame(spoil) -> None:
    still = room_picture()
    result = run(truth_engine(still, spoil=spoil), still, tiled=True)
    assert on_its_rays(result) < 0.05 and np.isfinite(result.points).all()
    error = np.abs(log_error(result, true_depth()))
    assert np.mean(error < 0.05) > 0.95 and np.quantile(error, 0.95) < 0.05
    if spoil is one_tile_wild:
        assert "geometry.tiles_refused" in [n.code for n in result.notices]


def test_a_tile_that_says_nothing_else_is_the_whole() -> None:
    rng = np.random.default_rng(1)
    whole = np.cumsum(rng.normal(0, 0.01, (90, 120)), axis=1).astype(np.float32)
    found = tiles.aligned(whole * 0.9 + 2, whole, np.ones_like(whole))
    assert found is not None and np.abs(found - whole).max() < 1e-3
    assert tiles.aligned(np.full_like(whole, np.nan), whole, np.ones_like(whole)) is None


def test_unmixed_edges_and_untouched_slopes() -> None:
    edge = np.where(np.arange(40) < 20, 0.0, 1.0) * np.ones((30, 1))
    edge[:, 20] = 0.4
    assert set(np.unique(depth.landed(edge.astype(np.float32)))) == {0.0, 1.0}
    slope = (np.arange(40) * 0.08 * np.ones((30, 1))).astype(np.float32)
    assert np.array_equal(depth.landed(slope), slope)


def test_truth_network_is_the_truth() -> None:
    still = room_picture()
    points, _ = TruthNetwork(still, room_depth, FOCAL)(look(still).network_input())
    assert points[:, :, 2].max() == 5 and points[:, :, 2].min() < 2.1
