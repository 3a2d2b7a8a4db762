"""ACT without cameras, and with an environment state: from a dataset to what the robot needs.

The state alone (`--camera_keys none`) and the environment state (`--env_state_key`), LeRobot and
ALOHA input, as whole jobs.
"""

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from act.network.act import ACT
from act.policies.act import ACTPolicy
from act.policies.statistics import load_stats
from act.policies.weights import load_weights
from tests.support.commands import (
    HANGS_S,
    Ended,
    arguments,
    run_job,
    run_module,
    start_job,
)
from tests.support.episodes import write_official
from tests.support.paths import SMALL
from tests.support.peak_memory import foreseen_and_peak_gb
from tests.support.processes import wait_for
from tests.support.schema import VALIDATOR
from tests.support.states import ENV_STATE, LENGTHS, add_env_state, goals, way, write_states
from tests.support.training import assert_same

pytestmark = pytest.mark.slow

RunJob = Callable[..., Ended]
SHORT: dict[str, Any] = {"num_epochs": 3, "batch_size": 4, "backbone_weights": None}
LONG = SHORT | {
    **{"num_epochs": 100, "learning_rate": 3e-3, "dropout": 0, "chunk_size": 5},
    **{"enc_layers": 1, "dec_layers": 1},
}


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A job on a dataset without cameras whose rows name the goal, with default flags otherwise.

    On a machine that has no backbone weights.
    """
    folder = tmp_path_factory.mktemp("training")
    return run_job(
        folder / "output",
        environment={"TORCH_HOME": str(folder / "no_weights")},
        input=write_states(folder / "dataset", env_state=True),
        camera_keys="none",
        keep_converted_hdf5=True,
        **LONG,
    )


def load_policy(ended: Ended) -> ACTPolicy:
    """The policy by its contract and the layers' flags; the load is strict."""
    sizes = ended.contract.network
    model = ACT(
        qpos_dim=sizes.qpos_dim,
        action_dim=sizes.action_dim,
        chunk_size=sizes.chunk_size,
        hidden_dim=sizes.hidden_dim or 0,
        dim_feedforward=sizes.dim_feedforward or 0,
        enc_layers=sizes.enc_layers or 0,
        dec_layers=sizes.dec_layers or 0,
        env_state_dim=sizes.env_state_dim or 0,
        has_images=bool(sizes.num_cameras),
    )
    policy = ACTPolicy(model, kl_weight=10).eval()
    policy.load_state_dict(load_weights(ended.output / "checkpoints/test/policy_last.ckpt"))
    return policy


