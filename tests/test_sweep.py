"""`sweep`: which runs a file asks for, what they share, how an interrupted one is resumed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from job.errors import UsageError
from job.sweep import OfJob, Run, read_sweep, share
from lerobot_to_act import JobFlags, parse
from tests.support.backbone import backbone_file
from tests.support.commands import TINY, command_environment
from tests.support.errors import raises_code
from tests.support.jobs import Job
from tests.support.markdown import Page
from tests.support.paths import ROOT, SMALL

SHARED = {"task_name": "sim_a", "camera_keys": "none", "num_epochs": 1}


def written(path: Path, **content: Any) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def names(runs: list[Run]) -> list[str]:
    return [run.name for run in runs]


OF_JOB = OfJob(JobFlags, parse, lambda _: True, ["nothing"])


def understood(words: Any) -> JobFlags:
    return parse(words, {})


def test_a_grid_is_every_combination(tmp_path: Path) -> None:
    grid = {"learning_rate": [1e-5, 1e-4], "chunk_size": [10, 20]}
    runs, staged = read_sweep(written(tmp_path / "s.yaml", flags=SHARED, grid=grid), OF_JOB)
    assert not staged
    assert names(runs) == [
        "s_learning_rate_1.0e-05_chunk_size_10",
        "s_learning_rate_1.0e-05_chunk_size_20",
        "s_learning_rate_0.0001_chunk_size_10",
        "s_learning_rate_0.0001_chunk_size_20",
    ]
    flags = understood(runs[1].words)
    assert (flags.learning_rate, flags.chunk_size, flags.task_name) == (1e-5, 20, "sim_a")
    assert names(share(runs, "1/2")) == [runs[1].name, runs[3].name]
    assert share(runs, "all") == runs


def test_runs_and_stages_have_their_own_flags(tmp_path: Path) -> None:
    given = [{"run_name": "one"}, {"seed": 3, "keep_state": True, "input": ["/a", "/b"]}]
    runs, _ = read_sweep(written(tmp_path / "s.yaml", flags=SHARED, runs=given), OF_JOB)
    assert names(runs) == ["one", "s_1"]
    second = parse(runs[1].words, runs[1].variables)
    assert (second.seed, second.keep_state, len(second.input)) == (3, True, 2)
    usual = {"task_name": "sim_a", "backbone_weights": "none"}
    runs, staged = read_sweep(written(tmp_path / "s.yaml", flags=usual, stages=given), OF_JOB)
    assert staged
    assert ["--backbone_weights=none" in run.words for run in runs] == [True, False]
    starts = [parse(run.words, run.variables).init_weights for run in runs]
    assert starts == ["", "one"]


@pytest.mark.parametrize(
    ("outputs", "start"),
    [
        (("/a", "/a"), "s_0"),
        (("/a", "/b"), "/a/checkpoints/s_0"),
        (("s3://a/b", "s3://a/c"), "s3://a/b/checkpoints/s_0"),
        (("hf://me/a@s_0", "hf://me/a@s_1"), "hf://me/a@s_0"),
    ],
)
def test_a_stage_finds_the_weights_of_the_one_before(
    tmp_path: Path, outputs: tuple[str, str], start: str
) -> None:
    stages = [{"output": one} for one in outputs]
    usual = {"task_name": "sim_a", "init_weights": "base"}
    runs, _ = read_sweep(written(tmp_path / "s.yaml", flags=usual, stages=stages), OF_JOB)
    starts = [parse(run.words, run.variables).init_weights for run in runs]
    assert starts == ["base", start]


@pytest.mark.parametrize(
    ("content", "code", "expected"),
    [
        ({"flags": SHARED}, "sweep-unreadable", "none of them"),
        ({"runs": [{}], "grid": {}}, "sweep-unreadable", "grid and runs"),
        ({"run": [{}]}, "sweep-unreadable", "found run"),
        ({"flags": SHARED, "runs": []}, "sweep-unreadable", "one entry at least"),
        ({"flags": SHARED, "runs": [{"run_name": "a"}] * 2}, "sweep-unreadable", "2 runs are"),
        ({"flags": SHARED, "runs": [{"batchsize": 3}]}, "flag-unknown", "run s_0: .*batch_size"),
        ({"flags": SHARED, "grid": {}}, "sweep-unreadable", "grid: expected flags"),
        ({"flags": {"task_name": {"a": "b"}}, "runs": [{}]}, "sweep-unreadable", "neither"),
        ({"flags": SHARED, "grid": {"batch_size": [0]}}, "flag-value", "batch_size is 0"),
    ],
)
def test_a_file_that_cannot_be_run_is_refused_before_anything_runs(
    tmp_path: Path, content: dict[str, Any], code: str, expected: str
) -> None:
    with raises_code(UsageError, code, expected):
        read_sweep(written(tmp_path / "s.yaml", **content), OF_JOB)


def test_a_switch_that_is_off_wins_over_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACT_KEEP_STATE", "true")
    runs, _ = read_sweep(
        written(tmp_path / "s.yaml", flags=SHARED, runs=[{"keep_state": False}, {}]), OF_JOB
    )
    found = [parse(run.words, run.environment).keep_state for run in runs]
    assert found == [False, True]


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("flags: {seed: 1, seed: 2}\nruns: [{}]")
    with raises_code(UsageError, "config-unreadable", "seed stands twice"):
        read_sweep(tmp_path / "s.yaml", OF_JOB)


def test_a_secret_is_neither_shown_nor_an_argument(tmp_path: Path) -> None:
    url = "https://user:TOPSECRET@hooks.example/SECRETPATH"
    file = written(tmp_path / "s.yaml", flags=SHARED, runs=[{"notify_url": url}])
    [run], _ = read_sweep(file, OF_JOB)
    assert "SECRET" not in " ".join(run.words)
    assert parse(run.words, run.environment).notify_url == url
    code, said = sweep(file, "--dry_run")
    assert code == 0
    assert "SECRET" not in said
    code, said = sweep(file, "--config", str(file))
    assert code == 2
    assert "--config cannot apply" in said


def test_the_page_shows_three_rounds_and_a_grid_of_four(tmp_path: Path) -> None:
    found: list[tuple[int, bool]] = []
    for block in Page(ROOT / "docs/rounds.md").blocks:
        if block.language == "yaml":
            file = tmp_path / f"{len(found)}.yaml"
            file.write_text(block.text)
            runs, staged = read_sweep(file, OF_JOB)
            found.append((len(runs), staged))
    assert found == [(3, True), (4, False)]


def sweep(path: Path, *words: str) -> tuple[int, str]:
    job = Job(["entrypoint.py", "sweep", path, *words], command_environment(), -1, -1)
    out, err = job.communicate(timeout=300)
    return job.wait(), out + err


def flags_in(output: Path, **more: Any) -> dict[str, Any]:
    tiny = {name.removeprefix("--"): value for name, value in TINY.items()}
    off = {"eval_after_train": "off", "report": "off", "output": str(output)}
    found = {**SHARED, **tiny, **off, "input": str(SMALL / "v21_h264"), **more}
    assert backbone_file()
    return found


@pytest.mark.slow
def test_runs_convert_once_and_end_on_one_page(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    flags = flags_in(output)
    file = written(tmp_path / "s.yaml", flags=flags, grid={"seed": [0, 1]})
    code, said = sweep(file, "--dry_run")
    assert code == 0
    assert not list(output.iterdir())
    code, said = sweep(file)
    assert code == 0, said
    runs = output / "checkpoints"
    assert {path.name for path in runs.iterdir()} == {"s_seed_0", "s_seed_1"}
    assert said.count("0 of 4 episodes, 0 of them") + said.count("4 of 4 episodes, 0 of them") == 1
    assert (output / "compare/compare.html").exists()
    assert not [*output.glob("converted_hdf5/*")]
    code, said = sweep(file)
    assert code == 0
    assert said.count("holds the policy of this very run") == 2


@pytest.mark.slow
def test_stages_start_from_each_other_and_a_failure_ends_them(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    stages = [{"run_name": "one"}, {"run_name": "two"}, {"run_name": "three", "state_dim": 3}]
    file = written(tmp_path / "s.yaml", flags=flags_in(output), stages=stages)
    code, said = sweep(file)
    assert code == 2, said
    ancestor = json.loads((output / "checkpoints/two/manifest.json").read_text())["ancestor"]
    assert "checkpoints/one/" in ancestor["path"]
    assert "three ended with 2" in said
