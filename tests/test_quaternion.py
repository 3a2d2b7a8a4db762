"""Quaternions among a vector's dims: found by name only, repaired without turning anything."""

import numpy as np
import pyquaternion
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convert.quaternion import Quaternion, find_quaternions, fix, flips, off_unit
from episodes.arrays import FloatArray
from job.errors import DatasetError
from tests.support.errors import raises_code

WXYZ = Quaternion((0, 1, 2, 3), "q")

parts = st.floats(-1, 1, width=32)
raw = (
    st.integers(1, 30)
    .flatmap(lambda rows: arrays(np.float32, (rows, 4), elements=parts))
    .filter(lambda q: bool((np.linalg.norm(q, axis=1) > 1e-2).all()))
)


def walk(rows: int, seed: int = 0) -> FloatArray:
    """A recording that is right: unit-length, turning a little from row to row; (rows, 4) wxyz."""
    rng = np.random.default_rng(seed)
    turned = pyquaternion.Quaternion(rng.normal(size=4)).normalised
    q = np.empty((rows, 4), np.float32)
    for row in range(rows):
        q[row] = turned.elements
        angle = rng.uniform(-0.2, 0.2)
        turned = (turned * pyquaternion.Quaternion(axis=rng.normal(size=3), angle=angle)).normalised
    return q


def rotations(q: FloatArray) -> list[np.ndarray]:
    return [pyquaternion.Quaternion(row).rotation_matrix for row in q]


def same_bits(a: FloatArray, b: FloatArray) -> bool:
    return a.dtype == b.dtype == np.float32 and a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    ("names", "where", "name"),
    [
        (["qx", "qy", "qz", "qw"], (3, 0, 1, 2), "q"),
        (["gripper", "qw", "qx", "qy", "qz"], (1, 2, 3, 4), "q"),
        (["left_qx", "left_qy", "left_qz", "left_qw"], (3, 0, 1, 2), "left_q"),
        (["qx_left", "qy_left", "qw_left", "qz_left"], (2, 0, 1, 3), "q"),
        (["ee.qw", "ee.qx", "ee.qy", "ee.qz"], (0, 1, 2, 3), "ee.q"),
        (["pose.qx", "pose.qy", "pose.qz", "pose.qw", "pose.x"], (3, 0, 1, 2), "pose.q"),
        (["x", "y", "z", "quat_x", "quat_y", "quat_z", "quat_w"], (6, 3, 4, 5), "quat"),
        (["rot.quat.w", "rot.quat.x", "rot.quat.y", "rot.quat.z"], (0, 1, 2, 3), "rot.quat"),
        ([f"orientation_quaternion_{p}" for p in "xyzw"], (3, 0, 1, 2), "orientation_quaternion"),
        ([f"quaternion[{i}]" for i in range(4)], (0, 1, 2, 3), "quaternion"),
        (["quat_3", "quat_2", "quat_1", "quat_0"], (3, 2, 1, 0), "quat"),
        ([f"arm_0_quat{i}" for i in range(1, 5)], (0, 1, 2, 3), "arm_0_quat"),
        ([f"eeQuat{p}" for p in "XYZW"], (3, 0, 1, 2), "eeQuat"),
        ([f"{p}_quat" for p in "wxyz"], (0, 1, 2, 3), "w_quat"),
        ([f"pose.orientation.{p}" for p in "xyzw"], (3, 0, 1, 2), "pose.orientation"),
    ],
)
def test_one_is_found(names: list[str], where: tuple[int, ...], name: str) -> None:
    found = find_quaternions(names)
    assert [(quaternion.where, quaternion.name) for quaternion in found] == [(where, name)]


@pytest.mark.parametrize(
    "names",
    [
        ["left_x", *(f"left_q{p}" for p in "xyzw"), "right_x", *(f"right_q{p}" for p in "xyzw")],
        ["x", *(f"q{p}_0" for p in "xyzw"), "x", *(f"q{p}_1" for p in "xyzw")],
        ["x", *(f"q{p}" for p in "xyzw"), "x", *(f"q{p}" for p in "xyzw")],
        ["x", *(f"quat_0.{i}" for i in range(4)), "x", *(f"quat_1.{i}" for i in range(4))],
    ],
)
def test_both_arms_are_found(names: list[str]) -> None:
    found = find_quaternions(names)
    assert [sorted(quaternion.where) for quaternion in found] == [[1, 2, 3, 4], [6, 7, 8, 9]]


