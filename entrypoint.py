"""The container's main: a LeRobot dataset (or ALOHA episodes) in, a trained ACT policy out.

input → converted_hdf5/episode_<i>.hdf5 → checkpoints/<run_name>/ → manifest.json
Errors and signals become exit codes in act/run.py.
"""

import sys

from act import stop
from act.config import Config, given_output, parse
from act.errors import UsageError
from act.manifest import Manifest
from act.run import log_to_terminal, refuse, run


def main() -> int:
    """Run the job of the command line; returns its exit code."""
    stop.install()
    log_to_terminal()
    try:
        config = parse(sys.argv[1:])
    except UsageError as error:
        return refuse(error, given_output(sys.argv[1:]) / "manifest.json")
    return run(config, config.output / "manifest.json", do_job)


def do_job(config: Config, manifest: Manifest) -> None:
    """Convert the input unless it holds episodes already, train on them, tidy up."""
    # torch takes seconds to import: a bad command and a signal must not wait for it
    from act.train import check_machine, train
    from convert.input import episode_files, remove_converted

    check_machine(config)
    paths = episode_files(config, manifest)
    train(config, paths, config.output / "checkpoints" / config.run_name, manifest)
    remove_converted(config)


if __name__ == "__main__":
    sys.exit(main())
