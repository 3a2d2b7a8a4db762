"""Trainings that start from weights: what is taken over, refused, kept and recorded."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from act.policies.flags import InitFlags
from act.policies.statistics import load_stats
from act.policies.upstream_contract import BEST, STATS
from act.policies.weights import load_weights
from act.training.ancestor import read_start, starting_stats, take_over
from act.training.data import open_data
from act.training.setup import make_policy
from job.errors import UsageError
from job.output_names import CONTRACT
from job.whole_files import sha256
from tests.support.buckets import Buckets
from tests.support.commands import Ended, make_config, run_job
from tests.support.episodes import write_episodes
from tests.support.errors import raises_code
from tests.support.paths import SMALL
from tests.support.training import Short

NO_CAMERAS: dict[str, Any] = {"camera_keys": "none", "backbone_weights": None}
NEW_RUN: dict[str, Any] = {"run_name": "next", "input": SMALL / "v21_h264"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run without cameras, of 7 dims."""
    output = tmp_path_factory.mktemp("trained") / "out"
    done = run_job(output, input=SMALL / "v21_h264", num_epochs=3, **NO_CAMERAS)
    assert done.code == 0, done.err
    return output


def weights_of(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_weights(folder / f"policy_{name}.ckpt")


def start_from(done: Path, tmp_path: Path, **flags: Any) -> Ended:
    named = NO_CAMERAS | NEW_RUN | {"num_epochs": 1, "init_weights": done} | flags
    return run_job(tmp_path / "out", **named)


def test_a_run_starts_with_the_weights_and_statistics_of_another(
    trained: Path, tmp_path: Path
) -> None:
    folder = trained / "checkpoints/test"
    done = start_from(folder, tmp_path)
    assert done.code == 0, done.err
    run = done.output / "checkpoints/next"
    before, now = weights_of(folder, "best"), weights_of(run, "last")
    assert not all(torch.equal(before[name], now[name]) for name in before)  # it has trained
    first = weights_of(run, "epoch_0_seed_0")
    assert all(torch.equal(before[name], first[name]) for name in before)
    ancestor = done.manifest["ancestor"]
    assert ancestor["sha256"] == sha256(folder / BEST)
    assert ancestor["statistics"] == "keep"
    assert ancestor["new_layers"] == []
    for name, values in load_stats(folder / STATS).items():
        if name != "example_qpos":
            np.testing.assert_array_equal(load_stats(run / STATS)[name], values)
    losses = [json.loads(one) for one in (run / "metrics.jsonl").read_text().splitlines()]
    earlier = [json.loads(one) for one in (folder / "metrics.jsonl").read_text().splitlines()]
    assert losses[0]["val"]["l1"] < earlier[0]["val"]["l1"]


@pytest.mark.slow
def test_weights_at_an_address_are_those_of_the_folder(
    trained: Path, s3: Buckets, bucket: str, tmp_path: Path
) -> None:
    """Only what is needed is fetched: neither the metrics nor another checkpoint."""
    folder = trained / "checkpoints/test"
    s3.put(folder, f"{bucket}/run")
    digests = []
    for address in (f"{bucket}/run", f"{bucket}/run/policy_last.ckpt"):
        cache = tmp_path / address.rpartition("/")[2]
        flags = {"cache": cache, "environment": s3.environment, "run_name": cache.name}
        done = start_from(trained, tmp_path, **flags | {"init_weights": address})
        assert done.code == 0, done.err
        digests.append(done.manifest["ancestor"]["sha256"])
        kept = {path.name for path in cache.rglob("*.*") if not path.name.startswith(".")}
        assert len([name for name in kept if name.endswith(".ckpt")]) == 1
        assert "metrics.jsonl" not in kept
    contract = json.loads((folder / CONTRACT).read_text())
    expected_files = [contract["file"], "policy_last.ckpt"]
    assert digests == [sha256(folder / name) for name in expected_files]
    done = start_from(trained, tmp_path, init_weights=f"{bucket}/nothing", cache=tmp_path / "c")
    assert done.code == 2
    assert "nothing is there" in done.errors[0]


@pytest.mark.slow
def test_the_weights_are_not_needed_once_a_state_is_there(trained: Path, tmp_path: Path) -> None:
    """A run that started from weights goes on to the same bytes without them."""

    copy = shutil.copytree(trained / "checkpoints/test", tmp_path / "copy")
    flags: dict[str, Any] = {"num_epochs": 4, "init_weights": copy}
    whole = run_job(tmp_path / "whole", **NO_CAMERAS | NEW_RUN | flags)
    assert whole.code == 0, whole.err
    short = NO_CAMERAS | NEW_RUN | flags
    cut = run_job(tmp_path / "cut", **short | {"max_hours": 1e-9, "state_interval_minutes": 0})
    assert cut.code in (0, 75), cut.err
    if (tmp_path / "cut/checkpoints/next/state.ckpt").exists():
        shutil.rmtree(copy)
    again = run_job(tmp_path / "cut", **short)
    assert again.code == 0, again.err
    for name in ("policy_last.ckpt", STATS):
        path = Path("checkpoints/next") / name
        assert (again.output / path).read_bytes() == (whole.output / path).read_bytes()


class Given:
    """A policy's folder and a network of other flags, in this process."""

    def __init__(self, tmp_path: Path, **flags: Any) -> None:
        self.tmp_path = tmp_path
        short = Short(tmp_path, camera_names="none", backbone_weights=None)
        short.finish()
        self.folder = short.folder
        self.data = open_data(write_episodes(tmp_path / "episodes", "raw"), ("none",))
        self.flags = flags

    def take(self, init: InitFlags, **flags: Any) -> Any:
        config = make_config(
            self.tmp_path, camera_names="none", backbone_weights=None, chunk_size=5, **flags
        )
        policy, _ = make_policy(config, self.data.episodes)
        start = read_start(init, self.tmp_path)
        before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
        ancestor = take_over(start, init, policy, self.data.episodes)
        return start, before, policy.state_dict(), ancestor


def init(folder: Path, *allow: str, stats: str = "keep") -> InitFlags:
    return InitFlags(init_weights=str(folder), init_allow=allow, init_stats=stats)


def test_a_longer_chunk_is_refused_and_taken_where_it_is_allowed(tmp_path: Path) -> None:
    given = Given(tmp_path)
    start, _, now, _ = given.take(init(given.folder))
    assert all(torch.equal(start.weights[name], now[name]) for name in now)
    config = {"hidden_dim": 64}
    with raises_code(UsageError, "weights-mismatch", "flags of the network"):
        given.take(init(given.folder), **config)


@pytest.mark.parametrize("reason", ["state_dim", "action_dim"])
def test_layers_of_other_dims_start_at_random(tmp_path: Path, reason: str) -> None:
    given = Given(tmp_path)
    start, before, now, ancestor = given.take(init(given.folder, reason))
    new = {name for name in now if not torch.equal(start.weights[name], now[name])}
    assert new
    assert all(torch.equal(now[name], before[name]) for name in new)
    expected = {
        "state_dim": {"model.input_proj_robot_state", "model.encoder_joint_proj"},
        "action_dim": {"model.action_head", "model.encoder_action_proj"},
    }
    assert set(ancestor.new_layers) == expected[reason]
    own = {**given.data.stats}
    kept = starting_stats(start, init(given.folder, reason), own)
    which = "qpos" if reason == "state_dim" else "action"
    assert kept[f"{which}_mean"] is own[f"{which}_mean"]


def test_joints_in_another_order_are_refused(tmp_path: Path) -> None:
    given = Given(tmp_path)
    info = given.data.episodes.infos[0]
    names = tuple(f"joint_{number}" for number in range(info.qpos_dim))
    content = json.loads((given.folder / CONTRACT).read_text())
    for number, dim in enumerate(content["state"]["dims"]):
        dim["name"] = names[number]
    (given.folder / CONTRACT).write_text(json.dumps(content))
    swapped = replace(info, qpos_names=(names[1], names[0], *names[2:]))
    episodes = replace(given.data.episodes, infos=(swapped, *given.data.episodes.infos[1:]))
    given.data = replace(given.data, episodes=episodes)
    with raises_code(UsageError, "weights-mismatch", "joint_0 is now joint_1"):
        given.take(init(given.folder))


def test_data_that_lie_far_off_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = Given(tmp_path)
    start = read_start(init(given.folder), tmp_path)
    own = {**given.data.stats}
    same = starting_stats(start, init(given.folder), own)
    assert "init" not in caplog.text
    np.testing.assert_array_equal(same["qpos_mean"], start.stats["qpos_mean"])
    own["qpos_mean"] = own["qpos_mean"] + 5 * own["qpos_std"]
    starting_stats(start, init(given.folder), own)
    assert "more than 3 of its standard deviations" in caplog.text
    new = starting_stats(start, init(given.folder, stats="new"), own)
    assert new["qpos_mean"] is own["qpos_mean"]


def test_upstreams_folder_and_what_is_none(tmp_path: Path) -> None:
    given = Given(tmp_path)
    (given.folder / CONTRACT).unlink()
    start, _, now, _ = given.take(init(given.folder))
    assert start.path == given.folder / BEST
    assert all(torch.equal(start.weights[name], now[name]) for name in now)
    (given.folder / STATS).unlink()
    with raises_code(UsageError, "checkpoint-missing", STATS):
        given.take(init(given.folder))
    with raises_code(UsageError, "policy-missing"):
        read_start(init(tmp_path / "nowhere"), tmp_path)


def test_flags_that_need_weights_are_refused_without() -> None:
    with raises_code(UsageError, "flag-unused", "--init_stats"):
        InitFlags(init_stats="new", given=frozenset({"init_stats"}))
    with raises_code(UsageError, "flag-value", "--init_allow"):
        InitFlags(init_weights="a", init_allow=("width",))


def test_a_dataset_that_grew_is_told_how_to_go_on(trained: Path, tmp_path: Path) -> None:

    output = shutil.copytree(trained, tmp_path / "out")
    run = output / "checkpoints/test/run.json"
    content = json.loads(run.read_text()) | {"finished": False}
    run.write_text(json.dumps(content))
    done = run_job(output, input=SMALL / "v30_av1", num_epochs=3, **NO_CAMERAS)
    assert done.code == 2
    assert "--init_weights" in done.errors[0]
    done = run_job(
        output,
        input=SMALL / "v30_av1",
        num_epochs=1,
        run_name="grown",
        init_weights="test",
        **NO_CAMERAS,
    )
    assert done.code == 0, done.err
