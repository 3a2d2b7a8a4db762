"""State and action wherever a dataset has them: in one feature or several, in lists or structs."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from convert.check.dataset import check
from convert.flags import DataFlags
from job.errors import DatasetError
from tests.support.broken import edit_info
from tests.support.conversion import convert_here, converted_paths
from tests.support.errors import raises_code
from tests.support.recording import CAMERA, Take, read_info, write_v21, write_v30

JOINTS, GRIPPER = "observation.states.joint.position", "observation.states.effector.position"
ACTIONS = ("actions.joint.position", "actions.effector.position")
PARTS = {JOINTS: 3, GRIPPER: 1, ACTIONS[0]: 3, ACTIONS[1]: 1}
TAKES = (6, 9)  # rows


def values(episode: int, key: str, width: int) -> NDArray[np.float32]:
    """What a feature holds in an episode, (T, width)."""
    seed = [episode, list(PARTS).index(key) if key in PARTS else 0]
    return np.random.default_rng(seed).random((TAKES[episode], width), np.float32)


def lists(rows: NDArray[np.float32]) -> pa.Array:
    return pa.array(list(rows), pa.list_(pa.float32()))


def split(root: Path, names: dict[str, Any]) -> Path:
    """A dataset whose state and action are in two features each."""
    takes = []
    for episode, rows in enumerate(TAKES):
        columns = {key: lists(values(episode, key, width)) for key, width in PARTS.items()}
        extra = {"observation.state": None, "action": None, **columns}
        takes.append(Take(rows, extra=extra))
    write_v21(root, takes)
    features = {CAMERA: read_info(root)["features"][CAMERA]} | {
        key: {"dtype": "float32", "shape": [width], "names": names.get(key)}
        for key, width in PARTS.items()
    }
    edit_info(root, features=features)
    return root


def read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32], list[str]]:
    """qpos and action of an episode file, and the names of the dims of qpos."""
    with h5py.File(path) as file:
        names = [str(name) for name in file.attrs["qpos_names"]]
        return file["observations/qpos"][:], file["action"][:], names


def converted(root: Path, **flags: Any) -> list[Path]:
    flags = {"state_dim": 0, **flags}
    return converted_paths(
        convert_here(DataFlags(input=(root,), **flags), root.parent / "episodes")
    )


def test_features_are_joined_in_the_order_given(tmp_path: Path) -> None:
    root = split(tmp_path / "dataset", {})
    done = converted(root, state_key=(GRIPPER, JOINTS), action_key=ACTIONS)
    for episode, path in enumerate(done):
        qpos, action, names = read(path)
        expected = [values(episode, GRIPPER, 1), values(episode, JOINTS, 3)]
        assert np.array_equal(qpos, np.concatenate(expected, axis=1))
        expected = [values(episode, key, PARTS[key]) for key in ACTIONS]
        assert np.array_equal(action, np.concatenate(expected, axis=1))
        assert names == [f"{GRIPPER}[0]", *(f"{JOINTS}[{i}]" for i in range(3))]
    report = check(root, DataFlags(state_key=(GRIPPER, JOINTS), action_key=ACTIONS))
    assert not report.errors
    assert report.facts["state"] == f"{GRIPPER},{JOINTS}, 4 dims"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({JOINTS: ["x", "y", "z"], GRIPPER: ["grip"]}, ["x", "y", "z", "grip"]),
        (
            {JOINTS: ["x", "y", "z"], GRIPPER: ["x"]},
            [f"{JOINTS}.x", f"{JOINTS}.y", f"{JOINTS}.z", f"{GRIPPER}.x"],
        ),
    ],
)
def test_dims_keep_their_names(tmp_path: Path, names: dict[str, Any], expected: list[str]) -> None:
    root = split(tmp_path / "dataset", names)
    done = converted(root, state_key=(JOINTS, GRIPPER), action_key=ACTIONS)
    assert read(done[0])[2] == expected


def test_the_message_names_flags_that_help(tmp_path: Path) -> None:
    root = split(tmp_path / "dataset", {})
    errors = check(root).errors
    assert [finding.code for finding in errors] == ["action-missing", "state-missing"]
    flags = {}
    for finding in errors:
        found = re.search(r"such as --(\w+) (\S+)$", finding.message)
        assert found is not None, finding.message
        flags[found[1]] = tuple(found[2].split(","))
    assert read(converted(root, **flags)[0])[0].shape[1] == 4
    with raises_code(DatasetError, "action-missing", "'actions.gripper'.*expected each"):
        converted(root, state_key=(JOINTS,), action_key=(ACTIONS[0], "actions.gripper"))


def structs(episode: int, fields: list[str]) -> pa.Array:
    """Rows of a struct with a struct in it: `x`, `y` and `arm.z` hold dims 0, 1 and 2."""
    rows = values(episode, JOINTS, 3)
    columns = {"x": rows[:, 0], "y": rows[:, 1]}
    columns["arm"] = pa.StructArray.from_arrays([pa.array(rows[:, 2])], ["z"])
    return pa.StructArray.from_arrays([pa.array(columns[name]) for name in fields], fields)


def with_structs(root: Path, names: list[str] | None, orders: list[list[str]]) -> Path:
    """A dataset whose state is a struct, with fields in another order in each episode."""
    takes = [
        Take(rows, extra={"observation.state": structs(episode, orders[episode])})
        for episode, rows in enumerate(TAKES)
    ]
    write_v21(root, takes)
    features = read_info(root)["features"]
    features["observation.state"] = {"dtype": "float32", "shape": [3], "names": names}
    edit_info(root, features=features)
    return root


FIELDS, TURNED = ["x", "y", "arm"], ["arm", "x", "y"]


@pytest.mark.parametrize(
    ("names", "orders", "expected"),
    [
        (None, [FIELDS, FIELDS], ["x", "y", "arm.z"]),
        (None, [TURNED, TURNED], ["arm.z", "x", "y"]),
        (["y", "arm.z", "x"], [FIELDS, TURNED], ["y", "arm.z", "x"]),  # by info.json's names
    ],
)
def test_a_struct_is_read_by_its_fields(
    tmp_path: Path, names: list[str] | None, orders: list[list[str]], expected: list[str]
) -> None:
    root = with_structs(tmp_path / "dataset", names, orders)
    assert not check(root).errors
    for episode, path in enumerate(converted(root)):
        qpos, _, found = read(path)
        assert found == expected
        order = [["x", "y", "arm.z"].index(name) for name in expected]
        assert np.array_equal(qpos, values(episode, JOINTS, 3)[:, order])


def test_fields_in_another_order_are_refused_where_nothing_names_them(tmp_path: Path) -> None:
    root = with_structs(tmp_path / "dataset", None, [FIELDS, TURNED])
    assert "vector-names" in {finding.code for finding in check(root).errors}
    with raises_code(DatasetError, "vector-names"):
        converted(root)


def test_an_empty_field_is_refused(tmp_path: Path) -> None:
    state = structs(0, FIELDS)
    state = pa.array([None, *state.to_pylist()[1:]], state.type)
    root = write_v30(tmp_path / "dataset", [Take(TAKES[0], extra={"observation.state": state})])
    assert {finding.code for finding in check(root).errors} == {"value-missing"}
    with raises_code(DatasetError, "value-missing", "field 'x' of column"):
        converted(root)
