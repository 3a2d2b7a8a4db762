"""What a manifest lists, compared with what is on the disk."""

import json
from pathlib import Path

from job.whole_files import sha256


def assert_artifacts_are_whole(manifest: Path) -> None:
    """Each file that is listed is there, with the size and the SHA-256 of the list."""
    listed = json.loads(manifest.read_text())["artifacts"]
    assert listed
    for one in listed:
        path = manifest.parent / one["path"]
        found = path.stat().st_size, sha256(path)
        assert found == (one["size_bytes"], one["sha256"]), one["path"]
