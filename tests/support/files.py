"""What a folder holds, to compare it with later."""

from pathlib import Path

from job.whole_files import sha256


def snapshot(root: Path) -> dict[str, tuple[int, str]]:
    """When each file below `root` was written, in ns, and its SHA-256."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, sha256(path)) for path in paths}


def contents(root: Path) -> dict[str, str]:
    """The SHA-256 of each file below `root`."""
    return {path: digest for path, (_, digest) in snapshot(root).items()}
