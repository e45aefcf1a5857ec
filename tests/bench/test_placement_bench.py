"""The stand-in for a generator, and that a perfect placement scores perfectly."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import metrics
from bench.placement import canonical, rigid_box
from tests.props.conftest import l_shape
from worker.placement.evidence import Agreement
from worker.placement.place import Made, Placing
from worker.placement.pose import Pose


@given(st.integers(0, 10_000), st.floats(0.2, 4.0))
@settings(max_examples=15, deadline=None)
def test_a_canonical_mesh_put_back_has_the_true_box(seed: int, factor: float) -> None:
    solid = l_shape()
    mesh, canonical_from_object = canonical(solid.vertices, solid.faces, seed)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0).max(), 1, atol=1e-5)
    assert abs(mesh.vertices[:, 2].min()) < 1e-6
    true = np.eye(4)
    true[:3, 3] = [0.4, 0.2, 5.0]
    session = np.diag([1 / factor] * 3 + [1.0]) @ true  # the same pose in a session whose unit is `factor` metres
    pose = Pose(session @ np.linalg.inv(canonical_from_object))
    item = Placing(Made("a", "thing", np.ones((2, 2), bool), mesh), None, pose, Agreement(1.0))
    low, high = solid.bounds
    rigid, box_low, box_high = rigid_box(item, factor, canonical_from_object, low, high)
    assert metrics.box_iou(metrics.Box(rigid, box_low, box_high), metrics.Box(true, low, high)) > 0.999
    assert metrics.yaw_error(rigid[:3, :3], true[:3, :3], np.array([0, 0, 1.0]), 1) < 0.01
