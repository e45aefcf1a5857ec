"""SAM 3D Objects' frames against an independent reading of its convention: scipy rotations, written out by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from worker.engines.sam3d_objects import frames

angles = st.floats(-np.pi, np.pi)
poses = st.tuples(angles, angles, angles, st.floats(-5, 5), st.floats(-5, 5), st.floats(0.2, 30), st.floats(0.01, 20))


def spoken(rotation: Rotation, translation: np.ndarray) -> tuple[list[float], list[float]]:
    """A pose in OpenCV's camera (columns: R x + t) as SAM 3D Objects would say it: quaternion w x y z, translation.

    Its camera is ours turned half round the optical axis; its rows times R are our columns times R transposed.
    """
    half_turn = Rotation.from_rotvec([0, 0, np.pi])
    x, y, z, w = (half_turn * rotation).inv().as_quat()
    return [w, x, y, z], half_turn.apply(translation).tolist()


@given(poses)
def test_a_pose_comes_back(pose):
    a, b, c, x, y, z, scale = pose
    rotation, translation = Rotation.from_euler("ZYX", [a, b, c]), np.array([x, y, z])
    quaternion, said = spoken(rotation, translation)
    found = frames.camera_from_object(np.array(quaternion), np.array(said), scale)
    points = np.array([[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [-0.3, 0.2, -0.4]])
    wanted = rotation.apply(scale * points) + translation
    assert np.abs(points @ found[:3, :3].T + found[:3, 3] - wanted).max() < 1e-5 * max(1, scale)


@given(poses)
def test_rows_times_their_matrix_say_the_same(pose):
    """Their own sentence, x = (s v) R + t, in their camera, then turned to ours."""
    a, b, c, x, y, z, scale = pose
    quaternion, said = spoken(Rotation.from_euler("ZYX", [a, b, c]), np.array([x, y, z]))
    w, i, j, k = quaternion
    matrix = Rotation.from_quat([i, j, k, w]).as_matrix()
    points = np.array([[0.5, -0.1, 0.2], [0.1, 0.4, -0.5]])
    theirs = (scale * points) @ matrix + said
    found = frames.camera_from_object(np.array(quaternion), np.array(said), scale)
    assert np.allclose(points @ found[:3, :3].T + found[:3, 3], theirs * [-1, -1, 1], atol=1e-9 * max(1, scale))


def test_the_pointmap_turns_half_round_and_loses_its_sky():
    points = np.array([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]], np.float32)
    turned = frames.pointmap_for(points, np.array([[True, False]]))
    assert turned.dtype == np.float32
    assert turned[0, 0].tolist() == [-1.0, -2.0, 3.0]  # x left, y up, z forward
    assert np.isnan(turned[0, 1]).all()


def test_the_glb_turns_back_to_z_up():
    """Up is +Y in the file and +Z in the object; what faces +Z in the file faces -Y in the object."""
    assert frames.object_from_glb(np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])).tolist() == [
        [0, 0, 1], [0, -1, 0], [1, 0, 0],
    ]  # fmt: skip
