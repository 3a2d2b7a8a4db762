"""Reports while a run trains, and when it has ended: what goes wrong with one is a warning."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from act.report.flags import ReportIntervalFlags
from act.report.writing import report_and_list, write_report
from job.errors import first_line
from job.flags import defaults_of
from job.warning import warn


def make_reporter(flags: ReportIntervalFlags, folder: Path | None) -> "Reporter":
    """The reporter of a job; folder: None on processes that write no files"""
    return Reporter(folder, flags.report_interval_minutes, defaults_of(type(flags)))


class Reporter:
    """Writes reports of a run while it trains, when it is due; a failure is no error."""

    def __init__(self, folder: Path | None, minutes: float, defaults: Mapping[str, Any]) -> None:
        """folder: None on processes that write no files

        minutes: between two of them; 0: none is ever due
        defaults: of the job's flags
        """
        self._folder = folder
        self._interval_s = minutes * 60
        self._defaults = defaults
        self._written_at = time.monotonic()
        self._has_warned = False

    @property
    def is_due(self) -> bool:
        """Whether it is time for one."""
        waited = time.monotonic() - self._written_at
        return bool(self._interval_s) and self._folder is not None and waited >= self._interval_s

    def write(self) -> bool:
        """Write a report, and warn once where that fails; returns whether it was written."""
        if self._folder is None:
            return False
        try:
            write_report(self._folder, self._defaults)
        except Exception as error:  # the training goes on, whatever this stumbles over
            if not self._has_warned:
                _warn(self._folder, error)
            self._has_warned = True
            return False
        finally:
            self._written_at = time.monotonic()
        return True


def report_afterwards(folder: Path, defaults: Mapping[str, Any]) -> None:
    """Write the report of a run in which something has changed, and list it; warn if that fails."""
    try:
        report_and_list(folder, defaults)
    except Exception as error:  # what has changed is no worse for it
        _warn(folder, error)


def _warn(folder: Path, error: Exception) -> None:
    warn("report-unwritten", f"{first_line(error)}; repeat it with report {folder}")
