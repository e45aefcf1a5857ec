"""The classical probe: what was seen is where it was seen, what was not is said, and known light is found again."""

from __future__ import annotations

import json
import math

import numpy as np
import OpenEXR
import pytest

from tests.lighting.conftest import LIGHT, SIZE, ball_on_floor
from worker.engines.contract import LightingRequest
from worker.engines.embedded.key_light import shading_direction
from worker.engines.embedded.lighting import HEIGHT, EmbeddedLighting, expanded, unfolded
from worker.formats import equirect as sphere
from worker.formats.pointmap import intrinsics_from_hfov
from worker.formats.srgb import luminance
from worker.session.frames import level_from_camera
from worker.session.model import Lens
from worker.stages import lighting


def degrees_between(a, b) -> float:
    return math.degrees(math.acos(np.clip(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))


def probe_of(linear, geometry: bool = True, clipped_at: float = 1.0, hfov: float = 50.0, gravity=(0, 1, 0)):
    height, width = linear.shape[:2]
    request = LightingRequest(linear, intrinsics_from_hfov(width, height, hfov), np.float32(gravity), clipped_at)
    if geometry:
        pointmap = ball_on_floor()[1]
        request.points, request.normals, request.mask = pointmap.points, pointmap.normals, pointmap.mask
    return EmbeddedLighting().run(request, lambda fraction: None)


def test_the_known_light_is_found() -> None:
    result = probe_of(ball_on_floor()[0])
    assert degrees_between(result.key_direction, LIGHT) < 12
    assert result.key_confidence > 0.4
    rays = sphere.directions(HEIGHT, 2 * HEIGHT)
    brightest = rays[np.unravel_index(luminance(result.equirect).argmax(), (HEIGHT, 2 * HEIGHT))]
    level = level_from_camera([0, 1, 0])
    assert degrees_between(level.T @ brightest, LIGHT) < 15, "the key stands in the probe too"


def test_key_energy_is_in_the_probe_as_said() -> None:
    """What faces the key light gets its irradiance over and above what the same picture's other light gives."""
    result = probe_of(ball_on_floor()[0])
    level = level_from_camera([0, 1, 0])
    rays, omega = sphere.directions(HEIGHT, 2 * HEIGHT), sphere.solid_angles(HEIGHT, 2 * HEIGHT)
    cosine = np.maximum(rays @ (level @ result.key_direction), 0)
    facing = float((luminance(result.equirect) * omega * cosine).sum())
    assert 0.4 * facing < result.key_intensity < facing
    assert result.key_color.max() == pytest.approx(1)


def test_what_the_frame_saw_is_not_lit_anew() -> None:
    linear = ball_on_floor()[0]
    result = probe_of(linear)
    seen_map, seen = unfolded(linear, intrinsics_from_hfov(SIZE[1], SIZE[0], 50.0), level_from_camera([0, 1, 0]))
    assert np.allclose(result.equirect[seen], seen_map[seen] * result.exposure, atol=1e-5)


def test_a_flat_wall_tells_nothing_of_the_light() -> None:
    linear = np.full((*SIZE, 3), 0.3, np.float32)
    result = probe_of(linear, geometry=False)
    assert result.key_direction is None and "lighting.no_key" in [n.code for n in result.notices]


def test_a_blank_white_frame_is_no_lamp() -> None:
    assert probe_of(np.ones((*SIZE, 3), np.float32), geometry=False).key_direction is None


def test_coverage_is_the_solid_angle_of_the_frame() -> None:
    """A frame of half angles a, b covers 4 asin(sin a' sin b') ..., here 4 atan(xy / sqrt(1 + x2 + y2)), x = tan a."""
    result = probe_of(np.full((*SIZE, 3), 0.3, np.float32), geometry=False, hfov=50.0)
    x = math.tan(math.radians(25))
    y = x * SIZE[0] / SIZE[1]
    expected = 4 * math.atan(x * y / math.sqrt(1 + x * x + y * y)) / (4 * math.pi)
    assert result.coverage == pytest.approx(expected, rel=0.03)
    assert result.coverage_map.max() == 1 and result.coverage_map[HEIGHT // 2, 0] == 0, "nothing is known behind"


def test_seen_part_is_where_it_was_seen() -> None:
    linear = np.full((*SIZE, 3), 0.2, np.float32)
    linear[:60, 100:] = (0.6, 0.1, 0.1)  # upper right quarter is red
    seen_map, seen = unfolded(linear, intrinsics_from_hfov(SIZE[1], SIZE[0], 50.0), level_from_camera([0, 1, 0]))
    red = seen & (seen_map[..., 0] > 0.5)
    rows, columns = np.nonzero(red)
    assert rows.max() <= HEIGHT // 2 and columns.min() >= HEIGHT - 1
    assert red.sum() == pytest.approx(seen.sum() / 4, rel=0.1)


def test_a_tilted_camera_sees_the_level_sphere() -> None:
    """Looking 30 degrees down, the frame's centre lies 30 degrees under the horizon."""
    a = math.radians(30)
    gravity = (0, math.cos(a), math.sin(a))
    _, seen = unfolded(
        np.ones((*SIZE, 3), np.float32), intrinsics_from_hfov(SIZE[1], SIZE[0], 20.0), level_from_camera(gravity)
    )
    rows = np.nonzero(seen)[0]
    assert 90 - (rows.mean() + 0.5) / HEIGHT * 180 == pytest.approx(-30, abs=1)


def test_inverse_tone_mapping() -> None:
    linear = np.full((200, 300, 3), 0.1, np.float32)
    linear[10:14, 10:14] = 1.0  # a lamp
    linear[50:150, 100:280] = 1.0  # a window
    linear[180, 20] = (0.7, 0.35, 0.1)  # below the knee
    every = np.ones((200, 300), dtype=bool)
    out = expanded(linear, 1.0, 300.0, every)
    assert out[12, 12, 0] > 20 > 8 > out[100, 200, 0] >= 3.9
    assert np.array_equal(out[180, 20], linear[180, 20]) and np.array_equal(out[0], linear[0])
    orange = np.float32([[[1.0, 0.5, 0.2]]])
    grown = expanded(orange, 1.0, 300.0, np.ones((1, 1), bool))
    assert np.allclose(grown / grown.max(), orange, atol=1e-6), "hue is kept"
    assert np.array_equal(expanded(linear, math.inf, 300.0, every), linear), "HDR needs none"
    assert np.array_equal(expanded(linear, 1.0, 300.0, ~every), linear), "what only reflects is left alone"


def test_a_lamp_in_frame_lights_only_from_there() -> None:
    linear = np.full((*SIZE, 3), 0.1, np.float32)
    linear[20:26, 150:156] = 1.0
    result = probe_of(linear, geometry=False)
    light = luminance(result.equirect)
    assert (light > 5 * np.median(light)).sum() < 60, "the continuation behind the camera holds no second lamp"


def test_exposure_is_what_it_is_said_to_be() -> None:
    linear = ball_on_floor()[0]
    result = probe_of(linear)
    card = sphere.irradiance(result.sh9, np.array([0.0, -1.0, 0.0])) / np.pi  # facing the camera, level frame
    assert luminance(card.astype(np.float32)) == pytest.approx(float(np.median(luminance(linear))), rel=0.02)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-6])
