"""The layout preview tells no more than it knows, and the stage refuses maps that miss their own pixels."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData

from worker.engines.contract import GeometryRequest, HarvestRequest
from worker.engines.embedded.layout import LayoutPreview
from worker.errors import StageError
from worker.formats.pointmap import intrinsics_from_hfov, read_pointmap
from worker.pointmaps.floor import CAMERA_HEIGHT
from worker.pointmaps.upright import gravity_from_lines
from worker.session.model import InputRecord, Lens
from worker.session.options import Options
from worker.stages import geometry, harvest


def preview(image: np.ndarray, hfov_deg: float | None = None):
    return LayoutPreview().run(GeometryRequest(image, hfov_deg), lambda fraction: None)


def reprojection(result) -> np.ndarray:
    pixels = result.points @ result.intrinsics.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    height, width = result.mask.shape
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    return np.linalg.norm(pixels - centres, axis=-1)


def test_box_stands_on_the_floor_where_it_touches_it(street) -> None:
    result = preview(street)
    depth = result.points[..., 2]
    assert result.sky[10:40].all() and not result.sky[60:].any()
    assert not result.mask[20, 160] and result.mask[170, 160]
    # Level camera, 320 px wide at 60 degrees: focal 277.1 px, horizon at row 90, box foot at row 149.5.
    foot = CAMERA_HEIGHT * 277.128 / (149.5 - 90)
    assert depth[100, 165] == pytest.approx(foot, rel=0.05)
    assert np.ptp(depth[85:140, 165]) < 1e-3 * foot, "an upright region has one depth under a level camera"
    assert depth[70, 20] > 1.3 * depth[100, 165], "the wall stands behind the box"
    floor = result.points[170, 160]
    assert floor[1] == pytest.approx(CAMERA_HEIGHT, rel=1e-4)


def test_it_says_it_measured_nothing(street) -> None:
    result = preview(street)
    assert [(n.code, n.degraded) for n in result.notices] == [("geometry.layout_preview", True)]
    assert result.unit == "relative" and result.confidence.max() <= 0.5
    assert result.hfov_source == "assumed"


@pytest.mark.parametrize("pitch", [-12.0, 0.0, 9.0])
def test_down_is_found_from_vertical_edges(pitch: float) -> None:
    """Striped wall seen by a camera pitched by a known angle: the picture's lines must give that angle back."""
    size, K = (640, 360), intrinsics_from_hfov(640, 360, 60.0).astype(float)
    a = math.radians(pitch)
    turn = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    image = np.full((360, 640, 3), 40, np.uint8)
    for x in np.linspace(-4, 4, 14):
        corners = np.array([[x, -3, 6], [x + 0.25, -3, 6], [x + 0.25, 3, 6], [x, 3, 6]]) @ turn.T @ K.T
        cv2.fillConvexPoly(image, np.round(corners[:, :2] / corners[:, 2:] * 16).astype(np.int32), (220,) * 3, 8, 4)
    down = gravity_from_lines(image, K.astype(np.float32))
    assert size == (image.shape[1], image.shape[0]) and down is not None
    assert math.degrees(math.acos(min(1.0, float(down @ (turn @ [0, 1, 0]))))) < 0.5


def test_no_lines_no_claim() -> None:
    assert preview(np.full((90, 160, 3), 127, np.uint8)).gravity_source == "assumed"


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 90), st.integers(1, 120), st.integers(0, 2**32 - 1), st.floats(5, 140))
def test_any_picture_gives_a_usable_map(height: int, width: int, seed: int, hfov: float) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    result = preview(image, hfov)
    assert np.isfinite(result.points).all() and (result.points[..., 2] > 0).all()
    assert reprojection(result).max() < 0.05
    assert 2 * math.degrees(math.atan(width / 2 / result.intrinsics[0, 0])) == pytest.approx(hfov, rel=1e-4)


def test_stage_writes_what_it_promises(street, make_context) -> None:
    ctx = make_context(street, LayoutPreview(), geometry.NOTICES)
    ctx.session.input.lens = Lens(hfov_deg=53.1301, source="user")
    result = geometry.run(ctx)
    stored = read_pointmap(ctx.folder.pointmap)
    assert result.scene is not None and result.scene.hfov_source == "user"
    assert result.scene.hfov_deg == pytest.approx(53.1301, abs=1e-3)
    assert result.quality["reprojection_px"] < 0.05
    assert result.scene.median_depth == pytest.approx(float(np.median(stored.depth[stored.mask])))
    vertices = PlyData.read(str(ctx.folder.points))["vertex"]
    assert len(vertices) == stored.mask.sum() == result.details["points"]
    first = np.argwhere(stored.mask)[0]
    assert tuple(vertices[0])[3:] == tuple(street[tuple(first)])
    assert np.allclose(list(vertices[0])[:3], stored.points[tuple(first)])
    assert all(path.exists() for path in result.outputs) and ctx.folder.segmentation in result.outputs
    assert ctx.degraded and ctx.warnings[0].code == "geometry.layout_preview"