@torch.inference_mode()
def first_actions(ended: Ended, **vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first action of the chunk for each row, as a robot would compute it."""
    stats = ended.contract.statistics.model_dump()
    given = {
        name: (values - np.float32(stats[f"{name}_mean"])) / np.float32(stats[f"{name}_std"])
        for name, values in vectors.items()
    }
    tensors = {name: torch.from_numpy(values) for name, values in given.items()}
    a_hat = load_policy(ended)(**tensors)[:, 0].numpy()
    return a_hat * np.float32(stats["action_std"]) + np.float32(stats["action_mean"])


def rows_of(episode: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The states, environment states and actions of an episode."""
    states, actions = way(episode)
    goal = np.append(goals()[episode], np.float32(7))
    return states, np.tile(goal, (len(states), 1)), actions


def test_a_job_without_cameras_needs_no_weights_and_says_what_it_is(training: Ended) -> None:
    assert training.code == 0, training.err
    manifest = training.manifest
    VALIDATOR.validate(manifest)
    assert manifest["policy"]["inputs"] == ["qpos", "env_state"]
    contract, network = training.contract, training.contract.network
    assert (contract.cameras, contract.images, contract.fps) == ([], None, 20)
    assert contract.env_state
    assert [dim.name for dim in contract.env_state.dims] == ["goal_x", "goal_y", "size"]
    assert (network.backbone, network.backbone_weights, network.batch_norm) == (None,) * 3
    conversion = manifest["conversion"]
    assert conversion["cameras"] == []
    assert conversion["image_storage"] is None
    assert conversion["env_state"]["key"] == ENV_STATE
    assert conversion["frames_per_second"] is None
    flags = manifest["flags"]
    assert (flags["camera_names"], flags["backbone_weights"]) == ([], "none")
    assert sum("upstream's" in sentence for sentence in manifest["departures"]) >= 2
    assert not [warning for warning in manifest["warnings"] if "camera" in warning]
    for text in ("camera     none", "none: the policy sees qpos and env_state", "env_state 3"):
        assert text in training.out + training.err


def test_the_checkpoint_has_no_backbone(training: Ended) -> None:
    weights = load_weights(training.output / "checkpoints/test/policy_last.ckpt")
    assert not [
        name for name in weights if "backbone" in name or name.startswith("model.input_proj.")
    ]
    assert weights["model.input_proj_env_state.weight"].shape == (32, 3)
    assert weights["model.additional_pos_embed.weight"].shape == (3, 32)


def test_statistics_of_the_environment_state_are_kept(training: Ended) -> None:
    folder = training.output / "checkpoints/test"
    stats = load_stats(folder / "dataset_stats.pkl")
    rows = np.concatenate([rows_of(episode)[1] for episode in range(len(LENGTHS))])
    assert np.allclose(stats["env_state_mean"], rows.mean(axis=0), atol=1e-6)
    spread = rows.std(axis=0, ddof=1)
    assert np.allclose(stats["env_state_std"], [*spread[:2], 0.01], atol=1e-6)  # the floor
    as_json = json.loads((folder / "dataset_stats.json").read_text())
    assert as_json["env_state_std"] == stats["env_state_std"].tolist()
    assert as_json == {
        name: values
        for name, values in training.contract.statistics.model_dump().items()
        if values is not None
    }


def test_it_learns_what_the_goal_and_the_state_say(training: Ended) -> None:
    train = training.manifest["split"]["train"]
    parts = [rows_of(episode) for episode in train]
    states, env_states, actions = (np.concatenate(part) for part in zip(*parts, strict=True))
    error = np.abs(first_actions(training, qpos=states, env_state=env_states) - actions).mean()
    baseline = np.abs(actions - actions.mean(axis=0)).mean()  # what zero, normalised, is off by
    assert error < 0.3 * baseline
    # the goal is looked at: with that of another episode, actions are others
    swapped = np.roll(env_states, len(parts[0][0]), axis=0)
    moved = np.abs(first_actions(training, qpos=states, env_state=swapped) - actions).mean()
    assert moved > 2 * error


def test_kept_episodes_have_no_image_and_train_to_the_same_bytes(
    training: Ended, tmp_path: Path
) -> None:
    folder = training.output / "converted_hdf5/test"
    with h5py.File(folder / "episode_1.hdf5") as file:
        assert list(file["observations"]) == ["env_state", "images", "qpos", "qvel"]
        assert list(file["observations/images"]) == []
        assert "camera_names" not in file.attrs
        assert list(file.attrs["env_state_names"]) == ["goal_x", "goal_y", "size"]
        assert file["observations/env_state"].dtype == np.float32
        states, env_states, actions = rows_of(1)
        assert np.array_equal(file["observations/env_state"], env_states)
        assert np.array_equal(file["observations/qpos"], states)
        assert np.array_equal(file["action"], actions)
    ended = run_job(tmp_path / "again", input=folder, camera_keys="none", **LONG)
    assert ended.code == 0, ended.err
    VALIDATOR.validate(ended.manifest)
    for name in ("policy_last.ckpt", "dataset_stats.pkl"):
        one, other = (o / "checkpoints/test" / name for o in (training.output, ended.output))
        assert one.read_bytes() == other.read_bytes(), name


def test_a_dataset_that_has_no_camera_names_the_flag_that_helps(
    job: RunJob, tmp_path: Path
) -> None:
    root = write_states(tmp_path / "dataset", env_state=False, version="v3.0")
    refused = job(input=root, **SHORT | {"backbone_weights": "none"})
    assert refused.code == 3
    assert refused.manifest["code"] == "camera-none"
    assert "--camera_keys none" in refused.errors[0]
    ended = job(input=root, run_name="again", camera_keys="none", **SHORT)
    assert ended.code == 0, ended.err
    VALIDATOR.validate(ended.manifest)
    assert ended.manifest["policy"]["inputs"] == ["qpos"]
    assert ended.contract.env_state is None
    assert ended.contract.statistics.env_state_mean is None
    assert ended.manifest["conversion"]["env_state"] is None
    stats = load_stats(ended.output / "checkpoints/again/dataset_stats.pkl")
    assert not [name for name in stats if name.startswith("env_state")]


def test_upstreams_command_reads_no_image_without_cameras(tmp_path: Path) -> None:
    write_official(tmp_path / "episodes", [8, 12, 9])
    with h5py.File(tmp_path / "episodes/episode_1.hdf5", "r+") as file:
        del file["observations/images/top"]  # broken, but nobody looks
        file["observations/images/top"] = np.zeros((3, 4), np.float32)
    words = (
        f"--dataset_dir {tmp_path}/episodes --ckpt_dir {tmp_path}/run --policy_class ACT "
        "--task_name t --batch_size 8 --seed 0 --num_epochs 2 --lr 1e-5 --kl_weight 10 "
        "--chunk_size 10 --hidden_dim 32 --dim_feedforward 32 --device cpu"
    ).split()
    refused = run_module("act.imitate_episodes", *words, output=tmp_path / "run")
    assert refused.code in (2, 3)  # the weights, or the images
    for run in ("run", "again"):  # a run that is finished is found to be so
        ended = run_module(
            "act.imitate_episodes", *words, "--camera_names", "none", output=tmp_path / "run"
        )
        assert ended.code == 0, (run, ended.err)
    VALIDATOR.validate(ended.manifest)
    assert ended.manifest["policy"]["inputs"] == ["qpos"]


def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(training: Ended, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "input": training.output.parent / "dataset",
        "camera_keys": "none",
        "keep_converted_hdf5": True,
        **LONG,
    }
    folder = tmp_path / "checkpoints/test"
    process = start_job(tmp_path, streams=(subprocess.DEVNULL, subprocess.DEVNULL), **given)
    wait_for(lambda: process.poll() is not None or (folder / "metrics.jsonl").exists())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=HANGS_S) == 75
    assert (folder / "state.ckpt").exists()
    ended = run_job(tmp_path, **given)
    assert ended.code == 0, ended.err
    assert_same(folder, training.output / "checkpoints/test")