@pytest.mark.parametrize("size", [(1, 1), (12, 400), (90, 160)])
def test_odd_pictures_give_finite_light(value: float, size) -> None:
    result = probe_of(np.full((*size, 3), value, np.float32), geometry=False)
    assert np.isfinite(result.equirect).all() and result.equirect.min() >= 0
    assert np.isfinite(result.sh9).all() and math.isfinite(result.exposure)


def test_paint_is_not_taken_for_shading() -> None:
    """The same ball in two paints, split left and right: the light must not follow the darker paint."""
    linear, pointmap = ball_on_floor()
    linear = linear.copy()
    linear[:, 100:] *= np.float32([0.2, 0.35, 0.6])
    found = shading_direction(linear, pointmap.normals, pointmap.mask)
    assert found is not None and degrees_between(found.direction, LIGHT) < 20


def test_stage_writes_what_it_promises(make_context) -> None:
    ctx = make_context(EmbeddedLighting(), lighting.NOTICES)
    result = lighting.run(ctx)
    header = OpenEXR.File(str(ctx.folder.probe), separate_channels=True)
    pixels = header.channels()["R"].pixels
    assert pixels.shape == (256, 512) and pixels.dtype == np.float32
    text = json.loads(ctx.folder.lighting.read_text("utf-8"))
    light = result.scene.light
    assert text["coverage"]["share"] == light.coverage == result.quality["coverage"]
    assert text["probe"]["file"] == light.probe == "lighting/probe.exr"
    assert np.array(text["sh9"]["coefficients"]).shape == (9, 3)
    rgb = np.stack([header.channels()[c].pixels for c in "RGB"], axis=-1)
    assert np.allclose(text["sh9"]["coefficients"], sphere.project_sh9(rgb), atol=1e-4), "SH belong to this EXR"
    key, level = text["key"], np.array(light.level_from_camera)
    assert np.allclose(level @ key["direction_camera"], key["direction_level"])
    assert [w.code for w in ctx.warnings] == ["lighting.mostly_unseen"] and not ctx.degraded


