"""Which episodes are trained on, and which are validated on."""

import logging

import numpy as np

from episodes.ranges import chosen, parse_ranges
from job.errors import UsageError
from job.words import counted

logger = logging.getLogger("act")
TRAIN_SHARE = 0.8
SPLIT_SEED = 1  # upstream's, whatever --seed says


def split_episodes(count: int, validated: str = "auto") -> tuple[list[int], list[int]]:
    """Episode numbers to train and to validate on.

    validated: `auto`, as upstream shuffles and cuts them, or ranges of numbers
    Raises UsageError where no episode is left for one of them.
    """
    if validated != "auto":
        return _own_split(count, validated)
    if count == 1:
        logger.warning(
            "There is one episode: it is trained on and validated on, so the validation loss does "
            "not show how the policy does on new situations; record at least two"
        )
        return [0], [0]
    shuffled = np.random.RandomState(SPLIT_SEED).permutation(count)
    trained = train_count(count)
    return shuffled[:trained].tolist(), shuffled[trained:].tolist()


def _own_split(count: int, validated: str) -> tuple[list[int], list[int]]:
    ranges = parse_ranges(validated)
    val = [number for number in range(count) if chosen(number, ranges, ())]
    train = [number for number in range(count) if number not in val]
    if not train or not val:
        missing = "validate" if not val else "train"
        raise UsageError(
            f"--val_episodes {validated}: of the {counted(count, 'episode')} of the run none is "
            f"left to {missing} on, expected some for both; they count from 0",
            code="flag-value",
        )
    return train, val


def train_count(count: int, validated: str = "auto") -> int:
    """How many of `count` episodes are trained on; validated: as of `split_episodes`."""
    if validated != "auto":
        return len(_own_split(count, validated)[0])
    return 1 if count == 1 else int(TRAIN_SHARE * count)
