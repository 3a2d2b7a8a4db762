"""What datasets count in the samples, and a split of one's own."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act.batches.order import Purpose, epoch_order
from act.batches.shares import Shares, shares_by_temperature
from act.batches.split import split_episodes
from job.errors import UsageError
from lerobot_to_act import parse
from tests.support.commands import run_job
from tests.support.episodes import write_official
from tests.support.errors import raises_code
from tests.support.paths import SMALL

METRICS = "checkpoints/test/metrics.jsonl"
LENGTHS = [10] * 12
DATASET = (0,) * 8 + (1,) * 4  # eight episodes of one, four of another
TRAINED = [0, 1, 2, 3, 5, 6, 8, 9, 11]


def order_of(shares: Shares | None, epoch: int, each: int = 2) -> list[int]:
    found = epoch_order(TRAINED, LENGTHS, 7, epoch, Purpose.TRAIN_ORDER, each, shares)
    return found.episode.tolist()


@pytest.mark.parametrize("weights", [(0.7, 0.3), (0.05, 0.95), (0.5, 0.5)])
def test_each_dataset_has_its_share_at_any_moment(weights: tuple[float, float]) -> None:
    shares, counts, total = Shares(weights, DATASET), Counter[int](), 0
    for epoch in range(200):
        drawn = order_of(shares, epoch)
        assert len(drawn) == 2 * len(TRAINED)
        assert set(drawn) <= set(TRAINED)
        counts.update(DATASET[one] for one in drawn)
        total += len(drawn)
        assert abs(counts[0] - weights[0] * total) < 4
        of_first = Counter(one for one in drawn if DATASET[one] == 0)
        assert max(of_first.values(), default=0) - min(of_first.values(), default=0) <= 1


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    shares = Shares((0.7, 0.3), DATASET)
    assert order_of(shares, 3) == order_of(shares, 3)
    assert order_of(shares, 3) != order_of(shares, 4)
    assert sorted(order_of(None, 3)) == sorted([*TRAINED, *TRAINED])


def test_a_temperature_of_one_is_by_the_episodes() -> None:
    assert shares_by_temperature([30, 10], 1) == pytest.approx((0.75, 0.25))
    first, second = shares_by_temperature([90, 10], 2)
    assert (first, second) == pytest.approx((0.75, 0.25))
    assert shares_by_temperature([90, 10], 1e9) == pytest.approx((0.5, 0.5))


def test_a_split_of_ones_own() -> None:
    assert split_episodes(6, "0:2,5") == ([2, 3, 4], [0, 1, 5])
    assert split_episodes(10) == split_episodes(10, "auto")
    for text in ("10:20", "0:6"):
        with raises_code(UsageError, "flag-value", "none is left"):
            split_episodes(6, text)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--dataset_weights", "0.7,x"], "flag-value"),
        (["--dataset_weights", "0.7,0"], "flag-value"),
        (["--dataset_weights", "1,1", "--dataset_temperature", "2"], "flags-conflict"),
        (["--val_episodes", "all"], "flag-value"),
        (["--val_episodes", "5:2"], "flag-value"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: list[str], code: str) -> None:
    with raises_code(UsageError, code, words[0]):
        parse(["--run_name", "a", "--task_name", "b", *words], {})


@pytest.mark.slow
def test_a_job_trains_by_shares_and_validates_on_what_was_chosen(tmp_path: Path) -> None:
    flags: dict[str, Any] = {
        "camera_keys": "none",
        "backbone_weights": None,
        "num_epochs": 2,
        "val_episodes": "1,6",
        "dataset_weights": "3,1",
        "dropout": 0,  # its masks are each process's own
        "learning_rate": 1e-5,
        "input": SMALL / "v30_av1",
    }
    both = ["--input", str(SMALL / "v21_h264")]
    done = run_job(tmp_path / "one", both, **flags)
    assert done.code == 0, done.err
    split = done.manifest["split"]
    assert split["val"] == [1, 6]
    assert split["train"] == [0, 2, 3, 4, 5, 7]
    assert [one["share"] for one in split["shares"]] == [0.75, 0.25]
    assert [one["episodes"] for one in split["shares"]] == [3, 3]
    assert "75.0% of the samples from 3 training episodes of" in done.out
    two = run_job(tmp_path / "two", both, **flags | {"processes": 2})
    assert two.code == 0, two.err
    rows = [
        [json.loads(line) for line in (path / METRICS).read_text().splitlines()]
        for path in (done.output, two.output)
    ]
    np.testing.assert_allclose(
        [row["train"]["l1"] for row in rows[0]], [row["train"]["l1"] for row in rows[1]], rtol=1e-3
    )
    refused = run_job(tmp_path / "three", both, **flags | {"dataset_weights": "1,1,1"})
    assert refused.code == 2
    assert "2 datasets are given" in refused.errors[0]


def test_a_split_that_is_refused_leaves_no_run(tmp_path: Path) -> None:
    flags: dict[str, Any] = {"camera_keys": "none", "backbone_weights": None, "num_epochs": 1}
    refused = run_job(tmp_path / "a", input=SMALL / "v21_h264", val_episodes="99", **flags)
    assert refused.code == 2
    done = run_job(tmp_path / "a", input=SMALL / "v21_h264", val_episodes="0", **flags)
    assert done.code == 0, done.err


def test_an_evaluation_holds_out_the_task_that_the_run_did(tmp_path: Path) -> None:
    dataset = shutil.copytree(SMALL / "v21_h264", tmp_path / "dataset")
    listed = dataset / "meta/episodes.jsonl"
    rows = [json.loads(line) for line in listed.read_text().splitlines()]
    for row in (rows[0], rows[2]):
        row["tasks"] = ["Put it down."]
    listed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags: dict[str, Any] = {
        "input": dataset,
        "camera_keys": "none",
        "backbone_weights": None,
        "num_epochs": 1,
        "val_episodes": "task:Put it down.",
    }
    done = run_job(tmp_path / "out", **flags, eval_after_train="on")
    assert done.code == 0, done.err
    found = json.loads((done.output / "checkpoints/test/evaluation.json").read_text())
    assert [one["number"] for one in found["episodes"]] == [0, 2]
    assert done.manifest["flags"]["val_episodes"] == "0,2"
    again = run_job(tmp_path / "out", **flags | {"val_episodes": "0,2"})
    assert again.code == 0, again.err
    refused = run_job(tmp_path / "out", **flags | {"val_episodes": "task:Put it dwon."})
    assert refused.code == 2
    assert "the nearest task is Put it down." in refused.errors[0]


@pytest.mark.parametrize(
    ("extra", "code"), [((), "flag-value"), (("--only_whole_episodes",), "flags-conflict")]
)
def test_a_task_that_is_not_known_is_refused(
    extra: tuple[str, ...], code: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"input": SMALL / "v21_h264", "num_epochs": 1}
    refused = run_job(tmp_path / "out", extra, **given, val_episodes="task:Dance.")
    assert (refused.code, refused.manifest["code"]) == (2, code)


def test_episode_files_have_no_tasks(tmp_path: Path) -> None:
    write_official(tmp_path / "episodes", [5, 5])
    job = run_job(tmp_path / "out", input=tmp_path / "episodes", val_episodes="task:Dance.")
    assert job.code == 2
    assert "give numbers" in job.errors[0]
