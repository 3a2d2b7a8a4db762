"""Recipes: named sets of flags that a training takes in place of upstream's defaults.

All that a recipe is stands in this file; docs/recipes.md has what each was measured to bring. A
flag on the command line overrides the recipe. A recipe that changes gets a new number, and the ones
before it stay, so that a run of theirs can be resumed and repeated.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from act.batches.split import train_count
from act.training.flags import NEWEST_RECIPES, TrainingFlags
from episodes.input_numbers import InputNumbers
from job.errors import UsageError
from job.flags import flags_of

F = TypeVar("F", bound=TrainingFlags)

_PASSES = 3  # over the frames of the training episodes
_LEAST_SAMPLES = 48_000
_LEAST_SIZE = (120, 160)  # of an image


def _fast_1(numbers: InputNumbers, flags: TrainingFlags) -> Mapping[str, Any]:
    """Three passes over the training frames, on images of about 120x160."""
    found: dict[str, Any] = {}
    if "num_epochs" not in flags.written:
        found["num_epochs"] = _epochs(numbers, flags)
    if numbers.image_size is not None:
        found["image_size"] = _reduced(*numbers.image_size)
    return found


def _epochs(numbers: InputNumbers, flags: TrainingFlags) -> int:
    if not numbers.episodes or not numbers.frames:
        raise UsageError(
            "--recipe: info.json says no total_episodes or total_frames, expected both, as the "
            "length of the training follows from them; give --num_epochs",
            code="flag-missing",
        )
    training = train_count(numbers.episodes, flags.val_episodes)
    frames = numbers.frames * training / numbers.episodes
    samples = max(_LEAST_SAMPLES, round(_PASSES * frames))
    return math.ceil(samples / (training * flags.samples_per_episode))


def _reduced(height: int, width: int) -> str:
    """Both divided by the largest whole number that keeps at least 120x160, and rounded down."""
    by = max(1, min(height // _LEAST_SIZE[0], width // _LEAST_SIZE[1]))
    return f"{height // by}x{width // by}"


@dataclass(frozen=True)
class Recipe:
    """What a recipe sets."""

    flags: Mapping[str, Any]
    by_input: Callable[[InputNumbers, TrainingFlags], Mapping[str, Any]]


RECIPES: Mapping[str, Recipe] = {
    "fast-1": Recipe(
        {
            "samples_per_episode": 10,  # with fewer, much of the time would go to validation
            "batch_size": 8,
            "learning_rate": 1e-4,
            "lr_backbone": 1e-4,
            "hidden_dim": 256,
            "dim_feedforward": 1024,
            "vae": "off",
            "ema": "power",
        },
        _fast_1,
    ),
}


def with_recipe(flags: F, read_numbers: Callable[[], InputNumbers]) -> F:
    """The flags with those of their recipe, which is then named by its number.

    read_numbers: reads the size of the input
    Raises UsageError for flags that the recipe cannot go with, and what `read_numbers` raises.
    """
    if flags.recipe == "upstream":
        return flags
    name = NEWEST_RECIPES.get(flags.recipe, flags.recipe)
    if flags.policy_class != "ACT":
        raise UsageError(
            f"--recipe {flags.recipe} is for --policy_class ACT, found {flags.policy_class}; leave "
            f"one of them out",
            code="flags-conflict",
        )
    try:
        flags = _replaced(flags, {**RECIPES[name].flags, "recipe": name})
    except UsageError as error:
        raise UsageError(f"with --recipe {name}: {error}", code=error.code) from error
    return _replaced(flags, RECIPES[name].by_input(read_numbers(), flags))


def _replaced(flags: F, values: Mapping[str, Any]) -> F:
    """Values in place of those that were not given, and that apply to the policy."""
    declared = {entry.name: flag for entry, flag in flags_of(type(flags))}
    applying = {
        name: value
        for name, value in values.items()
        if (name == "recipe" or name not in flags.written)
        and not (declared[name].needs_cameras and flags.without_cameras)
    }
    return dataclasses.replace(flags, **applying)
