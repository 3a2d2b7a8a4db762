"""What a check reports of the data files: rows against metadata, values, timestamps against fps.

Each file is read once, all its episodes together; threads do it.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from convert.findings import Report, warning
from convert.lerobot.dataset import Dataset
from convert.lerobot.episode_list import Episode
from convert.lerobot.table import (
    ORDER,
    EpisodeRows,
    Times,
    check_row_count,
    episode_rows,
    read_columns,
    split_episodes,
)
from convert.lerobot.table_holders import NOT_FOUND
from convert.row_times import row_rate, rows_before_gaps
from episodes.input_file import OnRead
from job import signals
from job.errors import DatasetError

_MAX_DEVIATION = 0.5  # frames


@dataclass(frozen=True)
class Rows:
    """What an episode's rows hold, as far as they could be read."""

    episode: Episode
    read: EpisodeRows
    deviation_s: float  # the largest of |timestamp - timestamp[0] - frame_index / rate|

    @property
    def times(self) -> Times | None:
        """The timestamps, (T,) in seconds."""
        return self.read.times


def check_tables(
    dataset: Dataset,
    keys: Sequence[str],
    listed: set[int],
    report: Report,
    pool: Executor,
    on_read: OnRead,
) -> list[Rows]:
    """Check every data file; gives the rows of the episodes, in the dataset's order.

    keys: the vectors that a conversion needs; listed: the episodes of the metadata, used or not
    """
    lost = {finding.episode for finding in report.errors if finding.code == NOT_FOUND}
    by_path: dict[Path, list[Episode]] = {}
    for episode in dataset.episodes:
        if episode.length > 0 and episode.index not in lost:
            by_path.setdefault(episode.table_path, []).append(episode)
    check = partial(_check_table, dataset, keys, listed, report, on_read)
    rows = [row for part in pool.map(check, by_path.items()) for row in part]
    return sorted(rows, key=lambda row: row.episode.index)


def _check_table(
    dataset: Dataset,
    keys: Sequence[str],
    known: set[int],
    report: Report,
    on_read: OnRead,
    item: tuple[Path, list[Episode]],
) -> list[Rows]:
    signals.check()
    path, episodes = item
    columns = ["episode_index", *keys]
    try:
        table = read_columns(path, columns, on_read, ORDER)
    except DatasetError as problem:
        report.catch(problem, path, episode=episodes[0].index if len(episodes) == 1 else None)
        return []
    by_index = dict(split_episodes(path, table, report.add))
    strangers = sorted(set(by_index) - known)
    if strangers:
        what = f"has rows of episodes {strangers[:5]}, which the metadata does not list; not used"
        report.add(warning("table-extra", path, what))
    if not by_index and table.num_rows:  # why has been reported
        return []
    rows = []
    for episode in episodes:
        count = by_index[episode.index].num_rows if episode.index in by_index else 0
        if check_row_count(path, episode.index, count, episode.length, report.add):
            rows.append(_check_rows(dataset, path, episode, by_index[episode.index], keys, report))
    return [row for row in rows if row is not None]


def _check_rows(
    dataset: Dataset,
    path: Path,
    episode: Episode,
    table: pa.Table,
    keys: Sequence[str],
    report: Report,
) -> Rows | None:
    read = episode_rows(path, episode.index, table, dataset.names(keys), report.add)
    if read is None:
        return None
    times = read.times
    deviation_s = 0.0 if times is None else _check_times(dataset, path, episode, times, report)
    return Rows(episode, read, deviation_s)


def _check_times(
    dataset: Dataset, path: Path, episode: Episode, times: Times, report: Report
) -> float:
    """A timestamp off its place hints at hardware clocks, or at rows that were cut out."""
    if not np.isfinite(times).all():
        what = f"{int((~np.isfinite(times)).sum())} timestamps are not finite; they are not used"
        report.add(warning("timestamp-value", path, what, episode=episode.index))
        return 0.0
    rate = row_rate(times, dataset.fps)
    if rate != dataset.fps:
        what = (
            f"its timestamps are those of {float(rate):g} rows a second, the fps is "
            f"{float(dataset.fps):g}; the rows were thinned out, and {float(rate):g} is taken"
        )
        report.add(warning("rows-thinned", path, what, episode=episode.index))
    off = np.abs(times - times[0] - np.arange(len(times)) / float(rate))
    worst = int(off.argmax())
    if len(times) > 1 and (np.diff(times) <= 0).any():
        at = int((np.diff(times) <= 0).argmax()) + 1
        what = f"timestamp {times[at]:.4f} s at row {at} does not follow {times[at - 1]:.4f} s"
        what += ", expected them to rise"
        report.add(warning("timestamp-order", path, what, episode=episode.index))
    elif off[worst] >= _MAX_DEVIATION / float(rate) and not len(rows_before_gaps(times, rate)):
        what = (
            f"timestamps deviate from frame_index / fps by up to {off[worst] * 1e3:.1f} ms (row "
            f"{worst}), expected below {_MAX_DEVIATION * 1e3 / float(rate):.1f} ms at "
            f"{float(rate):g} fps"
        )
        report.add(warning("timestamp-fps", path, what, episode=episode.index))
    return float(off[worst])
