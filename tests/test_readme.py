"""The README and the parser say the same."""

import re

from act.imitate_episodes import parse as parse_upstream
from job.command_line import parser, shown_default
from job.config import knobs
from tests.broken import BROKEN, ODD
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
# Flags of other commands that the README shows.
_OTHERS = {
    "--rm", "--gpus", "--user", "--read-only", "--tmpfs", "--cap-drop", "--network", "--build-arg",
    "--memory", "--time", "--help", "--json", "--deep", "--shard", "--check_whole", "--cameras",
    "--batch", "--shm-size", "--rounds", "--plain_precision", "--minutes",
}  # fmt: skip
_CODE = re.compile(r"`([a-z]+(?:-[a-z]+)*)`")
_UPSTREAMS = {"--dataset_dir", "--ckpt_dir", "--lr"}


def test_every_flag_in_the_readme_exists() -> None:
    known = {flag for action in parser({})._actions for flag in action.option_strings}
    shown = set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", README))
    assert shown - known - _OTHERS - _UPSTREAMS == set()


def test_every_flag_stands_in_the_readmes_table_with_its_default() -> None:
    table = dict(re.findall(r"^\| `--(\w+)` \| ([^|]*) \|", README, re.MULTILINE))
    defaults = {knob.name: shown_default(knob.default) for knob in knobs()}
    assert table == defaults


def test_every_code_of_the_check_is_in_the_readme_and_in_a_test() -> None:
    section = README.split("| what is looked at |", 1)[1].split("\n\n", 1)[0]
    errors, warnings = (
        {code for row in section.splitlines()[2:] for code in _CODE.findall(row.split("|")[column])}
        for column in (2, 3)
    )
    assert {entry.code for entry in BROKEN.values()} <= errors
    assert {entry.code for entry in ODD.values()} <= warnings
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("*.py"))
    assert {code for code in errors | warnings if f'"{code}"' not in tests} == set()


def test_upstreams_command_in_the_readme_is_understood() -> None:
    command = README.split("python -m act.imitate_episodes --", 1)[1].split("\n\n")[0]
    config = parse_upstream(f"--{command}".replace("\\\n", " ").split())
    assert (config.num_epochs, config.learning_rate, config.batch_size) == (2000, 1e-5, 8)


def test_help_has_one_line_per_flag() -> None:
    lines = parser({}).format_help().splitlines()
    for knob in knobs():
        assert len([line for line in lines if line.startswith(f"  --{knob.name} ")]) == 1, knob.name
    assert not [line for line in lines if line.startswith(" " * 10)]


def test_every_promise_names_where_it_is_tried() -> None:
    table = README.split("| what happens | what comes of it | tried in |", 1)[1].split("\n\n", 1)[0]
    targets = {f"`make {name}`" for name in re.findall(r"^(\w+):", MAKEFILE, re.MULTILINE)}
    for row in table.splitlines()[2:]:
        named = set(row.split("|")[3].strip().split(", ")) - targets
        assert all((ROOT / name.strip("`")).is_file() for name in named), row
        assert row.split("|")[3].strip(), row
