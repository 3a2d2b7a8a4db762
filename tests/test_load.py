"""`load_policy`: equal to the training network, and whatever an observation may be wrong in."""

import numpy as np
import pytest
import torch

from act import load_policy
from act.load.loaded_policy import LoadedPolicy
from act.policies.statistics import load_stats
from act.policies.weights import load_weights
from act.training.data import open_data
from act.training.setup import make_policy
from episodes.arrays import FloatArray, Frame
from tests.support.episodes import CAMERAS, frame_of
from tests.support.training import Short


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Short:
    """A run of one epoch."""
    short = Short(tmp_path_factory.mktemp("short"))
    short.run(num_epochs=1)
    return short


@pytest.fixture(scope="module")
def policy(training: Short) -> LoadedPolicy:
    return load_policy(training.folder, device="cpu")


STATE = np.array([0.5, -1.0, 0.25], np.float32)


def frames(ts: int = 0) -> dict[str, Frame]:
    return {name: frame_of(0, number, ts) for number, name in enumerate(CAMERAS)}


@torch.no_grad()
def by_hand(training: Short, states: FloatArray, images: Frame) -> FloatArray:
    """What the training network gives: states (B, 3), images (B, 2, 32, 48, 3)."""
    network, _ = make_policy(training.config(), open_data(training.paths, ()).episodes)
    network.load_state_dict(load_weights(training.folder / "policy_best.ckpt"))
    stats = load_stats(training.folder / "dataset_stats.pkl")
    qpos = torch.from_numpy((states - stats["qpos_mean"]) / stats["qpos_std"])
    a_hat = network.eval()(qpos, torch.from_numpy(images)).numpy()
    return a_hat * stats["action_std"] + stats["action_mean"]


def test_a_chunk_is_the_training_networks_to_the_last_bit(
    training: Short, policy: LoadedPolicy
) -> None:
    images = np.stack(list(frames().values()))[None]
    expected = by_hand(training, STATE[None], images)[0]
    np.testing.assert_array_equal(policy.predict(STATE, frames()), expected)


def test_what_a_robot_asks_a_policy_first(policy: LoadedPolicy) -> None:
    assert policy.cameras == CAMERAS
    assert policy.image_size == (32, 48)
    assert policy.chunk_size == 5
    assert (policy.fps, policy.state_names, policy.action_names) == (None, None, None)
