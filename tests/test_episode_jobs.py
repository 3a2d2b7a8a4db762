"""Whole jobs on ALOHA episode files of other recorders: what they train on, and what they say."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.commands import Ended, imitate
from tests.support.files import contents
from tests.support.recorders import CAMERAS, DEPTH, change, frames, put, record, vectors
from tests.support.schema import VALIDATOR

pytestmark = pytest.mark.slow


def mobile(folder: Path, count: int, first: int, sizes: tuple[tuple[int, int], ...]) -> None:
    """Episodes with a base, depth pictures and a part that nobody knows."""
    high, wrist = sizes
    for path in record(folder, count, first=first, sizes=(high, wrist)):
        change(path, put("base_action", vectors(2, first)), DEPTH, put("observations/wrench", 1.0))


def test_folders_of_a_mobile_robot_train_together_at_one_size(
    tmp_path: Path, job: Callable[..., Ended]
) -> None:
    robot = tmp_path / "robot"
    mobile(robot / "monday", 3, 1, ((96, 128), (48, 64)))
    mobile(robot / "tuesday", 2, 0, ((48, 64), (96, 128)))
    before = contents(robot)
    ended = job(
        input=robot,
        num_epochs=1,
        exclude_episodes=2,
        image_size="48x64",
        sim="true",
        base_action="append",
    )
    assert ended.code == 0, ended.err
    assert contents(robot) == before
    assert not (ended.output / "converted_hdf5").exists()
    manifest = ended.manifest
    VALIDATOR.validate(manifest)
    used = [(Path(one["dataset"]).name, one["source"]) for one in manifest["dataset"]["episodes"]]
    assert used == [
        ("monday", "episode_1.hdf5"),
        ("monday", "episode_3.hdf5"),
        ("tuesday", "episode_0.hdf5"),
        ("tuesday", "episode_1.hdf5"),
    ]
    contract = ended.contract
    sizes = [(camera.name, camera.height, camera.width) for camera in contract.cameras]
    assert sizes == [(name, 48, 64) for name in CAMERAS]
    names = [dim.name for dim in contract.action.dims]
    assert (len(contract.state.dims), len(names)) == (14, 16)
    assert names[-3:] == ["action[13]", "base_action[0]", "base_action[1]"]
    assert contract.action.first_offset == 0
    assert len(contract.statistics.action_mean) == 16
    weights = torch.load(ended.output / "checkpoints/test/policy_last.ckpt", weights_only=True)
    assert weights["model.action_head.weight"].shape[0] == 16
    assert weights["model.encoder_joint_proj.weight"].shape[1] == 14
    for code in ("depth-left-out", "parts-unused"):
        assert len([line for line in manifest["warnings"] if line.startswith(code)]) == 1
        assert ended.err.count(f"warning: {code}") == 1
    assert "base-action-unused" not in ended.err


def test_upstreams_command_says_what_it_does_not_use(tmp_path: Path) -> None:
    folder = tmp_path / "episodes"
    sizes = ((96, 128), (96, 128))
    for path in [
        *record(folder, 1, name="episode{}.hdf5", first=3, sizes=sizes),
        *record(folder, 1, name="episode_{:04}.hdf5", first=10, sizes=sizes, sim=True),
    ]:
        change(path, put("base_action", vectors(2, 1)), put("language", np.bytes_(b"pick")))
    change(folder / "episode_0010.hdf5", put("observations/images/cam_low", frames(1)))
    ended = imitate(tmp_path)
    assert ended.code == 0, ended.err
    manifest = ended.manifest
    VALIDATOR.validate(manifest)
    sources = [one["source"] for one in manifest["dataset"]["episodes"]]
    assert sources == ["episode3.hdf5", "episode_0010.hdf5"]
    action = ended.contract.action
    assert (len(action.dims), action.first_offset) == (14, None)
    for code in (
        *("base-action-unused", "cameras-unused", "parts-unused"),
        *("sim-differs", "episode-gap"),
    ):
        assert len([line for line in manifest["warnings"] if line.startswith(code)]) == 1
        assert ended.err.count(f"warning: {code}") == 1
