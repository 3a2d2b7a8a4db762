"""`evaluate`: errors, baselines and replays by hand, and the command on a run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act import load_policy
from act.evaluate.baselines import baseline_chunks
from act.evaluate.bootstrap import interval
from act.evaluate.budget import Budget
from act.evaluate.errors import chunk_errors, episode_errors
from act.evaluate.grippers import Events, Gripper, count_events, find_grippers
from act.evaluate.held_out import Demonstration, wanted
from act.evaluate.ladder import ladder
from act.evaluate.recommendation import (
    choose_checkpoint,
    choose_way,
    recommendation,
)
from act.evaluate.replay import Replayed, Way, executed, replay_section, ways
from act.evaluate.run_record import RunRecord, read_record
from act.policies.contract_file import read_contract
from episodes.writer import write_episode
from job.sections.contract import Contract
from job.sections.evaluation import Evaluation
from job.whole_files import sha256
from lerobot_to_act import main
from tests.support.artifacts import assert_artifacts_are_whole
from tests.support.commands import Ended, arguments
from tests.support.episodes import write_episodes
from tests.support.evaluations import SCALE, checkpoint
from tests.support.loading import write_policy
from tests.support.paths import DATA, SMALL
from tests.support.schema import VALIDATOR
from tests.support.training import NO_CAMERAS

Capture = pytest.CaptureFixture[str]
Job = Callable[..., Ended]


def ramp(length: int, follows: int = 0) -> Demonstration:
    """Actions (t, 10 t); states half a step behind."""
    time = np.arange(length, dtype=np.float32)
    action = np.stack([time, 10 * time], axis=1)
    return Demonstration(action - np.float32(0.5), action, follows)


def test_errors_count_what_is_in_the_episode_alone() -> None:
    demonstrated, valid = ramp(4).chunks(np.array([0, 3]), 3)
    assert valid.tolist() == [[True, True, True], [True, False, False]]
    predicted = demonstrated + np.array([1.0, -4.0], np.float32)
    predicted[1, 1:] = 99.0  # past the end
    found = chunk_errors([episode_errors(predicted, demonstrated, valid)] * 3, SCALE)
    assert found.mae_in_std.mean == pytest.approx((1.0 / 1 + 4.0 / 2) / 2)
    assert found.mse_in_std == pytest.approx((1.0 + 4.0) / 2)
    assert [(one.name, one.mae, one.mse) for one in found.dims] == [
        ("arm", 1.0, 1.0),
        ("left_gripper", 4.0, 16.0),
    ]
    assert found.by_position == pytest.approx([1.5, 1.5, 1.5])


def test_a_chunk_starts_one_step_earlier_where_training_did() -> None:
    chunks, valid = ramp(4, follows=1).chunks(np.array([0, 2]), 2)
    assert chunks[..., 0].tolist() == [[0, 1], [1, 2]]
    assert valid.all()


def test_baselines_by_hand() -> None:
    one, ts = ramp(6), np.array([0, 3])
    mean = np.array([7.0, 8.0], np.float32)
    found = baseline_chunks(one, ts, 2, matched=(1, 0), mean=mean, lag_steps=2)
    assert found["repeat"].tolist() == [[[0, 0], [0, 0]], [[2, 20], [2, 20]]]
    assert found["mean"].tolist() == [[[7, 8], [7, 8]]] * 2
    assert found["hold"][1].tolist() == [[29.5, 2.5], [29.5, 2.5]]
    assert found["shifted"][1].tolist() == [[1, 10], [2, 20]]
    assert set(baseline_chunks(one, ts, 2, matched=None, mean=mean, lag_steps=0)) == {
        "repeat",
        "mean",
    }


def test_an_interval_is_over_episodes_and_the_same_each_time() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = interval(values)
    assert found == interval(values)
    assert found.low is not None
    assert found.high is not None
    student = 2.776 * values.std(ddof=1) / np.sqrt(5)
    assert found.high - 3 == pytest.approx(student, rel=0.1)
    assert 3 - found.low == pytest.approx(student, rel=0.1)
    assert interval(values[:2]).low is None


def test_a_perfect_policy_replays_the_demonstration_in_every_way() -> None:
    one, length, size = ramp(10), 10, 4
    chunks, _ = one.chunks(np.arange(length), size)
    for way in ways(size, 1, 0.01):
        done = executed(way, chunks, 1, length)
        np.testing.assert_allclose(done, one.action, rtol=1e-5)
        section = replay_section(way, [Replayed(done, one.action)] * 3, SCALE, None)
        assert section.mae_in_std.mean == pytest.approx(0, abs=1e-5)
        assert section.demonstrated_step_in_std == pytest.approx((1 + 5) / 2)
    assert [way.horizon for way in ways(8, 1, 0.01)] == [8, 4, 2, 1, None]
    assert [way.horizon for way in ways(8, 4, 0.01)] == [8, 4]  # the others need other queries


def test_a_chunk_that_stands_still_jumps_at_its_border() -> None:
    """By hand: each chunk repeats its first action, so with a horizon of 2 every second step."""
    one = ramp(6)
    chunks = np.repeat(one.action[:, None], 2, axis=1)
    done = executed(Way(2), chunks, 1, 6)
    assert done[:, 0].tolist() == [0, 0, 2, 2, 4, 4]
    section = replay_section(Way(2), [Replayed(done, one.action)], SCALE, None)
    assert section.jump_in_std == pytest.approx((2 + 10) / 2)
    assert section.mae_in_std.mean == pytest.approx((0.5 + 2.5) / 2)
    strided = executed(Way(2), chunks[::2], 2, 6)  # asked at every second time step alone
    assert strided.tolist() == done.tolist()


def test_gripper_events_are_hit_missed_early_or_extra() -> None:
    opened, closed = 1.0, 0.0
    demonstrated = np.full((100, 2), closed, np.float32)
    for start in (20, 50, 80):
        demonstrated[start : start + 10, 1] = opened
    done = demonstrated.copy()
    done[:, 1] = closed
    done[22:30, 1] = opened  # hits: opens 2 steps late, closes at the time
    done[40:45, 1] = opened  # opens 10 steps early, closes 15 steps early
    events = find_grippers(SCALE.names, demonstrated, fps=20.0)
    assert events is not None
    assert events.tolerance_steps == 4
    found = count_events([Replayed(done, demonstrated)], events)
    assert (found.demonstrated, found.hit, found.early, found.missed, found.extra) == (
        *(6, 2, 2, 2),
        0,
    )
    still = Events((Gripper(1, 0.3, 0.7),), 4)
    assert count_events([Replayed(demonstrated, done * 0)], still).extra == 6
    assert find_grippers(("arm", None), demonstrated, 20.0) is None


def test_the_ladder_says_which_checkpoints_can_be_told_apart() -> None:
    best = checkpoint("epoch_100", [1.0, 2.0, 3.0, 4.0], 100)
    later = checkpoint("last", [1.1, 1.9, 3.1, 4.0], 400)  # the same, as far as these can show
    worse = checkpoint("epoch_0", [1.5, 2.5, 3.5, 4.5], 0)  # by the same amount in each episode
    found = ladder([worse, later, best])
    assert [(one.name, one.distinguishable) for one in found] == [
        ("epoch_100", False),
        ("last", False),
        ("epoch_0", True),
    ]
    assert found[2].above_lowest.mean == pytest.approx(0.5)
    assert choose_checkpoint(found).name == "last"
    assert choose_checkpoint(ladder([worse, best])).name == "epoch_100"
    average = checkpoint("average", [1.1, 2.0, 3.0, 4.0], 400)
    assert choose_checkpoint(ladder([best, later, average])).name == "average"
    few = ladder([checkpoint("best", [1.0]), checkpoint("last", [1.1], 9)])
    assert choose_checkpoint(few).name == "best"


def test_it_says_why_it_is_recommended(tmp_path: Path) -> None:
    way = replay_section(Way(2), [Replayed(ramp(5).action, ramp(5).action)], SCALE, None)
    contract = read_contract(write_policy(tmp_path / "run"))
    alone, few = [checkpoint("best", [1.0])], [checkpoint("best", [1.0]), checkpoint("last", [1.1])]
    many = [checkpoint("best", [1.0, 2.0, 3.0], 2), checkpoint("last", [1.1, 2.0, 3.0], 9)]
    average = [*many, checkpoint("average", [1.1, 2.1, 3.0], 9)]
    lowest = [many[0], checkpoint("last", [5.0, 6.1, 7.0], 9)]
    for tried, why in (
        (alone, "the only checkpoint"),
        (few, "the lowest, though so few episodes"),
        (many, "the latest of 2 checkpoints"),
        (average, "the averaged weights of 3 checkpoints"),
        (lowest, "lower than that of every other checkpoint"),
    ):
        found = ladder(tried)
        best = choose_checkpoint(found)
        made = recommendation(found, best, [way, way], way, contract)
        assert why in made.reason
        assert "with 2 actions of each chunk, the longest horizon whose" in made.reason
        once = recommendation(found, best, [way], way, contract)
        assert "the only way that was tried" in once.reason


def test_the_longest_horizon_that_costs_little_is_recommended() -> None:
    one = ramp(12)
    errors = {4: 0.105, 2: 0.1, 1: 0.1}
    sections = [
        replay_section(Way(h), [Replayed(one.action + np.float32(e), one.action)], SCALE, None)
        for h, e in errors.items()
    ]
    assert choose_way(sections).horizon == 4
    errors[4] = 0.2
    sections[0] = replay_section(
        Way(4), [Replayed(one.action + np.float32(0.2), one.action)], SCALE, None
    )
    assert choose_way(sections).horizon == 2


def test_an_epoch_is_known_of_names_that_have_one() -> None:
    record = RunRecord(None, None, {"best": 3})
    found = [record.epoch_of(name) for name in ("best", "last", "epoch_12", "epoch_x", "12")]
    assert found == [3, None, 12, None, None]


@pytest.mark.parametrize("line", ["[" * 100_000, '{"wait_s": "x"}', "[]", '{"wait_s": 1}'])
def test_a_line_that_is_no_epoch_says_no_time(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(line)
    assert read_record(tmp_path).seconds is None


def test_a_stride_divides_the_chunk_and_fits_the_time() -> None:
    assert Budget(None).stride(100, [400] * 10, 1.0) == 1
    assert Budget(1000).stride(100, [400] * 10, 1.0) == 10  # 400 queries in 600 s; 5 takes 800
    assert Budget(1).stride(100, [400], 10.0) == 100
    assert Budget(1000).has(900)
    assert not Budget(1000).has(1100)
    assert Budget(None).has(1e9)


def test_what_a_run_held_out_is_what_training_did() -> None:
    needed = wanted(5, is_of_run=True)
    assert len(needed.evaluated) == 1
    assert not set(needed.evaluated) & set(needed.trained)
    assert wanted(3, is_of_run=False).evaluated == (0, 1, 2)


FLAGS: dict[str, Any] = {"input": SMALL / "v21_h264", "num_epochs": 2, "batch_size": 1}
FLAGS["image_size"] = "32x32"  # an evaluation is many queries


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that nobody has evaluated."""
    output = tmp_path_factory.mktemp("output")
    assert main(arguments(output, **FLAGS)) == 0
    return output / "checkpoints/test"


