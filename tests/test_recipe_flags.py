"""Flags of training that upstream does not have: each changes what it says and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from act.batches.loader import Pass
from act.batches.order import Purpose, epoch_order
from act.policies.weights import load_weights
from tests.support.policies import tiny_batch, tiny_policy
from tests.support.training import COMPARED, NO_CAMERAS, Short, assert_same, losses, prepared


def test_an_epoch_may_take_several_time_steps_of_each_episode() -> None:
    """Each drawn on its own, over the whole episode; one is upstream's epoch to the bit."""
    chosen, lengths = [0, 2], [50, 1, 70]
    drawn = np.zeros((3, 70), int)
    for epoch in range(200):
        found = epoch_order(chosen, lengths, 0, epoch, Purpose.TRAIN_ORDER, 5)
        assert np.bincount(found.episode, minlength=3).tolist() == [5, 0, 5]
        np.add.at(drawn, (found.episode, found.start_ts), 1)
    assert (drawn[0, :50] > 0).all()
    assert (drawn[2] > 0).all()
    assert not drawn[0, 50:].any()
    one = epoch_order(chosen, lengths, 0, 3, Purpose.TRAIN_ORDER, 1)
    upstreams = epoch_order(chosen, lengths, 0, 3, Purpose.TRAIN_ORDER)
    assert (one.episode == upstreams.episode).all()
    assert (one.start_ts == upstreams.start_ts).all()


def test_several_time_steps_make_an_epoch_longer_and_validation_rarer(tmp_path: Path) -> None:
    run = prepared(tmp_path, samples_per_episode=6, batch_size=5)
    assert run.samples_an_epoch == 12
    assert (run.effective_batch, run.epoch_steps) == (5, 3)
    with run.loader:
        sizes: dict[bool, list[int]] = {False: [], True: []}
        for train in (False, True):
            for batch in run.loader.batches(Pass(0, train=train)):
                sizes[train].append(len(batch.qpos))
    assert sizes == {False: [1], True: [5, 5, 2]}


def test_a_run_with_several_time_steps_resumes_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {**NO_CAMERAS, "samples_per_episode": 4, "batch_size": 3, "vae": "off", "ema": "power"}
    whole = Short(tmp_path / "whole", **flags)
    whole.finish()
    parted = Short(tmp_path / "parted", **flags)
    parted.interrupted(monkeypatch)
    parted.finish()
    assert_same(parted.folder, whole.folder)


def test_without_the_cvae_the_latent_is_0_in_training_too() -> None:
    """The loss is the error of what the policy would do; the encoder keeps its first weights."""
    policy, batch = tiny_policy(has_posterior=False), tiny_batch()
    policy.eval()
    found = policy.losses(batch)
    assert set(found) == {"l1", "loss"} == set(policy.loss_titles)
    assert found["l1"] == found["loss"]
    expected = policy(batch.qpos, batch.image)
    action, is_pad = batch.action[:, :4], batch.is_pad[:, :4]
    error = (expected - action).abs() * ~is_pad[..., None]
    assert torch.allclose(found["l1"], error.mean(), rtol=1e-6)
    found["loss"].backward()
    of_encoder = [name for name, one in policy.named_parameters() if not one.requires_grad]
    assert any(name.startswith("model.encoder.layers.0") for name in of_encoder)
    assert any(name.startswith("model.latent_proj") for name in of_encoder)
    assert not any(name.startswith("model.transformer.encoder") for name in of_encoder)
    trained = policy.trained_parameters()
    assert all(one.grad is not None for one in trained.values())
    assert tiny_policy().state_dict().keys() == policy.state_dict().keys()


@pytest.mark.parametrize("flags", [{"vae": "off"}, {"samples_per_episode": 2}])
def test_a_flag_changes_training_and_what_is_its_default_does_not(
    tmp_path: Path, flags: dict[str, object]
) -> None:
    plain, defaults, changed = (
        Short(tmp_path / name, **NO_CAMERAS) for name in ("plain", "defaults", "changed")
    )
    plain.finish()
    defaults.finish(vae="on", samples_per_episode=1)
    changed.finish(**flags)
    assert_same(defaults.folder, plain.folder)
    assert losses(changed.folder) != losses(plain.folder)
    weights = load_weights(changed.folder / COMPARED[0])
    assert weights.keys() == load_weights(plain.folder / COMPARED[0]).keys()
