"""The container's main: a LeRobot dataset (or ALOHA episodes) in, a trained ACT policy out.

input → converted_hdf5/episode_<i>.hdf5 → checkpoints/<run_name>/ → manifest.json
`convert` and `check` as the first word are commands of their own. Errors and signals become exit
codes in act/run.py.
"""

import sys
from pathlib import Path

from act import stop
from act.command_line import given_output, parse
from act.config import Config
from act.errors import UsageError
from act.launch import leave_exit_code, processes_to_start
from act.manifest import Manifest
from act.run import log_to_terminal, refuse, run


def main() -> int:
    """Run the job of the command line; returns its exit code."""
    stop.install()
    log_to_terminal()
    command, rest = sys.argv[1:2], sys.argv[2:]
    if command == ["convert"]:
        from convert.__main__ import main as convert

        return convert(rest)
    if command == ["check"]:
        from convert.check.__main__ import main as check

        return check(rest)
    try:
        config = parse(sys.argv[1:])
    except UsageError as error:
        return refuse(error, given_output(sys.argv[1:]) / "manifest.json")
    if count := processes_to_start(config):
        from act.torchrun import launch

        return launch(config, Path(__file__), sys.argv[1:], count)
    return leave_exit_code(run(config, config.output / "manifest.json", do_job))


def do_job(config: Config, manifest: Manifest) -> None:
    """Convert the input unless it holds episodes already, train on them, tidy up."""
    # torch takes seconds to import: a bad command and a signal must not wait for it
    from act.device import choose_device
    from act.group import joined_group
    from act.train import check_ready, train
    from convert.input import convert_in_turn, remove_converted

    run_folder = config.output / "checkpoints" / config.run_name
    check_ready(config, run_folder)
    with joined_group(choose_device(config.device), config.dist_timeout_s) as group:
        files = convert_in_turn(config, manifest, group)
        train(config, files.paths, run_folder, manifest, group)
        group.wait()
        remove_converted(config, files)


if __name__ == "__main__":
    sys.exit(main())
