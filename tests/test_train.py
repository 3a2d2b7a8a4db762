"""What the flags of training change, and that the fast path gives the plain path's numbers."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from act.batches.batch import Batch, Samples
from act.batches.loader import Loader, Pass
from act.policies.act import ACTPolicy
from act.processes.data_parallel import computation
from act.processes.group import Group
from act.training.data import open_data
from act.training.loop import train
from act.training.setup import make_policy, prepare
from act.training.step import update
from benchmarks.plain import make_plain
from episodes.episode_set import open_episodes
from job.manifest import Manifest
from tests.support.commands import make_config
from tests.support.episodes import write_episodes
from tests.support.policies import tiny_batch, tiny_policy
from tests.support.training import NO_CAMERAS, prepared, same


@pytest.fixture
def rows(tmp_path: Path) -> Any:
    """Train on three small episodes, two steps an epoch; the lines of metrics.jsonl."""
    paths = write_episodes(tmp_path / "episodes", "raw")

    def run(name: str, **flags: Any) -> list[dict[str, Any]]:
        config = make_config(
            tmp_path, **({"num_epochs": 4, "batch_size": 1, "chunk_size": 5, "dropout": 0} | flags)
        )
        train(
            config, paths, tmp_path / name, Manifest(tmp_path / "manifest.json", config.resolved())
        )
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    return run


def plain_batch(batch: Batch) -> Batch:
    """Floats from the host, as upstream has them."""
    image = batch.image.permute(0, 1, 4, 2, 3) / 255
    return replace(batch, image=image.contiguous())


def _training_batches(loader: Loader) -> Iterator[Batch]:
    for epoch in range(50):
        list(loader.batches(Pass(epoch, train=False)))
        yield from loader.batches(Pass(epoch, train=True))


@pytest.mark.slow
def test_the_fast_path_gives_the_plain_paths_losses_over_50_steps(tmp_path: Path) -> None:
    """Network, attention, norms, decoder and optimizer; fp32, dropout 0, to 1e-4."""
    config = make_config(
        tmp_path, chunk_size=5, dropout=0, hidden_dim=64, dim_feedforward=128, learning_rate=1e-5
    )
    data = open_data(write_episodes(tmp_path / "episodes", "raw"), ())
    cpu, found = torch.device("cpu"), []
    for plain in (False, True):
        manifest = Manifest(tmp_path / "m.json", config.resolved())
        run = prepare(config, data, tmp_path / "run", manifest, Group())
        policy, network, optimizer = run.policy, run.network, run.optimizer
        if plain:
            make_plain(policy)
            network = computation(config, policy, cpu, Group())
            groups = policy.parameter_groups(config.learning_rate, config.lr_backbone)
            optimizer = torch.optim.AdamW(groups, weight_decay=1e-4, foreach=False)
        steps = []
        with run.loader:
            for batch in islice(_training_batches(run.loader), 50):
                used = plain_batch(batch) if plain else batch
                optimizer.zero_grad()
                loss = network(used)["loss"]
                loss.backward()
                optimizer.step()
                steps.append(float(loss.detach()))
        found.append(steps)
    assert len(found[0]) == 50
    assert found[0][-1] < found[0][0]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.slow
def test_a_batch_in_parts_gives_the_same_losses(rows: Any) -> None:
    whole = rows("whole", batch_size=2)
    assert same(whole, rows("parts", batch_size=2, accumulate=2), tolerance=1e-4)
    assert same(
        whole, rows("more", batch_size=2, accumulate=5), tolerance=1e-4
    )  # than there are samples


@pytest.mark.parametrize("loss_norm", ["upstream", "valid"])
def test_the_mean_of_l1_is_over_all_steps_or_over_the_valid_ones(loss_norm: str) -> None:
    batch = tiny_batch()
    policy = tiny_policy()
    policy.valid_only = loss_norm == "valid"
    a_hat = policy.model(
        batch.qpos,
        policy.normalised(batch.image),
        batch.action[:, :4],
        batch.is_pad[:, :4],
        batch.eps,
    )[0]
    error = (a_hat - batch.action[:, :4]).abs()
    valid = ~batch.is_pad[:, :4]
    expected = error[valid].mean() if policy.valid_only else (error * valid[..., None]).mean()
    assert float(policy.losses(batch)["l1"].detach()) == pytest.approx(float(expected.detach()))


def test_parts_of_a_step_add_up_to_its_losses() -> None:
    batch, policy = tiny_batch(), tiny_policy()
    for policy.valid_only in (False, True):
        whole = policy.losses(batch)
        share = torch.tensor([1 / 2, 1 / (4 + 3)])
        parts = [
            policy.losses(
                Samples(
                    qpos=batch.qpos[[i]],
                    image=batch.image[[i]],
                    action=batch.action[[i]],
                    is_pad=batch.is_pad[[i]],
                    eps=batch.eps[[i]],
                    loss_weights=share,
                )
            )
            for i in range(2)
        ]
        for name, value in whole.items():
            total = float(sum(part[name].detach() for part in parts))
            assert total == pytest.approx(float(value.detach()), rel=1e-5), name


def test_kl_grows_in_training_and_counts_whole_in_validation(rows: Any) -> None:
    for row in rows("kl", kl_warmup=6, kl_weight=8, **NO_CAMERAS):
        steps = (2 * row["epoch"] + 1, 2 * row["epoch"] + 2)
        weight = 8 * sum(min(1, step / 6) for step in steps) / 2
        train, val = row["train"], row["val"]
        assert train["loss"] - train["l1"] == pytest.approx(weight * train["kl"], rel=0.1)
        assert val["loss"] == pytest.approx(val["l1"] + 8 * val["kl"], rel=1e-5)


def test_the_learning_rate_follows_the_schedule(rows: Any) -> None:
    found = [row["lr"] for row in rows("lr", learning_rate=1e-3, lr_warmup=4, **NO_CAMERAS)]
    assert found == pytest.approx([5e-4, 1e-3, 1e-3, 1e-3])
    assert rows("cosine", lr_schedule="cosine", **NO_CAMERAS)[-1]["lr"] == pytest.approx(
        0, abs=1e-12
    )


def test_the_gradient_is_cut_to_a_norm(tmp_path: Path) -> None:
    run = prepared(tmp_path, grad_clip=0.5, weight_decay=0.03)
    with run.loader:
        list(run.loader.batches(Pass(0, train=False)))
        batch = next(run.loader.batches(Pass(0, train=True)))
        run.network(batch)["loss"].backward()
        update(run, 1, torch.zeros(3))
    (before,) = run.progress.norms
    gradients = [p.grad for p in run.policy.parameters() if p.grad is not None]
    assert float(before) > 1
    assert float(torch.nn.utils.get_total_norm(gradients)) == pytest.approx(0.5, rel=1e-4)
    assert {group["weight_decay"] for group in run.optimizer.param_groups} == {0.03}


def test_training_stops_when_validation_does_not_improve(rows: Any) -> None:
    found = rows("early", num_epochs=60, early_stopping=3, learning_rate=1e-9, **NO_CAMERAS)
    best = min(range(len(found)), key=lambda i: found[i]["val"]["loss"])
    assert len(found) == best + 3 + 1 < 60


def test_layers_and_dropout_are_as_asked(tmp_path: Path) -> None:
    episodes = open_episodes(write_episodes(tmp_path / "episodes", "raw"))
    config = make_config(tmp_path, enc_layers=2, dec_layers=3, dropout=0.25, decoder_output="last")
    policy, _ = make_policy(config, episodes)
    assert isinstance(policy, ACTPolicy)
    model = policy.model
    assert (len(model.encoder.layers), len(model.transformer.decoder.layers)) == (2, 3)
    assert {m.p for m in policy.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}
    assert model.transformer.decoder.num_computed == 3
    assert not policy.uncomputed_parameters()


@pytest.mark.slow
def test_bf16_follows_fp32_and_leaves_fp32_weights(rows: Any, tmp_path: Path) -> None:
    assert same(rows("fp32"), rows("bf16", precision="bf16"), tolerance=0.03)
    weights = torch.load(tmp_path / "bf16/policy_last.ckpt", weights_only=True)
    assert {value.dtype for value in weights.values()} == {torch.float32}


@pytest.mark.parametrize("compile", ["off", "on"])
def test_the_losses_are_compiled_when_asked_for(
    rows: Any, monkeypatch: pytest.MonkeyPatch, compile: str
) -> None:
    """How they follow the plain ones is shown in .ci/container, as it takes a minute and a half."""
    asked: list[Any] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **options: asked.append(options))
    rows("run", num_epochs=1, compile=compile)
    assert asked == ([{"mode": None, "dynamic": False}] if compile == "on" else [])


AUGMENTATIONS = {
    "jitter_brightness": 0.5,
    "jitter_contrast": 0.5,
    "jitter_saturation": 0.5,
    "jitter_hue": 0.2,
    "random_shift": 4,
    "camera_dropout": 0.5,
}


@pytest.mark.slow
def test_augmentation_changes_training_alone(rows: Any) -> None:
    plain = rows("plain", num_epochs=1)[0]
    for flag, value in AUGMENTATIONS.items():
        changed = rows(flag, num_epochs=1, **{flag: value})[0]
        assert changed["val"] == plain["val"], flag
        assert changed["train"]["l1"] != plain["train"]["l1"], flag
