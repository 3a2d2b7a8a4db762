"""A job whose output is a repository of the Hugging Face Hub: a finished run is pushed to it.

The repository is claimed → the job, as a process of its own, with its output in --work_dir → when
it is done, what a robot needs goes out in one commit, with a model card.

The state stays on this machine: a commit cannot be forgotten, and a state is a gigabyte every few
minutes. What may lose its machine writes to a bucket.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from job.command import report_error, warn_unless_mounted
from job.errors import EXIT_DONE, JobError
from job.lock import only_job
from job.remote.address import Address
from job.remote.hub import Repository
from job.remote.local_job import LocalJob
from job.remote.tries import PATIENCE_S

logger = logging.getLogger("act")

Files = Mapping[str, Path | bytes]  # by their names in the repository


def run_published(
    command: Sequence[str],
    address: Address,
    output: Path,
    run_folder: Path,
    files: Callable[[str], Files],
    patience_s: float,
) -> int:
    """Run a job and push what it leaves; returns its exit code.

    command: of the job, without its output
    output: where its output is on this machine
    run_folder: the run's in there
    files: what is pushed of a run that is done; takes what `hf download` takes for the repository
    patience_s: how long the push is tried
    """
    try:
        repository = Repository(address)
        repository.claim(run_folder)
        logger.info("hub        %s takes the run when it is done; until then: %s", address, output)
        warn_unless_mounted(output)
        with LocalJob(command, output, address) as job:
            code = job.wait()
        if code == EXIT_DONE:
            repository.patience_s = max(patience_s, PATIENCE_S)
            with _keeping(run_folder), only_job(run_folder):
                files_now = files(repository.download)
                where = repository.push(files_now, f"The run {run_folder.name}", run_folder)
            logger.info("hub        pushed: %s", where)
        return code
    except JobError as error:
        return report_error(error)


@contextlib.contextmanager
def _keeping(run_folder: Path) -> Iterator[None]:
    """Where a push fails, say where the run is."""
    try:
        yield
    except JobError:
        logger.info("hub        the run is done, and whole in %s", run_folder)
        raise
