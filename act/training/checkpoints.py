"""The files of a run in its folder, and the epochs whose weights are kept.

<run folder>/
├── policy.json                         the contract with the robot
├── policy_best.ckpt                    weights with the lowest validation loss
├── policy_last.ckpt                    weights after the last epoch
├── policy_average.ckpt                 with --ema: averaged weights
├── policy_epoch_<n>_seed_<s>.ckpt      a ladder of upstream's snapshots, and the best one again
└── dataset_stats.pkl, dataset_stats.json   what qpos and actions are normalised by
"""

from pathlib import Path

from act.policies.contract_file import WEIGHTS
from job.output_names import CONTRACT, METRICS
from job.whole_files import RECORD

LAST, BEST, AVERAGE = "policy_last.ckpt", "policy_best.ckpt", "policy_average.ckpt"
_RUN_FILES = (CONTRACT, WEIGHTS, "dataset_stats.*", METRICS, RECORD)
_PICTURES = ("train_val_*.png", "success_rate_*.png")
SNAPSHOT_EPOCHS = 100  # upstream's


def run_files(folder: Path) -> list[Path]:
    """The files of a run in its folder, by name."""
    return sorted(path for pattern in (*_RUN_FILES, *_PICTURES) for path in folder.glob(pattern))


def epoch_path(folder: Path, epoch: int, seed: int) -> Path:
    """The name that upstream gives the weights of an epoch."""
    return folder / f"policy_epoch_{epoch}_seed_{seed}.ckpt"


def snapshot_epochs(epochs: int, keep: int) -> range:
    """The epochs whose weights are kept: upstream's every 100, or as many hundreds as leave `keep`.

    Upstream keeps them all, which fills a disk: 340 MB each.
    """
    if keep == 0:
        return range(0)
    snapshots = -(-epochs // SNAPSHOT_EPOCHS)
    return range(0, epochs, SNAPSHOT_EPOCHS * -(-snapshots // keep))
