"""`--ema`: averaged weights beside training, which change nothing of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from act import load_policy
from act.average import AverageFlags, write_mean
from act.batches.loader import Pass
from act.policies.weights import load_weights
from act.training.average import Average
from act.training.run_folder import check_folder
from job.errors import UsageError
from job.sections.contract import Contract
from job.whole_files import sha256
from lerobot_to_act import main
from tests.support.commands import make_config
from tests.support.errors import raises_code
from tests.support.training import COMPARED, NO_CAMERAS, Short, losses, prepared

Capture = pytest.CaptureFixture[str]

AVERAGE = "policy_average.ckpt"
STEPS = 130


def followed(tmp_path: Path, ema: str) -> tuple[Average, list[float]]:
    """The average of a policy whose weights are all n after step n, and its value at each step."""
    run = prepared(tmp_path, ema=ema)
    assert run.average is not None
    found = []
    for step in range(1, STEPS + 1):
        with torch.no_grad():
            for one in run.policy.trained_parameters().values():
                one.fill_(step)
        run.average.update(step)
        values = {float(one.flatten()[0]) for one in run.average.parameters.values()}
        assert len(values) == 1
        found.append(values.pop())
    return run.average, found


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.9, 0.99])
def test_a_constant_decay_is_the_mean_of_the_steps_so_far(tmp_path: Path, decay: float) -> None:
    """By hand: step n counts decay^(last - n), and no weights from before the first step."""
    _, found = followed(tmp_path, str(decay))
    for last in (1, 2, 50, 100):
        steps = np.arange(1, last + 1)
        counts = decay ** (last - steps)
        assert found[last - 1] == pytest.approx((counts @ steps) / counts.sum(), rel=1e-5)
    assert found[100:109] == [found[99]] * 9  # from there on every tenth step counts for ten
    counts = decay ** np.array([10.0, 0.0]) * [1 - decay**100, 1 - decay**10]
    assert found[109] == pytest.approx(counts @ [found[99], 110] / counts.sum(), rel=1e-5)


@pytest.mark.slow
def test_the_power_schedule_is_that_of_diffusers(tmp_path: Path) -> None:
    """By hand: the first step replaces the average, step t + 1 keeps 1 - (1 + t)^-0.75 of it."""
    _, found = followed(tmp_path, "power")
    expected = 0.0
    for t in range(100):
        kept = 1 - (1 + t) ** -0.75
        expected = kept * expected + (1 - kept) * (t + 1)
        assert found[t] == pytest.approx(expected, rel=1e-5)
    kept = (1 - 110**-0.75) ** 10
    assert found[109] == pytest.approx(kept * expected + (1 - kept) * 110, rel=1e-5)


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Short:
    """A finished run with averages, of twelve epochs: those of epoch 10 are validated."""
    short = Short(tmp_path_factory.mktemp("averaged"), **NO_CAMERAS)
    short.finish(ema="power", num_epochs=12)
    return short


def test_training_is_the_same_with_averages(averaged: Short, tmp_path: Path) -> None:
    plain = Short(tmp_path, **NO_CAMERAS)
    plain.finish(num_epochs=12)
    for name in COMPARED:
        assert (averaged.folder / name).read_bytes() == (plain.folder / name).read_bytes()
    assert losses(averaged.folder) == losses(plain.folder)
    assert not (plain.folder / AVERAGE).exists()


@pytest.mark.slow
def test_the_average_is_a_checkpoint_like_the_others(tmp_path: Path) -> None:
    """Of a policy with images, whose backbone has norms that are not trained."""
    short = Short(tmp_path)
    short.finish(ema="power", num_epochs=1)
    average, last = (load_weights(short.folder / one) for one in (AVERAGE, "policy_last.ckpt"))
    assert {name: one.shape for name, one in average.items()} == {
        name: one.shape for name, one in last.items()
    }
    trained = prepared(tmp_path / "other").policy.trained_parameters()
    differ = {name for name in last if not torch.equal(average[name], last[name])}
    assert differ
    assert differ <= set(trained)  # neither frozen norms nor layers that are not computed
    contract = Contract.model_validate_json((short.folder / "policy.json").read_bytes())
    assert sha256(short.folder / AVERAGE) in contract.checkpoints[AVERAGE]
    assert load_policy(short.folder, checkpoint="average").chunk_size == 5


def test_the_average_is_validated_on_the_same_batches(averaged: Short, tmp_path: Path) -> None:
    lines = (averaged.folder / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in rows if "average" in row] == [10]
    assert rows[10]["average"].keys() == rows[10]["val"].keys()
    # at the start the average is the policy, and so are its losses
    run = prepared(tmp_path, ema="0.9")
    run.policy.eval()
    with run.loader, torch.inference_mode():
        batch = next(iter(run.loader.batches(Pass(0, train=False))))
        assert run.average is not None
        ours, networks = run.average.losses(batch), run.network(batch)
        assert all(torch.equal(ours[name], networks[name]) for name in networks)
        for one in run.average.parameters.values():
            one.mul_(1.5)
        assert not torch.equal(run.average.losses(batch)["loss"], networks["loss"])
        assert torch.equal(run.network(batch)["loss"], networks["loss"])  # its own stay


def test_a_resumed_run_has_the_average_of_an_undisturbed_one(
    averaged: Short, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Short(tmp_path, **NO_CAMERAS)
    short.interrupted(monkeypatch, ema="power", num_epochs=12)
    short.finish(ema="power", num_epochs=12)
    assert (short.folder / AVERAGE).read_bytes() == (averaged.folder / AVERAGE).read_bytes()
    assert losses(short.folder) == losses(averaged.folder)


def test_a_run_from_before_there_were_averages_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Short(tmp_path, **NO_CAMERAS)
    short.interrupted(monkeypatch)
    run = json.loads((short.folder / "run.json").read_text())
    del run["flags"]["ema"]
    (short.folder / "run.json").write_text(json.dumps(run))
    assert not check_folder(short.config(), short.folder)
    with raises_code(UsageError, "run-differs", "--ema was 'off', now 'power'"):
        check_folder(short.config(ema="power"), short.folder)


@pytest.mark.parametrize("ema", ["on", "0", "1", "nan", "1.5", ""])
def test_what_is_no_schedule_is_refused(tmp_path: Path, ema: str) -> None:
    with raises_code(UsageError, "flag-value", "--ema"):
        make_config(tmp_path, ema=ema)


def test_the_mean_of_checkpoints_is_one_more(averaged: Short, capfd: Capture) -> None:
    names = ["best", "last", "average"]
    before = {path.name: path.read_bytes() for path in averaged.folder.glob("policy_*.ckpt")}
    assert main(["average", str(averaged.folder), "--checkpoints", ",".join(names)]) == 0
    found = load_weights(averaged.folder / "policy_mean.ckpt")
    parts = [load_weights(averaged.folder / f"policy_{name}.ckpt") for name in names]
    for name, one in found.items():
        expected = torch.stack([part[name].double() for part in parts]).sum(dim=0) / 3
        torch.testing.assert_close(one, expected.float(), rtol=1e-6, atol=0)
    assert load_policy(averaged.folder, checkpoint="mean").chunk_size == 5
    after = {path.name: path.read_bytes() for path in averaged.folder.glob("policy_*.ckpt")}
    assert {name: after[name] for name in before} == before
    assert "policy_mean.ckpt: the mean of best, last, average" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--checkpoints", "last"], "two names or more"),
        (["--checkpoints", "last,first"], "policy_first.ckpt"),
        (["--checkpoints", "best,last", "--name", "last"], "training does not use"),
        ([], "--checkpoints"),
    ],
)
def test_a_mean_that_cannot_be_is_refused(
    averaged: Short, words: list[str], named: str, capfd: Capture
) -> None:
    assert main(["average", str(averaged.folder), *words]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert named in line


def test_weights_of_another_network_have_no_mean(averaged: Short, tmp_path: Path) -> None:
    other = Short(tmp_path, **NO_CAMERAS)
    other.finish(num_epochs=1, hidden_dim=16)
    copied = shutil.copytree(averaged.folder, tmp_path / "copied")
    shutil.copy(other.folder / "policy_last.ckpt", copied / "policy_last.ckpt")
    contract = json.loads((copied / "policy.json").read_text())
    contract["checkpoints"]["policy_last.ckpt"] = [sha256(copied / "policy_last.ckpt")]
    (copied / "policy.json").write_text(json.dumps(contract))
    with raises_code(UsageError, "weights-mismatch", "policy_last.ckpt"):
        write_mean(AverageFlags(run=str(copied), checkpoints=("best", "last")))
