"""core: session folder, formats, frames. No bpy; runs in either environment."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from blender_addon.core import frames, glb, ply, proxy, record
from blender_addon.core.errors import FormatError, SessionError
from blender_addon.core.session import read_session


@pytest.fixture
def folder(session_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(session_folder, tmp_path / "copy"))


def edit(folder: Path, change) -> None:
    path = folder / "session.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_world_from_camera_is_the_pose_that_made_the_session(session_folder, maker):
    assert np.allclose(read_session(session_folder).world_from_camera(), maker.world_from_camera(), atol=1e-12)


def test_background_projects_to_its_own_pixels(session_folder):
    session = read_session(session_folder)
    with np.load(session_folder / "scene_visual/background.npz") as arrays:
        points = arrays["points"].reshape(-1, 3).astype(float)
    pixel = points @ session.intrinsics.T
    u, v = np.meshgrid(np.arange(session.width) + 0.5, np.arange(session.height) + 0.5)
    assert np.abs(pixel[:, 0] / pixel[:, 2] - u.reshape(-1)).max() < 1e-3
    assert np.abs(pixel[:, 1] / pixel[:, 2] - v.reshape(-1)).max() < 1e-3


@pytest.mark.parametrize("gravity", [(0, 0, 1.0), (0, 0, -1.0), (0, 1.0, 0), (0.3, 0.8, -0.2)])
def test_level_frame_is_a_rotation_with_down_down(gravity):
    gravity = np.array(gravity) / np.linalg.norm(gravity)
    matrix = frames.level_from_camera(gravity)
    assert np.allclose(matrix @ matrix.T, np.eye(3)) and np.linalg.det(matrix) == pytest.approx(1)
    assert np.allclose(matrix @ gravity, [0, 0, -1])
    if abs(gravity[2]) < 0.99:
        forward = matrix @ [0, 0, 1]
        assert forward[0] == pytest.approx(0, abs=1e-12) and forward[1] > 0


def test_looking_down_the_pictures_top_is_ahead():
    assert np.allclose(frames.level_from_camera([0, 0, 1]) @ [0, -1, 0], [0, 1, 0])


def test_camera_height_is_vertical_and_refuses_walls():
    up = np.array([0, -1.0, 0])
    tilted = np.array([0, -np.cos(0.2), np.sin(0.2)])
    assert frames.camera_height(-up, (up, 1.5)) == pytest.approx(1.5)
    # straight down from the origin the tilted plane is met at offset / cos
    assert frames.camera_height(-up, (tilted, 1.5)) == pytest.approx(1.5 / np.cos(0.2))
    assert frames.camera_height(-up, (np.array([1.0, 0, 0]), 1.5)) is None


def test_stretched_plane_holds_the_stretched_points():
    normal, offset = np.array([0.1, -0.9, 0.3]), 1.7
    normal = normal / np.linalg.norm(normal)
    points = np.random.default_rng(0).normal(size=(50, 3))
    points -= (points @ normal + offset)[:, None] * normal
    bent, bent_offset = frames.stretched_plane(normal, offset, 1.6)
    assert np.abs(points @ frames.stretch(1.6)[:3, :3].T @ bent + bent_offset).max() < 1e-12


@pytest.mark.parametrize(
    "change, code",
    [
        (lambda d: d.update(schema="assetize.session/9"), "session.schema"),
        (lambda d: d.update(scene=None), "session.no_scene"),
        (lambda d: d["scene"].pop("intrinsics"), "session.broken"),
        (lambda d: d["scene"].update(intrinsics=[[1, 2], [3, 4]]), "session.broken"),
    ],
)
def test_unusable_sessions_are_told(folder, change, code):
    edit(folder, change)
    with pytest.raises(SessionError) as caught:
        read_session(folder)
    assert caught.value.code == code and caught.value.zh != caught.value.en


def test_no_session_and_half_a_session(folder, tmp_path):
    with pytest.raises(SessionError, match="no session folder"):
        read_session(tmp_path / "nowhere")
    (folder / "session.json").write_text('{"schema": "asset', encoding="utf-8")
    with pytest.raises(SessionError, match="not intact"):
        read_session(folder)


def test_a_session_points_at_nothing_outside_itself(folder, tmp_path):
    (tmp_path / "secret.glb").write_bytes(b"x")
    edit(folder, lambda d: d["scene"]["props"][0].update(glb="../secret.glb"))
    assert read_session(folder).props[0].glb is None


def test_missing_files_are_named(folder):
    (folder / "scene_visual/scene.ply").unlink()
    (folder / "lighting/probe.exr").unlink()
    assert read_session(folder).missing == ["scene_visual/scene.ply", "lighting/probe.exr"]


def test_ground_without_a_plane_stands_on_the_lowest_prop(folder):
    edit(folder, lambda d: d["scene"].update(ground_plane=None))
    height, basis = read_session(folder).ground_height()
    assert basis == "lowest prop" and height == pytest.approx(1.4, abs=1e-6)
    edit(folder, lambda d: d["scene"].update(props=[]))
    height, basis = read_session(folder).ground_height()
    assert basis == "lowest points" and height == pytest.approx(1.4, abs=0.02)


def test_background_of_another_size_is_refused(folder):
    np.savez(folder / "scene_visual/background.npz", points=np.zeros((4, 5, 3)), mask=np.ones((4, 5), bool))
    with pytest.raises(FormatError, match="size"):
        read_session(folder).background()


# --- PLY


def test_gaussians_come_back_as_written(tmp_path, maker):
    rng = np.random.default_rng(1)
    position, sigma, color = rng.normal(size=(9, 3)), rng.uniform(0.01, 2, (9, 3)), rng.uniform(0, 1, (9, 3))
    maker.gaussians(tmp_path / "g.ply", position, sigma, color, opacity=0.7)
    cloud = ply.read_gaussians(tmp_path / "g.ply")
    assert np.allclose(cloud.position, position, atol=1e-6) and np.allclose(cloud.scale, sigma, rtol=1e-5)
    assert np.allclose(cloud.color, color, atol=1e-6) and np.allclose(cloud.opacity, 0.7, atol=1e-6)


def test_rows_that_are_not_finite_are_dropped(tmp_path, maker):
    position = np.zeros((3, 3))
    position[1, 0] = np.nan
    maker.gaussians(tmp_path / "g.ply", position, np.ones((3, 3)), np.ones((3, 3)))
    assert len(ply.read_gaussians(tmp_path / "g.ply")) == 2


@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b[:40], lambda b: b"PK" + b, lambda b: b""])
def test_broken_ply_is_a_sentence(tmp_path, maker, damage):
    path = tmp_path / "g.ply"
    maker.gaussians(path, np.zeros((3, 3)), np.ones((3, 3)), np.ones((3, 3)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FormatError, match=r"g\.ply"):
        ply.read_gaussians(path)


def test_points_are_no_gaussians(session_folder):
    with pytest.raises(FormatError, match="no 3D Gaussians"):
        ply.read_gaussians(session_folder / "dust3r/points.ply")
    points = ply.read_points(session_folder / "dust3r/points.ply")
    assert points.color.min() >= 0 and points.color.max() <= 1 and points.color.std() > 0.05


def test_ascii_and_big_endian_ply(tmp_path):
    head = "ply\nformat {}\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    values = np.array([[1, 2, 3], [4, 5, 6]])
    (tmp_path / "a.ply").write_text(head.format("ascii 1.0") + "1 2 3\n4 5 6\n")
    (tmp_path / "b.ply").write_bytes(head.format("binary_big_endian 1.0").encode() + values.astype(">f4").tobytes())
    for name in ("a.ply", "b.ply"):
        assert np.array_equal(ply.read_points(tmp_path / name).position, values)


# --- GLB


def test_glb_box_is_closed_and_textured(session_folder, maker):
    mesh = glb.read_glb(session_folder / "props_3d/prop_01.glb")
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(float) for i in range(3))
    size = maker.BOXES["crate"][1]
    # signed volume: positive only if the faces look outward
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 == pytest.approx(np.prod(size), rel=1e-5)
    assert np.allclose(mesh.vertices.max(0), [size[0] / 2, size[2], size[1] / 2], atol=1e-6)
    assert mesh.materials[0].image is not None and mesh.materials[0].image.startswith(b"\x89PNG")
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"", lambda b: b"glTX" + b[4:], lambda b: b[:-2000]])
def test_broken_glb_is_a_sentence(session_folder, tmp_path, damage):
    path = tmp_path / "p.glb"
    path.write_bytes(damage((session_folder / "props_3d/prop_01.glb").read_bytes()))
    with pytest.raises(FormatError, match=r"p\.glb"):
        glb.read_glb(path)


def test_glb_node_transforms_and_mirrors():
    node = {"translation": [1, 2, 3], "rotation": [0, 0, np.sqrt(0.5), np.sqrt(0.5)], "scale": [2, 2, -2]}
    matrix = glb._local(node)
    assert np.allclose(matrix @ [1, 0, 0, 1], [1, 4, 3, 1]) and np.linalg.det(matrix[:3, :3]) == pytest.approx(-8)


# --- proxy


def test_grids_tile_the_frame_whatever_the_depth():
    rng = np.random.default_rng(3)
    height, width = 20, 30
    depth = rng.uniform(1, 9, (height, width))
    mask = rng.uniform(size=depth.shape) > 0.3
    K = np.array([[25.0, 0, 16], [0, 25, 9], [0, 0, 1]])
    covered = 0.0
    for grid in proxy.background_grids(depth, mask, K):
        pixel = grid.vertices.astype(float) @ K.T
        place = (pixel[:, :2] / pixel[:, 2:])[grid.quads]
        x, y = place[..., 0], place[..., 1]
        area = 0.5 * (x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1)
        assert (area < 0).all()  # all wound alike: facing the camera (y runs down)
        covered -= area.sum()
    assert covered == pytest.approx((width + 1) * (height + 1), rel=1e-4)  # half a pixel beyond each border


def test_depth_edges_tear_and_slanted_floors_do_not():
    K = np.array([[300.0, 0, 160], [0, 300, 90], [0, 0, 1]])
    rows = np.arange(180)[:, None] + 0.5
    floor = np.broadcast_to(1.5 * 300 / np.maximum(rows - 60, 0.1), (180, 320))  # camera 1.5 above, horizon at row 60
    mask = np.broadcast_to(rows > 70, floor.shape)
    surface, _ = proxy.background_grids(floor, mask, K)
    cells = int((mask[:-1] & mask[1:]).sum() / 320) * 320
    assert abs(len(surface.quads) - cells) < 400 and len(surface.vertices) < 1.1 * len(surface.quads)
    step = np.where(np.arange(320)[None, :] < 160, 2.0, 6.0) * np.ones((180, 1))
    torn, dome = proxy.background_grids(step, np.ones_like(step, bool), K)
    spread = torn.vertices[torn.quads][..., 2]
    assert (spread.max(1) - spread.min(1)).max() < 0.1 and len(dome.quads) == 0


def test_large_maps_are_thinned():
    depth = np.full((720, 1280), 3.0)
    surface, _ = proxy.background_grids(depth, depth > 0, np.diag([1000.0, 1000, 1]), max_vertices=50_000)
    assert len(surface.vertices) < 55_000


# --- records


def test_a_prop_tells_what_building_it_took(folder):
    assert not any(key.startswith("assetize_build") for key in record.prop_record(*_first(folder)))
    facts = {"seconds": 12.5, "memory_mb": 2048.0, "gpu_mb": None}
    prop_id = read_session(folder).props[0].id
    edit(folder, lambda d: d["stages"]["props"].update(details={"props": {prop_id: facts}}))
    flat = record.prop_record(*_first(folder))
    assert flat["assetize_build_seconds"] == 12.5 and flat["assetize_build_memory_mb"] == 2048.0
    assert "assetize_build_gpu_mb" not in flat, "no GPU was used"


def _first(folder):
    session = read_session(folder)
    return session, session.props[0]


def test_records_fit_blenders_properties(session_folder):
    session = read_session(session_folder)
    flat = record.prop_record(session, session.props[0])
    assert flat["assetize_label"] == "crate" and flat["assetize_seed"] == str(2**40)
    assert flat["assetize_commercial_use"] == "yes" and flat["assetize_referent_type"] == "DigitalAsset"
    for key, value in flat.items():
        assert len(key.encode()) <= 63 and isinstance(value, (str, float, int, bool))
        assert not isinstance(value, int) or abs(value) < 2**31
    whole = json.loads(flat["assetize_record"])
    assert whole["delivery"]["AIGC"]["Label"] == "1" and whole["placement"]["id"] == "prop_01"


def test_the_strictest_licence_of_a_chain_counts(folder):
    edit(folder, lambda d: d["stages"]["placement"].update(commercial_use="no"))
    session = read_session(folder)
    assert record.prop_record(session, session.props[0])["assetize_commercial_use"] == "no"
    assert record.flat_record(session, "splats", ("scene",), None)["assetize_commercial_use"] == "yes"


@pytest.mark.parametrize("stage", ["geometry", "scene"])
def test_what_forbids_paid_work_shows_on_all_that_was_made_from_it(folder, stage):
    """The depth network's terms bind the prop that was placed by its depth, as the worker's own records say."""
    edit(folder, lambda d: d["stages"][stage].update(commercial_use="no"))
    session = read_session(folder)
    by_depth = "no" if stage == "geometry" else "yes"
    assert record.prop_record(session, session.props[0])["assetize_commercial_use"] == by_depth
    assert record.flat_record(session, "world", record.LIGHT, None)["assetize_commercial_use"] == by_depth
    assert record.flat_record(session, "splats", record.SCENE, None)["assetize_commercial_use"] == "no"
    everything = record.flat_record(session, "set", record.whole(session), None)
    assert everything["assetize_commercial_use"] == "no"
    assert set(json.loads(everything["assetize_record"])["stages"]) >= {"geometry", "scene", "props"}
