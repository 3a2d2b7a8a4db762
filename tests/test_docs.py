"""README.md, docs/ and the other pages: what they show works, what they name exists."""

import argparse
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import Tensor, nn

from act.average import AVERAGE
from act.compare.command import parse as parse_compare
from act.compare.command import parser as compare_parser
from act.contract import CONTRACT_COMMAND
from act.evaluate.command import EVALUATE
from act.export.command import EXPORT, IMPORT
from act.imitate_episodes import parse as parse_upstream
from act.imitate_episodes import parser as upstream_parser
from act.network.act import ACT
from act.policies.act import ACTPolicy
from act.policies.contract_file import read_contract
from act.report.command import REPORT
from act.serve.__main__ import parse as parse_serve
from act.serve.__main__ import parser as serve_parser
from act.simulate.command import SIMULATE
from convert.__main__ import parse as parse_convert
from convert.__main__ import parser as convert_parser
from convert.check.__main__ import parse as parse_check
from convert.check.__main__ import parser as check_parser
from convert.flags import ConvertFlags
from docs.generate import PAGES, stale, write
from job.codes import DATASET, WARNINGS
from job.command_line import shown_default
from job.errors import UsageError
from job.flags import flags_of, names_of
from job.sweep import SWEEP
from job.target_command import TargetCommand
from lerobot_to_act import JobFlags, parse, parser
from tests.support.broken import BROKEN, ODD
from tests.support.commands import HANGS_S, arguments, command_environment, run_python
from tests.support.errors import raises_code
from tests.support.jobs import Job
from tests.support.markdown import Page
from tests.support.paths import ROOT, SMALL

_HAND_WRITTEN = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "examples/README.md",
)
PAGE_FILES = [*(ROOT / name for name in _HAND_WRITTEN), *sorted((ROOT / "docs").glob("*.md"))]
README = Page(ROOT / "README.md")
UPSTREAM = Page(ROOT / "docs/upstream.md")
ROBOT = Page(ROOT / "docs/robot.md")  # tests/test_robot_page.py runs its Python
EXPORT_PAGE = Page(ROOT / "docs/export.md")  # tests/test_export.py runs its Python

MAKE_TARGETS = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

# Flags of other programs, and of this project's benchmarks and test kit.
_OTHER_FLAGS = {
    *("--seeds", "--training", "--epochs", "--lerobot"),  # of benchmarks
    "--rm",
    "--gpus",
    "--user",
    "--read-only",
    "--tmpfs",
    "--cap-drop",
    "--network",
    "--build-arg",
    *("--memory", "--cpus"),
    "--time",
    "--shm-size",
    "--entrypoint",
    "--nodes",
    "--local-dir",
    "--repo-type",
    "--cameras",
    "--batch",
    "--beside",
    "--good",
    "--dataset",
    "--target",
    "--rounds",
    "--send",
    "--plain_precision",
    "--minutes",
    "--check",
    "--version",
    *("--eval", "--onscreen_render"),  # upstream's, of its simulator
}


