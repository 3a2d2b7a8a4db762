"""Writes report.html and report.json into a run's folder."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from act.report.flags import ReportFlags
from job.errors import Interrupted, UsageError
from job.lock import only_job
from job.output_names import CONTRACT, METRICS, RUN
from job.renewed_manifest import renew
from job.sections.report import Report
from job.whole_files import whole_file, write_json

logger = logging.getLogger("act")

HTML, JSON = "report.html", "report.json"
WRITTEN = (HTML, JSON)


def report_run(flags: ReportFlags, defaults: Mapping[str, Any]) -> None:
    """Write the report of a run; raises UsageError and OutputError.

    The manifest lists it, unless a job is just writing that.
    """
    from act.load.source import run_path

    folder = run_path(flags.run, flags.output)
    if not folder.is_dir() or not any((folder / one).exists() for one in (RUN, METRICS, CONTRACT)):
        raise UsageError(
            f"{folder}: has neither {RUN} nor {METRICS} nor {CONTRACT}, expected the folder of a "
            f"run; name it, or give its path",
            code="policy-missing",
        )
    report_and_list(folder, defaults)
    logger.info("report     %s", folder / HTML)


def report_and_list(folder: Path, defaults: Mapping[str, Any]) -> None:
    """Write the report of a run and list it in its manifest; raises OutputError."""
    try:
        with only_job(folder):
            write_report(folder, defaults)
            renew(folder, [folder / name for name in WRITTEN])
    except Interrupted:  # a job holds the folder, and writes its manifest
        write_report(folder, defaults)


def write_report(folder: Path, defaults: Mapping[str, Any]) -> Report:
    """Write the report of a run from what its folder has; raises OutputError.

    defaults: of the job's flags
    """
    from act.report.page import page  # matplotlib takes a second to import
    from act.report.report import report_of
    from act.report.run_files import read_run

    run = read_run(folder)
    report = report_of(run, defaults)
    text = page(run, report, defaults)
    with whole_file(folder / HTML, shared=True) as file:
        file.write(text.encode(errors="replace"))  # half a character of UTF-16 is none
    write_json(folder / JSON, report.model_dump(mode="json"), shared=True)
    return report
