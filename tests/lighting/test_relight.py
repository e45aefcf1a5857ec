"""The relight check renders the right thing in the right place, and its figures are those of its pictures."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from tests.lighting.conftest import SIZE
from worker.engines.embedded.lighting import EmbeddedLighting
from worker.formats import equirect as sphere
from worker.formats.glb import write_glb
from worker.formats.image import read_rgb, write_png
from worker.formats.mesh import TexturedMesh
from worker.formats.pointmap import intrinsics_from_hfov
from worker.session.frames import PROP_FROM_GLB
from worker.session.model import Dimensions, PlacedProp, StageRecord, StageState
from worker.stages import lighting, relight

UPRIGHT = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # level camera


def lit_from(direction, strength: float = 8.0) -> relight.Probe:
    rays = sphere.directions(64, 128)
    picture = np.full((64, 128, 3), 0.2) + strength * np.maximum(rays @ direction, 0)[..., None] ** 4
    picture = picture.astype(np.float32)
    return relight.Probe(picture, sphere.project_sh9(picture), UPRIGHT, 1.0)


def ball(texture=(128, 128, 128)) -> TexturedMesh:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=1.0)
    pixels = np.full((8, 8, 3), texture, np.uint8)
    return TexturedMesh(
        mesh.vertices.astype(np.float32),
        mesh.faces.astype(np.int32),
        np.full((len(mesh.vertices), 2), 0.5, np.float32),
        pixels,
    )


POSE = np.eye(4)
POSE[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]  # prop z up is camera -y, prop -y faces the camera
POSE[:3, 3] = (0, 0, 4)


def test_a_ball_is_bright_where_the_light_is() -> None:
    K = intrinsics_from_hfov(80, 80, 50.0).astype(float)
    own, relit = relight.render_prop(ball(), POSE, K, (80, 80), lit_from(np.array([0.0, 0.0, 1.0])))
    assert np.isfinite(own[40, 40]).all() and np.isnan(own[2, 2]).all()
    # sRGB 128 is linear 0.2159 (IEC 61966-2-1).
    assert np.allclose(own[40, 40], 0.2159, atol=1e-3)
    assert relit[20, 40, 0] > 2 * relit[60, 40, 0], "light from above"
    _, side = relight.render_prop(ball(), POSE, K, (80, 80), lit_from(np.array([1.0, 0.0, 0.0])))
    assert side[40, 60, 0] > 2 * side[40, 20, 0], "light from the right"


def test_a_surface_facing_the_camera_keeps_its_texture() -> None:
    K = intrinsics_from_hfov(81, 81, 50.0).astype(float)
    own, relit = relight.render_prop(ball(), POSE, K, (81, 81), lit_from(np.array([0.0, -1.0, 0.0])))
    assert np.allclose(relit[40, 40], own[40, 40], rtol=0.01)


def test_texture_is_read_the_right_way_up() -> None:
    """A card with red over green: OBJ's v counts from the bottom."""
    texture = np.zeros((16, 16, 3), np.uint8)
    texture[:8], texture[8:] = (255, 0, 0), (0, 255, 0)
    card = TexturedMesh(
        np.float32([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]]), np.int32([[0, 1, 2], [0, 2, 3]]),
        np.float32([[0, 0], [1, 0], [1, 1], [0, 1]]), texture,
    )  # fmt: skip
    K = intrinsics_from_hfov(60, 60, 50.0).astype(float)
    own, _ = relight.render_prop(card, POSE, K, (60, 60), lit_from(np.array([0.0, -1.0, 0.0])))
    assert own[20, 30, 0] > 0.9 > 0.1 > own[20, 30, 1] and own[40, 30, 1] > 0.9


def test_balls() -> None:
    strip = relight.balls(lit_from(np.array([0.0, 0.0, 1.0]), 20.0))
    size = relight.BALL
    grey, chrome = strip[:, :size], strip[:, size : 2 * size]
    assert grey[40, size // 2, 0] > 2 * grey[160, size // 2, 0], "the grey ball is lit from above"
    # A mirror ball shows the zenith half way to its rim (normal 45 degrees up): sin 45 = 0.707 of the radius.
    column = chrome[: size // 2, size // 2, 0]
    expected = size / 2 * (1 - 0.7071 / 1.05)
    assert abs(column[8:].argmax() + 8 - expected) < 6


def test_compare() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0.1, 1, (500, 3)).astype(np.float32)
    same = relight.compare(first, first)
    assert same["relight_luminance_ratio"] == pytest.approx(1)
    assert same["relight_chroma_error"] == pytest.approx(0, abs=1e-6)
    double = relight.compare(first, 2 * first)
    assert double["relight_luminance_ratio"] == pytest.approx(2) and double["relight_correlation"] > 0.99
    assert relight.compare(first, first * np.float32([1, 0.5, 0.5]))["relight_chroma_error"] > 0.2
    assert relight.compare(first, np.ones_like(first))["relight_correlation"] is None


def prepared(make_context):
    ctx = make_context(EmbeddedLighting(), lighting.NOTICES)
    ctx.session.scene = lighting.run(ctx).scene
    ctx.session.stages["lighting"] = StageRecord(state=StageState.DONE)
    ctx.notices, ctx.warnings, ctx.engine = relight.NOTICES, [], None
    return ctx


def place_ball(ctx) -> None:
    write_glb(ctx.folder.prop_glb("prop_01"), ball((148, 141, 126)), "ball")
    mask = np.zeros(SIZE, bool)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    mask[(v - 60) ** 2 + (u - 100) ** 2 < 50**2] = True
    write_png(ctx.folder.prop_mask("prop_01"), mask)
    prop = PlacedProp(
        id="prop_01", label="ball", glb="props_3d/prop_01.glb", mask="props/prop_01_mask.png", crop="props/prop_01.png",
        camera_from_prop=POSE.tolist(), camera_from_glb=(POSE @ PROP_FROM_GLB).tolist(),
        dimensions=Dimensions(width=2, depth=2, height=2), quality={"depth_error": 0.1},
    )  # fmt: skip
    ctx.session.scene.props = [prop]
    ctx.session.stages["placement"] = StageRecord(state=StageState.DONE)


def test_stage_checks_props(make_context) -> None:
    ctx = prepared(make_context)
    place_ball(ctx)
    result = relight.run(ctx)
    figures = result.scene.props[0].quality
    assert figures["depth_error"] == 0.1 and 0.5 < figures["relight_luminance_ratio"] < 2
    # The drawn ball's shading is known to come from the light that the probe found.
    assert figures["relight_correlation"] > 0.6
    panel = read_rgb(ctx.folder.prop_relit("prop_01"))
    assert panel.shape[1] == pytest.approx(2 * panel.shape[0], rel=0.1)
    assert result.quality["median_luminance_ratio"] == pytest.approx(figures["relight_luminance_ratio"])
    assert "relight.baked_light" in [w.code for w in ctx.warnings]


def test_stage_without_props_still_shows_balls(make_context) -> None:
    ctx = prepared(make_context)
    result = relight.run(ctx)
    assert result.outputs == [ctx.folder.relight_balls] and result.scene is None and not ctx.warnings
    assert read_rgb(ctx.folder.relight_balls).shape[1] == 3 * relight.BALL


def test_a_broken_mesh_is_said(make_context) -> None:
    ctx = prepared(make_context)
    place_ball(ctx)
    ctx.folder.prop_glb("prop_01").write_bytes(b"no glb")
    result = relight.run(ctx)
    assert [w.code for w in ctx.warnings] == ["relight.unreadable"] and result.details["props_checked"] == 0
