"""The shipped geometry network and what is made of its output."""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from worker.engines.contract import GeometryRequest, GeometryResult, SurfaceClass
from worker.engines.embedded import CARDS
from worker.engines.embedded import learned_geometry as module
from worker.engines.embedded.learned_geometry import LearnedGeometry, network_size
from worker.engines.embedded.votes import View, instances_from_votes
from worker.errors import EngineUnavailable
from worker.pointmaps.edge_upsampling import upsample, without_specks


@pytest.fixture(scope="module")
def engine() -> LearnedGeometry:
    engine = LearnedGeometry()
    engine.load("cpu", "full")
    return engine


def run(engine: LearnedGeometry, image: np.ndarray, hfov: float | None = None) -> GeometryResult:
    return engine.run(GeometryRequest(image, hfov), lambda fraction: None)


def room(height: int = 240, width: int = 400) -> np.ndarray:
    """A drawn box room: ceiling, three walls, a tiled floor in true perspective, a red box on it."""
    image = np.zeros((height, width, 3), np.uint8)
    v, u = np.mgrid[:height, :width]
    x, y = (u - width / 2) / (0.8 * width), (v - height / 2) / (0.8 * width)
    walls, levels = 1.5 / np.maximum(np.abs(x), 1e-6), 1.2 / np.maximum(np.abs(y), 1e-6)
    depth = np.minimum(np.minimum(walls, levels), 5.0)
    image[:] = (200, 195, 185)
    image[np.abs(x) * depth > 1.49] = (175, 170, 165)
    floor = y * depth > 1.19
    tile = ((np.floor(x * depth * 2) + np.floor(depth * 2)) % 2).astype(bool)
    image[floor] = (130, 95, 65)
    image[floor & tile] = (105, 75, 50)
    image[y * depth < -1.19] = (230, 230, 228)
    shade = np.clip(1.15 - 0.08 * depth, 0.5, 1)[..., None]
    image = (image * shade).astype(np.uint8)
    a, b = width / 400, height / 240
    cv2.rectangle(image, (int(230 * a), int(120 * b)), (int(280 * a), int(190 * b)), (170, 40, 35), -1)
    return cv2.GaussianBlur(image, (3, 3), 0)


def check(result: GeometryResult, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    assert result.points.shape == (height, width, 3) and result.points.dtype == np.float32
    assert np.isfinite(result.points).all() and (result.points[..., 2] > 0).all()
    projected = (result.points / result.points[..., 2:]) @ result.intrinsics.T.astype(np.float64)
    assert np.abs(projected[..., 0] - (np.arange(width) + 0.5)).max() < 0.1
    assert np.abs(projected[..., 1] - (np.arange(height)[:, None] + 0.5)).max() < 0.1
    assert result.mask.dtype == bool and not (result.mask & result.sky).any()
    assert ((result.confidence >= 0) & (result.confidence <= 1)).all()
    assert np.linalg.norm(result.gravity) == pytest.approx(1, abs=1e-5)
    assert set(np.unique(result.classes)) <= {int(c) for c in SurfaceClass}
    if result.normals is not None:
        assert (np.abs(np.linalg.norm(result.normals, axis=-1) - 1) < 1e-3).all()
    if result.ground_plane is not None:
        normal, offset, confidence = result.ground_plane
        assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-5) and offset > 0 and 0 < confidence <= 1


def test_the_file_is_the_one_on_the_card() -> None:
    card = next(c for c in CARDS if c.stage == "geometry" and c.entry.endswith("LearnedGeometry"))
    data = module.WEIGHTS.read_bytes()
    assert len(data) == card.weights[0].bytes <= 25_000_000
    assert hashlib.sha256(data).hexdigest() == card.weights[0].sha256 == module.WEIGHTS_SHA256


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "geometry.onnx").write_bytes(b"no network")
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "geometry.onnx")
    with pytest.raises(EngineUnavailable, match="missing or damaged"):
        LearnedGeometry().load("cpu", "full")


@pytest.mark.parametrize("size", [(97, 233), (333, 120), (64, 64), (240, 400)])
def test_any_size(engine: LearnedGeometry, size: tuple[int, int]) -> None:
    image = cv2.resize(room(), size[::-1])
    check(run(engine, image), image)


