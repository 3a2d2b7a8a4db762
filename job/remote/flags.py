"""The flags of what lies elsewhere."""

from dataclasses import dataclass
from pathlib import Path

from job.bounds import at_least
from job.flags import Flags, flag
from job.remote.address import Address


@dataclass(frozen=True, kw_only=True)
class CacheFlags(Flags):
    """Where an input at an address is fetched to."""

    title = "data"

    cache: Path = flag(
        "Folder that inputs at addresses are fetched to.",
        Path("~/.cache/lerobot-to-act"),
        same_run=True,
    )
    cache_gb: float = flag(
        "Largest size of that folder; what was unused longest goes; 0 = any.",
        200.0,
        check=at_least(0),
        same_run=True,
    )


@dataclass(frozen=True, kw_only=True)
class MirrorFlags(Flags):
    """How an output at an address is written to."""

    title = "run"

    work_dir: Path = flag(
        "Folder here for the runs of an output at an address.",
        Path("~/.cache/lerobot-to-act/work"),
        same_run=True,
    )
    mirror_patience_minutes: float = flag(
        "Minutes for which an output at an address may be away before the job ends.",
        60.0,
        check=at_least(0),
        same_run=True,
    )

    def work_folder(self, address: Address) -> Path:
        """Where the runs of that output are on this machine."""
        return self.work_dir.expanduser().joinpath(address.scheme, *address.path.split("/"))