def test_two_processes_follow_the_losses_of_one(job: RunJob, tmp_path: Path) -> None:
    root = write_states(tmp_path / "dataset", env_state=True)
    found = []
    for count in (1, 2):
        ended = job(
            output=tmp_path / str(count),
            input=root,
            camera_keys="none",
            processes=count,
            dropout=0,
            **SHORT,
        )
        assert ended.code == 0, ended.err
        lines = (ended.output / "checkpoints/test/metrics.jsonl").read_text().splitlines()
        found.append([json.loads(line) for line in lines])
    for one, other in zip(*found, strict=True):
        for part in ("train", "val"):
            assert other[part]["loss"] == pytest.approx(one[part]["loss"], rel=1e-5)


def test_memory_of_a_step_without_images_is_foreseen(tmp_path: Path) -> None:
    """Beside what the kernel saw of the whole process: four chunks of 100."""
    given = {"input": write_states(tmp_path / "dataset", env_state=False), "camera_keys": "none"}
    sizes = {"hidden_dim": 256, "dim_feedforward": 1024, "chunk_size": 100, "num_epochs": 1}
    words = arguments(tmp_path, **given | SHORT | sizes)
    foreseen, peak = foreseen_and_peak_gb(*words)
    assert 0.7 < foreseen / peak < 1.3


def test_an_environment_state_beside_cameras(job: RunJob, tmp_path: Path) -> None:
    root = shutil.copytree(SMALL / "v30_h264", tmp_path / "dataset")
    add_env_state(root)
    asked = job(input=root, num_epochs=1, max_episodes=2, env_state_key=ENV_STATE)
    assert asked.code == 0, asked.err
    VALIDATOR.validate(asked.manifest)
    assert asked.manifest["policy"]["inputs"] == ["qpos", "image", "env_state"]
    assert asked.contract.env_state
    assert [dim.name for dim in asked.contract.env_state.dims] == [
        f"{ENV_STATE}[{i}]" for i in range(3)
    ]
    assert asked.manifest["conversion"]["env_state"]["dims"] == 3  # --state_dim is of the others
    weights = load_weights(asked.output / "checkpoints/test/policy_last.ckpt")
    assert weights["model.additional_pos_embed.weight"].shape == (3, 32)
