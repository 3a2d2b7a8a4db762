"""Run the processes of a group under torchrun, and make one exit code of how they ended.

On several machines torchrun finds its peers by its own variables (PET_NNODES, PET_NODE_RANK,
PET_RDZV_ENDPOINT …); the same command joins the group when torchrun itself starts entrypoint.py.
"""

import contextlib
import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.run import parse_args, run

from job import signals
from job.errors import EXIT_BUG, EXIT_DONE, Interrupted, JobError, OutputError, first_line
from job.machine import limit_threads
from job.manifest import ended
from job.output_names import STATUS
from job.ranks import ATTEMPT, EXIT_FOLDER, on_several_machines
from job.sections.whole import Whole
from job.signals import SIGNALS
from job.status import end_lost
from job.whole_files import read_bytes, write_json

logger = logging.getLogger("act")

_LOST = "process-lost"
_SIGNALS = ",".join(number.name for number in SIGNALS)


def launch(manifests: Sequence[Path], program: Path, argv: Sequence[str], count: int) -> int:
    """Run `program` with `argv` as `count` processes of a group; returns the exit code of them.

    manifests: where they write one
    """
    flags = ["--nproc-per-node", str(count), "--signals-to-handle", _SIGNALS]
    # by address: a container without a network cannot look up its own name
    flags += [] if on_several_machines() else ["--standalone", "--local-addr", "127.0.0.1"]
    limit_threads(count)
    os.environ[ATTEMPT] = attempt = uuid.uuid4().hex
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.environ[EXIT_FOLDER] = folder
            code = _run([*flags, str(program), *argv])
            texts = {int(path.name): path.read_text() for path in Path(folder).iterdir()}
    except OSError as error:  # torchrun writes to a temporary folder of its own as well
        if error.filename is None:
            raise
        logger.error("%s: cannot be used (%s); make room there", error.filename, error.strerror)
        return OutputError.exit_code
    codes = {number: int(text) for number, text in texts.items() if text}  # else killed writing
    return _exit_code(manifests, code, codes, count, attempt)


def _run(argv: list[str]) -> int:
    sys.unraisablehook = _report_unraisable
    try:
        signals.check()
        run(parse_args(argv))
    except (SignalException, Interrupted):  # it has passed it on, and the processes have ended
        return Interrupted.exit_code
    except ChildFailedError:  # each has reported why
        return EXIT_BUG
    except (RendezvousError, DistError) as error:
        logger.error("the other machines were not reached (%s); try again", first_line(error))
        return Interrupted.exit_code
    return EXIT_DONE


def _report_unraisable(what: "sys.UnraisableHookArgs") -> None:
    """As Python does, but for a timer of torch's rendezvous that is collected in its own thread."""
    if str(what.exc_value) != "cannot join current thread":
        sys.__unraisablehook__(what)


def _exit_code(
    manifests: Sequence[Path], code: int, left: dict[int, int], count: int, attempt: str
) -> int:
    """One code of all: a reason not to try again counts more than the interruption it caused."""
    codes = [left.get(number) for number in range(count)]
    if code == EXIT_DONE or set(codes) == {EXIT_DONE}:  # a signal may come as they end
        return EXIT_DONE
    reasons = set(codes) - {None, EXIT_DONE, Interrupted.exit_code}
    if reasons:
        return min(filter(None, reasons))
    if code == EXIT_BUG and None in codes:
        lost = codes.index(None)
        reason = (
            f"the process with local rank {lost} was lost: it ended without an exit code, "
            f"most likely killed for its memory; run the same command again"
        )
        logger.error("%s", reason)
        if lost == 0:
            for path in manifests:
                _end_manifest(path, reason, attempt)
    return Interrupted.exit_code


def _end_manifest(path: Path, reason: str, attempt: str) -> None:
    """Rank 0 writes the manifest; where it was killed, nobody has reported so in there yet."""
    with contextlib.suppress(OSError, ValueError, JobError):
        content = Whole.model_validate_json(read_bytes(path))
        if content.status == "running" and content.attempt == attempt:  # not another's
            end = (Interrupted.status, Interrupted.exit_code, _LOST, reason)
            end_lost(path.with_name(STATUS), attempt, *end)
            write_json(path, ended(content, *end).model_dump(mode="json"))


def lost_job(path: Path) -> Whole | None:
    """The manifest of this start of the job where its first process was lost, else None."""
    with contextlib.suppress(OSError, ValueError):
        content = Whole.model_validate_json(read_bytes(path))
        if content.code == _LOST and content.attempt == os.environ.get(ATTEMPT):
            return content
    return None
