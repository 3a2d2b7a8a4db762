"""Recipes: named sets of flags that a training takes in place of upstream's defaults.

All that a recipe is stands in this file; docs/recipes.md has what each was measured to bring. A
flag that is given on the command line counts more than the recipe. A recipe that changes gets a new
number, and the ones before it stay, so that a run of theirs can be resumed and repeated.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from episodes.input_numbers import InputNumbers
from job.flags import Flags, flag, names_of

_SAMPLES_PER_EPISODE = 10  # in an epoch; with fewer, much of the time would go to validation
_BATCH_SIZE = 8


def _fast_1(numbers: InputNumbers) -> Mapping[str, Any]:
    """Three passes over the frames, 6,000 steps at least, on images of about 120x160."""
    from act.batches.split import TRAIN_SHARE  # with it numpy: the first line must come at once

    samples = max(6000 * _BATCH_SIZE, round(3 * TRAIN_SHARE * numbers.frames))
    an_epoch = max(1, int(TRAIN_SHARE * numbers.episodes)) * _SAMPLES_PER_EPISODE
    found: dict[str, Any] = {"num_epochs": math.ceil(samples / an_epoch)}
    if numbers.image_size is not None:
        found["image_size"] = _reduced(*numbers.image_size)
    return found


def _reduced(height: int, width: int) -> str:
    """Both divided by the largest whole number that leaves 120x160, as areas of whole pixels."""
    by = max(1, min(height // 120, width // 160))
    return f"{height // by}x{width // by}"


@dataclass(frozen=True)
class Recipe:
    """What a recipe sets."""

    flags: Mapping[str, Any]
    by_input: Callable[[InputNumbers], Mapping[str, Any]]  # what depends on the size of the input


RECIPES: Mapping[str, Recipe] = {
    "fast-1": Recipe(
        {
            "samples_per_episode": _SAMPLES_PER_EPISODE,
            "batch_size": _BATCH_SIZE,
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
_NEWEST = {"fast": "fast-1"}


@dataclass(frozen=True, kw_only=True)
class RecipeFlags(Flags):
    """Which recipe a training follows."""

    title = "training"

    recipe: str = flag(
        "Defaults of the training: upstream's, or those that learned fastest here.",
        "upstream",
        choices=("upstream", *_NEWEST, *RECIPES),
        same_run=True,  # what it sets is compared flag by flag
    )


F = TypeVar("F", bound=RecipeFlags)


def with_recipe(flags: F, look: Callable[[], InputNumbers | None]) -> F:
    """The flags with those of their recipe, by its number; raises UsageError.

    look: gives the size of the input, None where that is not known
    """
    if flags.recipe == "upstream":
        return flags
    name = _NEWEST.get(flags.recipe, flags.recipe)
    numbers = look()
    values = dict(RECIPES[name].flags) | dict(RECIPES[name].by_input(numbers) if numbers else {})
    known = names_of(type(flags)) - flags.given
    chosen = {key: value for key, value in values.items() if key in known}
    return dataclasses.replace(flags, recipe=name, **chosen)


def shown_recipe(flags: RecipeFlags) -> str:
    """The recipe and what it sets here, as flags."""
    named = set(RECIPES[flags.recipe].flags) | {"num_epochs", "image_size"}
    words = [f"--{name} {getattr(flags, name)}" for name in sorted(named - flags.given)]
    return f"{flags.recipe}: {' '.join(words)}"
