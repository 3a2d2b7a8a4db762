"""The best weights under the name of their epoch, once more with each extension of a run."""

from pathlib import Path

import pytest
import torch

from act.policies.weights import load_weights, save_weights
from act.training.best import Best
from act.training.best_copy import copy_best, forget_copy
from act.training.checkpoints import BEST, epoch_path
from job.errors import OutputError
from tests.support.errors import raises_code


def ignore(name: str, digest: str) -> None:
    """Nobody keeps a list here."""


@pytest.fixture
def best(tmp_path: Path) -> Best:
    """Of a run whose epoch 0 left a snapshot with the weight 0; each offer has its epoch."""
    save_weights(epoch_path(tmp_path, 0, seed=0), {"weight": torch.tensor(0.0)})
    return Best(tmp_path / BEST, note=ignore)


def offer(best: Best, epoch: int) -> None:
    """Have that epoch be the best, with its number and a half as its weight."""
    best.offer(epoch, -float(epoch), {"weight": torch.tensor(epoch + 0.5)})
    assert best.epoch == epoch


def copy(best: Best, folder: Path, epoch: int) -> None:
    copy_best(best, epoch_path(folder, epoch, seed=0), ignore, for_more_epochs=True)


def weights(folder: Path) -> dict[int, float]:
    """The weight that each epoch's file has."""
    found = {}
    for path in folder.glob("policy_epoch_*.ckpt"):
        found[int(path.name.split("_")[2])] = load_weights(path)["weight"].item()
    return found


def hidden(folder: Path) -> set[str]:
    return {path.name for path in folder.glob(".*")}


def test_a_run_that_is_extended_twice_has_its_snapshots_and_one_copy(
    tmp_path: Path, best: Best
) -> None:
    offer(best, 0)
    copy(best, tmp_path, 0)
    assert weights(tmp_path) == {0: 0.5}
    offer(best, 3)
    copy(best, tmp_path, 3)
    assert weights(tmp_path) == {0: 0.0, 3: 3.5}
    assert hidden(tmp_path) == {".best_copy.json"}  # epoch 0's snapshot has its own name again
    offer(best, 7)
    copy(best, tmp_path, 7)
    assert weights(tmp_path) == {0: 0.0, 7: 7.5}
    forget_copy(tmp_path)
    assert hidden(tmp_path) == set()
    assert weights(tmp_path) == {0: 0.0, 7: 7.5}


@pytest.mark.parametrize(
    "step",
    ["best_copy.whole_copy", "best_copy.write_json", "best_copy._remove_aside", "best.whole_copy"],
)
def test_a_copy_that_was_killed_before_a_step_is_made_again(
    tmp_path: Path, best: Best, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    offer(best, 0)
    copy(best, tmp_path, 0)
    offer(best, 3)
    with monkeypatch.context() as patch, raises_code(OutputError, "output-unwritable"):
        patch.setattr(f"act.training.{step}", killed)
        copy(best, tmp_path, 3)
    copy(best, tmp_path, 3)
    assert weights(tmp_path) == {0: 0.0, 3: 3.5}
    with monkeypatch.context() as patch, raises_code(OutputError, "output-unwritable"):
        patch.setattr("act.training.best_copy._remove_aside", killed)
        forget_copy(tmp_path)
    forget_copy(tmp_path)
    assert hidden(tmp_path) == set()
    assert weights(tmp_path) == {0: 0.0, 3: 3.5}


def killed(*_: object, **__: object) -> None:
    """As much as a kill leaves."""
    raise OutputError("the disk is full", code="output-unwritable")
