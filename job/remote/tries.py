"""Requests that fail: an error at once where the server refuses, else tried again for a time."""

import os
import random
import re
import time
from collections.abc import Callable
from itertools import product
from typing import TypeVar

from job import signals
from job.errors import DatasetError, Interrupted, JobError, OutputError, first_line

T = TypeVar("T")

PATIENCE_S = 120.0  # of a request that fails, before the job gives up
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
_LOOK_S = 0.2
# Names of exceptions for a server that refuses, or a key that lacks: each library has its own
_REFUSALS = re.compile(
    "NoCredentials|Credential|Unauthorized|Forbidden|GatedRepo|ClientAuthentication|RefreshError|"
    "SigningError"
)
_OF_GOOGLE = ("Forbidden:", "Bad Request:")  # gcsfs has words in place of the status
_REFUSED = {401, 402, 403}  # HTTP's: without a key, without payment, forbidden
_WRONG = {400, 422}  # HTTP's: not understood
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
        except JobError:  # known already
            raise
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
    chain = _chain(error)
    kinds = " ".join(type(one).__name__ for one in chain)
    statuses = {_status(one) for one in chain}
    missing = isinstance(error, FileNotFoundError) or _MISSING.search(kinds)
    refused = bool(isinstance(error, PermissionError) or _REFUSALS.search(kinds))
    refused |= not missing and bool(statuses & _REFUSED)
    if not refused and missing:
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
    if not missing and statuses & _WRONG:
        said = _without_secrets(" ".join(str(error).split()))
        raise OutputError(
            f"{where}: {what}: the server does not take it ({said}), expected what it takes; look "
            f"at the address and at the names of the run",
            code="address-refused",
        ) from error


def _status(error: BaseException) -> int | None:
    """HTTP's status of an error: each library has its own place for it."""
    places = getattr(error, "response", None), error
    for place, name in product(places, ("status_code", "status", "code")):
        if isinstance(found := getattr(place, name, None), int):
            return found
    forbidden, bad = map(str(error).startswith, _OF_GOOGLE)
    return 403 if forbidden else 400 if bad else None


def _chain(error: BaseException) -> list[BaseException]:
    """An error and those that it follows from, each once."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found


def reason(error: BaseException) -> str:
    """What a library says of an error, and of what that follows from, with nothing secret."""
    said = first_line(error)
    if said.startswith(_OF_GOOGLE):  # whose second line has the reason
        said = " ".join(str(error).split())
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        said += f" {first_line(error.__cause__)}"
    return _without_secrets(said)


def _without_secrets(said: str) -> str:
    """A text without the queries of addresses, which may sign them, and without the Hub's token."""
    said = re.sub(r"\?[^\s'\"]*", "", said)
    said = re.sub(r"Bearer\s+[^\s'\"]+", "Bearer …", said)
    return said.replace(hub_token() or "\0", "…")[:300]


def hub_token() -> str | None:
    """What HF_TOKEN has: a secret that is mounted often ends with a line break."""
    return os.environ.get("HF_TOKEN", "").strip() or None
