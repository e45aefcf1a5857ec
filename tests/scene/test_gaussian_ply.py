"""The 3DGS file: what is written is what independent readers see, and bad files end in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

from worker.errors import InputError
from worker.formats.gaussians import GaussianCloud, read_gaussians, write_gaussians


def some_cloud(count: int, seed: int = 0) -> GaussianCloud:
    rng = np.random.default_rng(seed)
    rotation = rng.normal(size=(count, 4))
    return GaussianCloud(
        rng.normal(size=(count, 3)).astype(np.float32),
        np.exp(rng.uniform(-8, 2, (count, 3))).astype(np.float32),
        (rotation / np.linalg.norm(rotation, axis=1, keepdims=True)).astype(np.float32),
        rng.uniform(0.01, 0.99, count).astype(np.float32),
        rng.uniform(0, 1, (count, 3)).astype(np.float32),
    )


def test_an_independent_reader_sees_the_published_layout(tmp_path: Path) -> None:
    cloud = some_cloud(7)
    write_gaussians(tmp_path / "a.ply", cloud, ("frame: camera",))
    ply = PlyData.read(str(tmp_path / "a.ply"))
    assert (ply.text, ply.byte_order, ply.comments) == (False, "<", ["frame: camera"])
    vertex = ply["vertex"]
    names = " ".join(p.name for p in vertex.properties)
    assert names == "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    assert {p.val_dtype for p in vertex.properties} == {"f4"}
    assert np.allclose(0.5 + 0.28209479 * vertex["f_dc_1"], cloud.color[:, 1], atol=1e-6)
    assert np.allclose(1 / (1 + np.exp(-vertex["opacity"])), cloud.opacity, atol=1e-6)
    assert np.allclose(np.exp(vertex["scale_2"]), cloud.scale[:, 2], rtol=1e-5)
    assert np.allclose(vertex["rot_0"], cloud.rotation[:, 0]) and not vertex["ny"].any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 50), st.integers(0, 1000))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, count: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("ply") / "a.ply"
    cloud = some_cloud(count, seed)
    write_gaussians(path, cloud)
    again = read_gaussians(path)
    for name in ("position", "scale", "rotation", "opacity", "color"):
        assert np.allclose(getattr(again, name), getattr(cloud, name), rtol=1e-4, atol=1e-5), name


def test_extremes_stay_finite(tmp_path: Path) -> None:
    cloud = some_cloud(2)
    cloud.opacity[:] = (0, 1)
    cloud.scale[:] = 0
    write_gaussians(tmp_path / "a.ply", cloud)
    vertex = PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    assert all(np.isfinite(vertex[p.name]).all() for p in vertex.properties)


def test_reads_other_orders_and_higher_harmonics(tmp_path: Path) -> None:
    names = ["f_rest_0", "rot_3", "rot_2", "rot_1", "rot_0", "opacity", "x", "y", "z", "f_dc_2", "f_dc_1", "f_dc_0"]
    names += ["scale_0", "scale_1", "scale_2"]
    vertices = np.zeros(3, dtype=[(name, "f4") for name in names])
    vertices["rot_0"], vertices["x"], vertices["f_dc_0"] = 2.0, (1, 2, 3), 1.0
    PlyData([PlyElement.describe(vertices, "vertex")], byte_order="<").write(str(tmp_path / "a.ply"))
    cloud = read_gaussians(tmp_path / "a.ply")
    assert cloud.position[:, 0].tolist() == [1, 2, 3]
    assert np.allclose(cloud.rotation, [1, 0, 0, 0]) and np.allclose(cloud.color[0], [0.78209479, 0.5, 0.5])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-5],
        lambda data: data[:40],
        lambda data: b"PK\x03\x04" + data,
        lambda data: data.replace(b"binary_little_endian", b"ascii"),
        lambda data: data.replace(b"property float opacity", b"property float opacitz"),
        lambda data: data.replace(b"element vertex 3", b"element vertex 4"),
        lambda data: b"",
    ],
)
def test_bad_files_end_in_a_sentence(tmp_path: Path, damage) -> None:
    write_gaussians(tmp_path / "a.ply", some_cloud(3))
    (tmp_path / "b.ply").write_bytes(damage((tmp_path / "a.ply").read_bytes()))
    with pytest.raises(InputError) as caught:
        read_gaussians(tmp_path / "b.ply")
    assert caught.value.code == "gaussians.unreadable" and "b.ply" in caught.value.en


def test_comments_are_plain(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ASCII"):
        write_gaussians(tmp_path / "a.ply", some_cloud(1), ("高斯",))
    assert not (tmp_path / "a.ply").exists()
