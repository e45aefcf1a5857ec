"""scene: what stands in Blender after an import. Runs in Blender's Python (bpy 4.2, 4.5, 5.2)."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Matrix, Vector

from blender_addon.core.frames import stretch
from blender_addon.core.session import read_session
from blender_addon.scene import attributes, points, splats
from blender_addon.scene.build import Wanted, import_session
from blender_addon.scene.metadata import read_record, role_of
from blender_addon.scene.nodes import get_input
from blender_addon.scene.render import psnr, render_still
from blender_addon.scene.sets import show

ROLES = {"proxy", "dome", "splats", "points", "key light", "shadow catcher"}


@pytest.fixture
def scene() -> bpy.types.Scene:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene


@pytest.fixture
def made(scene, session_folder):
    return import_session(session_folder, scene)


def evaluated(item):
    return item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data


def test_everything_is_there_and_in_its_collection(made, scene):
    assert made.problems == [] and set(made.by_role) == ROLES
    top = scene.collection.children["Assetize set"]
    parts = {child.name.split(" ")[0]: {item.name for item in child.objects} for child in top.children}
    assert parts["Camera"] == {"set camera"} and parts["Points"] == {"set points"}
    assert parts["Background"] == {"set background", "set sky dome", "set splats"}
    assert parts["Props"] == {"crate prop_01", "crate prop_01 splats", "tin prop_02", "tin prop_02 splats"}
    assert parts["Light"] == {"set key light", "set shadow catcher"} and scene.world.name == "set probe"
    assert all(item.parent == made.root for item in top.all_objects if item != made.root)


def test_camera_projects_known_points_to_their_pixels(made, scene, maker):
    session = read_session(made.session.root)
    width, height = session.width, session.height
    rng = np.random.default_rng(0)
    pixels = rng.uniform([0, 0], [width, height], (40, 2))
    rays = np.concatenate([pixels, np.ones((40, 1))], 1) @ np.linalg.inv(session.intrinsics).T
    world = np.concatenate([rays * rng.uniform(1, 30, (40, 1)), np.ones((40, 1))], 1) @ maker.world_from_camera().T
    for point, pixel in zip(world, pixels, strict=True):
        view = world_to_camera_view(scene, made.camera, Vector(point[:3]))
        assert abs(view.x * width - pixel[0]) < 0.01 and abs((1 - view.y) * height - pixel[1]) < 0.01


def test_uneven_pixels_project_rightly_too(session_folder, tmp_path, scene):
    folder = Path(shutil.copytree(session_folder, tmp_path / "uneven"))
    path = folder / "session.json"
    document = json.loads(path.read_text())
    document["scene"]["intrinsics"] = K = [[300.0, 0, 140.0], [0, 240.0, 100.0], [0, 0, 1]]
    path.write_text(json.dumps(document))
    made = import_session(folder, scene, Wanted(proxy=False, splats=False, points=False, props=False))
    point = np.array([0.4, -0.3, 2.5, 1])
    view = world_to_camera_view(scene, made.camera, Vector((made.world_from_camera @ point)[:3]))
    expected = np.array(K) @ point[:3] / point[2]
    assert abs(view.x * 320 - expected[0]) < 0.01 and abs((1 - view.y) * 180 - expected[1]) < 0.01


def test_ground_is_zero_and_the_camera_where_the_lens_was(made, maker):
    assert np.allclose(np.array(made.camera.matrix_world.translation), [0, 0, maker.CAMERA_HEIGHT], atol=1e-5)
    proxy = made.by_role["proxy"]
    world = attributes.read(proxy.data, "position") @ np.array(proxy.matrix_world)[:3, :3].T
    world += np.array(proxy.matrix_world)[:3, 3]
    floor = world[np.abs(world[:, 1]) < 4]
    assert np.abs(floor[:, 2]).max() < 0.01


def test_props_stand_where_they_stood(made, maker):
    for item, label in ((bpy.data.objects["crate prop_01"], "crate"), (bpy.data.objects["tin prop_02"], "tin")):
        assert np.allclose(np.array(item.matrix_world), maker.box_pose(label), atol=1e-5)
        size = maker.BOXES[label][1]
        vertices = attributes.read(item.data, "position")
        assert np.allclose(vertices.min(0), [-size[0] / 2, -size[1] / 2, 0], atol=1e-5)  # origin at ground contact
        assert np.allclose(vertices.max(0), [size[0] / 2, size[1] / 2, size[2]], atol=1e-5)
        middle = Vector((0, 0, size[2] / 2))
        assert all(polygon.normal.dot(polygon.center - middle) > 0 for polygon in item.data.polygons)
        assert bpy.data.objects[item.name + " splats"].hide_render


def test_splats_carry_their_attributes(made):
    item = made.by_role["splats"]
    if splats.has_native_splats():
        pytest.skip("native splats")
    count = 320 * 180
    assert len(item.data.vertices) == count
    color, scale = attributes.read(item.data, "Color"), attributes.read(item.data, "scale")
    assert color.shape == (count, 4) and np.allclose(color[:, 3], 0.98, atol=1e-5) and (scale > 0).all()
    assert np.allclose(np.linalg.norm(attributes.read(item.data, "rotation"), axis=1), 1, atol=1e-6)


def test_splats_become_quads_that_face_the_eye(made, scene):
    item = made.by_role["splats"]
    item.hide_viewport = False
    splats.set_level(item, "FULL")
    mesh = evaluated(item)
    count = len(item.data.vertices)
    assert len(mesh.polygons) == count
    worn = {mesh.materials[index].name for index in np.unique(attributes.read(mesh, "material_index"))}
    assert worn == {"Assetize Gaussian splats"}
    corners = attributes.read(mesh, "position").reshape(count, 4, 3)
    centers, scale = attributes.read(item.data, "position"), attributes.read(item.data, "scale")
    assert np.allclose(corners.mean(1), centers, atol=1e-3)
    # round Gaussians: the quad is perpendicular to the view and CUTOFF sigmas to each side
    reach = corners - centers[:, None]
    view = centers / np.linalg.norm(centers, axis=1, keepdims=True)
    assert np.abs(np.einsum("nkc,nc->nk", reach, view) / scale[:, :1]).max() < 0.02
    length = np.linalg.norm(reach, axis=2) / scale[:, :1]
    assert np.allclose(length, splats.CUTOFF * math.sqrt(2), rtol=0.01)


def test_a_flat_gaussian_shows_its_own_disk(scene, tmp_path, maker):
    """A disk on the floor, 100 times as wide as thick: its quad lies in the floor, though the eye looks at a slant."""
    maker.gaussians(tmp_path / "d.ply", np.zeros((1, 3)), np.array([[0.5, 0.3, 0.005]]), np.full((1, 3), 0.5))
    eye = bpy.data.objects.new("eye", None)
    eye.location = (3, 2, 4)
    scene.collection.objects.link(eye)
    item = splats.add_splats(tmp_path / "d.ply", "disk", scene.collection, None, np.eye(4), eye)
    bpy.context.view_layer.update()
    corners = attributes.read(evaluated(item), "position")
    assert np.abs(corners[:, 2]).max() < 0.01
    # its second moments are the Gaussian's: the mean of x^2 over the four corners is CUTOFF^2 sigma^2
    assert np.allclose((corners**2).mean(0)[:2], splats.CUTOFF**2 * np.array([0.25, 0.09]), rtol=1e-2)


def test_draft_level_thins_and_grows(made, monkeypatch, scene, session_folder):
    monkeypatch.setattr(splats, "DRAFT_COUNT", 1000)
    again = import_session(session_folder, scene, Wanted(proxy=False, points=False, props=False, display="SPLATS"))
    item = again.by_role["splats"]
    splats.set_level(item, "DRAFT")
    assert len(evaluated(item).polygons) == 1000
    assert get_input(item.modifiers[splats.MODIFIER], "Draft size") == pytest.approx(math.sqrt(57.6), rel=1e-3)
    splats.set_level(item, "FULL")
    assert len(evaluated(item).polygons) == 57600


def test_points_are_coloured_and_sized(made):
    item = made.by_role["points"]
    item.hide_viewport = False
    assert (item.type == "POINTCLOUD") == points.has_native_points()
    radius = attributes.read(item.data, "radius")
    assert radius.min() > 0 and attributes.read(item.data, "Color").shape == (len(radius), 4)


def test_every_object_carries_its_record(made):
    for item in made.collection.all_objects:
        whole = read_record(item)
        assert whole is not None and whole["session"]["id"] == item["assetize_session_id"], item.name
        assert role_of(item)
    prop = bpy.data.objects["crate prop_01"]
    assert prop["assetize_engine"] == "embedded" and prop["assetize_licence_code"] == "GPL-3.0-or-later"
    assert read_record(prop)["delivery"]["AIGC"]["Label"] == "1"
    assert len(made.by_role["splats"]["assetize_sha256"]) == 64


def test_the_picture(made, scene, tmp_path, session_folder):
    """The scene rendered through its camera is the still: proxy, splats (full level), and the props with each."""
    assert scene.view_settings.view_transform == "Standard"
    still = session_folder / "plate/still.png"
    # boxes' edges are where sampling differs most; the clean plate alone must come nearer
    for display, least in (("PROXY", 36.0), ("SPLATS", 28.0)):
        show(made.by_role, display)
        render_still(scene, tmp_path / f"{display}.png", 160, 16)
        assert psnr(tmp_path / f"{display}.png", still) > least, display
    show(made.by_role, "PROXY")
    for prop in made.props:
        prop.hide_render = True
    render_still(scene, tmp_path / "clean.png", 160, 16)
    assert psnr(tmp_path / "clean.png", session_folder / "plate/clean.png") > 38
    assert scene.render.resolution_x == 320 and scene.render.engine != "WORKBENCH"


def test_a_change_of_lens_moves_nothing_in_the_picture(made, scene, tmp_path):
    """Background and projection are one object's frame: stretched with its camera's lens, the picture stays."""
    for prop in made.props:
        prop.hide_render = True
    render_still(scene, tmp_path / "before.png", 120, 4)
    for role in ("proxy", "dome"):
        item = made.by_role[role]
        item.matrix_local = Matrix((made.world_from_camera @ stretch(1.5)).tolist())
    made.camera.data.lens *= 1.5
    render_still(scene, tmp_path / "after.png", 120, 4)
    assert psnr(tmp_path / "before.png", tmp_path / "after.png") > 45


def test_probe_is_the_right_way_round(scene, session_folder, tmp_path, made):
    """The bright marker of the probe appears where its direction says: found by a camera that looks there."""
    for item in list(made.collection.all_objects):  # hiding rebuilds what is iterated
        if item != made.camera:
            item.hide_render = True
    key = made.session.key_light
    toward = Vector(made.world_from_camera[:3, :3] @ key.direction)
    assert toward.x > 0 and toward.z > 0  # to the right of the heading, above
    camera = bpy.data.objects.new("look", bpy.data.cameras.new("look"))
    camera.data.angle = math.radians(60)
    camera.rotation_euler = toward.to_track_quat("-Z", "Y").to_euler()
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.view_settings.view_transform = "Raw"
    scene.render.resolution_x = scene.render.resolution_y = 64
    render_still(scene, tmp_path / "probe.png", 64, 4)
    image = bpy.data.images.load(str(tmp_path / "probe.png"))
    image.colorspace_settings.name = "Non-Color"
    pixels = np.array(image.pixels[:]).reshape(64, 64, 4)[..., 0]
    y, x = np.nonzero(pixels > 0.9)
    assert len(x) and abs(x.mean() - 31.5) < 4 and abs(y.mean() - 31.5) < 4
    assert pixels[5, 5] == pytest.approx(0.25, abs=0.01)  # linear values are taken as linear


def test_key_light_shines_from_its_direction(made):
    sun = made.by_role["key light"]
    toward = made.world_from_camera[:3, :3] @ made.session.key_light.direction
    assert np.allclose(np.array(sun.matrix_world)[:3, 2], toward, atol=1e-5)
    assert sun.data.energy == pytest.approx(3.0 / (0.2126 + 0.7152 * 0.8 + 0.0722 * 0.6), rel=1e-5)
    assert sun.data.type == "SUN" and tuple(sun.data.color) == pytest.approx((1, 0.8, 0.6))


def test_saved_and_opened_again(made, scene, tmp_path, session_folder):
    path = tmp_path / "saved.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=True)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(path, moved / "saved.blend")
    bpy.ops.wm.open_mainfile(filepath=str(moved / "saved.blend"))
    scene = bpy.context.scene
    assert read_record(bpy.data.objects["set splats"])["role"] == "splats"
    assert all(image.packed_file for image in bpy.data.images if image.source == "FILE")
    render_still(scene, tmp_path / "again.png", 160, 8)
    assert psnr(tmp_path / "again.png", session_folder / "plate/still.png") > 30


def test_broken_parts_are_left_out_and_told(session_folder, tmp_path, scene):
    folder = Path(shutil.copytree(session_folder, tmp_path / "broken"))
    (folder / "props_3d/prop_01.glb").write_bytes(b"no mesh")
    (folder / "dust3r/points.ply").unlink()
    made = import_session(folder, scene)
    assert [problem.code for problem in made.problems] == ["session.missing", "glb.unreadable"]
    assert "tin prop_02" in bpy.data.objects and "points" not in made.by_role


def test_instances_share_their_mesh_and_stand_apart(session_folder, tmp_path, scene):
    folder = Path(shutil.copytree(session_folder, tmp_path / "twins"))
    record = json.loads((folder / "session.json").read_text("utf-8"))
    first, second = record["scene"]["props"]
    second |= {"glb": first["glb"], "ply": first["ply"], "instance_of": first["id"]}
    (folder / "session.json").write_text(json.dumps(record), encoding="utf-8")
    for _ in range(2):  # the second import takes the first one's things away
        made = import_session(folder, scene)
        assert not made.problems
        one, two = bpy.data.objects["crate prop_01"], bpy.data.objects["tin prop_02"]
        assert one.data is two.data and one.data.users == 2
        assert (one.matrix_world.translation - two.matrix_world.translation).length > 0.1


def test_nothing_but_a_camera(session_folder, tmp_path, scene):
    folder = tmp_path / "bare"
    folder.mkdir()
    shutil.copy(session_folder / "session.json", folder)
    made = import_session(folder, scene)
    assert made.camera.data.lens > 0 and len(made.problems) == 5


@pytest.mark.slow
def test_eevee_shows_the_still_too(made, scene, tmp_path, session_folder):
    """Minutes where shaders are compiled in software. Only Blenders that can draw without a window."""
    engine = "BLENDER_EEVEE" if bpy.app.version >= (5, 0) else "BLENDER_EEVEE_NEXT"
    scene.eevee.taa_render_samples = 16
    for display, least in (("PROXY", 35.0), ("SPLATS", 28.0)):
        show(made.by_role, display)
        render_still(scene, tmp_path / f"{display}.png", 320, 16, engine)
        assert psnr(tmp_path / f"{display}.png", session_folder / "plate/still.png") > least, display
