"""Each flag of training arrives where it counts, changes what its help says, and nothing else.

`grad_clip` and `early_stopping` change nothing before the first step; tests/test_train.py clips a
gradient and stops a run.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from act.policies.act import ACTPolicy
from act.policies.contract_file import read_contract
from act.training.loop import train
from act.training.setup import make_sampler
from act.training.step import begin_step
from act.training.training_run import TrainingRun
from job.errors import UsageError
from job.manifest import Manifest
from tests.support.commands import make_config
from tests.support.episodes import write_episodes
from tests.support.errors import raises_code
from tests.support.training import prepared


def seen(run: TrainingRun) -> dict[str, Any]:
    """What a run is made of, in numbers."""
    run.progress.step = 3
    begin_step(run)  # which sets the rates
    policy = run.policy
    sampler = make_sampler(run.flags, run.data.episodes, policy, run.group)
    assert isinstance(policy, ACTPolicy)
    heads, backbone = run.optimizer.param_groups
    run.loader.close()
    return {
        "learning_rate": heads["lr"],
        "lr_backbone": backbone["lr"],
        "weight_decay": (heads["weight_decay"], backbone["weight_decay"]),
        "kl_weight": float(policy.kl_weight),
        "loss_norm": policy.valid_only,
        "accumulate": sampler.accumulate,
        "batch_size": (sampler.batch_size, run.effective_batch),
        "chunk_size": sampler.chunk_size,
        "dropout": {m.p for m in policy.modules() if isinstance(m, torch.nn.Dropout)},
        "enc_layers": len(policy.model.encoder.layers),
        "dec_layers": len(policy.model.transformer.decoder.layers),
        "decoder_output": len(policy.uncomputed_parameters()) > 0,
        "augmentation": sampler.augmentation,
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """The flags of a run without any of those below, and what it is made of."""
    run = prepared(tmp_path_factory.mktemp("plain"))
    return run.manifest.content.flags, seen(run)


@pytest.mark.parametrize(
    ("flag", "value", "changed"),
    [
        ("learning_rate", 1e-3, {"learning_rate"}),
        ("lr_backbone", 1e-3, {"lr_backbone"}),
        ("lr_warmup", 10, {"learning_rate", "lr_backbone"}),
        ("lr_schedule", "cosine", {"learning_rate", "lr_backbone"}),
        ("weight_decay", 0.5, {"weight_decay"}),
        ("kl_weight", 3, {"kl_weight"}),
        ("kl_warmup", 10, {"kl_weight"}),
        ("loss_norm", "valid", {"loss_norm"}),
        ("accumulate", 2, {"accumulate"}),
        ("dropout", 0.3, {"dropout"}),
        ("enc_layers", 2, {"enc_layers"}),
        ("dec_layers", 3, {"dec_layers"}),
        ("decoder_output", "last", {"decoder_output"}),
        ("jitter_hue", 0.1, {"augmentation"}),
        ("random_shift", 4, {"augmentation"}),
        ("camera_dropout", 0.2, {"augmentation"}),
        ("grad_clip", 0.1, set()),
        ("early_stopping", 5, set()),
    ],
)
def test_a_flag_changes_what_it_says_and_nothing_else(
    plain: tuple[dict[str, Any], dict[str, Any]],
    tmp_path: Path,
    flag: str,
    value: Any,
    changed: set[str],
) -> None:
    run = prepared(tmp_path, **{flag: value})
    flags = [plain[0], run.manifest.content.flags]
    named = {name for name in flags[0] if flags[0][name] != flags[1][name]} - {"output"}
    assert named == {flag}
    assert flags[1][flag] == value
    one, other = plain[1], seen(run)
    assert {name for name in one if one[name] != other[name]} == changed


@pytest.mark.slow
def test_without_weights_the_frozen_norms_are_of_the_dataset(tmp_path: Path) -> None:
    flags = {"num_epochs": 1, "batch_size": 1, "chunk_size": 5, "backbone_weights": "none"}
    config = make_config(tmp_path, **flags)
    manifest = Manifest(tmp_path / "manifest.json", config.resolved())
    train(config, write_episodes(tmp_path / "episodes", "raw"), tmp_path / "run", manifest)
    weights = torch.load(tmp_path / "run/policy_last.ckpt", weights_only=True)
    variances = [weight for name, weight in weights.items() if name.endswith("running_var")]
    assert variances
    assert all(bool((variance != 1).any()) for variance in variances)
    assert read_contract(tmp_path / "run").network.batch_norm == "frames"


def test_frames_are_kept_on_a_gpu_only(tmp_path: Path) -> None:
    with raises_code(UsageError, "flag-unused", "--data_cache gpu .*cpu"):
        prepared(tmp_path, data_cache="gpu")
    with raises_code(UsageError, "flag-unused", "--jpeg_decoder gpu .*cpu"):
        prepared(tmp_path, jpeg_decoder="gpu")
    assert prepared(tmp_path / "b").manifest.content.flags["data_cache"] == "none"