@pytest.mark.parametrize(
    "names",
    [
        ["qx"],
        ["qx", "qy", "qz"],
        ["qx", "qy", "qz", "left_qw"],
        ["x", "y", "z", "w"],
        ["qpos_x", "qpos_y", "qpos_z", "qpos_w"],
        ["torque_x", "torque_y", "torque_z", "torque_w"],
        [f"joint_q{i}" for i in range(4)],
        [f"q{i}" for i in range(4)],
        [f"rot_{i}" for i in range(4)],
        [f"q_{i}" for i in range(4)],
        [f"quat_{i}" for i in range(3)],
        ["equator_0", "equator_1"],
        ["aqx", "aqy", "aqz", "aqw"],
        [f"motor_{i}" for i in range(14)],
        [],
        ["", "1", "quat"],
        ["qx", "qx", "qy", "qz", "qw"],
    ],
)
def test_others_are_left_alone(names: list[str]) -> None:
    assert find_quaternions(names) == []


@given(st.lists(st.text(max_size=12), max_size=12))
def test_any_names_will_do(names: list[str]) -> None:
    for quaternion in find_quaternions(names):
        assert len(set(quaternion.where)) == 4


def test_flips_and_lengths_are_told_by_row() -> None:
    q = walk(20)
    assert flips(q).tolist() == off_unit(q).tolist() == []
    q[5:9] *= -1
    q[12] *= 1.01
    assert flips(q).tolist() == [5, 9]
    assert off_unit(q).tolist() == [12]
    assert off_unit(q, 0.1).tolist() == []
    assert flips(q[:1]).tolist() == flips(q[:0]).tolist() == []


@given(raw)
def test_fixed_is_unit_continuous_and_stays_so(q: FloatArray) -> None:
    before = q.copy()
    fixed = fix(q, [WXYZ])
    assert same_bits(q, before)
    assert fixed.dtype == np.float32
    assert off_unit(fixed, 1e-6).size == flips(fixed).size == 0
    assert (fixed[0].astype(float) @ q[0]) > 0
    assert same_bits(fix(fixed, [WXYZ]), fixed)


@given(raw)
def test_rotations_are_the_same(q: FloatArray) -> None:
    for old, new in zip(rotations(q), rotations(fix(q, [WXYZ])), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=1e-6)


@given(st.integers(0, 1000), st.lists(st.booleans(), min_size=2, max_size=40))
def test_random_signs_are_undone(seed: int, turned: list[bool]) -> None:
    q = walk(len(turned), seed)
    signs = np.where([False, *turned[1:]], -1, 1).astype(np.float32)
    assert same_bits(fix(q * signs[:, None], [WXYZ]), q)
    assert same_bits(fix(-q, [WXYZ]), -q)


def test_only_the_rows_in_need_change_and_no_other_dim() -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 10)).astype(np.float32)
    quaternions = find_quaternions(
        ["a", *(f"l_q{p}" for p in "xyzw"), *(f"r_q{p}" for p in "wxyz")]
    )
    for number, quaternion in enumerate(quaternions):
        vectors[:, list(quaternion.where)] = walk(30, number)
    assert same_bits(fix(vectors, quaternions), vectors)

    broken = vectors.copy()
    broken[7, 5:9] *= -1.5
    fixed = fix(broken, quaternions)
    np.testing.assert_allclose(fixed[7, 5:9], vectors[7, 5:9], rtol=1e-6)
    fixed[7, 5:9] = vectors[7, 5:9]
    assert same_bits(fixed, vectors)


def test_no_length_is_an_error() -> None:
    q = walk(9)
    q[4:6] = 0
    with raises_code(DatasetError, "quaternion-zero", "file: .*'q' .*2 rows.* row 4,"):
        fix(q, [WXYZ], "file")
