"""Upstream's command: `python -m act.imitate_episodes` trains on a folder of episode files.

Flags and meanings are upstream's; `--dataset_dir` stands in place of its constants file.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from act.policies.flags import PolicyFlags
from act.training.flags import OptimizationFlags, TrainingFlags
from episodes.episode_set import read_infos
from episodes.flags import check_file_flags
from episodes.folder import find_episodes
from episodes.own_process import open_apart
from episodes.remarks import remarks
from job import signals
from job.bounds import some_text
from job.command import log_to_terminal, report_error, run_recorded
from job.command_line import OneLineParser, add_flags, make
from job.errors import DatasetError, UsageError
from job.flags import flag, required
from job.input_folders import refuse_inside
from job.machine import end_with_parent, limit_threads
from job.manifest import Manifest
from job.output_names import MANIFEST, STATUS
from job.ranks import by_torchrun, rank, take_over_from_operator, warn_of_variables
from job.run_flags import OutputFlags, TaskFlags

logger = logging.getLogger("act")

_SIMULATION_ONLY = ("eval", "onscreen_render", "temporal_agg")
_RENAMED = {"input": "dataset_dir", "output": "ckpt_dir", "learning_rate": "lr"}
_SHARED = (
    *("policy_class", "task_name", "batch_size", "seed", "num_epochs", "kl_weight"),
    *("chunk_size", "hidden_dim", "dim_feedforward"),
    *("device", "backbone_weights", "camera_names"),  # not upstream's, nor are these:
    *("keep_state", "base_action", "env_state_key"),
)
# Upstream's names of our flags
OPTIONS = _RENAMED | {name: name for name in _SHARED}


@dataclass(frozen=True, kw_only=True)
class UpstreamFlags(TaskFlags, OutputFlags, TrainingFlags):
    """Upstream's command, which insists on these."""

    options = OPTIONS | {"run_name": "ckpt_dir"}  # the run's folder is all that it writes to

    input: tuple[Path, ...] = flag("Folder of the episode_*.hdf5 files.", same_run=True)
    output: Path = required(OutputFlags, "output")
    policy_class: str = required(PolicyFlags, "policy_class")
    task_name: str = flag("Name of the task, for the records.", check=some_text, same_run=True)
    batch_size: int = required(OptimizationFlags, "batch_size")
    seed: int = required(OptimizationFlags, "seed")
    num_epochs: int = required(OptimizationFlags, "num_epochs")
    learning_rate: float = required(OptimizationFlags, "learning_rate")


def main() -> int:
    """Train as the command line says; returns the exit code."""
    signals.install()
    take_over_from_operator(os.environ)
    log_to_terminal()
    try:
        flags = parse(sys.argv[1:])
        refuse_inside(flags.output, flags.input, (flags.option("output"), flags.option("input")))
    except UsageError as error:
        return report_error(error)
    limit_threads()
    if by_torchrun():
        end_with_parent(signal.SIGTERM)
    own, status = flags.output / MANIFEST, flags.output / STATUS
    shown = rank() == 0
    manifest = Manifest(own, flags.resolved(), shown=shown, origins=flags.origins, status=status)
    return run_recorded(manifest, partial(train_here, flags))


def train_here(flags: UpstreamFlags, manifest: Manifest) -> None:
    """Train on all episode files in `--dataset_dir`; everything lands in `--ckpt_dir`.

    As one of the processes that torchrun or a training operator started, or alone: upstream's
    command starts no others.
    """
    warn_of_variables(flags.processes)
    from act.policies.dataset_section import dataset_section_of_files
    from act.processes.device import choose_device
    from act.processes.group import joined_group
    from act.training.loop import check_ready, train
    from act.training.run_folder import already_done, claim_folder, tidy_finished

    finished = check_ready(flags, flags.output)
    folder = flags.input[0]
    paths = find_episodes(folder)
    if not paths:
        raise DatasetError(
            f"{folder}: no episode_*.hdf5; expected a folder of ALOHA episodes; name it with "
            f"--dataset_dir",
            code="episodes-none",
        )
    check_file_flags(flags)
    open_apart(paths, flags.camera_names, flags.base_action, flags.env_state_use != "no")
    infos, names = read_infos(paths, flags.camera_names, flags.reading)
    for remark in remarks(infos, names, flags.camera_names, flags.reading):
        logger.warning("%s", remark)
    with joined_group(choose_device(flags.device), flags.dist_timeout_s) as group:
        if group.from_first(finished):
            if group.is_first:
                claim_folder(flags, flags.output, dataset_section_of_files(flags, paths))
                tidy_finished(flags.output)
            raise already_done(flags.output)
        manifest.take_over()
        manifest.write()
        train(flags, paths, flags.output, manifest, group)
        group.wait()


def parse(argv: Sequence[str]) -> UpstreamFlags:
    """What upstream's command line asks for; raises UsageError."""
    given = parser().values(argv)
    for name in _SIMULATION_ONLY:
        if given.pop(name, False):
            raise UsageError(
                f"--{name} cannot apply: it is for evaluation in upstream's simulator, and this "
                f"command only trains; run it with upstream on the checkpoint",
                code="flag-unused",
            )
    if len(given["input"]) > 1:
        raise UsageError(
            f"--dataset_dir is given {len(given['input'])} times, expected one folder; put the "
            f"episodes into one",
            code="flag-value",
        )
    return make(UpstreamFlags, given)


def parser() -> OneLineParser:
    """Upstream's command line."""
    made = OneLineParser(
        "python -m act.imitate_episodes",
        "Train on a folder of episode_*.hdf5 files, with upstream's flags.",
        "--dataset_dir FOLDER --ckpt_dir FOLDER [FLAG VALUE …]",
    )
    for name in _SIMULATION_ONLY:
        made.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    add_flags(made, UpstreamFlags, OPTIONS)
    return made


if __name__ == "__main__":
    sys.exit(main())
