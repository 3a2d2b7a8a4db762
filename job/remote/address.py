"""Addresses of folders that lie elsewhere: `s3://BUCKET/PATH`, `gs://`, `az://`, `hf://`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from job.errors import UsageError

# The schemes, each with the extra of the wheel that brings its file system.
EXTRAS = {"s3": "s3", "gs": "gs", "az": "az", "hf": "hub"}
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)")


@dataclass(frozen=True, order=True)
class Address:
    """A folder that lies elsewhere."""

    scheme: str
    path: str  # with the bucket, container or repository first; no slash at its end

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def __truediv__(self, name: str) -> "Address":
        return Address(self.scheme, f"{self.path}/{name}")

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


Place = Path | Address


def is_address(text: str) -> bool:
    """Whether a text names something elsewhere."""
    return _ADDRESS.fullmatch(text) is not None


def read_place(text: str) -> Place:
    """A folder as a flag has it, here or at an address; raises UsageError."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return Path(text)
    scheme, path = found.groups()
    if scheme not in EXTRAS:
        raise UsageError(
            f"{scheme}://…: addresses of {scheme}:// are not read, expected "
            f"{', '.join(f'{known}://' for known in EXTRAS)} or a folder",
            code="address-unknown",
        )
    parts = [part for part in path.split("/") if part]
    least = 2 + (parts[:1] == ["datasets"]) if scheme == "hf" else 1
    if (
        len(parts) < least or "@" in parts[0] or "?" in path or ".." in parts
    ):  # what may hold a key is not shown
        expected = f"{scheme}://BUCKET/PATH"
        if scheme == "hf":
            expected = "hf://datasets/USER/NAME, or hf://USER/NAME for policies"
        raise UsageError(
            f"{scheme}://…: expected {expected}, without keys, which stand in the environment",
            code="address-unknown",
        )
    return Address(scheme, "/".join(parts))


def folders(places: Sequence[Place]) -> tuple[Path, ...]:
    """Those that lie on this machine."""
    return tuple(place for place in places if isinstance(place, Path))


def addresses(places: Sequence[Place]) -> tuple[Address, ...]:
    """Those that lie elsewhere."""
    return tuple(place for place in places if isinstance(place, Address))
