"""Digests of what tests/data converts to: `python -m tests.support.digests` writes them anew.

Only a change that reads something differently on purpose may do so, and says it in its message.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import h5py

from convert.flags import DataFlags
from tests.support.conversion import convert_here, converted_paths
from tests.support.paths import DATA, SAMPLES, SMALL

FILE = DATA / "digests.json"
DATASETS = (*sorted(path for path in SMALL.iterdir() if path.is_dir()), *SAMPLES)
_SMALLER = dict.fromkeys(SAMPLES, "48x64")  # a tenth, exactly: integers alone

Digests = list[dict[str, str]]  # of each episode: by the name of what is in its file


def digests_of(root: Path) -> Digests:
    """The digests of all arrays in all episodes that a dataset converts to."""
    flags = DataFlags(input=(root,), state_dim=0, image_size=_SMALLER.get(root, "own"))
    with tempfile.TemporaryDirectory() as folder:
        return [_in_file(path) for path in converted_paths(convert_here(flags, Path(folder) / "e"))]


def _in_file(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            head = f"{item.dtype.str} {item.shape}".encode()
            found[name] = hashlib.sha256(head + item[()].tobytes()).hexdigest()[:16]

    with h5py.File(path) as file:
        file.visititems(add)
    return found


def main() -> None:
    """Write the digests."""
    values = {root.name: digests_of(root) for root in DATASETS}
    FILE.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
