"""What the curves show: each finding on a curve made to show it, none on a healthy one."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from act.report.curve_findings import FINDINGS, findings
from act.report.curves import Curves, curves_of
from act.report.finding_facts import FEW_EPOCHS, THRESHOLDS, Facts
from job import codes
from job.sections.estimates import IdleEnds
from job.sections.evaluation import Evaluation
from job.sections.training import Training
from tests.support.good_evaluation import evaluation
from tests.support.paths import ROOT

EPOCHS = 400
TIME = np.arange(EPOCHS) / EPOCHS

Shape = np.ndarray[Any, np.dtype[np.float64]]


def curves(epochs: int = EPOCHS, **changed: Shape | float) -> Curves:
    """A healthy training, which falls fast and has levelled off, with noise; and what is changed.

    changed: train_l1, val_l1, train_kl, grad_norm, wait_s, without their noise
    """
    noise = np.random.default_rng(0)
    level = 0.05 + 0.6 * np.exp(-12 * TIME)
    values: dict[str, Any] = {
        "train_l1": level,
        "val_l1": 1.1 * level,
        "train_kl": 0.002 + 5 * np.exp(-20 * TIME),
        "grad_norm": 5 + 50 * np.exp(-10 * TIME),
        "wait_s": np.full(EPOCHS, 0.01),
    }
    values |= {name: np.broadcast_to(value, EPOCHS) for name, value in changed.items()}
    values = {name: one * noise.normal(1, 0.1, EPOCHS) for name, one in values.items()}
    return curves_of([_row(epoch, values) for epoch in range(epochs)])


def _row(epoch: int, values: Mapping[str, Any]) -> dict[str, Any]:
    kl = values["train_kl"][epoch]
    train, val = ({"l1": values[f"{side}_l1"][epoch], "kl": kl} for side in ("train", "val"))
    return {
        "epoch": epoch,
        "step": 5 * (epoch + 1),
        "samples": 40 * (epoch + 1),
        "train": train | {"loss": train["l1"] + 10 * kl},
        "val": val | {"loss": val["l1"] + 10 * kl},
        "lr": 1e-4,
        "grad_norm": values["grad_norm"][epoch],
        "wait_s": values["wait_s"][epoch],
        "compute_s": 1.0,
    }


def training(effective: int) -> Training:
    return Training(
        epochs=EPOCHS,
        epochs_done=EPOCHS,
        continued_from_step=None,
        steps=5 * EPOCHS,
        samples=40 * EPOCHS,
        effective_batch=effective,
        best_epoch=3,
        best_val_loss=0.1,
        last_train=None,
        last_val=None,
        samples_per_second=1.0,
        data_wait_share=0.0,
    )


def idle(share: float) -> IdleEnds:
    return IdleEnds(start_share=share / 2, end_share=share / 2, longest=9, longest_episode=0)


HEALTHY = Facts(
    curves(),
    {"batch_size": 8, "grad_clip": 100.0},
    training(8),
    evaluation(),
    idle(0.02),
)


def changed(**fields: Any) -> Facts:
    return Facts(**({name: getattr(HEALTHY, name) for name in vars(HEALTHY)} | fields))


def edited(edit: Callable[[dict[str, Any]], None]) -> Evaluation:
    found = evaluation().model_dump()
    edit(found)
    return Evaluation.model_validate(found)


def rises_late(found: dict[str, Any]) -> None:
    count = len(found["checkpoints"][0]["errors"]["by_position"])
    errors = [0.05 + 0.3 * position / count for position in range(count)]
    found["checkpoints"][0]["errors"]["by_position"] = errors


def ignores_a_camera(found: dict[str, Any]) -> None:
    found["look"]["ablations"][0] |= {"ignored": True, "change_in_std": 0.001}


def is_no_better(found: dict[str, Any]) -> None:
    reason: dict[str, Any] = {
        "rule": "no-better-than-baseline",
        "answer": "no",
        "next_step": "train longer",
    }
    reason |= {"text": "its error is 1.02 times that of hold", "numbers": {"ratio": 1.02}}
    found["verdict"] |= {"answer": "no", "reasons": [reason]}


WAVE = 0.1 + 0.08 * np.sin(14 * np.pi * TIME)
UNFIT: dict[str, Facts] = {
    "still-falling": changed(curves=curves(val_l1=0.7 - 0.6 * TIME, train_l1=0.7 - 0.6 * TIME)),
    "overfitting": changed(
        curves=curves(val_l1=0.2 + 0.3 * np.abs(TIME - 0.3), train_l1=0.4 - 0.3 * TIME)
    ),
    "stuck-high": changed(curves=curves(train_l1=0.75, val_l1=0.76)),
    "oscillating": changed(curves=curves(train_l1=WAVE)),
    "kl-zero": changed(curves=curves(train_kl=1e-6)),
    "kl-dominates": changed(curves=curves(train_kl=0.02)),
    "always-clipped": changed(flags={"batch_size": 8, "grad_clip": 1.0}),
    "waits-for-data": changed(curves=curves(wait_s=0.5)),
    "late-error": changed(evaluation=edited(rises_late)),
    "camera-ignored": changed(evaluation=edited(ignores_a_camera)),
    "no-better-than-baseline": changed(evaluation=edited(is_no_better)),
    "small-batch": changed(training=training(6)),
    "idle-frames": changed(idle=idle(0.3)),
}


def test_a_healthy_run_has_no_finding() -> None:
    assert findings(HEALTHY) == []
    assert findings(Facts(None)) == []


@pytest.mark.parametrize("code", THRESHOLDS)
def test_each_finding_is_found_where_it_is_and_nothing_else(code: str) -> None:
    [found] = findings(UNFIT[code])
    assert found.code == code
    assert found.numbers
    assert all(np.isfinite(value) for value in found.numbers.values())
    assert re.search(r"\d", found.text)
    assert not found.next_step.endswith(".")


def test_every_finding_has_its_thresholds_and_its_case() -> None:
    assert len(FINDINGS) == len(UNFIT)
    assert [*THRESHOLDS] == [*UNFIT] == [*codes.FINDINGS]


def test_a_run_that_trains_is_not_told_that_its_error_still_falls() -> None:
    facts = UNFIT["still-falling"]
    assert findings(Facts(facts.curves, is_finished=False)) == []


def test_a_few_epochs_have_no_shape() -> None:
    for code in ("stuck-high", "kl-zero", "kl-dominates"):
        whole = UNFIT[code].curves
        assert whole is not None
        rows = {"train_l1": whole.train["l1"], "val_l1": whole.val["l1"]}
        assert findings(Facts(curves(FEW_EPOCHS - 1, train_kl=whole.train["kl"], **rows))) == []


def test_the_page_has_the_thresholds() -> None:
    """docs/report.md, a row for each finding: its code and each threshold by name."""
    text = (ROOT / "docs/report.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \| (.*?) \|", text, re.MULTILINE)
    written = {
        code: {name: float(value) for name, value in re.findall(r"`(\w+)` ([\d.e-]+)", shown)}
        for code, shown in rows
        if code in THRESHOLDS
    }
    assert written == {code: dict(values) for code, values in THRESHOLDS.items()}
    assert f"fewer than {FEW_EPOCHS} epochs" in text
