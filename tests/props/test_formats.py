from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh

from tests.props.conftest import box
from worker.formats.glb import read_glb, write_glb
from worker.formats.mesh import TexturedMesh, vertex_normals
from worker.formats.silhouette import iou, rasterise
from worker.session.frames import PROP_FROM_GLB


@pytest.fixture
def mesh() -> TexturedMesh:
    solid = trimesh.creation.icosphere(2, 0.5)
    solid.apply_translation([0.1, 0.2, 0.7])
    rng = np.random.default_rng(1)
    uv = rng.random((len(solid.vertices), 2)).astype(np.float32)
    texture = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return TexturedMesh(solid.vertices.astype(np.float32), solid.faces.astype(np.int32), uv, texture)


def test_glb_round_trip_and_same_bytes(tmp_path, mesh) -> None:
    first, second = tmp_path / "a.glb", tmp_path / "b.glb"
    write_glb(first, mesh, "prop_01", {"label": "cup"})
    write_glb(second, mesh, "prop_01", {"label": "cup"})
    assert first.read_bytes() == second.read_bytes()
    again = read_glb(first)
    np.testing.assert_allclose(again.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(again.faces, mesh.faces)
    np.testing.assert_allclose(again.uv, mesh.uv, atol=1e-6)
    np.testing.assert_array_equal(again.texture, mesh.texture)


def test_glb_as_an_independent_reader_sees_it(tmp_path, mesh) -> None:
    path = tmp_path / "prop_01.glb"
    write_glb(path, mesh, "prop_01", {"label": "杯子"})
    loaded = trimesh.load(path, force="mesh")
    assert loaded.is_watertight and loaded.volume > 0
    np.testing.assert_allclose(loaded.vertices @ PROP_FROM_GLB[:3, :3].T, mesh.vertices, atol=1e-6)
    material = loaded.visual.material
    assert material.metallicFactor == 0 and material.roughnessFactor == pytest.approx(0.7)
    data = path.read_bytes()
    assert data[:4] == b"glTF" and int.from_bytes(data[8:12], "little") == len(data)
    document = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    assert document["asset"]["extras"] == {"label": "杯子"}
    low = (mesh.vertices @ PROP_FROM_GLB[:3, :3]).min(axis=0)
    assert document["accessors"][1]["min"] == pytest.approx(low, abs=1e-6)
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0


def test_normals_point_outward(mesh) -> None:
    normals = vertex_normals(mesh.vertices, mesh.faces)
    outward = mesh.vertices - mesh.vertices.mean(axis=0)
    assert (np.einsum("ij,ij->i", normals, outward) > 0.45).all()


def test_raster_of_a_box_is_exact() -> None:
    """A face-on unit square at z = 2, f = 100: 50 pixels wide, depth 2; the rear face is hidden."""
    solid = box(1, 1, 1, (0, 0, 2.5))
    intrinsics = np.array([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]])
    raster = rasterise(solid.vertices, solid.faces, intrinsics, 60, 80)
    expected = np.zeros((60, 80), bool)
    expected[5:55, 15:65] = True
    np.testing.assert_array_equal(raster.mask, expected)
    np.testing.assert_allclose(raster.depth[expected], 2.0, rtol=1e-6)
    assert np.isinf(raster.depth[~expected]).all()


def test_raster_leaves_out_what_reaches_behind_the_camera() -> None:
    solid = box(1, 1, 1)
    raster = rasterise(solid.vertices, solid.faces, np.diag([10.0, 10, 1]), 20, 20)
    assert (raster.depth[raster.mask] == 0.5).all()  # only the far side is whole


def test_iou() -> None:
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[:2], b[1:3] = True, True
    assert iou(a, b) == pytest.approx(4 / 12)
    assert iou(~a & a, b & ~b) == 0
