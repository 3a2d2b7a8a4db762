"""What the errors of an evaluation, and the data, show: findings beside those of the curves."""

import numpy as np

from act.report.finding_facts import THRESHOLDS, Facts
from job.sections.report import CurveFinding
from job.words import counted


def late_error(facts: Facts) -> CurveFinding | None:
    bounds, best = THRESHOLDS["late-error"], facts.recommended
    if best is None or len(best.errors.by_position) < 4:
        return None
    errors = np.array(best.errors.by_position)
    quarter = len(errors) // 4
    early, late = float(errors[:quarter].mean()), float(errors[-quarter:].mean())
    ratio = late / max(early, 1e-9)
    if ratio < bounds["ratio"] or late - early < bounds["rise"]:
        return None
    beyond = np.flatnonzero(errors > bounds["ratio"] * max(early, 1e-9))
    horizon = int(beyond[0]) if len(beyond) and beyond[0] else len(errors) // 2
    return CurveFinding(
        code="late-error",
        text=f"late in a chunk the error is {ratio:.1f} times as large as early in it "
        f"({late:.3f} against {early:.3f} of a standard deviation)",
        numbers={"ratio": ratio, "rise": late - early, "early": early, "late": late},
        next_step=f"execute fewer actions of each chunk, about {horizon}, or train with a smaller "
        f"--chunk_size",
    )


def camera_ignored(facts: Facts) -> CurveFinding | None:
    look = facts.evaluation.look if facts.evaluation else None
    ablations = look.ablations if look else []
    ignored = [one for one in ablations if one.ignored and one.name != "state"]
    if not ignored:
        return None
    names = ", ".join(one.name for one in ignored)
    change = max(one.change_in_std for one in ignored)
    return CurveFinding(
        code="camera-ignored",
        text=f"the policy does not use {names}: without it predictions move by {change:.3f} of a "
        f"standard deviation at most",
        numbers={"cameras": float(len(ignored)), "change_in_std": change},
        next_step="leave the camera out with --camera_keys, or train longer where it shows what "
        "the task needs",
    )


def no_better(facts: Facts) -> CurveFinding | None:
    """The verdict's own rule."""
    code = "no-better-than-baseline"
    reasons = facts.evaluation.verdict.reasons if facts.evaluation else []
    found = next((one for one in reasons if one.rule == code), None)
    if found is None or found.next_step is None:
        return None
    return CurveFinding(
        code=code, text=found.text, numbers=found.numbers, next_step=found.next_step
    )


def small_batch(facts: Facts) -> CurveFinding | None:
    asked = facts.flags.get("batch_size")
    if facts.training is None or not isinstance(asked, int):
        return None
    effective = facts.training.effective_batch
    if effective >= asked:
        return None
    return CurveFinding(
        code="small-batch",
        text=f"steps had {counted(effective, 'sample')} where --batch_size {asked} was asked for: "
        f"an epoch has no more",
        numbers={"effective": float(effective), "asked": float(asked)},
        next_step=f"ask for --batch_size {effective}, or for more --samples_per_episode",
    )


def idle_frames(facts: Facts) -> CurveFinding | None:
    bound, idle = THRESHOLDS["idle-frames"]["share"], facts.idle
    if idle is None:
        return None
    share = (idle.start_share or 0.0) + (idle.end_share or 0.0)
    if share < bound:
        return None
    return CurveFinding(
        code="idle-frames",
        text=f"in {share:.0%} of the frames, at the ends of episodes, nothing moves; a policy "
        f"learns to stand still from them",
        numbers={"share": share},
        next_step="cut the ends off, or record without pauses",
    )
