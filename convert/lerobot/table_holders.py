"""Which data files hold an episode: `data/file_index` can be stale (lerobot #2401)."""

import filecmp
from pathlib import Path

from convert.findings import Add, error, finding_of, warning
from convert.lerobot.table import row_counts
from episodes.input_file import OnRead, data_files
from job.errors import DatasetError

NOT_FOUND = "episode-not-found"


class TableHolders:
    """The data files of a dataset by the episodes in them."""

    def __init__(self, folder: Path, on_read: OnRead, add: Add) -> None:
        """Look into every file below `folder`."""
        self._add = add
        self._unreadable: set[Path] = set()
        self._holders: dict[int, list[Path]] = {}
        for path in data_files(folder, "*/*.parquet"):
            try:
                counts = row_counts(path, on_read)
            except DatasetError as problem:
                add(finding_of(problem, path))
                self._unreadable.add(path)
                continue
            for index in counts:
                self._holders.setdefault(index, []).append(path)

    def holder(self, index: int, length: int, pointed: Path) -> Path:
        """The file with an episode's rows, which may not be `pointed`, which the metadata name.

        length: how many rows it has, by the metadata
        """
        holders = self._holders.get(index, [])
        if not holders:
            if pointed.exists() and pointed not in self._unreadable and length > 0:
                what = "its rows are in no data file; copy the dataset again or leave it out"
                self._add(error(NOT_FOUND, pointed, what, episode=index))
            return pointed
        table = pointed if pointed in holders else holders[0]
        if table != pointed:
            what = (
                f"the metadata names {pointed.name}, but its rows are here and are read from here"
            )
            self._add(warning("table-pointer", table, what, episode=index))
        if len(holders) > 1:
            others = [path for path in holders if path != table]
            what = f"{'; '.join(_other(table, path) for path in others)}; remove what is not wanted"
            self._add(warning("table-twice", table, what, episode=index))
        return table


def _other(table: Path, path: Path) -> str:
    if filecmp.cmp(table, path, shallow=False):  # which remembers what it has compared
        return f"{path} is a copy of it, byte for byte, and not read"
    return f"its rows are in {path} as well, which is another file, and not read"
