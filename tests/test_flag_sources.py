"""Flags in environment variables and in files: which wins, what is refused and recorded."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from docs import every_flag
from job.bounds import at_least
from job.command_line import OneLineParser, add_flags, given_output, make
from job.errors import UsageError
from job.every_flag import EVERY_FLAG
from job.flags import Flags, Pair, flag, names_of
from lerobot_to_act import JobFlags, main, parse
from tests.support.commands import run_job
from tests.support.errors import raises_code
from tests.support.paths import SMALL

NAMES = ["--run_name", "a", "--task_name", "sim_a"]


@dataclass(frozen=True, kw_only=True)
class Fruit(Flags):
    """A flag of each type, by names of real ones, of a command that does not exist."""

    title = "fruit"

    batch_size: int = flag("Number.", 2, check=at_least(1))
    learning_rate: float = flag("Number.", 1e-4)
    vae: str = flag("Word.", "on", choices=("on", "off"))
    keep_state: bool = flag("Switch.", False)
    camera_keys: tuple[str, ...] = flag("Names.", ())
    input: tuple[Path, ...] = flag("Folders.", (Path("/data/input"),))
    keys: tuple[Pair, ...] = flag("Pairs.", ())


def read(*words: str, **environ: str) -> Any:
    made = OneLineParser("fruit", "Fruit.", "")
    add_flags(made, Fruit, environ=environ)
    return make(Fruit, made.values(words), environ)


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_the_line_wins_then_the_environment_then_the_file(tmp_path: Path) -> None:
    file = written(tmp_path / "run.yaml", "batch_size: 3\nlearning_rate: 1e-5\nvae: off\n")
    found = read("--config", file, "--batch_size", "5", ACT_BATCH_SIZE="4", ACT_LEARNING_RATE="0.1")
    assert (found.batch_size, found.learning_rate, found.vae) == (5, 0.1, "off")
    assert found.origins == {
        "batch_size": "command line",
        "learning_rate": "environment ACT_LEARNING_RATE",
        "vae": f"file {file}",
    }
    assert found.given == found.written == found.origins.keys()
    assert read(ACT_CONFIG=file).batch_size == 3
    assert read(ACT_BATCH_SIZE="").batch_size == 2


def test_each_type_is_read_from_variables_and_files(tmp_path: Path) -> None:
    file = written(
        tmp_path / "run.yaml",
        "keep_state: true\ncamera_keys: [top, wrist]\ninput: [/a, /b]\nkeys: [[x, y], u=v]\n",
    )
    of_file = read("--config", file)
    of_variables = read(
        ACT_KEEP_STATE="true", ACT_CAMERA_KEYS="top,wrist", ACT_INPUT="/a,/b", ACT_KEYS="x=y,u=v"
    )
    for found in (of_file, of_variables):
        assert found.keep_state is True
        assert found.camera_keys == ("top", "wrist")
        assert found.input == (Path("/a"), Path("/b"))
        assert found.keys == (("x", "y"), ("u", "v"))
    off = read("--config", file, ACT_KEEP_STATE="false", ACT_CAMERA_KEYS="auto")
    assert off.keep_state is False
    assert off.camera_keys == ()
    assert read("--config", file, "--input", "/c").input == (Path("/c"),)


def test_the_flags_of_a_manifest_are_a_file(tmp_path: Path) -> None:
    flags = parse([*NAMES, "--batch_size", "8", "--camera_keys", "top", "--keep_state"])
    file = written(tmp_path / "flags.json", json.dumps(flags.resolved(), indent=2))
    again = parse(["--config", file], {})
    assert again.resolved() == flags.resolved()
    assert again.given == flags.given
    assert again.written > flags.given | {"learning_rate", "jpeg_quality"}
    assert set(again.origins.values()) == {f"file {file}"}


@pytest.mark.parametrize(
    ("environ", "text", "code", "expected"),
    [
        ({"ACT_BATCHSIZE": "3"}, "", "flag-unknown", "ACT_BATCHSIZE: .*nearest .*ACT_BATCH_SIZE"),
        ({"ACT_BATCH_SIZE": "x"}, "", "flag-value", "environment ACT_BATCH_SIZE: .*'x'"),
        ({"ACT_BATCH_SIZE": "0"}, "", "flag-value", "--batch_size is from environment ACT_BATCH"),
        ({"ACT_KEEP_STATE": "yes"}, "", "flag-value", "keep_state is 'yes', expected true or"),
        ({}, "batchsize: 3", "flag-unknown", "batchsize .*nearest flag is batch_size"),
        ({}, "batch_size: x", "flag-value", "file .*run.yaml: .*'x'"),
        ({}, "batch_size: 0", "flag-value", "--batch_size is from file .*run.yaml"),
        ({}, "batch_size: {a: 1}", "flag-value", "batch_size is neither"),
        ({}, "batch_size: [1, 2]", "flag-value", "'1,2'"),
        ({}, "- a\n- b", "config-unreadable", "holds no flags by name"),
        ({}, "a: [", "config-unreadable", "is no YAML"),
        ({}, "seed: 1\nseed: 2", "config-unreadable", "seed stands twice"),
        ({}, "[" * 20_000, "config-unreadable", "is no YAML"),
        ({}, "a: !!python/object/apply:os.getcwd []", "flag-unknown", "a is no flag"),
        ({"ACT_CONFIG": "/nowhere.yaml"}, "", "config-unreadable", "nowhere.yaml: cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line_that_says_where(
    tmp_path: Path, environ: dict[str, str], text: str, code: str, expected: str
) -> None:
    words = ["--config", written(tmp_path / "run.yaml", text)] if text else []
    with raises_code(UsageError, code, expected):
        read(*words, **environ)


def test_what_another_command_takes_is_passed_over(tmp_path: Path) -> None:
    file = written(tmp_path / "run.yaml", "port: 8000\nbatch_size: 3")
    found = read("--config", file, ACT_PORT="1", ACT_API_KEY="secret", ACTION="x")
    assert found.batch_size == 3
    assert "port" not in found.origins


def test_every_flag_of_every_command_has_a_variable() -> None:
    assert "dataset_dir" in every_flag.names()
    assert names_of(JobFlags) <= EVERY_FLAG == every_flag.names()


def test_the_output_of_a_wrong_command_is_known_from_the_environment() -> None:
    assert given_output(["--bad"], Path("/d"), {"ACT_OUTPUT": "/here"}) == Path("/here")
    assert given_output(["--output", "/x"], Path("/d"), {"ACT_OUTPUT": "/here"}) == Path("/x")
    assert given_output([], Path("/d"), {}) == Path("/d")


def test_the_output_of_a_wrong_command_is_known_from_a_file(tmp_path: Path) -> None:
    file = written(tmp_path / "run.yaml", "output: /there")
    assert given_output(["--config", file], Path("/d"), {}) == Path("/there")
    assert given_output([], Path("/d"), {"ACT_CONFIG": file}) == Path("/there")
    assert given_output(["--output", "s3://a/b"], Path("/d"), {}) == Path("/d")


def test_what_the_line_replaces_may_be_wrong() -> None:
    assert read("--batch_size", "3", ACT_BATCH_SIZE="x").batch_size == 3


def test_a_required_flag_may_stand_anywhere(tmp_path: Path) -> None:
    file = written(tmp_path / "run.yaml", "task_name: sim_a")
    assert parse(["--config", file], {"ACT_RUN_NAME": "b"}).run_name == "b"
    with raises_code(UsageError, "flag-missing", "--run_name"):
        parse(["--config", file], {})


def test_help_names_the_file_and_the_variables(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "--config FILE" in shown
    assert "ACT_RUN_NAME" in shown


@pytest.mark.slow
def test_a_job_records_where_its_flags_stood(tmp_path: Path) -> None:
    file = written(tmp_path / "run.yaml", "num_epochs: 1\nseed: 3")
    environment = {"ACT_KL_WEIGHT": "5"}
    words, options = ["--config", file], {"input": SMALL / "v30_h264", "environment": environment}
    done = run_job(tmp_path / "out", words, **options)
    assert done.code == 0, done.err
    origins = done.manifest["flag_origins"]
    assert origins["seed"] == f"file {file}"
    assert origins["kl_weight"] == "environment ACT_KL_WEIGHT"
    assert origins["run_name"] == "command line"
    assert done.manifest["flags"]["seed"] == 3
    assert done.manifest["flags"]["kl_weight"] == 5
