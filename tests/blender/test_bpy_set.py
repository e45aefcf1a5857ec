"""scene: what can be done with a set once it stands: switch, re-import, change the lens, gear up."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

from blender_addon.scene import attributes, lens, sets, stage_gear
from blender_addon.scene.build import Wanted, import_session
from blender_addon.scene.render import psnr, render_still


@pytest.fixture
def scene() -> bpy.types.Scene:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene


@pytest.fixture
def made(scene, session_folder):
    return import_session(session_folder, scene, Wanted(splats=False, prop_splats=False))


def world_points(item):
    bpy.context.view_layer.update()
    matrix = np.array(item.matrix_world)
    return attributes.read(item.data, "position") @ matrix[:3, :3].T + matrix[:3, 3]


def test_importing_again_replaces_its_own_and_keeps_the_users(scene, session_folder):
    first = import_session(session_folder, scene)
    names = sorted(item.name for item in first.collection.all_objects)
    counts = {kind: len(getattr(bpy.data, kind)) for kind in ("objects", "meshes", "materials", "images", "worlds")}
    mine = bpy.data.objects.new("my lamp", bpy.data.lights.new("my lamp", "POINT"))
    first.collection.children[0].objects.link(mine)
    mine.parent = first.root
    mine.location = (1, 2, 3)
    bpy.data.objects["crate prop_01"].location.x += 5
    second = import_session(session_folder, scene)
    assert sorted(item.name for item in second.collection.all_objects) == names
    assert tuple(mine.matrix_world.translation) == (1, 2, 3) and scene.collection.objects.get("my lamp") is mine
    now = {kind: len(getattr(bpy.data, kind)) for kind in counts}
    assert now == counts | {"objects": counts["objects"] + 1}
    assert bpy.data.objects["crate prop_01"].location.x == pytest.approx(-0.9, abs=1e-5)


def test_two_sessions_stand_side_by_side(scene, session_folder, tmp_path):
    other = Path(shutil.copytree(session_folder, tmp_path / "other"))
    text = (other / "session.json").read_text().replace("000000000001", "000000000002")
    (other / "session.json").write_text(text)
    import_session(session_folder, scene, Wanted(splats=False))
    import_session(other, scene, Wanted(splats=False))
    assert len(list(sets.all_sets())) == 2
    assert sets.remove_set("5f3a7c7e-0000-5000-8000-000000000002", scene) == 1
    assert "set camera" in bpy.data.objects and "other camera" not in bpy.data.objects


def test_display_switches(scene, session_folder):
    made = import_session(session_folder, scene)
    assert sets.shown(made.by_role) == "PROXY"
    for display, seen in (("SPLATS", {"splats"}), ("POINTS", {"points"}), ("PLATE", {"shadow catcher"})):
        assert sets.show(made.by_role, display) == display == sets.shown(made.by_role)
        hidden = {"proxy", "dome", "splats", "points", "shadow catcher"} - seen
        assert all(made.by_role[role].hide_render for role in hidden)
        assert not any(made.by_role[role].hide_viewport for role in seen)
    del made.by_role["splats"]
    assert sets.show(made.by_role, "SPLATS") == "PROXY"
    crate = bpy.data.objects["crate prop_01"]
    sets.show_prop(crate, True)
    assert crate.hide_render and not bpy.data.objects["crate prop_01 splats"].hide_render


@pytest.mark.parametrize("degrees", [35.0, 80.0])
def test_another_lens_keeps_the_picture_and_the_floor(made, scene, degrees, maker, tmp_path, session_folder):
    proxy = made.by_role["proxy"]
    contact = {item.name: np.array(item.matrix_world.translation) for item in made.props}
    pixels = {name: world_to_camera_view(scene, made.camera, Vector(place)) for name, place in contact.items()}
    lens.set_hfov(made.root, degrees)
    assert lens.hfov_of(made.root) == pytest.approx(degrees, abs=1e-4)
    assert math.degrees(made.camera.data.angle_x) == pytest.approx(degrees, abs=1e-3)
    points = world_points(proxy)
    depth = np.linalg.norm(points - np.array(made.camera.matrix_world.translation), axis=1)
    floor = points[(np.abs(points[:, 2]) < 0.02) & (depth < 6)]
    assert len(floor) > 3000 and np.abs(floor[:, 2]).max() < 0.02  # still level, still at zero
    for item in made.props:  # the contact points stay in their pixels and on the floor
        view = world_to_camera_view(scene, made.camera, item.matrix_world.translation)
        assert abs(view.x - pixels[item.name].x) < 1e-3 and abs(view.y - pixels[item.name].y) < 1e-3
        assert abs(item.matrix_world.translation.z) < 1e-4
    for item in made.props:
        item.hide_render = True
    render_still(scene, tmp_path / "clean.png", 160, 8)
    assert psnr(tmp_path / "clean.png", session_folder / "plate/clean.png") > 36


def test_back_to_the_first_lens_is_back_to_the_first_set(made):
    before = {item.name: np.array(item.matrix_world) for item in sets.members(made.root)}
    first = lens.hfov_of(made.root)
    for degrees in (80.0, 30.0, first):
        lens.set_hfov(made.root, degrees)
    bpy.context.view_layer.update()
    for item in sets.members(made.root):
        if not item.hide_viewport:
            assert np.allclose(np.array(item.matrix_world), before[item.name], atol=2e-3), item.name


def test_a_known_length_scales_everything_about_the_floor(made):
    lens.set_known_length(made.root, 0.7, 1.4)
    bpy.context.view_layer.update()
    crate = bpy.data.objects["crate prop_01"]
    assert crate.dimensions.z == pytest.approx(1.4, rel=1e-4)
    assert made.camera.matrix_world.translation.z == pytest.approx(2.8, rel=1e-4)


def test_hull_is_convex_and_closed(made):
    crate = bpy.data.objects["crate prop_01"]
    hull = stage_gear.convex_hull(crate)
    assert hull.parent == crate and stage_gear.convex_hull(crate) is hull and hull.hide_render
    assert len(hull.data.vertices) == 8
    corners = attributes.read(hull.data, "position")
    for polygon in hull.data.polygons:
        side = (corners - np.array(polygon.center)) @ np.array(polygon.normal)
        assert side.max() < 1e-4


def test_assets_carry_preview_and_licence(made, session_folder, tmp_path):
    crate = bpy.data.objects["crate prop_01"]
    first = stage_gear.catalogue(tmp_path, "set")
    assert stage_gear.catalogue(tmp_path, "set") == first != stage_gear.catalogue(tmp_path, "other")
    stage_gear.mark_asset(crate, first, session_folder / "props/prop_01.png")
    assert crate.asset_data.license == "GPL-3.0-or-later" and crate.asset_data.author == "test"
    assert {tag.name for tag in crate.asset_data.tags} == {"Assetize", "crate", "set"}
    pixels = np.array(crate.preview.image_pixels_float)
    assert crate.asset_data.catalog_id == first and pixels.size == 128 * 128 * 4 and pixels.std() > 0.05
    assert stage_gear.session_folder(crate) == session_folder


def test_shadow_catcher_lies_on_the_floor(made):
    catcher = made.by_role["shadow catcher"]
    assert catcher.is_shadow_catcher and np.abs(attributes.read(catcher.data, "position")[:, 2]).max() == 0
