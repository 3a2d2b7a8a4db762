"""The verdict on a run: rules with their thresholds, each on its own; docs/evaluate.md lists them.

One rule that speaks for no decides; else one for unknown; else the answer is yes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from act.evaluate.bootstrap import interval
from job.sections.evaluation import BaselineErrors, CheckpointErrors
from job.sections.look import Ablation, Distance, Look
from job.sections.verdict import Answer, Reason, Verdict
from job.words import counted

# Thresholds. Errors are in standard deviations of the actions; ratios are of errors.
SAME_AS_STATE = 0.01  # of the error of holding the state, at the time of the observation
GOOD = 0.1  # of the lowest baseline's error, at most: yes
BAD = 0.9  # of it, at least: no, where episodes cannot tell the policy from that baseline
WORSE = 1.25  # of it, at least: no, where episodes are too few to say how sure that is
CONSTANT = 0.15  # of the demonstrations' spread
EXCHANGED = 0.9  # of the error as recorded, when two cameras are exchanged
SAME_SCENE = 1.05  # of the error as recorded, with the images of another episode
FAR = 3.0  # times the distance between training episodes
FEW = 3  # episodes

CLOSED_LOOP = "closed loop"
_NOT_SEEN = (
    f"{CLOSED_LOOP}: the policy never saw where its own actions lead, where small errors add up",
    "contact and forces: whether an object is held is not in the error of an action",
    "other scenes: objects, light and places that these recordings do not have",
)


def best_baseline(baselines: Sequence[BaselineErrors]) -> BaselineErrors:
    """The lowest of those that could act; the demonstration that is late knows the future."""
    could_act = [one for one in baselines if one.name != "shifted"]
    return min(could_act, key=lambda one: one.errors.mae_in_std.mean)


@dataclass(frozen=True)
class Facts:
    """What the rules look at."""

    best: CheckpointErrors
    baselines: Sequence[BaselineErrors]
    look: Look | None
    distance: Distance | None
    is_held_out: bool
    held_out_episodes: int  # of which the time was enough for `episodes`
    follows: int = 0  # 1 where a chunk starts with the action before the observation

    @property
    def lowest(self) -> BaselineErrors:
        """The baseline that is hardest to beat."""
        return best_baseline(self.baselines)

    @property
    def ratio(self) -> float:
        """The policy's error over that baseline's."""
        return self.best.errors.mae_in_std.mean / max(self.lowest.errors.mae_in_std.mean, 1e-9)

    @property
    def episodes(self) -> int:
        """Episodes that were evaluated on."""
        return len(self.best.errors.by_episode)


def verdict(facts: Facts) -> Verdict:
    """The answer and its reasons, those that decided it first."""
    reasons = [reason for rule in RULES if (reason := rule(facts)) is not None]
    if any(reason.rule == "no-better-than-baseline" for reason in reasons):
        reasons = [reason for reason in reasons if reason.rule != "far-from-demonstrations"]
    order: tuple[Answer, ...] = ("no", "unknown", "yes")
    answer = next(one for one in order if any(reason.answer == one for reason in reasons))
    reasons.sort(key=lambda reason: (reason.answer != answer, order.index(reason.answer)))
    return Verdict(answer=answer, reasons=reasons, not_seen=[*_NOT_SEEN, _smallest(facts)])


def _smallest(facts: Facts) -> str:
    """The smallest difference that so many episodes can show."""
    found = facts.best.errors.mae_in_std
    if found.low is None or found.high is None:
        seen = counted(facts.episodes, "episode")
        return f"differences between checkpoints, which cannot be told from {seen}"
    half = (found.high - found.low) / 2
    return (
        f"differences in error below about {half:.3f} of a standard deviation, half the interval "
        f"that {facts.episodes} episodes leave"
    )


def _actions_are_states(facts: Facts) -> Reason | None:
    hold = next((one for one in facts.baselines if one.name == "hold"), None)
    if hold is None or facts.follows >= len(hold.errors.by_position):
        return None
    error = hold.errors.by_position[facts.follows]
    if error >= SAME_AS_STATE:
        return None
    return Reason(
        rule="actions-are-states",
        answer="no",
        text=f"the recorded actions are the recorded states: they differ by {error:.4f} of a "
        f"standard deviation, so an arm that is sent them stays where it is, or follows too late",
        numbers={"error_of_the_state": error, "threshold": SAME_AS_STATE},
        next_step="record the commands as the action, those of the leader arm or the controller's "
        "targets, and train on that",
    )


def _no_better_than_baseline(facts: Facts) -> Reason | None:
    lowest, ratio = facts.lowest, facts.ratio
    difference = np.array(facts.best.errors.by_episode) - lowest.errors.by_episode
    high = interval(difference).high
    bound = WORSE if high is None else BAD if high >= 0 else 1.0
    if ratio < bound:
        return None
    return Reason(
        rule="no-better-than-baseline",
        answer="no",
        text=f"its error is {ratio:.2f} times that of the baseline {lowest.name}, which sees no "
        f"image ({facts.best.errors.mae_in_std.mean:.3f} against "
        f"{lowest.errors.mae_in_std.mean:.3f} of a standard deviation)",
        numbers={"ratio": ratio, "threshold": bound},
        next_step="look at the curves: train longer where they still fall, else check that "
        "actions, states and images belong together",
    )


def _output_constant(facts: Facts) -> Reason | None:
    if facts.look is None or facts.look.spread_ratio >= CONSTANT:
        return None
    return Reason(
        rule="output-constant",
        answer="no",
        text=f"it predicts nearly the same whatever it sees: predictions spread "
        f"{facts.look.spread_ratio:.2f} times as much as demonstrations",
        numbers={"spread_ratio": facts.look.spread_ratio, "threshold": CONSTANT},
        next_step="train longer, or lower --learning_rate or --kl_weight; actions that do not "
        "belong to their observations end here too",
    )


def _cameras_exchanged(facts: Facts) -> Reason | None:
    pairs = facts.look.exchanged if facts.look is not None else []
    better = min(pairs, key=lambda pair: pair.error, default=None)
    if better is None or better.error >= EXCHANGED:
        return None
    return Reason(
        rule="cameras-exchanged",
        answer="no",
        text=f"with the cameras {better.first} and {better.second} in each other's place its error "
        f"is {better.error:.2f} times as large: it was trained on them that way",
        numbers={"ratio": better.error, "threshold": EXCHANGED},
        next_step="find out which recordings have the two cameras exchanged, name them alike "
        "everywhere with --camera_keys and --camera_names, and train again",
    )


def _images(facts: Facts) -> Ablation | None:
    """What happens without the images of all cameras; None where there are none.

    A record from before they were spoiled together has the one that matters most.
    """
    if facts.look is None:
        return None
    each = (one for one in facts.look.ablations if one.name != "state")
    most = max(each, key=lambda one: one.change_in_std, default=None)
    return facts.look.all_cameras or most


def _images_ignored(facts: Facts) -> Reason | None:
    images = _images(facts)
    if images is None or not images.ignored:
        return None
    return Reason(
        rule="images-ignored",
        answer="no",
        text=f"it does not look: without its images its predictions move by "
        f"{images.change_in_std:.3f} of a standard deviation at most",
        numbers={"change_in_std": images.change_in_std},
        next_step="train longer or with a higher --lr_backbone; check that the images show what "
        "the task depends on",
    )


def _scene_ignored(facts: Facts) -> Reason | None:
    """Of a policy that looks: the images of another episode, at the same time, serve it as well.

    Where all scenes are alike a good policy is close to its demonstrations all the same.
    """
    images = _images(facts)
    if images is None or images.ignored or facts.ratio <= GOOD:
        return None
    if images.other_episode is None or images.other_episode >= SAME_SCENE:
        return None
    return Reason(
        rule="scene-ignored",
        answer="no",
        text=f"it looks at how far its episode is, and not at where things are: with the images "
        f"of another episode its error is {images.other_episode:.2f} times as large",
        numbers={"ratio": images.other_episode, "threshold": SAME_SCENE},
        next_step="see that each episode has its own images, not those of another one; then train "
        "longer",
    )


def _too_little(facts: Facts) -> Reason | None:
    if facts.is_held_out and facts.episodes >= FEW and facts.look is not None:
        return None
    if not facts.is_held_out:
        rule, text = "not-held-out", "the run was trained on the episodes it was evaluated on"
        step = "record more episodes; of two or more a fifth is held out"
    elif facts.episodes < min(FEW, facts.held_out_episodes):
        rule = "too-little-time"
        text = (
            f"the time was enough for {facts.episodes} of the {facts.held_out_episodes} held-out "
            f"episodes"
        )
        step = "evaluate RUN without --minutes"
    elif facts.episodes < FEW:
        rule = "too-few-episodes"
        text = (
            f"{counted(facts.episodes, 'held-out episode')} cannot say how sure the numbers are: "
            f"too few"
        )
        step = f"record more episodes: with {5 * FEW} of them {FEW} are held out"
    else:
        rule, text = "not-looked", "there was no time to see what of its inputs it uses"
        step = "evaluate RUN without --minutes"
    numbers = {"episodes": float(facts.episodes), "threshold": float(FEW)}
    return Reason(rule=rule, answer="unknown", text=text, numbers=numbers, next_step=step)


def _far_from_training(facts: Facts) -> Reason | None:
    if facts.distance is None:
        return None
    ratios = {"state": facts.distance.state}
    ratios |= {camera.name: camera.ratio for camera in facts.distance.cameras}
    farthest = max(ratios, key=lambda name: ratios[name])
    if ratios[farthest] <= FAR:
        return None
    return Reason(
        rule="far-from-training",
        answer="unknown",
        text=f"what was held out lies {ratios[farthest]:.1f} times as far from the training "
        f"episodes as these from each other, by {farthest}",
        numbers={"ratio": ratios[farthest], "threshold": FAR},
        next_step="record more episodes that vary as these do",
    )


def _error(facts: Facts) -> Reason | None:
    ratio, lowest = facts.ratio, facts.lowest
    is_good = ratio <= GOOD
    text = (
        f"its error is {ratio:.2f} times that of the best baseline, {lowest.name} "
        f"({facts.best.errors.mae_in_std.mean:.3f} against "
        f"{lowest.errors.mae_in_std.mean:.3f} of a standard deviation)"
    )
    return Reason(
        rule="close-to-demonstrations" if is_good else "far-from-demonstrations",
        answer="yes" if is_good else "unknown",
        text=text,
        numbers={"ratio": ratio, "threshold": GOOD},
        next_step=None if is_good else _LONGER,
    )


_LONGER = (
    "train longer while the error falls, and try it on the robot with limits: how much error a "
    "task bears, no recording tells"
)

# Rules that a longer training may satisfy
MAY_BE_TOO_SHORT = frozenset(
    {
        "no-better-than-baseline",
        "output-constant",
        "images-ignored",
        "scene-ignored",
        "far-from-demonstrations",
    }
)

Rule = Callable[[Facts], Reason | None]
RULES: tuple[Rule, ...] = (
    _actions_are_states,
    _cameras_exchanged,
    _no_better_than_baseline,
    _output_constant,
    _images_ignored,
    _scene_ignored,
    _too_little,
    _far_from_training,
    _error,
)
