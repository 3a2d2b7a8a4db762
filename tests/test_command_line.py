"""The flags of every command: declared once, their values checked, each error one line."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from act.average import AverageFlags
from act.contract import ContractFlags
from act.imitate_episodes import UpstreamFlags
from act.imitate_episodes import parse as parse_upstream
from convert.__main__ import parse as parse_convert
from convert.check.__main__ import parse as parse_check
from convert.flags import CheckFlags, ConvertFlags, RunConversionFlags, conversion_only
from job.bounds import at_least
from job.command_line import OneLineParser, add_flags, make
from job.errors import UsageError
from job.flags import Flags, flag, flags_of, names_of, required
from lerobot_to_act import JobFlags, parse
from tests.support.commands import make_config
from tests.support.errors import raises_code
from tests.support.paths import ROOT

COMMANDS: list[type[Flags]] = [
    JobFlags,
    AverageFlags,
    CheckFlags,
    ConvertFlags,
    ContractFlags,
    UpstreamFlags,
]
NAMES = ["--run_name", "a", "--task_name", "sim_a"]


@dataclass(frozen=True, kw_only=True)
class Fruit(Flags):
    """Two flags of a command that does not exist."""

    title = "fruit"

    apples: int = flag("Number of apples.", 2, check=at_least(1))
    peel: str = flag(
        "How it is peeled.", "off", choices=("off", "on"), only_with=("sort", "a", "b")
    )
    sort: str = flag("Sort of fruit.", "a", environ="SORT", same_run=True)


@dataclass(frozen=True, kw_only=True)
class Basket(Fruit):
    """A command that insists on apples."""

    apples: int = required(Fruit, "apples")


def read(kind: type[Flags], *words: str, **environ: str) -> Any:
    made = OneLineParser("fruit", "Fruit.", "")
    add_flags(made, kind, environ=environ)
    return make(kind, made.values(words), environ)


def test_a_flag_has_its_default_its_bound_and_its_choices() -> None:
    assert read(Fruit) == Fruit()
    assert read(Fruit, "--apples", "3").apples == 3
    for words, expected in (
        (["--apples", "0"], "--apples is 0"),
        (["--apples", "x"], "'x'"),
        (["--peel", "all"], "'all'"),
    ):
        with raises_code(UsageError, "flag-value", expected):
            read(Fruit, *words)
    with raises_code(UsageError, "flag-value", "--peel is 'all', .*off, on"):
        Fruit(peel="all")


def test_the_environment_holds_a_default_and_a_flag_counts_more() -> None:
    assert read(Fruit, SORT="b").sort == "b"
    assert read(Fruit, "--sort", "c", SORT="b").sort == "c"
    assert read(Fruit, SORT="").sort == "a"
    assert read(Fruit, SORT="b").given == frozenset()


def test_a_flag_that_cannot_apply_is_refused_only_where_it_is_given() -> None:
    assert read(Fruit, "--sort", "c").peel == "off"
    assert read(Fruit, "--sort", "b", "--peel", "on").peel == "on"
    with raises_code(UsageError, "flag-unused", "--peel .*--sort c"):
        read(Fruit, "--sort", "c", "--peel", "off")


def test_a_required_flag_that_was_mistyped_gets_the_nearest() -> None:
    assert read(Basket, "--apples", "5").apples == 5
    with raises_code(UsageError, "flag-unknown", "--apples"):
        read(Basket, "--appels", "5")
    with raises_code(UsageError, "flag-missing", "--apples"):
        read(Basket, "--sort", "a")


def test_a_part_has_the_values_and_what_was_given_of_its_own() -> None:
    basket = read(Basket, "--apples", "4", "--sort", "b")
    assert basket.part(Fruit) == Fruit(apples=4, sort="b", given=frozenset({"apples", "sort"}))
    assert basket.resolved() == {"apples": 4, "peel": "off", "sort": "b"}
    assert basket.shaping() == {"apples": 4, "peel": "off"}


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_help_texts_are_sentences_that_fit_a_line(kind: type[Flags]) -> None:
    for entry, declared in flags_of(kind):
        assert declared.help[0].isupper(), entry.name
        assert declared.help.endswith("."), entry.name
        assert len(declared.help) <= 80, entry.name


@pytest.mark.parametrize("kind", [CheckFlags, ConvertFlags], ids=lambda kind: kind.__name__)
def test_the_check_and_the_conversion_take_every_flag_that_shapes_a_jobs_data(
    kind: type[Flags],
) -> None:
    shaping = {e.name for e, d in flags_of(RunConversionFlags) if not d.same_run}
    assert shaping | {"input", "only_whole_episodes", "task_name"} <= names_of(kind)


def test_a_command_has_no_flags_of_another() -> None:
    network = {"hidden_dim", "batch_size", "device"}
    assert network <= names_of(JobFlags)
    assert not (network | {"run_name", "resume"}) & (names_of(CheckFlags) | names_of(ConvertFlags))
    assert "keep_converted_hdf5" not in names_of(ConvertFlags)


def test_what_needs_a_conversion_follows_from_the_groups() -> None:
    assert {"camera_keys", "state_key", "image_storage", "keep_converted_hdf5"} <= conversion_only()
    kept = {"input", "camera_names", "max_episodes", "state_dim", "chunk_size", "run_name"}
    kept |= {"episodes", "exclude_episodes", "image_size", "sim", "base_action"}
    assert not conversion_only() & kept


def test_sim_follows_the_tasks_name_and_is_what_makes_a_run(tmp_path: Path) -> None:
    assert make_config(tmp_path, task_name="sim_a").shaping()["sim"] is True
    assert make_config(tmp_path, task_name="a").shaping()["sim"] is False
    assert make_config(tmp_path, task_name="a", sim="true").is_sim
    assert "task_name" not in make_config(tmp_path).shaping()


def test_folders_are_given_in_place_or_by_flag() -> None:
    paths = (Path("a"), Path("b"))
    assert parse_check(["a", "b"]).input == parse_check(["--input", "a", "--input", "b"]).input
    assert parse_check(["a", "b"]).input == paths
    assert parse_check([]).input == JobFlags.input
    for words in (["a", "b", "c"], ["--input", "a", "--input", "b", "--output", "c"]):
        flags = parse_convert(words)
        assert (flags.input, flags.output) == (paths, Path("c"))
    with raises_code(UsageError, "flags-conflict"):
        parse_check(["a", "--input", "b"])
    with raises_code(UsageError, "flags-conflict"):
        parse_convert(["a", "b", "--output", "c"])
    with raises_code(UsageError, "flag-missing", "'a'"):
        parse_convert(["a"])


@pytest.mark.parametrize(("word", "near"), [("chekc", "check"), ("convrt", "convert")])
def test_a_mistyped_command_gets_the_nearest(word: str, near: str) -> None:
    with raises_code(UsageError, "flag-unknown", rf" {near};"):
        parse([word, "dataset"], {})


def test_flags_that_contradict_each_other() -> None:
    for words, code in (
        (["--num_epochs", "0"], "flags-conflict"),
        (["--steps", "5"], "flags-conflict"),
        (["--camera_keys", "a,b", "--camera_names", "c"], "camera-names"),
        (["--jpeg_quality", "90"], "flag-unused"),
        (["--policy_class", "CNNMLP", "--kl_weight", "1"], "flag-unused"),
        (["--episodes", "5:3"], "flag-value"),
        (["--learning_rate", "nan"], "flag-value"),
    ):
        with raises_code(UsageError, code):
            parse([*NAMES, *words], {})
    assert parse([*NAMES, "--num_epochs", "0", "--steps", "7"], {}).epochs == 7


def test_upstreams_names_are_those_of_our_flags() -> None:
    words = "--dataset_dir d --ckpt_dir c --policy_class ACT --task_name t --batch_size 8 --seed 1"
    flags = parse_upstream([*words.split(), "--num_epochs", "20", "--lr", "1e-5"])
    assert (flags.input, flags.output, flags.learning_rate) == ((Path("d"),), Path("c"), 1e-5)
    assert flags.kl_weight == JobFlags.kl_weight
    with raises_code(UsageError, "flag-missing", "--num_epochs, --lr"):
        parse_upstream(words.split())
    with raises_code(UsageError, "flag-value", "^--lr is 0.0, "):
        parse_upstream([*words.split(), "--num_epochs", "2", "--lr", "0"])
    with raises_code(UsageError, "flag-value", "--dataset_dir .*2"):
        parse_upstream([*words.split(), "--num_epochs", "2", "--lr", "1", "--dataset_dir", "e"])


@pytest.mark.parametrize(
    "words",
    [
        ["entrypoint.py", "--batch_sise", "8"],
        ["entrypoint.py", "check", "--state_kye", "a"],
        ["entrypoint.py", "convert", "--shrad", "0/2"],
        ["-m", "act.imitate_episodes", "--ckptdir", "a"],
    ],
    ids=lambda words: words[-2],
)
def test_a_command_line_is_read_without_heavy_imports(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert any(line.startswith("error: unrecognized") and "nearest" in line for line in lines)
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert not imported & {"torch", "pyarrow", "av"}