SHORT = "--minutes", "0.01"


def evaluated(run: Path, place: Path, *words: str) -> tuple[int, Path]:
    folder = shutil.copytree(run, place / "run")
    return main(["evaluate", str(folder), "--device", "cpu", *words]), folder


@pytest.mark.slow
def test_an_evaluation_leaves_its_record_and_the_contract_follows_it(
    run: Path, tmp_path: Path, capfd: Capture
) -> None:
    code, folder = evaluated(run, tmp_path)
    assert code == 0, capfd.readouterr().err
    record = Evaluation.model_validate_json((folder / "evaluation.json").read_bytes())
    assert (folder / "report.html").exists()
    assert record.complete
    assert record.held_out
    assert record.stride == 1
    assert {one.name for one in record.baselines} >= {"repeat", "mean"}
    assert record.look is not None
    assert record.look.attention is not None
    shares = record.look.attention
    total = shares.latent + shares.state + sum(shares.cameras.values())
    assert total == pytest.approx(1, abs=1e-4)
    with np.load(folder / "evaluation.npz", allow_pickle=False) as arrays:
        assert arrays["best_executed"].shape == arrays["best_demonstrated"].shape
        assert arrays["reference_0"].dtype == np.uint8
    contract = Contract.model_validate_json((folder / "policy.json").read_bytes())
    assert contract.file == record.recommendation.file
    assert contract.execution.horizon == record.recommendation.horizon
    assert contract.evaluation is not None
    assert contract.evaluation.answer == record.verdict.answer
    loaded = load_policy(folder, device="cpu")
    assert loaded.contract.file == record.recommendation.file
    manifest = json.loads((folder / "manifest.json").read_text())
    VALIDATOR.validate(manifest)
    assert manifest["policy"]["sha256"] == sha256(folder / "policy.json")
    listed = {one["path"]: one["sha256"] for one in manifest["artifacts"]}
    for name in ("evaluation.json", "evaluation.npz", "policy.json"):
        assert listed[name] == sha256(folder / name)
    assert not list(folder.glob(".*partial*"))
    assert f"verdict    {record.verdict.answer}" in capfd.readouterr().out


