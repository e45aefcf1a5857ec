"""The set builders' truth, rendered: depth, ids and normals are those of the geometry, to the pixel."""

from __future__ import annotations

from pathlib import Path

import pytest

bpy = pytest.importorskip("bpy")
pytest.importorskip("OpenEXR")
pytest.importorskip("PIL")
pytestmark = pytest.mark.skipif(bpy.app.version[:2] != (4, 5), reason="the sets are made in 4.5")

import numpy as np  # noqa: E402

from examples.make import build, furniture, materials, truth  # noqa: E402
from examples.make.sets import slab  # noqa: E402

SIZE = (160, 90)


def test_one_small_render(tmp_path: Path) -> None:
    build.empty_scene()
    slab("floor", (6, 8, 0.2), materials.planks((0.27, 0.14, 0.06)), (0, 2, -0.1))
    chair = furniture.armchair().place((0.3, 0.8, 0), 30)
    truth.camera((0.2, -2.4, 1.3), (0.2, 1, 0.5), 30, roll=3)
    build.sun((0.3, -0.2, 1), (1, 1, 1), 3)
    passes = truth.render(tmp_path / "still.png", SIZE, 1)
    normals = truth.normals()
    K = truth.intrinsics(30, *SIZE)
    amodal: dict[int, np.ndarray] = {}
    record = truth.describe(passes["ids"], K, (0.3, -0.2, 1), amodal=amodal)

    u, v = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], -1)
    up, offset = np.array(record["ground_plane"]["normal"]), record["ground_plane"]["offset"]
    floor = passes["ids"] == 1
    assert floor.sum() > 2000
    exact = -offset / (rays @ up)  # where each ray meets the ground plane
    np.testing.assert_allclose(passes["depth"][floor], exact[floor], rtol=1e-4)
    np.testing.assert_allclose(normals[floor], np.broadcast_to(up, (floor.sum(), 3)), atol=2e-3)

    seen, whole = passes["ids"] == chair.pass_index, amodal[chair.pass_index]
    assert (seen & whole).sum() / (seen | whole).sum() > 0.97  # nothing hides it: both are its silhouette
    assert np.isinf(passes["depth"][passes["ids"] == 0]).all()
    assert (np.einsum("hwc,hwc->hw", normals, rays)[passes["ids"] > 0] < 0.05).all()  # what is seen faces the camera
