"""Split, statistics and samples against upstream's rules."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from act.batches.augmentation import Augmentation
from act.batches.order import Order, Purpose, epoch_order
from act.batches.sampler import Part, Sampler
from act.batches.split import split_episodes
from act.batches.vectors import Vectors, VectorStore
from act.policies.statistics import norm_stats
from episodes.arrays import FloatArray
from episodes.episode_set import Episodes
from episodes.padding import padding_share
from episodes.reader import EpisodeInfo
from job.errors import DatasetError
from tests.support.errors import raises_code
from tests.support.paths import ROOT


def make_episodes(lengths: list[int], dims: int = 3, sim: bool = True) -> Episodes:
    random = np.random.default_rng(0)
    qpos = tuple(random.standard_normal((t, dims), np.float32) for t in lengths)
    action = tuple(random.standard_normal((t, dims + 1), np.float32) for t in lengths)
    infos = tuple(
        EpisodeInfo(ROOT / f"episode_{i}.hdf5", sim, t, dims, dims + 1, {}, False, None, None, None)
        for i, t in enumerate(lengths)
    )
    return Episodes(infos, qpos, action, ("top", "wrist"))


def test_split_is_upstreams() -> None:
    # numpy.random.seed(1); numpy.random.permutation(10), cut at 8
    assert split_episodes(10) == ([2, 9, 6, 4, 0, 3, 1, 7], [8, 5])
    assert split_episodes(2) == ([0], [1])


@given(st.integers(2, 500))
def test_split_holds_each_episode_once(count: int) -> None:
    train, val = split_episodes(count)
    assert sorted(train + val) == list(range(count))
    assert len(train) == int(0.8 * count)


def test_one_episode_is_trained_and_validated_on_loudly(caplog: pytest.LogCaptureFixture) -> None:
    assert split_episodes(1) == ([0], [0])
    assert "There is one episode" in caplog.text


def test_statistics_are_upstreams_bit_for_bit() -> None:
    episodes = make_episodes([20, 20, 20])
    stats = norm_stats(episodes)
    for name, vectors in (("action", episodes.action), ("qpos", episodes.qpos)):
        stacked = torch.stack([torch.from_numpy(v) for v in vectors])
        assert np.array_equal(stats[f"{name}_mean"], stacked.mean(dim=[0, 1]).numpy())
        std = torch.clip(stacked.std(dim=[0, 1]), 1e-2, np.inf)
        assert np.array_equal(stats[f"{name}_std"], std.numpy())
    assert stats["example_qpos"] is episodes.qpos[-1]
    assert all(values.dtype == np.float32 for values in stats.values())


def test_statistics_of_different_lengths_and_still_dims() -> None:
    episodes = make_episodes([1, 7, 30])
    episodes.qpos[0][:, 0] = episodes.qpos[1][:, 0] = episodes.qpos[2][:, 0] = 5
    stats = norm_stats(episodes)
    joined = np.concatenate(episodes.qpos).astype(np.float64)
    np.testing.assert_allclose(stats["qpos_mean"], joined.mean(axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(stats["qpos_std"][1:], joined.std(axis=0, ddof=1)[1:], rtol=1e-5)
    assert stats["qpos_std"][0] == np.float32(0.01)


def chunk_of(action: FloatArray, start_ts: int, chunk_size: int, sim: bool) -> Vectors:
    """The vectors of one sample of the middle one of three episodes, not normalised."""
    (length, dims), zero, one = action.shape, np.zeros(3, np.float32), np.ones(3, np.float32)
    episodes = make_episodes([2, length, 3], sim=sim)
    infos = tuple(replace(info, action_dim=dims) for info in episodes.infos)
    others = [np.full((t, dims), -1, np.float32) for t in (2, 3)]
    episodes = replace(episodes, infos=infos, action=(others[0], action, others[1]))
    stats = {"qpos_mean": zero, "qpos_std": one}
    stats |= {"action_mean": zero[:1], "action_std": one[:1]}
    store = VectorStore(episodes, stats, chunk_size)
    return store.gather(Order(np.array([1]), np.array([start_ts])))


@given(st.integers(1, 30), st.integers(1, 40), st.data(), st.booleans())
def test_chunk_is_upstreams(length: int, chunk_size: int, data: st.DataObject, sim: bool) -> None:
    start = data.draw(st.integers(0, length - 1))
    action = np.arange(1, 2 * length + 1, dtype=np.float32).reshape(length, 2)
    found = chunk_of(action, start, chunk_size, sim)
    # what upstream's __getitem__ does, at the full episode's length, then policy.py's cut
    rest = action[start:] if sim else action[max(0, start - 1) :]
    padded = np.zeros((length + chunk_size, 2), np.float32)
    padded[: len(rest)] = rest
    assert np.array_equal(found.action[0], padded[:chunk_size])
    assert found.is_pad[0].tolist() == [t >= len(rest) for t in range(chunk_size)]


def test_real_robots_are_trained_one_step_earlier() -> None:
    action = np.arange(5, dtype=np.float32)[:, None]
    assert chunk_of(action, 3, 2, sim=False).action.ravel().tolist() == [2, 3]
    assert chunk_of(action, 3, 2, sim=True).action.ravel().tolist() == [3, 4]
    assert chunk_of(action, 0, 2, sim=False).action.ravel().tolist() == [0, 1]


def test_padding_is_zero_before_it_is_normalised() -> None:
    episodes = make_episodes([4])
    stats = norm_stats(episodes)
    vectors = VectorStore(episodes, stats, 5).gather(Order(np.array([0]), np.array([2])))
    assert vectors.is_pad.tolist() == [[False, False, True, True, True]]
    expected: FloatArray = -stats["action_mean"] / stats["action_std"]
    np.testing.assert_array_equal(vectors.action[0, 2:], np.tile(expected, (3, 1)))
    np.testing.assert_allclose(
        vectors.qpos[0] * stats["qpos_std"] + stats["qpos_mean"], episodes.qpos[0][2], atol=1e-6
    )


def test_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = [5, 9, 1, 30]

    def order(seed: int, epoch: int) -> list[list[int]]:
        found = epoch_order([0, 1, 3], lengths, seed, epoch, Purpose.TRAIN_ORDER)
        return [found.episode.tolist(), found.start_ts.tolist()]

    assert order(0, 7) == order(0, 7)
    assert len({str(order(seed, epoch)) for seed in range(4) for epoch in range(4)}) == 16


def test_an_epoch_visits_each_chosen_episode_once_and_all_its_steps_in_time() -> None:
    lengths = [3, 2, 4]
    seen = set()
    for epoch in range(200):
        order = epoch_order([0, 2], lengths, 0, epoch, Purpose.TRAIN_ORDER)
        assert sorted(order.episode.tolist()) == [0, 2]
        seen |= set(zip(order.episode.tolist(), order.start_ts.tolist(), strict=True))
    assert seen == {(0, t) for t in range(3)} | {(2, t) for t in range(4)}


def sampler(episodes: Episodes, **changes: Any) -> Sampler:
    settings = {"chunk_size": 4, "latent_dim": 3, "batch_size": 4}
    return Sampler(episodes, 0, **(settings | changes))


def rows(parts: Iterable[Part]) -> list[tuple[Any, ...]]:
    """What each sample is made of, in whatever part it is."""
    return [
        (e, t, *eps, *(() if part.augment is None else part.augment[i].ravel()))
        for part in parts
        if part.loss_weights.any()
        for i, (e, t, eps) in enumerate(
            zip(part.order.episode.tolist(), part.order.start_ts.tolist(), part.eps, strict=True)
        )
    ]


def test_last_step_is_smaller() -> None:
    parts = list(sampler(make_episodes([5] * 10)).parts(range(10), 0, train=True))
    assert [len(part.order.episode) for part in parts] == [4, 4, 2]
    assert [part.step_samples for part in parts] == [4, 4, 2]
    assert all(part.ends_step for part in parts)


@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_processes_and_parts_share_the_samples_of_a_step(processes: int, accumulate: int) -> None:
    episodes = make_episodes([5, 9, 1, 30, 7, 8, 2, 3, 4, 6, 5])
    augmentation = Augmentation(brightness=0.5, shift=3)
    alone = list(sampler(episodes, augmentation=augmentation).parts(range(11), 6, train=True))
    shares = [
        list(
            sampler(
                episodes,
                rank=rank,
                processes=processes,
                accumulate=accumulate,
                augmentation=augmentation,
            ).parts(range(11), 6, train=True)
        )
        for rank in range(processes)
    ]
    for mine in shares:  # every process takes part in every step, or the others would wait
        assert [p.step_samples for p in mine if p.ends_step] == [4, 4, 3]
        for part in mine:
            assert len(part.order.episode)
            whole = [a for a in alone if set(a.order.episode) >= set(part.order.episode)]
            assert (part.loss_weights == whole[0].loss_weights).all() or not part.loss_weights.any()
    assert sorted(rows(chain.from_iterable(shares))) == sorted(rows(alone))


def test_the_share_counts_samples_and_valid_steps() -> None:
    episodes = make_episodes([5, 9, 1, 30])
    (part,) = sampler(episodes).parts(range(4), 2, train=False)
    assert part.loss_weights[0] == np.float32(1 / 4)
    vectors = VectorStore(episodes, norm_stats(episodes), 4).gather(part.order)
    assert part.loss_weights[1] == np.float32(1 / (~vectors.is_pad).sum())


def test_images_are_changed_in_training_alone() -> None:
    made = sampler(make_episodes([5] * 4), augmentation=Augmentation(hue=0.1))
    assert all(part.augment is not None for part in made.parts(range(4), 0, train=True))
    assert all(part.augment is None for part in made.parts(range(4), 0, train=False))


@pytest.mark.parametrize("chunk_size", [1, 4, 10])
def test_padding_share_is_the_average_over_all_starts(chunk_size: int) -> None:
    episodes = make_episodes([4, 7, 20])
    shares = [
        np.mean([chunk_of(action, t, chunk_size, True).is_pad.mean() for t in range(len(action))])
        for action in episodes.action
    ]
    assert padding_share(episodes.lengths, chunk_size) == pytest.approx(np.mean(shares))


def test_values_too_large_to_average_are_refused() -> None:
    episodes = make_episodes([4])
    episodes.action[0][:, 1] = [3e38, -3e38, 3e38, -3e38]
    with raises_code(DatasetError, "episode-content", "float32"):
        norm_stats(episodes)
