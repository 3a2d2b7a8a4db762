"""Everything that a training run is made of, put together once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from act.batches.augmentation import Augmentation
from act.batches.device_frames import fits_device
from act.batches.loader import Loader, Pass, passes
from act.batches.sampler import Sampler
from act.batches.split import split_episodes
from act.network.act import ACT
from act.network.cnnmlp import CNNMLP
from act.policies.act import ACTPolicy
from act.policies.cnnmlp import CNNMLPPolicy
from act.policies.contract import describe_episodes, describe_policy
from act.policies.flags import NUM_HEADS
from act.policies.policy import Policy
from act.policies.statistics import norm_stats, save_stats
from act.policies.weights import read_backbone
from act.processes.computation import computation, describe
from act.processes.device import choose_device, describe_device
from act.processes.group import Group
from act.training.best import Best
from act.training.checkpoints import BEST, snapshot_epochs
from act.training.flags import TrainingFlags
from act.training.metrics import Metrics
from act.training.run_folder import claim
from act.training.state import (
    Progress,
    Saver,
    State,
    parse_state,
    read_state,
    restored,
    state_errors,
)
from episodes.episode_set import Episodes, open_episodes
from job.errors import UsageError
from job.machine import cores_each, keep_freed_memory
from job.manifest import Manifest

LATENT_DIM = 32
_MAX_LOADER_THREADS = 8


@dataclass
class Run:
    """What one training run is made of."""

    config: TrainingFlags
    folder: Path
    manifest: Manifest
    episodes: Episodes
    train_episodes: list[int]
    val_episodes: list[int]
    group: Group
    policy: Policy
    network: nn.Module  # the policy's losses, compiled and spread over processes as asked for
    optimizer: torch.optim.AdamW
    loader: Loader
    metrics: Metrics
    best: Best
    device: torch.device
    saver: Saver
    progress: Progress
    continued_from: int | None  # the step that a run before had reached
    is_normed: bool  # whether the weights or the state brought the frozen norms' statistics

    @property
    def snapshots(self) -> range:
        """The epochs whose weights are kept."""
        return snapshot_epochs(self.config.epochs, self.config.keep_checkpoints)

    @property
    def chunk_size(self) -> int:
        """Actions predicted at once; CNNMLP predicts one."""
        return self.config.actions_at_once

    @property
    def batch_size(self) -> int:
        """Samples of a step that is full, all processes together."""
        return global_batch(self.config, self.group)

    @property
    def effective_batch(self) -> int:
        """Samples of a step: an epoch has one of each training episode, not more."""
        return min(self.batch_size, len(self.train_episodes))

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.train_episodes) // self.batch_size)


def loader_threads() -> int:
    """Threads that make batches where `--num_workers` does not say."""
    return min(cores_each(), _MAX_LOADER_THREADS)


def global_batch(config: TrainingFlags, group: Group) -> int:
    """`--batch_size` is of all processes together, or of each one, as `--batch_mode` says."""
    return config.batch_size * (group.size if config.batch_mode == "fixed_per_gpu" else 1)


def prepare(
    config: TrainingFlags, paths: Sequence[Path], folder: Path, manifest: Manifest, group: Group
) -> Run:
    """Open the episodes, build the policy, go on from the state that a run before left.

    Writes the statistics and fills the manifest. Raises UsageError when the folder holds another
    run, OutputError when its state is damaged.
    """
    device = choose_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    episodes = open_episodes(paths, config.camera_names)
    train_episodes, val_episodes = split_episodes(len(paths))
    stats = norm_stats(episodes)
    policy, digest = make_policy(config, episodes)
    policy.to(device)
    if manifest.get("dataset") is None:
        manifest.set("dataset", describe_episodes(episodes))
    state = _claim(config, folder, manifest, group)
    if group.is_first:
        save_stats(folder, stats)
    manifest.set("device", describe_device(device))
    manifest.set("split", {"train": train_episodes, "val": val_episodes})
    manifest.set("policy", describe_policy(config, episodes, stats, digest))
    threads = config.num_workers or loader_threads()
    cached = _is_cached(config, episodes, device)
    manifest.resolve(
        device=device.type,
        num_workers=threads,
        camera_names=list(episodes.camera_names),
        processes=group.size,
        data_cache="gpu" if cached else "none",
        **describe(config, device),
        **_resolved_dims(episodes),
    )
    optimizer = torch.optim.AdamW(
        policy.parameter_groups(config.learning_rate, config.lr_backbone),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )
    best = Best(folder / BEST if group.is_first else None)
    progress = Progress()
    with state_errors(folder):
        if state is not None:
            progress = restored(state, policy, optimizer, best, device, counts=group.is_first)
        metrics = Metrics(
            folder / "metrics.jsonl" if group.is_first else None, state.metrics if state else ""
        )
    return Run(
        config=config,
        folder=folder,
        manifest=manifest,
        episodes=episodes,
        train_episodes=train_episodes,
        val_episodes=val_episodes,
        group=group,
        policy=policy,
        network=computation(config, policy, device, group),
        optimizer=optimizer,
        loader=Loader(
            _sampler(config, episodes, group),
            stats,
            _passes(config, progress, train_episodes, val_episodes),
            threads=threads,
            device=device,
            cached=cached,
        ),
        metrics=metrics,
        best=best,
        device=device,
        saver=Saver(folder if group.is_first else None, config.state_interval_minutes * 60),
        progress=progress,
        continued_from=progress.step if state else None,
        is_normed=digest is not None or state is not None,
    )


def _claim(config: TrainingFlags, folder: Path, manifest: Manifest, group: Group) -> State | None:
    """Make the folder this run's, or find it so; returns the state to go on from."""
    content = None
    if group.is_first:
        claim(config, folder, manifest.get("dataset"))
        content = read_state(folder)
    content = group.from_first(content)  # the others may have another disk
    return None if content is None else parse_state(content, folder)


