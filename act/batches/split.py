"""Which episodes are trained on, and which are validated on."""

import logging

import numpy as np

logger = logging.getLogger("act")
TRAIN_SHARE = 0.8
SPLIT_SEED = 1  # upstream's, whatever --seed says


def split_episodes(count: int) -> tuple[list[int], list[int]]:
    """Episode numbers to train and to validate on, as upstream shuffles and cuts them."""
    if count == 1:
        logger.warning(
            "There is one episode: it is trained on and validated on, so the validation loss does "
            "not show how the policy does on new situations; record at least two"
        )
        return [0], [0]
    shuffled = np.random.RandomState(SPLIT_SEED).permutation(count)
    trained = train_count(count)
    return shuffled[:trained].tolist(), shuffled[trained:].tolist()


def train_count(count: int) -> int:
    """How many of `count` episodes are trained on."""
    return 1 if count == 1 else int(TRAIN_SHARE * count)
