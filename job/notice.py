"""One message over the network when a job has ended, where an address was asked for.

It is the only use of the network. It may take a few seconds, hang or fail: the job has recorded its
end before, and its exit code stays what it is.
"""

import base64
import contextlib
import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from job import signals
from job.address import host_of, without_login
from job.errors import EXIT_DONE, Interrupted, first_line
from job.sections.whole import Whole
from job.status import time_text
from job.warning import warn

logger = logging.getLogger("act")

_TIMEOUT_S = 3.0  # of connecting, and of the answer
_LONGEST_S = 4.0  # of all: names are looked up without a time-out. The grace of a signal has more


class Notice:
    """What is sent of a job, once."""

    def __init__(self, url: str, read: Callable[[], Whole]) -> None:
        """url: "" for none; read: the job's manifest as it is by then"""
        self._url = url
        self._read = read
        self._sending: threading.Thread | None = None
        self._lock = threading.Lock()
        self._errors = _LastError()

    @contextlib.contextmanager
    def of_job(self) -> Iterator[None]:
        """Listen to a job for why it ends; one that is ended at once sends its notice as well."""

        def ended_at_once(_: bool) -> None:
            self.send(Interrupted.exit_code, str(signals.ended_at_once()))

        logger.addHandler(self._errors)
        try:
            with signals.last_action(ended_at_once, beside=True):
                yield
        finally:
            logger.removeHandler(self._errors)

    def send(self, exit_code: int, reason: str | None = None) -> None:
        """Send it, if there is an address and a job that did something; warns where it fails."""
        if not self._url:
            return
        with self._lock:
            if self._sending is None:
                content = self._content(exit_code, reason)
                if content is None:
                    return
                self._sending = threading.Thread(target=self._post, args=(content,), daemon=True)
                self._sending.start()
        self._sending.join(_LONGEST_S)
        if self._sending.is_alive():
            self._warn(f"no answer within {_LONGEST_S:g} s")

    def _content(self, exit_code: int, reason: str | None) -> dict[str, Any] | None:
        """What is sent; None of a job that found everything done."""
        found = self._read()
        has_ended = found.status != "running"
        if exit_code == EXIT_DONE and not has_ended:
            return None
        status = {EXIT_DONE: "completed", Interrupted.exit_code: Interrupted.status}
        said = status.get(exit_code, "failed")
        why = (found.reason if has_ended else None) or reason or self._errors.message or said
        training = found.training
        return {
            "text": f"{found.run_name or 'a run'} {said} ({exit_code}): {why}",
            "run_name": found.run_name,
            "task_name": found.task_name,
            "attempt": found.attempt,
            "status": said,
            "exit_code": exit_code,
            "code": found.code if has_ended else None,
            "reason": why,
            "started_at": found.started_at,
            "ended_at": found.ended_at or time_text(),
            "epochs": training and training.epochs,
            "epochs_done": training and training.epochs_done,
            "best_val_loss": training and training.best_val_loss,
        }

    def _post(self, content: dict[str, Any]) -> None:
        try:
            _post(self._url, content)
        except Exception as error:  # whatever a server, a proxy or a resolver does
            self._warn(_said(error))
        else:
            with contextlib.suppress(OSError, ValueError):
                logger.info("notice     sent to %s", host_of(self._url))

    def _warn(self, what: str) -> None:
        warn("notice-unsent", f"the notice to {host_of(self._url)} was not taken: {what}")


def _post(url: str, content: dict[str, Any]) -> None:
    """Raises OSError, and whatever else urllib does."""
    address, login = without_login(url)
    headers = {"Content-Type": "application/json", "User-Agent": "lerobot-to-act"}
    if login is not None:
        token = base64.b64encode(unquote(login).encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    request = urllib.request.Request(address, json.dumps(content).encode(), headers, method="POST")
    with urllib.request.build_opener(_NoRedirects).open(request, timeout=_TIMEOUT_S):
        pass


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Another host would be told what only the one that was named should know."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: the answer is an error."""


def _said(error: Exception) -> str:
    """What went wrong, without the address and without a text of the server's."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"it answered {error.code}"
    if isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, Exception) else error
    if isinstance(error, TimeoutError):
        return f"no answer within {_TIMEOUT_S:g} s"
    return first_line(error) if isinstance(error, OSError) else type(error).__name__


class _LastError(logging.Handler):
    """The last error that was shown."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.message: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep its message."""
        self.message = record.getMessage()
