"""Everything that is wrong with a dataset, in one report, in seconds.

metadata → files → rows → cameras → the plan of the conversion. Nothing is decoded but the first
frame of each video; `--deep` decodes them all.
Each problem has a stable code; an error is what a conversion would refuse or get silently wrong.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

from convert.check.budget import check_padding, check_room, estimate_training
from convert.check.cameras import check_cameras
from convert.check.deep import check_deep
from convert.check.tables import Rows, check_tables
from convert.check.unlisted_files import check_all_files, check_leftovers, check_unlisted
from convert.check.vectors import Vector, check_pair, check_vector, gather
from convert.check.whole_episodes import whole_episodes, without_leaving_out
from convert.features import choose_env_state, choose_optional, choose_vector
from convert.findings import ERROR, Report, error, warning
from convert.flags import DataFlags
from convert.lerobot.dataset import Dataset, choose_cameras, read_dataset
from convert.lerobot.episode_list import Episode, files_of
from convert.plan import plan_for
from convert.row_times import check_gaps, check_rate, row_rate
from convert.sources import NOTHING, Source
from episodes.input_file import OnRead, ignore
from episodes.ranges import as_ranges
from episodes.reading import ENV_STATE
from job import machine
from job.errors import DatasetError, JobError

DEFAULTS = DataFlags()
_FPS_OFF = 0.01  # of the rate
_FPS_ROUNDED = 1.0


def check(
    root: Path,
    flags: DataFlags = DEFAULTS,
    *,
    deep: bool = False,
    output: Path | None = None,
    only: frozenset[int] | None = None,
    unread: frozenset[Path] = frozenset(),
    threads: int = 0,
    on_read: OnRead = ignore,
) -> Report:
    """Look at the dataset in `root` and report everything that is wrong with it.

    flags: those of the job that is to be judged
    output: where it would be converted to, for the room on that disk
    only: the episodes to be used (None = all); the others are checked in the metadata alone
    unread: files that must not be opened, which leaves out the episodes in them
    threads: 0 = by cores
    on_read: called with each file before it is opened, and again while a long one is read
    """
    report = Report(root)
    try:
        dataset = read_dataset(root, report.add, on_read, videos=not flags.without_cameras)
    except DatasetError as problem:
        report.catch(problem, root / "meta/info.json")
        check_all_files(root, report, on_read)
        return report.finish()
    listed = {episode.index for episode in dataset.episodes}
    dataset = _chosen(dataset, flags, only, unread, report)
    cameras = choose_cameras(dataset, flags.camera_keys, report.add)
    required, optional = _vector_keys(dataset, flags, report)
    _add_facts(dataset, report)
    keys = list(dict.fromkeys([*chain(*required.values()), *filter(None, optional)]))
    # threads wait on files and on FFmpeg, so a few more than cores
    with ThreadPoolExecutor(threads or 2 * machine.cpu_count()) as pool:
        rows = check_tables(dataset, keys, listed, report, pool, on_read)
        rate = _check_times(rows, dataset.fps, flags.chunk_size, report)
        times = {row.episode.index: row.times for row in rows}
        sizes = check_cameras(dataset, cameras, flags, times, report, pool, on_read)
        if deep:
            grey = flags.camera_keys
            decoded = check_deep(dataset, cameras, grey, times, report, pool, on_read)
            report.facts["decoded"] = f"{decoded} frames"
    if not flags.without_cameras:
        check_leftovers(dataset, report)
    report.facts["cameras"] = {key: f"{h}x{w}" for key, (h, w) in sizes.items()}
    _check_values(dataset, rows, required, float(rate), flags, report)
    lengths = [episode.length for episode in dataset.episodes if episode.length > 0]
    check_padding(lengths, flags.chunk_size, root / "meta", report)
    if not report.errors:
        _check_plan(dataset, flags, output, report, on_read)
    else:
        _say_what_is_whole(report)
    return report.finish()


def _chosen(
    dataset: Dataset,
    flags: DataFlags,
    only: frozenset[int] | None,
    unread: frozenset[Path],
    report: Report,
) -> Dataset:
    """The dataset with the episodes that are used; what the list says of all is reported."""
    check_unlisted(dataset, report, videos=not flags.without_cameras)
    if any(dataset.not_listed):
        episodes, frames = dataset.not_listed
        report.facts["not_listed"] = {"episodes": episodes, "frames": frames}
    wanted = [e for e in dataset.episodes if only is None or e.index in only]
    report.users = _users(wanted)
    readable = tuple(episode for episode in wanted if unread.isdisjoint(files_of(episode)))
    dataset = replace(dataset, episodes=readable)
    _check_list(dataset, flags, report)
    return dataset


def _check_times(rows: Sequence[Rows], fps: Fraction, chunk_size: int, report: Report) -> Fraction:
    """Rows per second, by the first episode; those of another rate and gaps are reported."""
    expected = row_rate(rows[0].times if rows else None, fps)
    for row in rows:
        check_rate(row.episode, row.times, expected, fps, report.add)
        check_gaps(row.episode, row.times, fps, chunk_size, report.add)
    return expected


def _say_what_is_whole(report: Report) -> None:
    """The episodes that are left without the broken ones; where none is, no advice counts on it."""
    if whole := whole_episodes(report):
        report.facts["whole_episodes"] = as_ranges(whole)
        return
    report.findings = [
        without_leaving_out(one) if one.severity == ERROR else one for one in report.findings
    ]


def _vector_keys(
    dataset: Dataset, flags: DataFlags, report: Report
) -> tuple[dict[str, tuple[str, ...]], list[str | None]]:
    """The features that the policy sees, by what they are, and those of velocity and effort."""
    state = choose_vector(dataset, "state", flags.state_key, report.add)
    action = choose_vector(dataset, "action", flags.action_key, report.add)
    others = ("velocity", "effort") if state else ()
    optional = [choose_optional([dataset], what, state, report.add) for what in others]
    required = {"state": state, "action": action}
    env_state = choose_env_state([dataset], flags.env_state_use, flags.env_state_key, report.add)
    return required | ({ENV_STATE: env_state} if env_state else {}), optional


def _check_plan(
    dataset: Dataset, flags: DataFlags, output: Path | None, report: Report, on_read: OnRead
) -> None:
    """Make the plan that a conversion of this dataset would make, and see whether it has room."""
    sources = [Source(dataset, episode) for episode in dataset.episodes if episode.length > 0]
    if not sources:
        return
    folder = output or dataset.root
    try:
        plan = plan_for(flags, folder, [dataset], sources, NOTHING, report.add, on_read)
    except JobError as problem:
        report.catch(problem, dataset.root)
        return
    if plan is not None:
        check_room(plan, flags.frames, output, report)


def _users(episodes: Sequence[Episode]) -> dict[str, frozenset[int]]:
    users: dict[str, set[int]] = {}
    for episode in episodes:
        for path in files_of(episode):
            users.setdefault(str(path), set()).add(episode.index)
    return {path: frozenset(indices) for path, indices in users.items()}


def _check_list(dataset: Dataset, flags: DataFlags, report: Report) -> None:
    empty = [episode for episode in dataset.episodes if episode.length < 1]
    for episode in empty:
        what = f"has length {episode.length} and is skipped"
        report.add(warning("episode-empty", dataset.root / "meta", what, episode=episode.index))
    if dataset.episodes and len(empty) == len(dataset.episodes):
        what = "every episode is empty, expected at least one frame; record the dataset again"
        report.add(error("episodes-empty", dataset.root / "meta", what))
    counts = Counter(task for episode in dataset.episodes for task in episode.tasks)
    if len(counts) > 1:
        named = "; ".join(f"{text!r} in {count}" for text, count in counts.most_common(5))
        what = f"{len(counts)} tasks: {named}; ACT does not see the task and learns one behaviour"
        report.add(warning("tasks", dataset.root / "meta", what))
    info_path = dataset.root / "meta/info.json"
    features = {} if flags.without_cameras else dataset.features
    for key, feature in features.items():
        if feature.is_depth and key not in flags.camera_keys:
            what = "is marked, shaped or named as depth, or as a mask, and is left out"
            what += "; --camera_keys uses it" if feature.is_depth_by_guess else ""
            report.add(warning("depth-left-out", info_path, what, camera=key))
        rate, fps = feature.video_fps, float(dataset.fps)
        rounded = rate is not None and 0 <= fps - rate < _FPS_ROUNDED  # 29.97 is written as 29
        if rate is not None and abs(rate - fps) > _FPS_OFF * fps and not rounded:
            what = f"video.fps is {rate:g}, the dataset's fps {fps:g}; the frames' own times count"
            report.add(warning("video-fps", info_path, what, camera=key))


def _check_values(
    dataset: Dataset,
    rows: list[Rows],
    required: Mapping[str, Sequence[str]],
    fps: float,
    flags: DataFlags,
    report: Report,
) -> None:
    vectors: dict[str, Vector] = {}
    for name, keys in required.items():
        vector = gather(dataset, keys, rows, report) if keys else None
        if vector is not None:
            vectors[name] = vector
            report.facts[name] = f"{vector.key}, {len(vector.names)} dims"
            moves = name != ENV_STATE
            check_vector(vector, dataset.root / "data", flags.fix_quaternions, report, moves)
    if len(vectors) == len(required):
        check_pair(vectors["state"], vectors["action"], dataset.root / "data", report)
        estimate_training(vectors["state"], vectors["action"], fps, flags, report)
    worst = max((row.deviation_s for row in rows), default=0.0)
    report.facts["timestamps"] = f"off frame_index / fps by up to {worst * 1e3:.3f} ms"


def _add_facts(dataset: Dataset, report: Report) -> None:
    lengths = [episode.length for episode in dataset.episodes]
    report.facts |= {
        "version": dataset.version,
        "robot": dataset.robot_type or "unknown",
        "episodes": len(lengths),
        "frames": sum(lengths),
        "fps": float(dataset.fps),
        "lengths": f"{min(lengths, default=0)} to {max(lengths, default=0)}",
    }