@pytest.mark.parametrize("name", ["black", "white", "noise", "single_pixel_row"])
def test_pictures_of_nothing(engine: LearnedGeometry, name: str) -> None:
    image = {
        "black": np.zeros((90, 160, 3), np.uint8),
        "white": np.full((160, 90, 3), 255, np.uint8),
        "noise": np.random.default_rng(3).integers(0, 256, (120, 160, 3), np.uint8),
        "single_pixel_row": np.random.default_rng(4).integers(0, 256, (1, 64, 3), np.uint8),
    }[name]
    result = run(engine, image)
    check(result, image)
    if name in ("black", "white"):
        assert "geometry.network_unsure" in [n.code for n in result.notices]


def test_where_all_is_sky_no_depth_is_trusted(engine: LearnedGeometry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A still of nothing but sky, looking up."""
    monkeypatch.setattr(module, "_sky", lambda probability, depth, image: np.ones(image.shape[:2], bool))
    monkeypatch.setattr(module, "SKY_BELOW", 2.0)
    result = run(engine, room())
    assert result.sky.all() and not result.mask.any() and not result.confidence.any()
    assert np.isfinite(result.points).all() and (result.points[..., 2] > 0).all()


def test_same_picture_same_bytes(engine: LearnedGeometry) -> None:
    a, b = run(engine, room()), run(engine, room())
    for one, two in zip(vars(a).values(), vars(b).values(), strict=True):
        if isinstance(one, np.ndarray):
            assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("hfov", [20.0, 75.0])
def test_the_users_lens_wins(engine: LearnedGeometry, hfov: float) -> None:
    result = run(engine, room(), hfov)
    assert result.hfov_source == "user"
    assert math.degrees(2 * math.atan(200 / result.intrinsics[0, 0])) == pytest.approx(hfov, abs=1e-3)


def test_a_drawn_room_has_the_shape_of_a_room(engine: LearnedGeometry) -> None:
    """Truth by construction: hfov 64 degrees, back wall at 5, floor 1.2 below; the side walls come forward."""
    result = run(engine, room())
    depth = result.points[..., 2]
    assert depth[120, 200] > 1.8 * depth[120, 6] and depth[120, 200] > 1.8 * depth[120, 393]
    assert depth[150, 120] > 1.5 * depth[235, 120]
    assert result.ground_plane is not None and result.ground_plane[0] @ np.array([0, -1, 0]) > 0.97
    assert result.gravity[1] > 0.98
    assert not result.sky[150:].any()
    assert math.degrees(2 * math.atan(200 / result.intrinsics[0, 0])) == pytest.approx(64, abs=16)
    assert depth.max() < 50 * np.median(depth)


def test_time_for_a_hd_still(engine: LearnedGeometry) -> None:
    image = cv2.resize(room(), (1280, 720), interpolation=cv2.INTER_CUBIC)
    run(engine, image)
    begin = time.process_time()
    run(engine, image)
    assert time.process_time() - begin < 12  # about 2 s of processor time on an idle machine


def test_an_edge_stays_an_edge() -> None:
    """A step in depth under a step in colour: no pixel of the large map lies between the two sides."""
    small = np.zeros((24, 32, 3), np.uint8)
    small[:, 16:] = 200
    values = np.where(np.arange(32) < 16, 0.0, 1.0)[None].repeat(24, 0).astype(np.float32)
    values[:, 15:17] = [0.3, 0.7]  # what a network's blur does
    image = np.zeros((240, 320, 3), np.uint8)
    image[:, 163:] = 200
    full = upsample(values, small, image)
    assert np.abs(full[:, :163]).max() < 0.06 and np.abs(full[:, 163:] - 1).max() < 0.06


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(4, 40), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_upsampling_stays_within_the_small_map(height: int, width: int, factor: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(height, width)).astype(np.float32)
    small = rng.integers(0, 256, (height, width, 3), np.uint8)
    image = rng.integers(0, 256, (height * factor, width * factor, 3), np.uint8)
    full = upsample(values, small, image)
    assert full.shape == image.shape[:2]
    assert values.min() - 1e-5 <= full.min() and full.max() <= values.max() + 1e-5


@given(st.integers(1, 6000), st.integers(1, 6000))
def test_network_sizes(height: int, width: int) -> None:
    h, w = network_size(height, width, 512)
    assert h % 32 == w % 32 == 0 and max(h, w) == 512 and min(h, w) >= 32


def view(objects: np.ndarray, centre_x: np.ndarray, centre_y: np.ndarray, boundary: float | None = None) -> View:
    """Votes for the centres given, at every pixel; the boundary is the objects' outline unless given."""
    rows, columns = np.mgrid[: objects.shape[0], : objects.shape[1]]
    edge = cv2.morphologyEx(objects.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(np.float32)
    if boundary is not None:
        edge = np.full_like(edge, boundary)
    return View(np.stack([centre_x - columns, centre_y - rows]).astype(np.float32), objects, edge)


def test_votes_make_two_things() -> None:
    objects = np.zeros((64, 96), bool)
    objects[20:50, 10:40] = objects[15:45, 55:85] = True
    left = np.mgrid[:64, :96][1] < 48
    labels = instances_from_votes([view(objects, np.where(left, 25, 70), np.where(left, 35, 30))])[0]
    assert labels.max() == 2 and (labels[objects] > 0).all() and not labels[~objects].any()
    assert len(np.unique(labels[20:50, 10:40])) == len(np.unique(labels[15:45, 55:85])) == 1


def test_a_piece_without_an_outline_is_no_thing() -> None:
    objects = np.zeros((64, 96), bool)
    objects[20:50, 10:40] = True
    assert instances_from_votes([view(objects, np.array(25), np.array(35), boundary=0.3)])[0].max() == 0


def test_votes_that_do_not_meet_in_the_middle_make_no_thing() -> None:
    """A part of something larger: its votes point far beside it."""
    objects = np.zeros((64, 96), bool)
    objects[30:40, 10:20] = True
    assert instances_from_votes([view(objects, np.array(15), np.array(35))])[0].max() == 1
    assert instances_from_votes([view(objects, np.array(21), np.array(41))])[0].max() == 0


def test_the_view_whose_votes_meet_wins() -> None:
    """The small view joins two things; in the large one each has votes of its own."""
    objects = np.zeros((64, 96), bool)
    objects[20:50, 20:50] = objects[20:50, 51:81] = True
    joined = cv2.resize(objects.astype(np.uint8), (48, 32), interpolation=cv2.INTER_NEAREST) > 0
    joined[10:25, 10:40] = True
    undecided = np.where(np.mgrid[:32, :48][1] < 25, 24, 26)
    small = view(joined, undecided, np.array(17))
    middle = np.where(np.mgrid[:64, :96][1] < 50, 35, 66)
    large = view(objects, middle, np.array(35))
    assert instances_from_votes([small])[0].max() == 1
    labels, readings = instances_from_votes([small, large])
    assert readings.shape == (2, 64, 96) and len(np.unique(readings[0])) == 2 and len(np.unique(readings[1])) == 3
    assert labels.shape == (64, 96) and labels[35, 35] != labels[35, 66] and labels[35, 35] > 0 < labels[35, 66]


def test_specks_go() -> None:
    mask = np.zeros((100, 100), bool)
    mask[5, 5] = mask[40:60, 40:60] = True
    cleaned = without_specks(mask, 0.01)
    assert not cleaned[5, 5] and cleaned[40:60, 40:60].all()
    assert not without_specks(np.zeros((4, 4), bool), 0.1).any()


def test_a_mirrored_reading_is_that_of_the_mirrored_picture():
    """What the network says of a picture and of its mirror image, turned back, must agree in every map's meaning."""
    net = LearnedGeometry()
    net.load("cpu", "full")
    image = np.asarray(Image.open(Path(__file__).parents[2] / "examples" / "interior.png").convert("RGB"))
    seen, back = net._read(image, 512), net._read(image[:, ::-1], 512).mirrored()
    assert np.array_equal(seen.small, back.small)
    assert np.abs(seen.log_disparity - back.log_disparity).mean() < 0.1
    things = seen.dense[3:7].argmax(0) == 0
    for one, other, channels in ((seen.dense, back.dense, (0, 7)), (seen.box, back.box, (1, 5, 8))):
        where = things[:: things.shape[0] // one.shape[1], :: things.shape[1] // one.shape[2]]
        for k in channels:  # all that changes its sign in the mirror: normal, centre, box
            assert np.corrcoef(one[k][where], other[k][where])[0, 1] > 0.5
    assert np.corrcoef(seen.field[1].ravel(), back.field[1].ravel())[0, 1] > 0.5
    assert abs(seen.lens[1] - back.lens[1]) < 0.15
