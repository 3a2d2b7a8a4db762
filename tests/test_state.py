"""A state that is whole, but was not made by a run."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from act.training.best import Best
from act.training.losses import LossRecord
from act.training.metrics import Metrics
from act.training.progress import Progress
from act.training.results import save_or_stop
from act.training.state import Stateful, copied, load_state, parse_state, state_of, tensor_bytes
from job.errors import DivergedError, OutputError
from tests.support.errors import raises_code
from tests.support.training import prepared


def owners() -> dict[str, Stateful]:
    layer = torch.nn.Linear(2, 1)
    return {
        "policy": layer,
        "optimizer": torch.optim.AdamW(layer.parameters()),
        "progress": Progress(torch.device("cpu")),
        "best": Best(Path("best")),
        "metrics": Metrics(None),
    }


def as_file(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("progress", {"epoch": "x"}),
    ("progress", {"epoch": -1}),
    ("progress", {"val": [1]}),
    ("progress", {"val": {"loss": "a"}}),
    ("progress", {"losses": [1.0]}),
    ("best", {"loss": "a"}),
    ("best", {"epoch": -3}),
    ("best", {"weights": 7}),
    ("metrics", {"lines": None}),
    ("metrics", {"lines": ["{}"]}),
    ("policy", {"bias": torch.zeros(9)}),
    ("optimizer", {"param_groups": []}),
]


@pytest.mark.parametrize(("owner", "change"), CHANGES)
def test_values_of_another_kind_are_refused(
    tmp_path: Path, owner: str, change: dict[str, Any]
) -> None:
    whole = state_of(owners())
    load_state(parse_state(as_file(whole), tmp_path), owners(), tmp_path)
    changed = whole | {owner: dict(whole[owner]) | change}
    with raises_code(OutputError, "checkpoint-unreadable", "state.ckpt"):
        load_state(parse_state(as_file(changed), tmp_path), owners(), tmp_path)


def test_a_state_without_an_owner_or_with_another_is_refused(tmp_path: Path) -> None:
    whole = state_of(owners())
    for changed in (whole | {"average": {}}, {k: v for k, v in whole.items() if k != "best"}):
        with raises_code(OutputError, "checkpoint-unreadable", "state.ckpt"):
            load_state(parse_state(as_file(changed), tmp_path), owners(), tmp_path)
    with raises_code(OutputError, "checkpoint-unreadable", "state.ckpt"):
        load_state(whole | {"best": 7}, owners(), tmp_path)


def test_what_an_owner_gives_is_what_another_takes(tmp_path: Path) -> None:
    """Through the file, tensors and numbers; an owner more is a line more."""
    one, other = owners(), owners()
    progress, best = one["progress"], one["best"]
    assert isinstance(progress, Progress)
    assert isinstance(best, Best)
    progress.val = {"loss": 0.5}
    progress.add_step(3, torch.tensor([1.0, 2.0]), torch.tensor(4.0))
    best.offer(0, 0.5, {"a": torch.ones(2)})
    one["average"], other["average"] = torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)
    load_state(parse_state(as_file(state_of(one)), tmp_path), other, tmp_path)
    assert str(state_of(other)) == str(state_of(one))
    assert vars(other["progress"])["step"] == 1


def test_a_copy_is_not_changed_by_training(tmp_path: Path) -> None:
    made = owners()
    before = copied(state_of(made))
    layer = made["policy"]
    assert isinstance(layer, torch.nn.Linear)
    with torch.no_grad():
        layer.bias.add_(1)
    assert not torch.equal(before["policy"]["bias"], layer.bias)
    assert tensor_bytes(before) == 3 * 4


def test_the_state_of_the_version_before_is_refused_in_one_line(tmp_path: Path) -> None:
    before = {"epoch": 1, "step": 2, "policy": {}, "format": 1}
    with raises_code(OutputError, "checkpoint-unreadable", "format 1, expected 2"):
        parse_state(as_file(before), tmp_path)


def test_no_state_is_saved_of_a_gradient_that_was_not_finite(tmp_path: Path) -> None:
    """The loss before the update was, and the one after has not been computed yet."""
    run = prepared(tmp_path, state_interval_minutes=0)
    run.progress.losses.append(torch.ones(3))
    run.progress.norms.append(torch.tensor(float("nan")))
    with run.loader, raises_code(DivergedError, "diverged", "gradient.*nan"):
        save_or_stop(run, LossRecord("training", run.group, run.data.episodes, ()))
    assert not (tmp_path / "run/state.ckpt").exists()


def test_a_copy_of_the_state_resumes_channels_last_weights_to_the_same_bits() -> None:
    """Fused AdamW reads the moments in the weight's order in memory, whatever their strides say."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 4, 4)

    def made() -> tuple[torch.nn.Conv2d, torch.optim.AdamW]:
        layer = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)

    def step(layer: torch.nn.Conv2d, optimizer: torch.optim.AdamW) -> None:
        optimizer.zero_grad()
        layer(images).square().sum().backward()
        optimizer.step()

    layer, optimizer = made()
    step(layer, optimizer)
    state = copied({"layer": layer.state_dict(), "optimizer": optimizer.state_dict()})
    other, resumed = made()
    other.load_state_dict(state["layer"])
    resumed.load_state_dict(state["optimizer"])
    step(layer, optimizer)
    step(other, resumed)
    assert torch.equal(layer.weight, other.weight)
