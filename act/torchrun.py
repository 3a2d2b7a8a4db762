"""Run the processes of a group under torchrun, and make one exit code of how they ended.

On several machines torchrun finds its peers by its own variables (PET_NNODES, PET_NODE_RANK,
PET_RDZV_ENDPOINT …); the same command joins the group when torchrun itself starts entrypoint.py.
"""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from act.config import Config
from act.errors import EXIT_BUG, EXIT_DONE, Interrupted, JobError
from act.files import write_json
from act.launch import EXIT_FOLDER, on_several_machines
from act.machine import cpu_count

logger = logging.getLogger("act")

_SIGNALS = "SIGTERM,SIGINT,SIGUSR1,SIGUSR2"


def launch(config: Config, program: Path, argv: Sequence[str], count: int) -> int:
    """Run `program` with `argv` as `count` processes of a group; returns the exit code of them."""
    flags = ["--nproc-per-node", str(count), "--signals-to-handle", _SIGNALS]
    flags += [] if on_several_machines() else ["--standalone"]
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cpu_count() // count)))
    with tempfile.TemporaryDirectory() as folder:
        os.environ[EXIT_FOLDER] = folder
        code = _run([*flags, str(program), *argv])
        ended = {int(path.name): int(path.read_text()) for path in Path(folder).iterdir()}
    return _exit_code(config, code, ended, count)


def _run(argv: list[str]) -> int:
    try:
        run(parse_args(argv))
    except SignalException:  # it has passed it on, and the processes have ended
        return Interrupted.exit_code
    except ChildFailedError:  # each has said why
        return EXIT_BUG
    return EXIT_DONE


def _exit_code(config: Config, code: int, ended: dict[int, int], count: int) -> int:
    """One code of all: a reason not to try again counts more than the interruption it caused."""
    if code == EXIT_DONE:
        return EXIT_DONE
    reasons = {found for found in ended.values() if found not in (EXIT_DONE, Interrupted.exit_code)}
    if reasons:
        return min(reasons)
    lost = sorted(set(range(count)) - set(ended))
    if lost:
        reason = (
            f"the process with local rank {lost[0]} was lost: it ended without a word, killed most "
            f"likely (for memory?); the same command runs it again"
        )
        logger.error("%s", reason)
        _end_manifest(config.output / "manifest.json", reason)
    return Interrupted.exit_code


def _end_manifest(path: Path, reason: str) -> None:
    """Rank 0 writes the manifest; where it was killed, nobody has said so in there yet."""
    with contextlib.suppress(OSError, ValueError, JobError):
        values = json.loads(path.read_text())
        if values["status"] == "running":
            code, status = Interrupted.exit_code, Interrupted.status
            write_json(path, values | {"status": status, "exit_code": code, "reason": reason})
