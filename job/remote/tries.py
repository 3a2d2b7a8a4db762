"""Requests that fail: an error at once where the server refuses, else tried again for a time."""

import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from job import signals
from job.errors import DatasetError, Interrupted, OutputError, first_line

T = TypeVar("T")

PATIENCE_S = 120.0  # of a request that fails, before the job gives up
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
_LOOK_S = 0.2
# Names of exceptions for a server that refuses, or a key that lacks: each library has its own
_REFUSALS = re.compile(
    "NoCredentials|Credential|Unauthorized|Forbidden|GatedRepo|ClientAuthentication|RefreshError"
)
_REFUSED = {400, 401, 402, 403}  # HTTP's: bad, without a key, without payment, forbidden
_MISSING = re.compile("RepositoryNotFound|RevisionNotFound|EntryNotFound|ResourceNotFound")


def tried(
    do: Callable[[], T],
    where: str,
    what: str,
    patience_s: float = PATIENCE_S,
    *,
    is_output: bool = False,
    ends_on_signal: bool = True,
) -> T:
    """What a request gives, tried again at growing intervals where it may come right.

    where, what: the address and what cannot be done there, for the message
    is_output: what is missing is the output's fault, not a dataset's
    ends_on_signal: False: what is under way is still sent
    Raises OutputError, DatasetError, Interrupted.
    """
    deadline, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
    while True:
        try:
            return do()
        except Exception as error:  # each library has its own
            _refuse_for_good(error, where, what, is_output)
            if time.monotonic() + pause_s > deadline:
                raise Interrupted(
                    f"{where}: {what} for {patience_s:.0f} s ({reason(error)}), expected "
                    f"an answer; run the same command again when it can be reached",
                    code="address-unreachable",
                ) from error
        pause(pause_s * random.uniform(0.5, 1.0), ends_on_signal)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def pause(seconds: float, ends_on_signal: bool = True) -> None:
    """Wait; raises Interrupted on a signal."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if ends_on_signal:
            signals.check()
        time.sleep(min(left, _LOOK_S))


def _refuse_for_good(error: Exception, where: str, what: str, is_output: bool) -> None:
    """Raise the error that another try does not mend."""
    chain = [*_chain(error)]
    kinds = " ".join(type(one).__name__ for one in chain)
    statuses = {getattr(getattr(one, "response", None), "status_code", None) for one in chain}
    refused = isinstance(error, PermissionError) or _REFUSALS.search(kinds) or statuses & _REFUSED
    if not refused and (isinstance(error, FileNotFoundError) or _MISSING.search(kinds)):
        private = ", and whether HF_TOKEN opens it" if where.startswith("hf:") else ""
        message = (
            f"{where}: is not there, expected an object or folder; look at the address{private}"
        )
        if is_output:
            raise OutputError(message, code="output-unwritable") from error
        raise DatasetError(message, code="input-missing") from error
    if refused:
        raise OutputError(
            f"{where}: {what}: refused ({reason(error)}), expected credentials in the environment "
            f"that allow it; renew them and run the same command again",
            code="address-refused",
        ) from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it follows from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def reason(error: BaseException) -> str:
    """What a library says of an error, with nothing secret: the query of an address may sign it."""
    said = re.sub(r"\?[^\s'\"]*", "", first_line(error))
    return said[:300]