def _sampler(config: TrainingFlags, episodes: Episodes, group: Group) -> Sampler:
    return Sampler(
        episodes,
        config.seed,
        chunk_size=config.actions_at_once,
        latent_dim=LATENT_DIM,
        batch_size=global_batch(config, group),
        rank=group.rank,
        processes=group.size,
        accumulate=config.accumulate,
        augmentation=_augmentation(config, episodes),
    )


def _augmentation(config: TrainingFlags, episodes: Episodes) -> Augmentation:
    if config.camera_dropout and len(episodes.camera_names) == 1:
        raise UsageError(
            f"--camera_dropout {config.camera_dropout} cannot apply: the episodes have one camera, "
            f"{episodes.camera_names[0]!r}, and one is never blanked; leave it out",
            code="flag-unused",
        )
    return Augmentation(
        brightness=config.jitter_brightness,
        contrast=config.jitter_contrast,
        saturation=config.jitter_saturation,
        hue=config.jitter_hue,
        shift=config.random_shift,
        camera_dropout=config.camera_dropout,
    )


def _passes(
    config: TrainingFlags, progress: Progress, train_episodes: list[int], val_episodes: list[int]
) -> Iterator[tuple[Pass, list[int]]]:
    begun = progress.epoch, bool(progress.val), progress.epoch_samples
    for one in passes(config.epochs, *begun):
        yield one, train_episodes if one.train else val_episodes


def _is_cached(config: TrainingFlags, episodes: Episodes, device: torch.device) -> bool:
    if config.data_cache == "gpu" and device.type != "cuda":
        raise UsageError(
            f"--data_cache gpu cannot apply: training is on {device}, which needs no copy of the "
            f"frames; leave it out",
            code="flag-unused",
        )
    if config.data_cache == "auto":
        return fits_device(episodes, device)
    return config.data_cache == "gpu"


def _resolved_dims(episodes: Episodes) -> dict[str, Any]:
    """What `--state_dim 0`, or episodes that were not converted, came to."""
    info = episodes.infos[0]
    same = info.qpos_dim == info.action_dim
    return {"state_dim": info.qpos_dim if same else 0, "sim": str(info.sim).lower()}


def make_policy(config: TrainingFlags, episodes: Episodes) -> tuple[Policy, str | None]:
    """The policy for these episodes, seeded, and the SHA-256 of its backbone's weights."""
    torch.manual_seed(config.seed)
    qpos_dim, action_dim = episodes.infos[0].qpos_dim, episodes.infos[0].action_dim
    recolours = _augmentation(config, episodes).recolours
    policy: ACTPolicy | CNNMLPPolicy
    if config.policy_class == "ACT":
        model = ACT(
            qpos_dim=qpos_dim,
            action_dim=action_dim,
            chunk_size=config.chunk_size,
            hidden_dim=config.hidden_dim,
            dim_feedforward=config.dim_feedforward,
            num_heads=NUM_HEADS,
            enc_layers=config.enc_layers,
            dec_layers=config.dec_layers,
            dropout=config.dropout,
            latent_dim=LATENT_DIM,
            decoder_output="first" if config.decoder_output == "first" else "last",
        )
        policy = ACTPolicy(
            model,
            kl_weight=config.kl_weight,
            valid_only=config.loss_norm == "valid",
            recolours=recolours,
        )
    else:
        policy = CNNMLPPolicy(_cnnmlp(qpos_dim, action_dim, episodes), recolours=recolours)
    weights, digest = read_backbone(config.backbone_weights)
    if weights is not None:
        try:
            policy.model.load_backbone(weights)
        except (KeyError, ValueError) as error:
            raise UsageError(
                f"--backbone_weights {config.backbone_weights}: {error}", code="weights-mismatch"
            ) from error
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
        raise UsageError(f"--policy_class CNNMLP: {error}", code="image-too-small") from error
