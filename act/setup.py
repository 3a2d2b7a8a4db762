"""Everything that a training run is made of, put together once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from act.checkpoint import (
    BEST,
    Best,
    read_backbone,
    remove_unfinished,
    save_stats,
    snapshot_epochs,
)
from act.config import NUM_HEADS, Config
from act.contract import describe_episodes, describe_policy
from act.dataset import Episodes, norm_stats, open_episodes, split_episodes
from act.device import choose_device, describe_device
from act.errors import UsageError
from act.loader import Loader
from act.machine import cpu_count
from act.manifest import Manifest
from act.metrics import Metrics
from act.model import ACT, CNNMLP
from act.policy import ACTPolicy, CNNMLPPolicy, Policy

WEIGHT_DECAY = 1e-4
LATENT_DIM = 32
_MAX_LOADER_THREADS = 8


@dataclass
class Run:
    """What one training run is made of."""

    config: Config
    folder: Path
    manifest: Manifest
    episodes: Episodes
    train_episodes: list[int]
    val_episodes: list[int]
    policy: Policy
    optimizer: torch.optim.AdamW
    loader: Loader
    metrics: Metrics
    best: Best
    device: torch.device
    step: int = 0
    samples: int = 0

    @property
    def snapshots(self) -> range:
        """The epochs whose weights are kept."""
        return snapshot_epochs(self.config.epochs, self.config.keep_checkpoints)

    @property
    def chunk_size(self) -> int:
        """Actions predicted at once; CNNMLP predicts one."""
        return self.config.chunk_size if self.config.policy_class == "ACT" else 1

    @property
    def effective_batch(self) -> int:
        """Samples in a full step: an epoch has one of each training episode, not more."""
        return min(self.config.batch_size, len(self.train_episodes))


def prepare(config: Config, paths: Sequence[Path], folder: Path, manifest: Manifest) -> Run:
    """Open the episodes, build the policy, write the statistics, fill the manifest."""
    device = choose_device(config.device)
    episodes = open_episodes(paths, config.camera_names)
    train_episodes, val_episodes = split_episodes(len(paths))
    stats = norm_stats(episodes)
    policy, digest = make_policy(config, episodes)
    remove_unfinished(folder)
    save_stats(folder, stats)
    if manifest.get("dataset") is None:
        manifest.set("dataset", describe_episodes(episodes))
    manifest.set("device", describe_device(device))
    manifest.set("split", {"train": train_episodes, "val": val_episodes})
    manifest.set("policy", describe_policy(config, episodes, stats, digest))
    threads = config.num_workers or min(cpu_count(), _MAX_LOADER_THREADS)
    manifest.resolve(
        device=device.type,
        num_workers=threads,
        camera_names=list(episodes.camera_names),
        **_resolved_dims(episodes),
    )
    policy.to(device)
    return Run(
        config=config,
        folder=folder,
        manifest=manifest,
        episodes=episodes,
        train_episodes=train_episodes,
        val_episodes=val_episodes,
        policy=policy,
        optimizer=torch.optim.AdamW(
            policy.parameter_groups(config.learning_rate, config.lr_backbone),
            lr=config.learning_rate,
            weight_decay=WEIGHT_DECAY,
        ),
        loader=Loader(
            episodes,
            stats,
            chunk_size=config.chunk_size if config.policy_class == "ACT" else 1,
            latent_dim=LATENT_DIM,
            batch_size=config.batch_size,
            seed=config.seed,
            threads=threads,
        ),
        metrics=Metrics(folder / "metrics.jsonl"),
        best=Best(folder / BEST),
        device=device,
    )


def _resolved_dims(episodes: Episodes) -> dict[str, Any]:
    """What `--state_dim 0`, or episodes that were not converted, came to."""
    info = episodes.infos[0]
    same = info.qpos_dim == info.action_dim
    return {"state_dim": info.qpos_dim if same else 0, "sim": str(info.sim).lower()}


def make_policy(config: Config, episodes: Episodes) -> tuple[Policy, str | None]:
    """The policy for these episodes, seeded, and the SHA-256 of its backbone's weights."""
    torch.manual_seed(config.seed)
    qpos_dim, action_dim = episodes.infos[0].qpos_dim, episodes.infos[0].action_dim
    policy: ACTPolicy | CNNMLPPolicy
    if config.policy_class == "ACT":
        model = ACT(
            qpos_dim=qpos_dim,
            action_dim=action_dim,
            chunk_size=config.chunk_size,
            hidden_dim=config.hidden_dim,
            dim_feedforward=config.dim_feedforward,
            num_heads=NUM_HEADS,
            latent_dim=LATENT_DIM,
        )
        policy = ACTPolicy(model, kl_weight=config.kl_weight)
    else:
        policy = CNNMLPPolicy(_cnnmlp(qpos_dim, action_dim, episodes))
    weights, digest = read_backbone(config.backbone_weights)
    if weights is not None:
        try:
            policy.model.load_backbone(weights)
        except (KeyError, ValueError) as error:
            raise UsageError(f"--backbone_weights {config.backbone_weights}: {error}") from error
    return policy, digest


def _cnnmlp(qpos_dim: int, action_dim: int, episodes: Episodes) -> CNNMLP:
    try:
        return CNNMLP(
            qpos_dim=qpos_dim,
            action_dim=action_dim,
            num_cameras=len(episodes.camera_names),
            image_size=episodes.image_size,
        )
    except ValueError as error:
        raise UsageError(f"--policy_class CNNMLP: {error}") from error