@pytest.mark.slow
def test_a_checkpoint_is_not_begun_that_there_is_no_time_for(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "has", lambda *_: False)
    code, folder = evaluated(run, tmp_path)
    assert code == 0
    record = Evaluation.model_validate_json((folder / "evaluation.json").read_bytes())
    assert len(record.checkpoints) == 1
    assert not record.complete


@pytest.mark.slow
def test_an_evaluation_needs_the_episodes(run: Path, tmp_path: Path, capfd: Capture) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    code, folder = evaluated(run, tmp_path, "--input", str(tmp_path / "none"))
    assert code == 3
    [line] = capfd.readouterr().err.splitlines()
    assert str(tmp_path / "none") in line
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_left_out(run: Path, tmp_path: Path, capfd: Capture) -> None:
    """Unless it is asked for: the contract beside it does not list it."""
    folder = shutil.copytree(run, tmp_path / "run")
    stray = folder / "policy_epoch_77_seed_0.ckpt"
    stray.write_bytes((folder / "policy_last.ckpt").read_bytes() + b"\0")
    assert main(["evaluate", str(folder), "--device", "cpu", "--checkpoints", "epoch_77"]) == 2
    assert main(["evaluate", str(folder), "--device", "cpu", *SHORT]) == 0
    assert f"{stray}: its SHA-256" in capfd.readouterr().err
    record = Evaluation.model_validate_json((folder / "evaluation.json").read_bytes())
    assert "epoch_77" not in {one.name for one in record.checkpoints}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dataset", "episodes"])
