"""The command `serve RUN`: `python -m act.serve`, in the container `serve`."""

import asyncio
import logging
import os
import sys
from collections.abc import MutableMapping, Sequence
from typing import NoReturn

from act.load.packages import needed
from act.serve.access import Access, access_of
from act.serve.flags import ServeFlags
from job import signals
from job.command import close_terminal, log_to_terminal, report_error
from job.command_line import OneLineParser, add_flags, make
from job.errors import EXIT_DONE, JobError, UsageError
from job.machine import limit_threads
from job.version import shown_version

logger = logging.getLogger("act")

_NEEDED = ("websockets", "msgpack")  # the extra `serve` of pyproject.toml


def main(argv: Sequence[str], environ: MutableMapping[str, str] = os.environ) -> int:
    """`serve RUN`: answers until a signal comes; 0 then, 2 for a wrong command."""
    signals.install()
    log_to_terminal()
    try:
        run, flags = parse(argv)
        access = access_of(flags, environ)
        for package in _NEEDED:
            needed(package, "serve")
        limit_threads()
        logger.info("%s: serve %s", shown_version(), run)
        _serve(run, flags, access)
    except JobError as error:
        return report_error(error)
    return EXIT_DONE


def _serve(run: str, flags: ServeFlags, access: Access) -> None:
    # these import torch, which a mistyped flag does not wait for
    from act.load.limits import Limits
    from act.load.loading import load_policy
    from act.serve.server import PolicyServer

    policy = load_policy(run, limits=Limits(**flags.limits()), **flags.loading())
    logger.info(
        "policy     %s: cameras %s, chunks of %d actions",
        policy.contract.file if flags.checkpoint == "auto" else flags.checkpoint,
        ", ".join(policy.cameras) or "none",
        policy.chunk_size,
    )
    asyncio.run(PolicyServer(policy, flags, access).run())
    _leave()


def _leave() -> NoReturn:
    """End at once: taking torch's modules apart takes a second, and four on a busy machine."""
    signals.end_by_itself()
    close_terminal()
    os._exit(EXIT_DONE)


def parse(argv: Sequence[str]) -> tuple[str, ServeFlags]:
    """The run and the flags; raises UsageError."""
    given = parser().values(argv)
    run = given.pop("run", None)
    if run is None:
        raise UsageError(
            "serve: no run is given, expected its name, or the path of its folder; --help lists "
            "the flags",
            code="flag-missing",
        )
    return run, make(ServeFlags, given)


def parser() -> OneLineParser:
    """The command line of `serve`."""
    made = OneLineParser(
        "serve",
        "Answer robots over the network, as openpi's client asks: a websocket with msgpack.",
        "RUN [FLAG VALUE …]",
        "Exit codes: 0 a signal ended it, 2 a wrong command.",
    )
    made.add_argument(
        "run", nargs="?", metavar="RUN", help="Name of a run, or path of its folder or checkpoint."
    )
    add_flags(made, ServeFlags)
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