def test_without_geometry_it_says_so(make_context) -> None:
    ctx = make_context(EmbeddedLighting(), lighting.NOTICES, geometry=False, lens=Lens(hfov_deg=40.0, source="exif"))
    result = lighting.run(ctx)
    assert result.scene is None and ctx.folder.probe.exists()
    assert ctx.warnings[0].code == "lighting.no_geometry" and ctx.warnings[0].params["hfov_deg"] == 40.0


def test_black_still(make_context) -> None:
    ctx = make_context(EmbeddedLighting(), lighting.NOTICES, linear=np.zeros((*SIZE, 3), np.float32))
    lighting.run(ctx)
    assert "lighting.black" in [w.code for w in ctx.warnings] and ctx.degraded


def test_hdr_is_not_expanded(make_context) -> None:
    linear = ball_on_floor()[0].copy()
    linear[10:14, 150:154] = 50.0
    ctx = make_context(EmbeddedLighting(), lighting.NOTICES, linear=linear, hdr=True)
    lighting.run(ctx)
    exposure = json.loads(ctx.folder.lighting.read_text("utf-8"))["exposure"]["factor"]
    pixels = OpenEXR.File(str(ctx.folder.probe), separate_channels=True).channels()["G"].pixels
    assert pixels.max() / exposure < 60


def test_the_probe_is_as_bright_as_the_still_shows(make_context) -> None:
    """A file in nits: its view, and so every texture, is a hundredth of it; the light must fit the view."""
    linear = ball_on_floor()[0]
    probes = []
    for factor in (1.0, 128.0):
        ctx = make_context(EmbeddedLighting(), lighting.NOTICES, linear=linear * np.float32(factor), hdr=True)
        ctx.session.input.view_exposure = 1 / factor
        lighting.run(ctx)
        probes.append(OpenEXR.File(str(ctx.folder.probe), separate_channels=True).channels()["G"].pixels)
    assert np.allclose(*probes, rtol=0.02)


def test_same_input_same_bytes(make_context) -> None:
    ctx = make_context(EmbeddedLighting(), lighting.NOTICES)
    first = [path.read_bytes() for path in lighting.run(ctx).outputs]
    assert first == [path.read_bytes() for path in lighting.run(ctx).outputs]
