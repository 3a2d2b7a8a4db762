"""`--eval_env`: a rate of success while a run trains."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job.errors import UsageError
from lerobot_to_act import parse
from tests.support.commands import Ended, arguments
from tests.support.errors import raises_code
from tests.support.paths import SMALL

pytestmark = pytest.mark.slow

Job = Callable[..., Ended]
FLAGS: dict[str, Any] = {
    "input": SMALL / "v21_h264",
    "num_epochs": 6,
    "batch_size": 1,
    "eval_env": "tests.support.still:make",
    "eval_every": 2,
    "eval_episodes": 8,
}


def rows(done: Ended) -> list[dict[str, Any]]:
    lines = (done.output / "checkpoints/test/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_rate_is_measured_and_a_plateau_ends_the_run(job: Job) -> None:
    """Two of the eight initial states are a success, whatever the policy does."""
    done = job(stop_at_plateau=1, **FLAGS)
    assert done.code == 0, done.err
    assert [row.get("rate") for row in rows(done)] == [None, 0.25, None, 0.25]
    assert "no higher rate of success in the last 1" in done.out
    assert done.manifest["status"] == "completed"
    folder = done.output / "checkpoints/test"
    assert not (folder / ".eval_env").exists()
    picture = "checkpoints/test/success_rate_seed_0.png"
    assert (done.output / picture).read_bytes().startswith(b"\x89PNG")
    assert picture in {one["path"] for one in done.manifest["artifacts"]}


def test_an_environment_that_does_not_fit_is_refused(job: Job) -> None:
    done = job(**FLAGS | {"eval_map": "images/front=-"})
    assert done.code == 2
    [line] = done.errors
    assert "--map" in line
    done = job(**FLAGS | {"eval_env": "tests.support.still:none"})
    assert done.code == 2
    assert "tests.support.still" in done.errors[0]


@pytest.mark.parametrize("name", ["eval_every", "eval_episodes", "stop_at_plateau"])
def test_what_a_rate_needs_is_of_no_use_without_one(tmp_path: Path, name: str) -> None:
    with raises_code(UsageError, "flag-unused", f"--{name}"):
        parse(arguments(tmp_path, **{name: 3}), {})
