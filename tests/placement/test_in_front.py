"""What the still shows unhidden must stand in front of the background."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from worker.formats.silhouette import rasterise
from worker.placement.in_front import Backdrop

K = np.array([[400.0, 0, 320], [0, 400.0, 180], [0, 0, 1]])


def ball(depth: float) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    return mesh.vertices + np.array([0.3, -0.1, depth]), mesh.faces.astype(np.int32)


def wall(depth: float, tmp_path) -> Backdrop:
    points = np.full((360, 640, 3), depth, np.float32)
    np.savez(tmp_path / "background.npz", points=points, mask=np.ones((360, 640), bool))
    return Backdrop.read(tmp_path / "background.npz", K)


def test_a_body_in_front_stays(tmp_path):
    assert wall(6.0, tmp_path).factor(*ball(4.0)) == 1.0


@pytest.mark.parametrize("depth", [4.6, 5.0, 9.0])
def test_a_body_in_or_behind_the_wall_clears_it_and_keeps_its_silhouette(tmp_path, depth):
    vertices, faces = ball(depth)
    backdrop = wall(4.0, tmp_path)
    factor = backdrop.factor(vertices, faces)
    assert factor < 1
    moved = vertices * factor
    before, after = (rasterise(v, faces, K, 360, 640) for v in (vertices, moved))
    assert (before.mask == after.mask).mean() > 0.9999
    # an own reading of "clears": the share of pixels behind the wall
    assert (after.depth[after.mask] > 4.0).mean() <= 0.006
    assert after.depth[after.mask].max() > 3.8, "no farther forward than need be"
