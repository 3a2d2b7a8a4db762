"""The verdict: each rule on both sides of its threshold, and the page that lists them."""

import json
import re
from typing import Any

import pytest

from act.evaluate import verdict as rules
from act.evaluate.verdict import Facts, verdict
from job.sections.evaluation import BaselineErrors, CheckpointErrors, Interval
from job.sections.look import Ablation, CameraDistance, Distance, Exchanged, Look
from tests.support.evaluations import checkpoint
from tests.support.paths import ROOT


def section(error: float, count: int = 5, name: str = "best", first: float | None = None) -> Any:
    """The errors of some episodes about `error`, in std; first: at the chunk's first positions."""
    errors = [error * (1 + 0.01 * n) for n in range(count)]
    made = checkpoint(name, errors).errors
    return made if first is None else made.model_copy(update={"by_position": [first, first]})


def facts(
    error: float = 0.05,
    *,
    count: int = 5,
    hold_first: float = 0.3,
    shifted: float | None = None,
    look: Look | None = None,
    distance: Distance | None = None,
    is_held_out: bool = True,
    held_out: int | None = None,
) -> Facts:
    """A good policy among baselines of 1.0, but for what is given."""
    best = CheckpointErrors(
        name="best",
        file="policy_best.ckpt",
        sha256="0" * 64,
        epoch=1,
        errors=section(error, count),
        above_lowest=Interval(mean=0.0, low=0.0, high=0.0),
        distinguishable=False,
    )
    baselines = [
        BaselineErrors(name="hold", errors=section(1.0, count, first=hold_first)),
        BaselineErrors(name="mean", errors=section(1.2, count)),
    ]
    if shifted is not None:
        baselines.append(BaselineErrors(name="shifted", errors=section(shifted, count)))
    there = count if held_out is None else held_out
    return Facts(best, baselines, look or looked(), distance, is_held_out, there)


def looked(
    *,
    spread: float = 1.0,
    ignored: tuple[bool, ...] = (False, False),
    exchanged: float = 1.5,
    other_episode: float = 1.5,
    together: bool | None = None,
) -> Look:
    """together: whether all cameras at once are ignored, when that is looked at as well"""
    ablations = [
        Ablation(
            name=name,
            blanked=1.0 if name != "state" else None,
            frozen=1.0,
            other_episode=other_episode,
            change_in_std=0.01 if is_ignored else 0.5,
            ignored=is_ignored,
        )
        for name, is_ignored in zip(("top", "wrist", "state"), (*ignored, False), strict=True)
    ]
    every = None
    if together is not None:
        changed = 0.01 if together else 0.5
        values = {"name": "all cameras", "change_in_std": changed, "ignored": together}
        every = ablations[0].model_copy(update=values | {"other_episode": 1.5})
    pair = Exchanged(first="top", second="wrist", error=exchanged)
    return Look(
        frames=9,
        ablations=ablations,
        all_cameras=every,
        exchanged=[pair],
        spread_ratio=spread,
        constant_dims=[],
        attention=None,
    )


def far(ratio: float) -> Distance:
    return Distance(state=1.0, cameras=[CameraDistance(name="top", ratio=ratio)], method="")


GOOD, MIDDLING = "close-to-demonstrations", "far-from-demonstrations"


@pytest.mark.parametrize(
    ("found", "answer", "rule"),
    [
        (facts(0.09), "yes", "close-to-demonstrations"),
        (facts(0.09, shifted=0.01), "yes", "close-to-demonstrations"),
        (facts(0.2), "unknown", "far-from-demonstrations"),
        (facts(1.0), "no", "no-better-than-baseline"),
        (facts(1.1, count=2), "unknown", "too-few-episodes"),
        (facts(1.3, count=2), "no", "no-better-than-baseline"),
        (facts(0.09, count=2), "unknown", "too-few-episodes"),
        (facts(0.09, count=2, held_out=9), "unknown", "too-little-time"),
        (facts(0.09, look=looked(ignored=(True, True), together=False)), "yes", GOOD),
        (facts(0.2, look=looked(other_episode=1.0, together=False)), "unknown", MIDDLING),
        (facts(0.09, is_held_out=False), "unknown", "not-held-out"),
        (facts(0.09, hold_first=0.005), "no", "actions-are-states"),
        (facts(0.09, look=looked(spread=0.1)), "no", "output-constant"),
        (facts(0.09, look=looked(exchanged=0.8)), "no", "cameras-exchanged"),
        (facts(0.09, look=looked(exchanged=0.95)), "yes", "close-to-demonstrations"),
        (facts(0.09, look=looked(ignored=(True, True))), "no", "images-ignored"),
        (facts(0.09, look=looked(ignored=(True, False))), "yes", "close-to-demonstrations"),
        (facts(0.2, look=looked(other_episode=1.01)), "no", "scene-ignored"),
        (facts(0.2, look=looked(other_episode=1.1)), "unknown", "far-from-demonstrations"),
        (facts(0.09, look=looked(other_episode=1.01)), "yes", "close-to-demonstrations"),
        (facts(0.09, distance=far(3.5)), "unknown", "far-from-training"),
        (facts(0.09, distance=far(2.5)), "yes", "close-to-demonstrations"),
    ],
)
def test_a_rule_decides_on_its_side_of_the_threshold(found: Facts, answer: str, rule: str) -> None:
    made = verdict(found)
    assert (made.answer, made.reasons[0].rule) == (answer, rule)
    assert made.reasons[0].answer == answer
    assert (made.reasons[0].next_step is None) == (answer == "yes")
    assert "closed loop" in made.not_seen[0]