@pytest.fixture(params=PAGE_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def page(request: pytest.FixtureRequest) -> Page:
    """Every page in turn."""
    return Page(request.param)


def test_generated_pages_are_fresh() -> None:
    assert stale() == [], "run python -m docs.generate"
    assert all(text().endswith("\n") for text in PAGES.values())


def test_a_page_that_was_edited_by_hand_is_stale_until_it_is_written(tmp_path: Path) -> None:
    pages = {"a.md": lambda: "# A\n", "docs/b.md": lambda: "# B\n"}
    assert write(pages, tmp_path) == ["a.md", "docs/b.md"]
    (tmp_path / "a.md").write_text("# A, by hand\n")
    assert stale(pages, tmp_path) == ["a.md"]
    assert write(pages, tmp_path) == ["a.md"]
    assert stale(pages, tmp_path) == []


def test_every_block_is_run_or_says_why_not(page: Page) -> None:
    run_here = {"text", "python"} if page in (README, UPSTREAM, ROBOT, EXPORT_PAGE) else {"text"}
    for block in page.blocks:
        if block.language == "sh":
            unknown = [words for words in block.commands if not _understood(words)]
            assert not unknown or block.reason, unknown
        else:
            assert block.language in {*run_here, "yaml"} or block.reason, block
    assert not re.search(r"^ {4}\S", page.prose.replace("    *", ""), re.MULTILINE), "not fenced"


def test_what_is_shown_trains_on_the_actions_as_lerobot_records_them(page: Page) -> None:
    """Every job and conversion; an example of episode files has no such flag."""
    commands = [words for block in page.blocks for words in block.commands]
    shown = [_parse(ours) for ours in map(_ours, commands) if ours is not None]
    assert all(flags.is_sim for flags in shown if isinstance(flags, JobFlags | ConvertFlags))


def _ours(words: list[str]) -> list[str] | None:
    """The arguments of this project's command, in or without its container; None: another one."""
    for program in ("lerobot-to-act", "entrypoint.py"):
        if program in words[:-1] and "build" not in words:
            return words[words.index(program) + 1 :]
    return None


def _understood(words: list[str]) -> bool:
    """Whether a command is one of ours; raises UsageError where its flags are wrong."""
    match words:
        case ["make", *targets]:
            return {name for name in targets if "=" not in name} <= MAKE_TARGETS
        case ["docker", "run", *_] if "lerobot-to-act" in words:
            at = words.index("lerobot-to-act")
            _parse(words[at + 1 :])
            return False  # the parts before are Docker's
        case [program, "entrypoint.py", *rest] if program.endswith("python"):
            _parse(rest)
        case ["python", "-m", module, *_] if module.startswith("benchmarks."):
            return False  # they have their own
        case ["python", "-m", *rest]:
            _parse(words[1:])
        case ["lerobot-to-act", *rest]:
            _parse(rest)
        case _:
            return False
    return True


_TARGET_COMMANDS: tuple[TargetCommand[Any], ...] = (
    *(AVERAGE, CONTRACT_COMMAND, EVALUATE, EXPORT, IMPORT, REPORT, SIMULATE, SWEEP),
)
_PARSERS: dict[str, Callable[[list[str]], Any]] = {
    "check": parse_check,
    "compare": parse_compare,
    "convert": parse_convert,
    "serve": parse_serve,
    **{one.name: one.parse for one in _TARGET_COMMANDS},
}


def _parse(words: list[str]) -> Any:
    """What the command line `words` of a command asks for."""
    if words[:2] == ["-m", "act.imitate_episodes"]:
        return parse_upstream(words[2:])
    if words[:2] == ["-m", "act.contract"]:
        words = words[1:]
    command = words[0].rpartition(".")[2] if words else ""
    if command in _PARSERS:
        return _PARSERS[command](words[1:])
    return parse(words, {})


def test_a_wrong_flag_in_a_block_is_noticed() -> None:
    command = "docker run lerobot-to-act --run_name a --task_name b --batchsize 1"
    with raises_code(UsageError, "flag-unknown", "--batch_size"):
        _understood(command.split())
    assert not _understood(["hf", "download"])
    assert not _understood(["make", "nothing"])


def test_every_flag_exists(page: Page) -> None:
    made = [parser({}), convert_parser(), check_parser(), upstream_parser(), serve_parser()]
    made += [compare_parser(), *(one.parser() for one in _TARGET_COMMANDS)]
    known = {flag for one in made for flag in re.findall(r"--\w+", one.format_help())}
    shown = set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", page.text))
    assert shown - known - _OTHER_FLAGS == set()


def test_help_has_one_line_per_flag() -> None:
    lines = parser({}).format_help().splitlines()
    for name in names_of(JobFlags):
        assert len([line for line in lines if line.startswith(f"  --{name} ")]) == 1, name
    assert not [line for line in lines if line.startswith(" " * 10)]


# What ends a conversion or a training, and their warnings: the check does not report it.
_NOT_OF_THE_CHECK = {
    "changed",  # tests/test_faults.py
    "episodes-none",  # upstream's command
    "feature-left-out",
    "file-missing",
    *("fetch-digest", "fetch-name"),  # tests/test_remote_input.py
    "image-depth",  # tests/test_image.py
    "input-missing",  # tests/test_job.py
    "worker-crash",  # tests/test_faults.py
}
# Codes that need another machine, user, flag or dataset beside it than the corpus has.
_MADE_IN_THE_TEST = {
    "colour-tags",  # tests/test_check.py, as those below
    "file-crash",
    "file-permission",
    "memory-room",
    "video-start",
    "rows-cut",  # tests/test_pictures.py, as those below
    "video-tracks",  # tests/test_tracks.py
    "video-rotated",
    "picture-order",
    "rotation-differs",
    "video-slanted",
    "video-order",
    "video-too-large",
    "sim-shift",  # tests/test_check_and_conversion.py
    "image-distorted",  # tests/test_convert_options.py
    "datasets-differ",  # tests/test_check_and_conversion.py, as those below
    "keys-several",
    "quaternion-zero",
    "vector-names",  # tests/test_vectors.py
    "frames-no-video",  # tests/test_frames.py
    "base-action-unused",  # tests/test_check_episode_files.py, as those below
    "cameras-unused",
    "episode-content",
    "episode-unreadable",
    "episodes-differ",
    "parts-unused",
    "sim-differs",
    "vectors-too-large",
}


def test_every_code_of_the_check_has_a_dataset_in_the_corpus() -> None:
    """Which tests/test_check.py looks at, each with its code."""
    broken, odd = ({one.code for one in cases.values()} for cases in (BROKEN, ODD))
    assert broken <= DATASET.keys()
    assert odd <= WARNINGS.keys()
    others = _NOT_OF_THE_CHECK | _MADE_IN_THE_TEST
    assert {*DATASET, *WARNINGS} - broken - odd == others


def test_every_link_leads_somewhere(page: Page) -> None:
    for target, anchor in page.links():
        assert target.exists(), target
        assert not anchor or anchor in Page(target).anchors, f"{target}#{anchor}"


def test_every_file_module_and_target_named_exists(page: Page) -> None:
    files = re.findall(
        r"`((?:act|convert|episodes|job|tests|docs|benchmarks|examples|\.ci)/[^`\s]*)`", page.text
    )
    assert [name for name in files if not (ROOT / name).exists()] == []
    modules = re.findall(r"python -m ((?:act|convert|tests|docs|benchmarks)[\w.]*)", page.text)
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []
    targets = re.findall(r"`make ([\w./-]+)", page.text)
    assert [name for name in targets if name not in MAKE_TARGETS] == []


def test_every_object_named_exists(page: Page) -> None:
    for name in re.findall(r"`((?:act|convert|episodes|job)(?:\.\w+)+)`", page.text):
        module, _, attribute = name.rpartition(".")
        found = importlib.import_module(module)
        assert hasattr(found, attribute) or importlib.util.find_spec(name), name


def test_every_fault_names_where_it_is_tested() -> None:
    text = (ROOT / "docs/resume-and-faults.md").read_text()
    rows = text.split("| what happens | result | tested in |", 1)[1].split("\n\n", 1)[0]
    targets = {f"`make {name}`" for name in MAKE_TARGETS}
    for row in rows.splitlines()[2:]:
        named = set(row.split("|")[3].strip().split(", ")) - targets
        assert all((ROOT / name.strip("`")).is_file() for name in named), row
        assert row.split("|")[3].strip(), row


def test_every_oddity_names_tests_that_exist() -> None:
    text = (ROOT / "docs/development.md").read_text()
    rows = text.split("| tested by |\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    assert len(rows) >= 18
    for row in rows:
        for part in row.split("|")[2].split(";"):
            path, *names = re.findall(r"`([^`]+)`", part)
            code = (ROOT / path).read_text()
            assert names, row
            assert [name for name in names if f"\ndef {name}(" not in code] == []


def test_every_package_is_in_the_list_of_rooms() -> None:
    listed = set(
        re.findall(r"^\| `([\w/.]+)` \|", (ROOT / "docs/development.md").read_text(), re.M)
    )
    packages = {
        f"{path.parent.relative_to(ROOT)}/"
        for top in ("act", "convert", "episodes", "job")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert packages <= listed


def test_the_readmes_command_is_right_for_lerobot_data() -> None:
    [command] = [words for words in _readme_commands() if "--run_name" in words]
    config = _parse(command[2:])
    # LeRobot's action[t] belongs to observation t, and its width is the robot's own
    assert config.is_sim
    assert config.state_dim == 0


def test_the_readmes_check_runs() -> None:
    [command] = [words for words in _readme_commands() if "check" in words]
    dataset = str(SMALL / "v30_av1")
    done = run_python(*(dataset if word == "dataset" else word for word in command[1:]))
    assert done.returncode == 0, done.stderr
    assert "verdict: FINE" in done.stdout


def test_the_readmes_table_shows_the_defaults_of_flags() -> None:
    defaults = {entry.name: shown_default(entry.default) for entry, _ in flags_of(JobFlags)}
    rows = re.findall(r"^\| (`--[^|]*) \| ([^|]*) \|", README.text, re.MULTILINE)
    assert len(rows) == 8
    for names, shown in rows:
        assert shown.split(", ") == [defaults[name] for name in re.findall(r"--(\w+)", names)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the README's own command, run on a tiny dataset with a tiny network."""
    output = tmp_path_factory.mktemp("output")
    [command] = [words for words in _readme_commands() if "--run_name" in words]
    tiny: dict[str, Any] = {"num_epochs": 1, "state_dim": _DIMS, "keep_converted_hdf5": True}
    words = [str(SMALL / "v30_av1") if word == "dataset" else word for word in command[1:]]
    job = Job([*words, *arguments(output, **tiny)], command_environment())
    assert job.wait(HANGS_S) == 0
    return output


def _readme_commands() -> list[list[str]]:
    """The commands of the README that are run as they stand, the job and the check."""
    commands = [words for block in README.blocks if not block.reason for words in block.commands]
    return [words for words in commands if "entrypoint.py" in words]


def test_the_readme_shows_every_file_of_a_run(trained: Path) -> None:
    [tree] = [block.text for block in README.blocks if "policy_best.ckpt" in block.text]
    shown = {re.sub(r"<\w+>", "*", name) for name in re.findall(r"[\w<>.]+\.\w+", tree)}
    written = {path.name for path in trained.rglob("*.*") if not path.name.startswith(".")}
    assert [name for name in written if not any(fnmatch(name, one) for one in shown)] == []
    kept = shown - {"state.ckpt"}  # removed at the end of a run
    kept -= {"policy_average.ckpt"}  # of --ema
    kept -= {f"evaluation.{kind}" for kind in ("json", "npz")}  # switched off here, and so is
    kept -= {f"report.{kind}" for kind in ("html", "json")}
    assert [one for one in kept if not any(fnmatch(name, one) for name in written)] == []


# What upstream's imitate_episodes.py puts into policy_config for ACT: its build functions read all.
_UPSTREAM_KEYS = {
    "lr",
    "num_queries",
    "kl_weight",
    "hidden_dim",
    "dim_feedforward",
    "lr_backbone",
    "backbone",
    "enc_layers",
    "dec_layers",
    "nheads",
    "camera_names",
}
# What upstream's detr/main.py demands of sys.argv whenever a policy is made.
_UPSTREAM_ARGV = ("ckpt_dir", "policy_class", "task_name", "seed", "num_epochs")


class _UpstreamsPolicy(nn.Module):
    """As upstream's ACTPolicy seen from outside: its arguments, sys.argv, keys and image layout."""

    def __init__(self, args_override: dict[str, Any]) -> None:
        super().__init__()
        reader = argparse.ArgumentParser()
        for name in _UPSTREAM_ARGV:
            reader.add_argument(f"--{name}", required=True)
        reader.parse_args()
        assert set(args_override) == _UPSTREAM_KEYS
        sizes = ("hidden_dim", "dim_feedforward", "enc_layers", "dec_layers")
        self.model = ACT(
            qpos_dim=_DIMS,
            action_dim=_DIMS,
            chunk_size=args_override["num_queries"],
            num_heads=args_override["nheads"],
            **{name: args_override[name] for name in sizes},
        )
        self.cameras = len(args_override["camera_names"])

    def forward(self, qpos: Tensor, image: Tensor) -> Tensor:
        """Upstream's layout (B, C, 3, H, W) in [0, 1]."""
        assert image.shape[1:3] == (self.cameras, 3)
        assert image.max() <= 1
        ours = ACTPolicy(self.model, kl_weight=10).eval()
        return ours(qpos, image.permute(0, 1, 3, 4, 2))


_DIMS = 7  # upstream has 14 written into its code; the run below is as wide as its actions


def test_the_recipe_loads_a_checkpoint(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = ModuleType("policy")
    module.ACTPolicy = _UpstreamsPolicy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "policy", module)
    monkeypatch.setattr(sys, "argv", [])
    [recipe] = [block.text for block in UPSTREAM.blocks if block.language == "python"]
    run = str(trained / "checkpoints/test")
    assert recipe.count("/data/output/checkpoints/cube") == 1
    recipe = recipe.replace("/data/output/checkpoints/cube", run)
    exec(compile(recipe, "recipe", "exec"), {})
    action = read_contract(trained / "checkpoints/test").action
    assert capsys.readouterr().out == f"({action.chunk_size}, {len(action.dims)})\n"
