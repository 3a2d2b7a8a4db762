"""What the curves of a run show, each finding with its numbers and the next step.

docs/report.md lists them with their thresholds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from act.report import error_findings
from act.report.curves import Curve, Curves
from act.report.finding_facts import FEW_EPOCHS, THRESHOLDS, Facts
from job.sections.report import CurveFinding

_PARTS = 10  # that the epochs are cut into
_CERTAIN = 3.0  # standard errors, by which means of two parts must differ
_EARLY = 0.25  # of the epochs


def findings(facts: Facts) -> list[CurveFinding]:
    """All that is amiss, in the order of the table."""
    return [found for find in FINDINGS if (found := find(facts)) is not None]


def _shaped(facts: Facts) -> Curves | None:
    """The curves, where they are long enough to have a shape."""
    curves = facts.curves
    return curves if curves is not None and len(curves) >= FEW_EPOCHS else None


@dataclass(frozen=True)
class _Part:
    """Some epochs in a row."""

    mean: float
    error: float  # standard error of the mean


def _parts(values: Curve, parts: int = _PARTS) -> list[_Part]:
    return [
        _Part(float(part.mean()), float(part.std(ddof=1) / len(part) ** 0.5))
        for part in np.array_split(values, parts)
    ]


def _differ(one: _Part, other: _Part) -> bool:
    return abs(one.mean - other.mean) > _CERTAIN * float(np.hypot(one.error, other.error))


def _still_falling(facts: Facts) -> CurveFinding | None:
    curves, least = _shaped(facts), THRESHOLDS["still-falling"]["fall"]
    if curves is None or not facts.is_finished:
        return None
    before, last = _parts(curves.val[curves.main], _PARTS // 2)[-2:]
    fall = 1 - last.mean / before.mean if before.mean > 0 else 0.0
    if fall < least or not _differ(before, last):
        return None
    epochs = len(curves)
    return CurveFinding(
        code="still-falling",
        text=f"the validation error was still falling when training ended: by {fall:.0%} from the "
        f"fourth fifth of the epochs to the last fifth ({before.mean:.3g} to {last.mean:.3g})",
        numbers={"fall": fall, "before": before.mean, "last": last.mean},
        next_step=f"train longer: --num_epochs {2 * epochs}, "
        + ("which resumes this run" if facts.takes_more_epochs else "under a new --run_name"),
    )


def _overfitting(facts: Facts) -> CurveFinding | None:
    curves, bounds = _shaped(facts), THRESHOLDS["overfitting"]
    if curves is None:
        return None
    val, train = _parts(curves.val[curves.main]), _parts(curves.train[curves.main])
    place = min(range(_PARTS), key=lambda part: val[part].mean)
    rise = val[-1].mean / val[place].mean - 1 if val[place].mean > 0 else 0.0
    fall = 1 - train[-1].mean / train[place].mean if train[place].mean > 0 else 0.0
    if rise < bounds["rise"] or fall < bounds["train_fall"] or not _differ(val[-1], val[place]):
        return None
    epoch = int(curves.epoch[len(curves) * place // _PARTS])
    return CurveFinding(
        code="overfitting",
        text=f"from about epoch {epoch} on the validation error rose by {rise:.0%} while that of "
        f"training fell by {fall:.0%}",
        numbers={"rise": rise, "train_fall": fall, "epoch": float(epoch)},
        next_step="record more episodes, or augment them (--random_shift, --jitter_brightness); "
        "compare an earlier checkpoint on the robot",
    )


def _stuck_high(facts: Facts) -> CurveFinding | None:
    curves, bounds = _shaped(facts), THRESHOLDS["stuck-high"]
    if curves is None:
        return None
    parts = _parts(curves.train[curves.main])
    left = parts[-1].mean / parts[0].mean if parts[0].mean > 0 else 0.0
    if left < bounds["left"] or parts[-1].mean < bounds["error"]:
        return None
    return CurveFinding(
        code="stuck-high",
        text=f"the training error hardly fell: it ended at {parts[-1].mean:.2f} of a standard "
        f"deviation, {left:.0%} of what it was in the first tenth of the epochs",
        numbers={"left": left, "error": parts[-1].mean},
        next_step="check that actions, states and images belong together (check INPUT), then try "
        "another --learning_rate, or a lower --kl_weight",
    )


def _oscillating(facts: Facts) -> CurveFinding | None:
    curves, bounds = _shaped(facts), THRESHOLDS["oscillating"]
    if curves is None:
        return None
    half = curves.train["loss"][len(curves) // 2 :]
    means = np.array([part.mean for part in _parts(half, min(_PARTS * 2, len(half) // 2))])
    level = float(np.median(means))
    swings = _rises(means, bounds["swing"] * level)
    if swings < bounds["swings"]:
        return None
    return CurveFinding(
        code="oscillating",
        text=f"in the second half of training the loss rose {swings} times by more than "
        f"{bounds['swing']:.0%} of its level of {level:.3g}",
        numbers={"swings": float(swings), "level": level},
        next_step="lower --learning_rate, set --grad_clip 10, or raise --batch_size",
    )


def _rises(values: Curve, least: float) -> int:
    """How often the values rise by so much from a low point, and fall by so much in between."""
    count, extreme, is_rising = 0, float(values[0]), False
    for value in map(float, values):
        if is_rising:
            extreme = max(extreme, value)
            if value < extreme - least:
                is_rising, extreme = False, value
        else:
            extreme = min(extreme, value)
            if value > extreme + least:
                count, is_rising, extreme = count + 1, True, value
    return count


def _kl_zero(facts: Facts) -> CurveFinding | None:
    curves, bound = _shaped(facts), THRESHOLDS["kl-zero"]["kl"]
    if curves is None or "kl" not in curves.train:
        return None
    below = np.flatnonzero(curves.train["kl"] < bound)
    if not len(below) or below[0] > _EARLY * len(curves):
        return None
    kl = float(np.median(curves.train["kl"][below[0] :]))
    if kl >= bound:
        return None
    epoch = int(curves.epoch[below[0]])
    return CurveFinding(
        code="kl-zero",
        text=f"the KL term is at 0 from epoch {epoch} on (median {kl:.1e}): the policy makes no "
        f"use of its latent",
        numbers={"kl": kl, "epoch": float(epoch)},
        next_step="nothing, where demonstrations are alike; where they differ in style, lower "
        "--kl_weight or set --kl_warmup",
    )


def _kl_dominates(facts: Facts) -> CurveFinding | None:
    curves, bound = _shaped(facts), THRESHOLDS["kl-dominates"]["share"]
    if curves is None or "kl" not in curves.train:
        return None
    loss = _parts(curves.train["loss"])[-1].mean
    share = 1 - _parts(curves.train[curves.main])[-1].mean / loss if loss > 0 else 0.0
    if share < bound:
        return None
    return CurveFinding(
        code="kl-dominates",
        text=f"at the end {share:.0%} of the loss is the KL term, so that training serves it more "
        f"than the actions",
        numbers={"share": share},
        next_step="lower --kl_weight",
    )


def _always_clipped(facts: Facts) -> CurveFinding | None:
    curves, bound = _shaped(facts), THRESHOLDS["always-clipped"]["share"]
    clip = facts.flags.get("grad_clip") or 0.0
    if curves is None or not clip:
        return None
    share = float((curves.grad_norm[len(curves) // 2 :] >= clip).mean())
    if share < bound:
        return None
    norm = float(np.median(curves.grad_norm[len(curves) // 2 :]))
    return CurveFinding(
        code="always-clipped",
        text=f"the gradient was cut to --grad_clip {clip:g} in {share:.0%} of the epochs of the "
        f"second half (its median norm is {norm:.3g}), which lowers the learning rate",
        numbers={"share": share, "grad_clip": float(clip), "norm": norm},
        next_step=f"raise --grad_clip above {norm:.2g}, or lower --learning_rate",
    )


def _waits_for_data(facts: Facts) -> CurveFinding | None:
    curves, bound = facts.curves, THRESHOLDS["waits-for-data"]["share"]
    if curves is None or curves.seconds < 1:
        return None
    share = float(curves.wait_s.sum()) / curves.seconds
    if share < bound:
        return None
    return CurveFinding(
        code="waits-for-data",
        text=f"{share:.0%} of the training time went into waiting for data",
        numbers={"share": share, "seconds": curves.seconds},
        next_step="raise --num_workers, lower --image_size, or leave --data_cache at auto on a GPU",
    )


Find = Callable[[Facts], CurveFinding | None]
FINDINGS: tuple[Find, ...] = (
    _still_falling,
    _overfitting,
    _stuck_high,
    _oscillating,
    _kl_zero,
    _kl_dominates,
    _always_clipped,
    _waits_for_data,
    error_findings.late_error,
    error_findings.camera_ignored,
    error_findings.no_better,
    error_findings.small_batch,
    error_findings.idle_frames,
)
