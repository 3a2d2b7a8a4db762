"""The priority of this process, which an encoder may have raised."""

import contextlib
import os
from pathlib import Path


def usual_priority() -> None:
    """Take real time from every thread of this process.

    SVT-AV1 makes the thread that encodes with it one of real time, where root may. What that thread
    starts then is so too: torch's threads, which wait by spinning, would leave no processor to any
    other process.
    """
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            if os.sched_getscheduler(int(thread.name)) != os.SCHED_OTHER:
                os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))
