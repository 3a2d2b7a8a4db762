"""The lock that keeps two jobs from writing to one folder."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from job.errors import Interrupted
from job.whole_files import output_errors

logger = logging.getLogger("act")


@contextlib.contextmanager
def only_job(folder: Path, shared: bool = False) -> Iterator[None]:
    """Hold a folder against other jobs that write to it, for as long as the context lasts.

    shared: jobs that write files of their own there may hold it together
    Raises Interrupted while another job holds it: the same command is worth trying later.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(held)
        raise Interrupted(
            f"{folder}: another job is writing here, expected to be the only one; wait until it "
            f"has ended, or choose another folder",
            code="run-in-use",
        ) from error
    except OSError:  # a network file system that cannot: the user has to see to it
        logger.info("%s cannot be locked: start no second job there meanwhile", folder)
    try:
        yield
    finally:
        os.close(held)
