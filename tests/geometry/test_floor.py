"""The floor in a pointmap: found from all points or from the few that are looked at, the same."""

from __future__ import annotations

import numpy as np

from worker.formats.pointmap import intrinsics_from_hfov, normals_of, pixel_rays
from worker.pointmaps.floor import fit_floor, step_of


def test_the_few_points_that_count_may_be_given_alone() -> None:
    size = (400, 700)
    rays = pixel_rays(*size, intrinsics_from_hfov(size[1], size[0], 60.0))
    depth = np.minimum(1.4 / np.maximum(rays[..., 1], 0.01), 12.0)  # a level floor 1.4 below, a wall at 12
    points = (rays * depth[..., None]).astype(np.float64)
    normals, everywhere = normals_of(points.astype(np.float32)), np.ones(size, bool)
    step = step_of(everywhere)
    assert step > 1
    whole = fit_floor(points, normals, np.array([0.0, 1.0, 0.0]), everywhere)
    few = fit_floor(points[::step, ::step], normals, np.array([0.0, 1.0, 0.0]), everywhere)
    assert whole is not None and few is not None
    assert np.array_equal(whole[0], few[0]) and whole[1:] == few[1:]
    assert abs(whole[1] - 1.4) < 0.01 and whole[0] @ [0, -1, 0] > 0.999
