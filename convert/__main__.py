"""Conversion alone: `python -m convert INPUT… OUTPUT`, in the container `convert`.

Leaves episode_<i>.hdf5 and manifest.json in OUTPUT. With --shard, several machines share the work:
each leaves a manifest of its share, and `--check_whole` at the end looks whether the set is whole.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from convert.episode_choice import WHOLE, Shard, parse_shard
from convert.flags import ConvertFlags
from job import signals
from job.command import log_to_terminal, report_error, run_recorded
from job.command_line import OneLineParser, add_flags, make
from job.errors import JobError, UsageError
from job.flag_sources import COMMAND_LINE
from job.input_folders import refuse_inside
from job.lock import only_job
from job.manifest import Manifest
from job.output_names import MANIFEST
from job.ranks import rank
from job.remote.address import Address, addresses, read_place

logger = logging.getLogger("act")


def main(argv: Sequence[str]) -> int:
    """Convert as the command line says; returns the exit code."""
    signals.install()
    log_to_terminal()
    try:
        asked = parse(argv)
        # these take a second to import, which a mistyped flag does not wait for
        from convert.fetch import fetch_input

        shard = WHOLE if asked.check_whole else parse_shard(asked.shard, os.environ)
        flags, fetched = fetch_input(asked) if addresses(asked.input) else (asked, ())
    except JobError as error:
        return report_error(error)
    from convert.check.gate import check_input
    from convert.episodes import check_whole, convert
    from convert.input_kind import refuse_conversion, refuse_unused_flags
    from convert.sections import describe_conversion, describe_dataset

    def job(manifest: Manifest) -> None:
        refuse_conversion(flags.folders)
        refuse_unused_flags(flags, ())
        manifest.write()
        left_out = check_input(flags)
        if flags.check_whole:
            converted = check_whole(flags, flags.output, left_out)
        else:
            converted = convert(flags, flags.output, shard, left_out)
        manifest.set("dataset", describe_dataset(converted))
        manifest.set("conversion", describe_conversion(converted))
        count = len(shard.numbers(len(converted.paths)))
        logger.info("done       %d of %d episodes in %s", count, len(converted.paths), flags.output)
        for number in shard.numbers(len(converted.paths)):
            manifest.add_artifact(converted.paths[number])

    path = flags.output / _manifest_name(shard)
    try:
        with _alone(flags.output, shard):
            manifest = Manifest(
                path,
                asked.resolved(),
                shown=rank() == 0,
                origins=asked.origins,
                fetched=fetched,
            )
            return run_recorded(manifest, job, "alone" if shard == WHOLE else "shard")
    except JobError as error:  # of the lock; the job's own are reported by `run_recorded`
        return report_error(error)


def parse(argv: Sequence[str]) -> ConvertFlags:
    """The conversion asked for; raises UsageError."""
    given = parser().values(argv)
    folders = given.pop("folders", [])
    if folders and given.on_line("input", "output"):
        raise UsageError(
            f"found {str(folders[0])!r} besides --input or --output, expected INPUT… OUTPUT or "
            f"these flags, not both",
            code="flags-conflict",
        )
    if len(folders) == 1:
        raise UsageError(
            f"found one folder, {str(folders[0])!r}, expected INPUT… OUTPUT, or none",
            code="flag-missing",
        )
    if folders and isinstance(folders[-1], Address):
        raise UsageError(
            f"{folders[-1]}: is an address, expected a folder for the episodes; convert into one, "
            f"and copy it",
            code="flag-value",
        )
    if folders:
        given.add({"input": tuple(folders[:-1]), "output": folders[-1]}, COMMAND_LINE)
    flags = make(ConvertFlags, given)
    refuse_inside(flags.output, flags.folders)
    return flags


def parser() -> OneLineParser:
    """The command line of `convert`."""
    made = OneLineParser(
        "convert",
        "LeRobot datasets in, ALOHA episode_<i>.hdf5 files out.",
        "INPUT… OUTPUT [FLAG VALUE …]",
    )
    made.add_argument(
        "folders",
        nargs="*",
        type=read_place,
        metavar="INPUT… OUTPUT",
        help="LeRobot dataset(s), and where the episodes go, in place of --input and --output.",
    )
    add_flags(made, ConvertFlags)
    return made


def _alone(output: Path, shard: Shard) -> AbstractContextManager[object]:
    """Lock one shard, so that it is not converted twice at once; shards share the output."""
    if shard == WHOLE:
        return nullcontext()  # `run_recorded` holds the whole output
    return only_job(output / f".shard_{shard.index}_of_{shard.count}")


def _manifest_name(shard: Shard) -> str:
    return MANIFEST if shard == WHOLE else f"manifest_{shard.index}_of_{shard.count}.json"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
