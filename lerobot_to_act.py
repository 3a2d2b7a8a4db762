"""The command `lerobot-to-act`, which is also the container's: which command, its exit code.

input → converted_hdf5/episode_<i>.hdf5 → checkpoints/<run_name>/ → manifest.json
`convert` and `check` as the first word are commands of their own. Errors and signals become exit
codes in job/command.py. Nothing here imports torch, pyarrow or PyAV before it is needed: the first
line must come at once, and a mistyped flag must not wait for seconds of imports.
"""

import logging
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from job import signals
from job.command import close_terminal, log_to_terminal, refuse, run, tell
from job.command_line import given_output, parse
from job.config import Config
from job.errors import AlreadyDone, UsageError
from job.machine import end_with_parent
from job.manifest import Manifest
from job.ranks import in_group, leave_exit_code, leave_interrupted, processes_to_start
from job.version import shown_version
from job.whole_files import refuse_inside

logger = logging.getLogger("act")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of this process; returns its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["--version"]:
        print(shown_version())  # noqa: T201  it is what was asked for
        return 0
    signals.install()
    log_to_terminal()
    code = _command(argv)
    close_terminal()
    return code


def _command(argv: list[str]) -> int:
    command, rest = argv[:1], argv[1:]
    if command == ["convert"]:
        from convert.__main__ import main as convert

        return convert(rest)
    if command == ["check"]:
        from convert.check.__main__ import main as check

        return check(rest)
    return _train(argv)


def _train(argv: list[str]) -> int:
    try:
        config = parse(argv)
    except UsageError as error:
        return refuse(error, given_output(argv) / "manifest.json")
    try:
        refuse_inside(config.output, config.input)
    except UsageError as error:
        return tell(error)  # a manifest would be written into the input
    logger.info("%s: %s", shown_version(), ", ".join(map(str, config.input)))
    if count := processes_to_start(config):
        signals.leave_ending_to_others()
        from act.processes.torchrun import launch

        return launch(config, Path(__file__), argv, count)
    if in_group():
        end_with_parent(signal.SIGTERM)
    if config.max_hours:
        signals.end_after(config.max_hours)
    with signals.last_word(lambda _: leave_interrupted()):
        return leave_exit_code(run(config, config.output / "manifest.json", do_job))


def do_job(config: Config, manifest: Manifest) -> None:
    """Convert the input unless it holds episodes already, train on them, tidy up."""
    from act.policies.backbone_file import backbone_file
    from convert.input import look_at_input

    # before torch is imported: a missing dataset, camera or weights file is reported at once
    look_at_input(config)
    backbone_file(config.backbone_weights)
    from act.policies.contract import describe_files
    from act.processes.device import choose_device
    from act.processes.group import joined_group
    from act.training.loop import check_ready, train
    from act.training.run_folder import claim
    from convert.input import (
        convert_in_turn,
        describe_input,
        official_episodes,
        remove_converted,
    )

    run_folder = config.output / "checkpoints" / config.run_name
    finished = check_ready(config, run_folder)
    with joined_group(choose_device(config.device), config.dist_timeout_s) as group:
        if group.from_first(finished):
            if group.is_first:
                official = official_episodes(config)
                found = describe_files(config, official) if official else describe_input(config)
                claim(config, run_folder, found)
            remove_converted(config)  # a kill may have come before it was done
            raise AlreadyDone(f"{run_folder} holds the policy of this very run")
        manifest.write()
        begin = partial(claim, config, run_folder)
        paths = convert_in_turn(config, manifest, group, begin)
        train(config, paths, run_folder, manifest, group)
        group.wait()
        # once the run is marked as finished: it would be converted again to be resumed
        manifest.afterwards(partial(remove_converted, config))


if __name__ == "__main__":
    sys.exit(main())
