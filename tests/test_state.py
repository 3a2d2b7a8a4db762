"""A state that is whole, but was not made by a run."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from act.training.loop import _heed, _Record
from act.training.state import State, parse_state
from job.errors import DivergedError, OutputError
from tests.support.training import prepared


def state(**changes: Any) -> bytes:
    values: dict[str, Any] = {
        "epoch": 1, "epoch_samples": 0, "step": 2, "samples": 2, "val": {"loss": 1.0},
        "losses": torch.zeros(0), "norms": torch.zeros(0), "metrics": "", "best_epoch": None,
        "best_loss": 1.0, "best_weights": {}, "policy": {}, "optimizer": {},
    }  # fmt: skip
    file = io.BytesIO()
    torch.save(vars(State(**values | changes)), file)
    return file.getvalue()


@pytest.mark.parametrize("changes", [
    {"epoch": "x"}, {"epoch": -1}, {"val": [1]}, {"val": {"loss": "a"}}, {"best_loss": "a"},
    {"losses": [1.0]}, {"metrics": None}, {"best_epoch": -3}, {"policy": 7},
])  # fmt: skip
def test_values_of_another_kind_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert parse_state(state(), tmp_path).epoch == 1
    with pytest.raises(OutputError, match="damaged"):
        parse_state(state(**changes), tmp_path)


def test_no_state_is_saved_of_a_gradient_that_was_not_finite(tmp_path: Path) -> None:
    """The loss before the update was, and the one after has not been computed yet."""
    run = prepared(tmp_path, state_interval_minutes=0)
    run.progress.losses.append(torch.ones(3))
    run.progress.norms.append(torch.tensor(float("nan")))
    with run.loader, pytest.raises(DivergedError, match="gradient's norm is nan"):
        _heed(run, _Record("training"))
    assert not (tmp_path / "run/state.ckpt").exists()
