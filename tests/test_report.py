"""report.html and report.json: of a real run, of one that trains, and with hostile names."""

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act.report.curves import _COLUMNS, read_curves
from act.report.drawing import Drawings
from act.report.evaluation_figures import episodes
from act.report.next_steps import next_step
from act.report.report import command
from act.report.run_files import read_run
from act.report.words import unbroken
from act.report.writing import HTML, JSON, write_report
from act.simulate.video import write_video
from job.output_names import STATE
from job.sections.simulation import Simulation
from lerobot_to_act import main, parse
from tests.support.commands import arguments, run_job, run_module
from tests.support.good_evaluation import NOW, evaluation
from tests.support.paths import SIGNALLED, SMALL
from tests.support.report_pages import DEFAULTS, HOSTILE, checked, record, rewrite, write_evaluation
from tests.support.schema import VALIDATOR
from tests.support.training import Short

Capture = pytest.CaptureFixture[str]

FLAGS: dict[str, Any] = {
    "input": SMALL / "v21_h264",
    "num_epochs": 2,
    "batch_size": 1,
    "image_size": "32x32",  # an evaluation is many queries
    "eval_after_train": "on",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that a job has evaluated and reported."""
    output = tmp_path_factory.mktemp("output")
    assert main(arguments(output, **FLAGS | {"eval_after_train": "on", "report": "on"})) == 0
    return output / "checkpoints/test"


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    """A copy of it without its weights."""
    return shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("*.ckpt"))


@pytest.mark.slow
def test_a_job_reports_what_it_has_trained(run: Path) -> None:
    page, found = checked(run), record(run)
    assert found.status == "finished"
    assert found.run_name == "test"
    assert found.dataset is not None
    assert found.training is not None
    assert found.training.epochs_done == 2
    assert found.verdict is not None
    assert f'class="verdict {found.verdict.answer}"' in page.source
    assert len(found.reproducibility.checkpoints) >= 2
    manifest = json.loads((run / "manifest.json").read_text())
    VALIDATOR.validate(manifest)
    assert {HTML, JSON} <= {one["path"] for one in manifest["artifacts"]}


@pytest.mark.slow
def test_its_command_is_the_one_that_trained(run: Path, tmp_path: Path) -> None:
    flags = json.loads((run / "manifest.json").read_text())["flags"]
    again = parse(record(run).reproducibility.command[1:], {})
    assert again.resolved() == flags


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
def test_the_command_of_a_longer_training_trains(
    tmp_path: Path, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its time is over: it resumes a run that kept its state, and starts another one."""
    asked = FLAGS | {"num_epochs": 1, "report": "on"}
    assert run_job(tmp_path, ["--keep_state"] if kept else [], **asked).code == 0
    folder = tmp_path / "checkpoints/test"
    rewrite(folder / "evaluation.json", _stands_still)
    step = next_step(read_run(folder), write_report(folder, DEFAULTS), DEFAULTS)
    signal = {"AT": "act.training.step:update", "CALL": "2", "RANK": "0", "NUMBER": "MAX_HOURS"}
    monkeypatch.setenv("PYTHONPATH", str(SIGNALLED))
    for name, value in signal.items():
        monkeypatch.setenv(f"SIGNAL_{name}", value)
    monkeypatch.setenv("SIGNAL_SENT", str(tmp_path / "over"))
    long = run_module("entrypoint", *step.command[1:], "--max_hours", "99", output=tmp_path)
    assert long.code == 75, long.err
    manifest = long.manifest
    assert manifest["code"] == "interrupted"
    assert manifest["flags"]["num_epochs"] == 2000
    assert manifest["training"]["continued_from_step"] == (3 if kept else None)


def _stands_still(content: dict[str, Any]) -> None:
    """Make an evaluation's verdict one that a longer training may satisfy."""
    content["verdict"]["answer"] = "no"
    content["verdict"]["reasons"][0] |= {"rule": "output-constant", "text": "it stands still"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("has_state", "schedule", "name"),
    [(False, "constant", "test_2000"), (True, "cosine", "test_2000"), (True, "constant", "test")],
)
def test_it_names_the_command_of_a_longer_training(
    folder: Path, has_state: bool, schedule: str, name: str
) -> None:
    """Which the job takes; a run that cannot be resumed needs another name."""
    rewrite(folder / "evaluation.json", _stands_still)
    rewrite(folder / "manifest.json", lambda one: one["flags"].update(lr_schedule=schedule))
    if has_state:
        (folder / STATE).touch()
    step = next_step(read_run(folder), write_report(folder, DEFAULTS), DEFAULTS)
    asked = parse(step.command[1:], {})
    assert (asked.num_epochs, asked.run_name) == (2000, name)
    assert "this run had 2 epochs of 3 steps" in step.text
    page = checked(folder)
    assert "--num_epochs 2000" in page.text
    assert page.text.count("t stands still") == 2  # at the top, and why


def test_a_command_has_what_is_not_the_default() -> None:
    flags = {"run_name": "a b", "input": ["x", "y"], "keep_state": True, "camera_names": ["l", "r"]}
    flags |= {"num_epochs": 5, "kl_weight": 10.0, "fix_quaternions": False}
    words = ["--input", "x", "--input", "y", "--keep_state"]
    words += ["--camera_names", "l,r", "--num_epochs", "5"]
    assert command(flags, DEFAULTS) == ["lerobot-to-act", "--run_name", "a b", *words]


@pytest.mark.slow
def test_an_evaluation_fills_the_page(folder: Path) -> None:
    write_evaluation(folder)
    write_report(folder, DEFAULTS)
    page, found = checked(folder), record(folder)
    assert found.evaluation == evaluation(("x",))
    assert page.count("img") == 3 + 9 + 2 + 1  # at the top, the sheet, attention, reference
    for words in ("a new chunk is asked for", "policy, best", "Where it attends", "Yes: it works"):
        assert words in page.text
    assert "evaluate test measures" not in page.text
    assert "simulate test --env NAME measures it" in page.text


@pytest.mark.slow
def test_without_an_evaluation_each_section_says_how_to_get_it(folder: Path) -> None:
    (folder / "evaluation.json").unlink()
    write_report(folder, DEFAULTS)
    page, found = checked(folder), record(folder)
    assert found.verdict is None
    assert found.evaluation is None
    assert page.count("img") == 0
    for words in ("Not judged yet", "evaluate test measures", "evaluate test replays"):
        assert words in page.text


@pytest.mark.slow
def test_a_run_that_trains_is_reported_from_four_files(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "unfinished"
    place.mkdir()
    for name in ("metrics.jsonl", "manifest.json", "policy.json", "run.json"):
        shutil.copy(folder / name, place)
    rewrite(place / "run.json", lambda which: which.update(finished=False))
    rewrite(place / "manifest.json", lambda content: content.update(training=None, split=None))
    with (place / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "tra')  # a line that is being written
    assert main(["report", str(place)]) == 0
    page, found = checked(place), record(place)
    assert found.status == "training"
    assert found.training is not None
    assert found.training.epochs_done == 2
    assert "still training" in page.text
    assert page.count("svg") >= 6


def _arrays(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _of_size(size: int) -> bytes:
    """An archive whose directory says that an array has so many bytes."""
    content = _arrays(best_episode=np.zeros(1))
    place = content.rindex(b"PK\x01\x02") + 24  # of its size, in the directory
    return content[:place] + size.to_bytes(4, "little") + content[place + 4 :]


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", _arrays(best_episode=np.array([{}])), _of_size(1 << 31)],
    ids=["empty", "torn", "objects", "huge"],
)
def test_arrays_that_cannot_be_read_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    write_evaluation(tmp_path)
    (tmp_path / "evaluation.npz").write_bytes(content)
    assert read_run(tmp_path).arrays == {}
    assert len(caplog.records) == 1


@pytest.mark.parametrize("number", [np.zeros(0), np.array("x"), np.array(np.inf)])
def test_arrays_of_another_kind_are_left_out(number: Any) -> None:
    arrays: dict[str, Any] = {
        f"best_{name}": np.zeros((3, 1)) for name in ("demonstrated", "executed")
    }
    arrays |= {"best_queries": np.zeros(1), "best_episode": number}
    empty = arrays | {"best_episode": np.array(0)}
    empty |= {f"best_{name}": np.zeros((0, 1)) for name in ("demonstrated", "executed")}
    assert list(episodes(Drawings(), evaluation(("x",), "top"), arrays)) == []
    assert list(episodes(Drawings(), evaluation(("x",), "top"), empty)) == []


@pytest.mark.parametrize("value", ["[" * 100_000, str(10**400), '"x"', "null", "[]"])
def test_a_line_that_is_no_epoch_is_left_out(tmp_path: Path, value: str) -> None:
    losses = {"loss": 1.0}
    row: dict[str, Any] = dict.fromkeys(_COLUMNS, 1) | {"train": losses, "val": losses}
    line = json.dumps(row)
    (tmp_path / "metrics.jsonl").write_text(f"{line}\n{line.replace('1', value, 1)}\n")
    curves = read_curves(tmp_path / "metrics.jsonl")
    assert curves is not None
    assert len(curves) == 1


@pytest.mark.slow
def test_damaged_files_are_a_warning_each(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("evaluation.json", "policy.json", "manifest.json", "metrics.jsonl", "run.json"):
        (folder / name).write_bytes(b'{"a": \xff')
    write_report(folder, {})
    page = checked(folder)
    assert len(caplog.records) == 3  # those with a schema
    assert "not known here" in page.text


@pytest.mark.slow
def test_names_from_datasets_are_text(folder: Path) -> None:
    def hostile_contract(content: dict[str, Any]) -> None:
        content["cameras"][0]["name"] = HOSTILE[0]
        for vector in ("state", "action"):
            for dim, name in zip(content[vector]["dims"], HOSTILE, strict=False):
                dim["name"] = name

    def hostile_manifest(content: dict[str, Any]) -> None:
        content["dataset"]["tasks"] = list(HOSTILE)
        content["warnings"] = list(HOSTILE)
        content["flags"]["input"] = [HOSTILE[1]]
        content["run_name"] = HOSTILE[0]

    rewrite(folder / "policy.json", hostile_contract)
    rewrite(folder / "manifest.json", hostile_manifest)
    write_evaluation(folder, HOSTILE[1], HOSTILE)
    write_report(folder, DEFAULTS)
    page, found = checked(folder), record(folder)
    assert found.dataset is not None
    assert found.dataset.tasks == list(HOSTILE)
    assert page.text.count(HOSTILE[0]) >= 4  # as a task, a warning, a camera, a dim
    assert HOSTILE[2] in page.text
    assert "very long " * 80 not in page.text
    charts = re.findall(r"<svg.*?</svg>", page.source, re.DOTALL)
    assert any("&lt;script&gt;" in chart for chart in charts)
    assert any("$\\frac{a}{b}$ &amp;" in chart for chart in charts)
    assert not any("\u202e" in chart for chart in charts)


@pytest.mark.slow
def test_a_report_while_a_job_holds_the_folder_leaves_its_manifest(folder: Path) -> None:
    from job.lock import only_job

    before = (folder / "manifest.json").read_bytes()
    (folder / HTML).unlink()
    with only_job(folder):
        assert main(["report", str(folder)]) == 0
    checked(folder)
    assert (folder / "manifest.json").read_bytes() == before
    (folder / HTML).write_text("old")
    assert main(["report", str(folder)]) == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    [listed] = [one for one in manifest["artifacts"] if one["path"] == HTML]
    assert listed["size_bytes"] == (folder / HTML).stat().st_size


def simulation(*videos: str) -> Simulation:
    rate = {"count": 3, "of": 4, "rate": 0.75, "low": 0.3, "high": 0.95}
    rollouts: dict[str, Any] = {
        "name": "best",
        "file": "policy_best.ckpt",
        "sha256": "0" * 64,
        "way": "contract",
    }
    rollouts |= {"mode": "open_loop", "horizon": 10, "ensembling_weight": None, "success": rate}
    rollouts |= {"stages": [{"name": "<b>lifted", "reward": 2.0, "rate": rate}]}
    rollouts |= {"highest_rewards": [4.0], "successes": [True], "mean_return": 1.0}
    rollouts |= {"path_length": 1.0, "jerk": None, "seconds_per_episode": 1.0}
    content: dict[str, Any] = {
        "schema_version": "1.0",
        "created_at": NOW,
        "seconds": 1.0,
        "env": "cube",
    }
    content |= {"episode_steps": 9, "seeds": [1], "processes": 1, "success_reward": None}
    content |= {"rollouts": [rollouts | {"videos": list(videos)}], "paired": [], "commit": None}
    content |= {"demonstrated_path_length": None, "demonstrated_jerk": None, "simulator": {}}
    content |= {"versions": {"project": "0.1.0", "python": "3.11", "torch": None}}
    return Simulation.model_validate(content)


@pytest.mark.slow
def test_a_simulation_shows_rates_and_strips(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "evaluation.json").unlink()
    write_video(folder / "1.mp4", [np.full((32, 48, 3), n * 20, np.uint8) for n in range(12)], 10.0)
    write_video(folder.parent / "outside.mp4", [np.zeros((32, 48, 3), np.uint8)], 10.0)
    found = simulation("1.mp4", "../outside.mp4", "missing.mp4")
    (folder / "simulation_cube.json").write_text(found.model_dump_json())
    write_report(folder, DEFAULTS)
    page = checked(folder)
    assert record(folder).simulation == [found]
    assert page.count("img") == 6  # of one video
    assert len(caplog.records) == 2
    for words in ("75.0%", "30% to 95%", "<b>lifted 75%", "Success in simulation 75%"):
        assert words in page.text


@pytest.mark.parametrize(
    ("words", "code"),
    [([], "expected one"), (["nowhere/run"], "no such folder"), (["."], "expected the folder")],
)
def test_what_is_no_run_is_refused(
    words: list[str], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", *(word.replace(".", "./") for word in words)]) == 2
    assert code in capfd.readouterr().err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
def test_reports_are_written_while_it_trains(tmp_path: Path) -> None:
    short = Short(tmp_path)
    short.run(report_interval_minutes=1e-9)
    page, found = checked(short.folder), record(short.folder)
    assert found.status == "training"
    assert found.training is not None
    assert found.training.epochs == 3
    assert "Not judged yet: it is still training" in page.text


@pytest.mark.slow
def test_a_report_that_fails_is_one_warning_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = Short(tmp_path)
    (short.folder / HTML).mkdir(parents=True)
    short.run(report_interval_minutes=1e-9)
    assert len([one for one in caplog.records if "report-unwritten" in one.getMessage()]) == 1
    assert (short.folder / "policy_last.ckpt").exists()
    short = Short(tmp_path / "without")
    short.run()
    assert not (short.folder / HTML).exists()


def test_flags_stay_in_one_piece_and_the_rest_is_escaped() -> None:
    shown = unbroken("ask for --batch_size 1 <or> less")
    assert shown == 'ask for <span class="flag">--batch_size</span> 1 &lt;or&gt; less'