def test_asking_for_tiles_in_vain_is_told(street, make_context) -> None:
    ctx = make_context(street, LayoutPreview(), geometry.NOTICES, Options(geometry_tiles=True))
    geometry.run(ctx)
    assert "geometry.not_tiled" in [warning.code for warning in ctx.warnings]


def test_points_are_thinned_to_nearly_as_many_as_wanted(street) -> None:
    result = preview(street)
    for most in (20_000, 5_000, 123):
        positions, colors = geometry._thinned(result, street, most)
        assert 0.8 * most < len(positions) <= 1.1 * most and len(colors) == len(positions)
    everything, _ = geometry._thinned(result, street, 10**6)
    assert len(everything) == result.mask.sum()


def test_same_still_same_bytes(street, make_context) -> None:
    ctx = make_context(street, LayoutPreview(), geometry.NOTICES)
    first = [path.read_bytes() for path in geometry.run(ctx).outputs]
    assert first == [path.read_bytes() for path in geometry.run(ctx).outputs]


class Crooked(LayoutPreview):
    def __init__(self, damage) -> None:
        self.damage = damage

    def run(self, request, progress):
        result = super().run(request, progress)
        self.damage(result)
        return result


def off_rays(result) -> None:
    result.points[5, 5, 0] += 0.02 * result.points[5, 5, 2]


def not_a_number(result) -> None:
    result.points[3, 3] = np.nan


def too_small(result) -> None:
    result.points = result.points[1:]


def too_few_votes(result) -> None:
    result.box_votes = np.zeros((9, 4, 6), np.float32)


def flat_readings(result) -> None:
    result.instance_readings = np.zeros(result.mask.shape, np.int32)


def votes_of_nothing(result) -> None:
    result.box_votes = np.full((10, 4, 6), np.nan, np.float32)


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (off_rays, "geometry.off_rays"),
        (not_a_number, "engine.not_finite"),
        (too_small, "geometry.wrong_shape"),
        (too_few_votes, "geometry.wrong_shape"),
        (flat_readings, "geometry.wrong_shape"),
        (votes_of_nothing, "engine.not_finite"),
    ],
)
def test_stage_refuses_bad_maps(street, make_context, damage, code) -> None:
    ctx = make_context(street, Crooked(damage), geometry.NOTICES)
    with pytest.raises(StageError) as caught:
        geometry.run(ctx)
    assert caught.value.code == code and not ctx.folder.pointmap.exists()


@pytest.mark.parametrize("read", [0, 2])
def test_readings_of_instances_reach_the_harvest(street, make_context, read: int) -> None:
    def speak(result) -> None:
        result.instances = np.ones(result.mask.shape, np.int32)
        result.classes = np.zeros(result.mask.shape, np.uint8)
        result.instance_readings = np.arange(read * 24, dtype=np.int64).reshape(read, 4, 6) if read else None

    ctx = make_context(street, Crooked(speak), geometry.NOTICES)
    geometry.run(ctx)
    request = HarvestRequest(np.zeros((4, 6, 3), np.uint8), [], 8)
    harvest._add_segmentation(ctx, request)
    assert request.instances is not None and request.instances.max() == 1
    if read:
        assert request.instance_readings.dtype == np.int32 and request.instance_readings.max() == 47
    else:
        assert request.instance_readings is None


def test_box_votes_reach_the_folder(street, make_context) -> None:
    def speak(result) -> None:
        result.box_votes = np.linspace(-2, 2, 240, dtype=np.float32).reshape(10, 4, 6)

    ctx = make_context(street, Crooked(speak), geometry.NOTICES)
    geometry.run(ctx)
    stored = read_pointmap(ctx.folder.pointmap).box_votes
    assert stored is not None
    np.testing.assert_allclose(stored, np.linspace(-2, 2, 240).reshape(10, 4, 6), atol=2e-3)


def test_the_lens() -> None:
    record = InputRecord(
        name="a.jpg", sha256="0", bytes=1, format="JPEG", width=6000, height=4000, mode="RGB", bit_depth=8,
        color_space="sRGB", crop=(0, 0, 6000, 4000),
    )  # fmt: skip
    assert geometry.requested_hfov(record) == (None, None)
    record.lens = Lens(hfov_deg=40, source="user")
    assert geometry.requested_hfov(record) == (40, "user")
