"""Upstream's command: `python -m act.imitate_episodes` trains on a folder of episode files.

Flags and meanings are upstream's; `--dataset_dir` stands in place of its constants file.
"""

import argparse
import multiprocessing
import re
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from episodes.reader import find_episodes, try_episode
from job import signals
from job.command import log_to_terminal, run, tell
from job.command_line import OneLineParser, read_names
from job.config import Config
from job.errors import AlreadyDone, DatasetError, UsageError
from job.manifest import Manifest
from job.whole_files import refuse_inside

_RENAMED = {"dataset_dir": "input", "ckpt_dir": "output", "lr": "learning_rate"}
_SIMULATION_ONLY = ("eval", "onscreen_render", "temporal_agg")


def main() -> int:
    """Train as the command line says; returns the exit code."""
    signals.install()
    log_to_terminal()
    try:
        config = parse(sys.argv[1:])
        refuse_inside(config.output, config.input)
    except UsageError as error:
        return tell(error)
    return run(config, config.output / "manifest.json", train_here)


def train_here(config: Config, manifest: Manifest) -> None:
    """Train on all episode files in `--dataset_dir`; everything lands in `--ckpt_dir`."""
    from act.policies.contract import describe_files
    from act.training.loop import check_ready, train
    from act.training.run_folder import claim

    finished = check_ready(config, config.output)
    folder = config.input[0]
    paths = find_episodes(folder)
    if not paths:
        raise DatasetError(
            f"{folder}: no episode_0.hdf5; expected a folder of ALOHA episodes; name it with "
            f"--dataset_dir"
        )
    _open_apart(paths)
    if finished:
        claim(config, config.output, describe_files(config, paths))
        raise AlreadyDone(f"{config.output} holds the policy of this very run")
    manifest.write()
    train(config, paths, config.output, manifest)


def _open_apart(paths: Sequence[Path]) -> None:
    """Open each file in another process first: HDF5 may crash on a broken one, which is named.

    `job.workers` would do it too, but what trains does without what converts.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=_leave_signals) as apart:
        for path in paths:
            signals.check()
            try:
                apart.submit(try_episode, path).result()
            except BrokenProcessPool as crash:
                raise DatasetError(
                    f"{path}: reading it crashed the process that did, expected a whole ALOHA "
                    f"episode; leave this episode out or record it again"
                ) from crash


def _leave_signals() -> None:
    for number in signals.SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def parse(argv: Sequence[str]) -> Config:
    """Upstream's command line as a Config; raises UsageError."""
    given = vars(_parser().parse_args(argv))
    for flag in _SIMULATION_ONLY:
        if given.pop(flag):
            raise UsageError(
                f"--{flag} cannot apply: it is for evaluation in upstream's simulator, and this "
                f"command only trains; run it with upstream on the checkpoint"
            )
    renamed = {ours: given.pop(theirs) for theirs, ours in _RENAMED.items()}
    renamed["input"] = (renamed["input"],)
    run_name = re.sub(r"[^A-Za-z0-9._-]", "_", renamed["output"].resolve().name)
    return Config(**given, **renamed, run_name=run_name, given=frozenset(given))


def _parser() -> OneLineParser:
    made = OneLineParser(
        prog="python -m act.imitate_episodes",
        description="Train on a folder of episode_*.hdf5 files, with upstream's flags.",
        allow_abbrev=False,
    )
    for flag in _SIMULATION_ONLY:
        made.add_argument(f"--{flag}", action="store_true", help=argparse.SUPPRESS)
    required = made.add_argument_group("required, as upstream")
    required.add_argument("--dataset_dir", type=Path, required=True, help="the episodes' folder")
    required.add_argument("--ckpt_dir", type=Path, required=True, help="where results are written")
    required.add_argument("--policy_class", choices=("ACT", "CNNMLP"), required=True)
    required.add_argument("--task_name", required=True, help="bookkeeping")
    required.add_argument("--batch_size", type=int, required=True)
    required.add_argument("--seed", type=int, required=True)
    required.add_argument("--num_epochs", type=int, required=True)
    required.add_argument("--lr", type=float, required=True)
    network = made.add_argument_group("of ACT; without them the image's defaults")
    network.add_argument("--kl_weight", type=float, default=argparse.SUPPRESS)
    network.add_argument("--chunk_size", type=int, default=argparse.SUPPRESS)
    network.add_argument("--hidden_dim", type=int, default=argparse.SUPPRESS)
    network.add_argument("--dim_feedforward", type=int, default=argparse.SUPPRESS)
    machine = made.add_argument_group("not upstream's")
    machine.add_argument("--device", choices=("auto", "cuda", "cpu"), default=argparse.SUPPRESS)
    machine.add_argument("--backbone_weights", default=argparse.SUPPRESS)
    machine.add_argument("--camera_names", type=read_names, default=argparse.SUPPRESS)
    return made


if __name__ == "__main__":
    sys.exit(main())
