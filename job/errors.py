"""Every error that a user can cause, with the exit code that tells a scheduler what to do.

JobError
 ├── UsageError          2   the command line, or what it asks of this machine
 ├── DatasetError        3   the dataset in the input folder
 ├── OutputError         4   the output folder, its disk, or memory
 ├── DivergedError       5   a loss that is not finite
 ├── VerdictError        6   an evaluation says no, and --fail_on no was given
 ├── Interrupted        75   a signal; the same command again is worth trying
 └── AlreadyDone         0   the run that was asked for is finished

A message is one line: where, what was found, what was expected, what to do. Anything else that
escapes is a bug of ours: a traceback and exit code 1.
"""

import copyreg
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from job import codes

EXIT_DONE = 0
EXIT_BUG = 1


class JobError(Exception):
    """Something that the user can mend; `str()` of it is the one line to show."""

    exit_code: ClassVar[int] = EXIT_BUG
    status: ClassVar[str] = "failed"
    codes: ClassVar[Mapping[str, str]] = {}

    def __init__(self, message: str, *, code: str) -> None:
        """`code` is stable, for machines; it stands in `job/codes.py`."""
        super().__init__(message)
        self.code = code
        if self.code not in self.codes:
            raise ValueError(f"{self.code!r} is no code of {type(self).__name__} in job/codes.py")

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors of a worker process are pickled, keywords included."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


def first_line(error: BaseException) -> str:
    """What an error of somebody else's says, as a part of one of our lines."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


class UsageError(JobError):
    """A bad flag, flags that contradict each other, or a device that is not there.

    Also what `load_policy` refuses, and the policy that it gives.
    """

    exit_code = 2
    codes = codes.USAGE


class DatasetError(JobError):
    """The input is missing, unreadable, broken, or of a kind that is not read.

    `where`, `episode` and `camera` are what the message names.
    """

    exit_code = 3
    codes = codes.DATASET

    def __init__(
        self,
        message: str,
        *,
        code: str,
        where: Path | None = None,
        episode: int | None = None,
        camera: str | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.where = where
        self.episode = episode
        self.camera = camera


class OutputError(JobError):
    """What the job needs is not to be had: a writable output, room on its disk, memory."""

    exit_code = 4
    codes = codes.OUTPUT


class DivergedError(JobError):
    """A loss stopped being finite."""

    exit_code = 5
    codes = codes.DIVERGED


class VerdictError(JobError):
    """An evaluation says no, where that was asked to be an error."""

    exit_code = 6
    codes = codes.VERDICT


class AlreadyDone(JobError):  # noqa: N818  nothing went wrong
    """The same command has been run to its end before."""

    exit_code = EXIT_DONE
    codes = codes.DONE
    status = "completed"


class Interrupted(JobError):  # noqa: N818  nothing went wrong
    """A signal asked the job to end."""

    exit_code = 75
    codes = codes.INTERRUPTED
    status = "interrupted"