def test_another_robots_input_is_refused_by_its_own_name(
    run: Path, tmp_path: Path, capfd: Capture, kind: str
) -> None:
    """Not by that of a file in the scratch folder."""
    other = DATA / "aloha_sim_v30"
    if kind == "episodes":
        other = tmp_path / "episodes"
        write_episodes(other, "raw")
    code, folder = evaluated(run, tmp_path, "--input", str(other))
    line = capfd.readouterr().err
    assert code == 2, line
    assert f"--input: {other} is not what the policy was trained to see" in line
    assert str(folder) not in line
    assert not (folder / "evaluation.json").exists()


@pytest.mark.slow
def test_a_no_can_be_an_error(run: Path, tmp_path: Path, capfd: Capture) -> None:
    """The run has two steps of training: it is worse than standing still."""
    code, folder = evaluated(run, tmp_path, "--fail_on", "no", "--checkpoints", "last")
    record = Evaluation.model_validate_json((folder / "evaluation.json").read_bytes())
    assert record.verdict.answer == "no"
    assert [one.name for one in record.checkpoints] == ["last"]
    assert code == 6
    assert "the verdict is no" in capfd.readouterr().err


@pytest.mark.slow
def test_a_job_evaluates_what_it_has_trained(job: Job, tmp_path: Path) -> None:
    done = job(eval_after_train="on", **FLAGS)
    assert done.code == 0, done.err
    folder = done.output / "checkpoints/test"
    record = Evaluation.model_validate_json((folder / "evaluation.json").read_bytes())
    assert record.held_out
    for place in (folder, done.output):
        assert_artifacts_are_whole(place / "manifest.json")
        manifest = json.loads((place / "manifest.json").read_text())
        VALIDATOR.validate(manifest)
        assert manifest["status"] == "completed"
        paths = [one["path"] for one in manifest["artifacts"]]
        assert [path for path in paths if path.endswith("evaluation.json")]
        assert manifest["policy"]["sha256"] == sha256(folder / "policy.json")
    assert not (done.output / "converted_hdf5/test").exists()
    again = job(eval_after_train="on", **FLAGS)
    assert again.code == 0
    assert "holds the policy of this very run" in again.out
    words = ["--device", "cpu", "--checkpoints", "last", *SHORT]
    assert main(["evaluate", str(folder), *words]) == 0
    mean = ["--checkpoints", "best,last", "--name", "mean"]
    assert main(["average", str(folder), *mean]) == 0
    for place in (folder, done.output):  # both manifests are of this run
        assert_artifacts_are_whole(place / "manifest.json")
        manifest = json.loads((place / "manifest.json").read_text())
        assert manifest["policy"]["sha256"] == sha256(folder / "policy.json")
    assert "checkpoints/test/policy_mean.ckpt" in {one["path"] for one in manifest["artifacts"]}


