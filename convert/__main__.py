"""Conversion alone: `python -m convert INPUT… OUTPUT`, in the container `convert`.

Leaves episode_<i>.hdf5 and manifest.json in OUTPUT. With --shard, several machines share the work:
each leaves a manifest of its share, and `--check_whole` at the end looks whether the set is whole.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from convert.choice import WHOLE, Shard, parse_shard
from job import signals
from job.command import log_to_terminal, run, tell
from job.command_line import OneLineParser, add_flags
from job.config import CONVERSION, DATA, INPUT, OUTPUT, Config
from job.errors import JobError, UsageError
from job.manifest import Manifest
from job.whole_files import only_job, refuse_inside

logger = logging.getLogger("act")


def main(argv: Sequence[str]) -> int:
    """Convert as the command line says; returns the exit code."""
    signals.install()
    log_to_terminal()
    # these take a second to import, in which a signal must not be lost
    from convert.check.gate import check_input
    from convert.episodes import check_whole, convert
    from convert.sections import describe_conversion, describe_dataset

    try:
        config, shard, only_check = parse(argv)
    except UsageError as error:
        return tell(error)

    def job(config: Config, manifest: Manifest) -> None:
        manifest.write()
        left_out = check_input(config)
        if only_check:
            converted = check_whole(config, config.output, left_out)
        else:
            converted = convert(config, config.output, shard, left_out)
        manifest.set("dataset", describe_dataset(converted))
        manifest.set("conversion", describe_conversion(converted))
        count = len(shard.numbers(len(converted.paths)))
        logger.info(
            "done       %d of %d episodes in %s", count, len(converted.paths), config.output
        )
        for number in shard.numbers(len(converted.paths)):
            manifest.add_artifact(converted.paths[number])

    try:
        with _alone(config, shard):
            return run(
                config, config.output / _manifest_name(shard), job, beside_others=shard != WHOLE
            )
    except JobError as error:  # of the lock; the job's own are told by `run`
        return tell(error)


def parse(argv: Sequence[str]) -> tuple[Config, Shard, bool]:
    """The conversion asked for, this machine's share of it, and whether only to look."""
    given = vars(_parser().parse_args(argv))
    folders = given.pop("folders")
    if len(folders) == 1:
        raise UsageError(f"found one folder, {str(folders[0])!r}, expected INPUT… OUTPUT, or none")
    *inputs, output = folders or (*INPUT, OUTPUT)
    refuse_inside(output, inputs)
    only_check = given.pop("check_whole", False)
    shard = WHOLE if only_check else parse_shard(given.pop("shard", "auto"), os.environ)
    given.pop("shard", None)
    task_name = given.pop("task_name", "convert")
    names = frozenset(given)
    config = Config(
        **given,
        run_name="convert",
        task_name=task_name,
        input=tuple(inputs),
        output=output,
        given=names,
    )
    return config, shard, only_check


def _alone(config: Config, shard: Shard) -> AbstractContextManager[None]:
    """Hold a shard against itself: shards share the output, and one twice would write one file."""
    if shard == WHOLE:
        return nullcontext()  # `run` holds the whole output
    return only_job(config.output / f".shard_{shard.index}_of_{shard.count}")


def _manifest_name(shard: Shard) -> str:
    return "manifest.json" if shard == WHOLE else f"manifest_{shard.index}_of_{shard.count}.json"


def _parser() -> OneLineParser:
    made = OneLineParser(
        prog="convert",
        description="LeRobot datasets in, ALOHA episode_<i>.hdf5 files out.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    made.add_argument(
        "folders",
        nargs="*",
        type=Path,
        default=[],
        metavar="INPUT… OUTPUT",
        help=f"LeRobot dataset(s), and where the episodes go ({INPUT[0]} {OUTPUT})",
    )
    made.add_argument("--task_name", help="a name starting with sim_ sets --sim (convert)")
    add_flags(made, (DATA, CONVERSION), without=("keep_converted_hdf5",))
    shares = made.add_argument_group("machines side by side")
    shares.add_argument(
        "--shard", metavar="i/n", help="every n-th episode; auto = a scheduler's array (auto)"
    )
    shares.add_argument(
        "--check_whole", action="store_true", help="only check that every episode is there"
    )
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
