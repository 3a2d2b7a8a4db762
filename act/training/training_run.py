"""Everything that one training run is made of."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from act.batches.loader import Loader
from act.policies.contract_file import ContractFile
from act.policies.policy import Policy
from act.processes.group import Group
from act.report.reporter import Reporter
from act.trackers.trackers import Trackers
from act.training.average import Average
from act.training.best import Best
from act.training.checkpoints import snapshot_epochs
from act.training.data import TrainingData
from act.training.flags import TrainingFlags
from act.training.metrics import Metrics
from act.training.progress import Progress
from act.training.rates import Rates
from act.training.saver import Saver
from job.manifest import Manifest


@dataclass
class TrainingRun:
    """What one training run is made of."""

    flags: TrainingFlags
    folder: Path
    manifest: Manifest
    contract: ContractFile
    data: TrainingData
    group: Group
    device: torch.device
    policy: Policy
    backbone_sha256: str | None  # of its pretrained weights; None: it starts at random
    has_norms: bool  # the backbone's frozen norms came with its weights
    network: nn.Module  # the policy's losses, compiled and spread over processes as asked for
    optimizer: torch.optim.AdamW
    loader: Loader
    metrics: Metrics
    best: Best
    saver: Saver
    progress: Progress
    rates: Rates | None  # of success; None where nothing measures them
    average: Average | None  # of the weights; None without --ema
    reporter: Reporter  # of the page about the run
    trackers: Trackers
    resumed_from_step: int | None  # None: the run starts here

    @property
    def snapshots(self) -> range:
        """The epochs whose weights are kept."""
        return snapshot_epochs(self.flags.epochs, self.flags.keep_checkpoints)

    @property
    def batch_size(self) -> int:
        """Samples of a step that is full, all processes together."""
        return global_batch(self.flags, self.group)

    @property
    def samples_an_epoch(self) -> int:
        """Samples of an epoch's training."""
        return len(self.data.train_episodes) * self.flags.samples_per_episode

    @property
    def effective_batch(self) -> int:
        """Samples of a step: those of an epoch at most."""
        return min(self.batch_size, self.samples_an_epoch)

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.samples_an_epoch // self.batch_size)


def global_batch(flags: TrainingFlags, group: Group) -> int:
    """`--batch_size` is of all processes together, or of each one, as `--batch_mode` says."""
    return flags.batch_size * (group.size if flags.batch_mode == "fixed_per_gpu" else 1)