@pytest.mark.slow
def test_an_evaluation_that_fails_leaves_a_completed_run(job: Job, tmp_path: Path) -> None:
    """A folder in the place of its record cannot be replaced by a file."""
    place = tmp_path / "output/checkpoints/test/evaluation.json"
    place.mkdir(parents=True)
    (place / "foreign").touch()
    done = job(eval_after_train="on", **FLAGS)
    assert done.code == 0, done.err
    assert done.manifest["status"] == "completed"
    assert "its evaluation failed" in done.err
    assert place.with_name("policy_best.ckpt").exists()


@pytest.mark.slow
def test_a_small_training_that_works_gets_a_yes(job: Job, tmp_path: Path) -> None:
    """The states, on a circle, say all of the motion; held out are other starts."""
    random = np.random.default_rng(0)
    (tmp_path / "episodes").mkdir()
    for number in range(15):
        phase = random.uniform(0, 2 * np.pi) + 0.3 * np.arange(60)
        state, action = (
            np.stack([np.cos(at), np.sin(at)], axis=1).astype(np.float32)
            for at in (phase, phase + 0.3)
        )
        vectors = {"qpos": state, "qvel": np.zeros_like(state), "action": action}
        path = tmp_path / f"episodes/episode_{number}.hdf5"
        with write_episode(path, vectors, {}, {"sim": True}):
            pass
    learning = {"num_epochs": 400, "batch_size": 12, "learning_rate": 1e-3, "kl_weight": 100}
    done = job(input=tmp_path / "episodes", **NO_CAMERAS, state_dim=None, **learning)
    assert done.code == 0, done.err
    folder = done.output / "checkpoints/test"
    # not the job's, which takes a share of its time: on a slow machine not enough to look closely
    assert main(["evaluate", str(folder), "--device", "cpu"]) == 0
    record = Evaluation.model_validate_json((folder / "evaluation.json").read_bytes())
    assert record.verdict.answer == "yes", record.verdict.reasons
    assert record.verdict.reasons[0].rule == "close-to-demonstrations"


@pytest.mark.slow
def test_a_job_whose_policy_does_not_work_ends_with_a_code_of_its_own(job: Job) -> None:
    """Its actions are the states; also when it is run again. The run is completed either way."""
    for _ in range(2):
        done = job(eval_after_train="on", fail_on="no", action_key="observation.state", **FLAGS)
        assert done.code == 6
        assert "the recorded actions are the recorded states" in done.errors[0]
        assert done.manifest["status"] == "completed"
        assert not (done.output / "converted_hdf5/test").exists()
