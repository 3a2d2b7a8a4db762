"""Whether a conversion fits on the disk and into memory: one rule for the check and the job."""

from collections.abc import Sequence

from convert.findings import Add, error
from convert.lerobot.image import page_bytes
from convert.plan import Plan
from job import machine
from job.file_system import free_bytes

WORKER_BYTES = 400 << 20  # what one worker may take, libraries included
_LIBRARIES_BYTES = 150 << 20


def needed_bytes(plan: Plan, numbers: Sequence[int]) -> int:
    """About what the files of these episodes take on disk."""
    return sum(plan.size_bytes(number) for number in numbers)


def check_disk(plan: Plan, numbers: Sequence[int], add: Add) -> None:
    """Add an error when these episodes do not fit on the disk of `plan.folder`."""
    needed, free = needed_bytes(plan, numbers), free_bytes(plan.folder)
    if needed > free:
        message = (
            f"converting needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; free some "
            f"space, or use --frames video, --image_storage jpeg, a smaller --image_size, fewer "
            f"--camera_keys or --episodes"
        )
        add(error("disk-room", plan.folder, message))


def worker_bytes(plan: Plan) -> int:
    """What one worker may take: more than WORKER_BYTES only where images lie in large pages."""
    tables = {source.episode.table_path: source.dataset for source in plan.sources}
    pages = (
        page_bytes(path, camera.key)
        for path, dataset in tables.items()
        for camera in plan.cameras
        if dataset.features[camera.key].dtype == "image"
    )
    return max(WORKER_BYTES, _LIBRARIES_BYTES + max(pages, default=0))


def check_memory(plan: Plan, add: Add) -> int:
    """Add an error when not even one worker fits into memory; gives how many do."""
    needed, there = worker_bytes(plan), machine.memory_bytes()
    if needed > there:
        message = (
            f"converting takes {needed / 1e9:.2f} GB of memory, found {there / 1e9:.2f} GB; give "
            f"the container more"
        )
        if needed > WORKER_BYTES:
            message += "; its images lie in large parquet pages: fewer rows to a page help too"
        add(error("memory", plan.datasets[0].root, message))
    return there // (2 * needed)  # the rest is for the page cache