def test_actions_are_compared_with_the_states_of_their_own_time() -> None:
    """With sim false the first action of a chunk is of the step before, which may be the state."""
    found = facts(0.09)
    hold = found.baselines[0].errors.model_copy(update={"by_position": [0.0, 0.3]})
    next_states = [BaselineErrors(name="hold", errors=hold), found.baselines[1]]
    for follows, answer in ((0, "no"), (1, "yes")):
        made = verdict(Facts(found.best, next_states, found.look, None, True, 5, follows))
        assert made.answer == answer
    one_action = hold.model_copy(update={"by_position": [0.0]})  # of a policy without chunks
    alone = [BaselineErrors(name="hold", errors=one_action), found.baselines[1]]
    assert verdict(Facts(found.best, alone, found.look, None, True, 5, 1)).answer == "yes"


def test_a_policy_without_a_closer_look_is_unknown() -> None:
    found = facts(0.05)
    made = verdict(Facts(found.best, found.baselines, None, None, True, 5))
    assert (made.answer, made.reasons[0].rule) == ("unknown", "not-looked")


_THRESHOLDS = {
    "actions-are-states": ("SAME_AS_STATE",),
    "cameras-exchanged": ("EXCHANGED",),
    "no-better-than-baseline": ("BAD", "WORSE", "FEW"),
    "output-constant": ("CONSTANT",),
    "scene-ignored": ("SAME_SCENE",),
    "too-few-episodes": ("FEW",),
    "too-little-time": ("FEW",),
    "far-from-training": ("FAR",),
    "far-from-demonstrations": ("GOOD",),
    "close-to-demonstrations": ("GOOD",),
}


def test_the_page_lists_every_rule_and_threshold() -> None:
    page = (ROOT / "docs/evaluate.md").read_text()
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
    source = (ROOT / "act/evaluate/verdict.py").read_text()
    known = set(re.findall(r'"([a-z]+-[a-z-]+)"', source))
    assert known == {one for one in listed if not one.endswith(".json")}
    assert listed >= rules.MAY_BE_TOO_SHORT
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| \w+ \| (.*) \|$", page, re.MULTILINE))
    for rule, names in _THRESHOLDS.items():
        for name in names:
            value = re.escape(str(getattr(rules, name)))
            assert re.search(rf"(?<![\d.]){value}(?![\d.]*\d)", rows[rule]), (rule, name)


@pytest.mark.parametrize(
    ("policy", "answer", "rule"),
    [
        ("good", "yes", "close-to-demonstrations"),
        ("untrained", "no", "no-better-than-baseline"),
        ("shuffled", "no", "output-constant"),
        ("states", "no", "actions-are-states"),
        ("swapped", "no", "scene-ignored"),
    ],
)
def test_policies_of_which_the_answer_is_known(policy: str, answer: str, rule: str) -> None:
    """Trained by benchmarks/verdict.py on 50 simulated episodes, and evaluated on 10 others."""
    recorded = json.loads((ROOT / "tests/data/verdicts.json").read_text())[policy]
    distance = recorded["distance"]
    found = Facts(
        CheckpointErrors.model_validate(recorded["best"]),
        [BaselineErrors.model_validate(one) for one in recorded["baselines"]],
        Look.model_validate(recorded["look"]),
        None if distance is None else Distance.model_validate(distance),
        recorded["held_out"],
        len(recorded["best"]["errors"]["by_episode"]),
    )
    made = verdict(found)
    assert (made.answer, made.reasons[0].rule) == (answer, rule)


def test_an_error_near_the_baselines_is_a_no_where_episodes_cannot_tell_them_apart() -> None:
    """0.95 of it in every episode is better; better in some and worse in others is not."""
    found = facts(0.95)
    assert verdict(found).reasons[0].rule == MIDDLING
    mixed = section(1.0)
    spread = [0.5, 1.5, 0.6, 1.4, 0.75]
    errors = mixed.model_copy(
        update={
            "by_episode": spread,
            "mae_in_std": mixed.mae_in_std.model_copy(update={"mean": 0.95}),
        }
    )
    uncertain = found.best.model_copy(update={"errors": errors})
    made = verdict(Facts(uncertain, found.baselines, found.look, None, True, 5))
    assert made.answer == "no"
    assert made.reasons[0].numbers == {"ratio": pytest.approx(0.95, rel=0.03), "threshold": 0.9}
