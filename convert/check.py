"""The check: everything that is wrong with a dataset, in one report, in seconds.

metadata → files → rows → cameras → what training will make of it. Nothing is decoded but the first
frame of each video; `--deep` decodes them all.
Each problem has a stable code; an error is what a conversion would refuse or get silently wrong.
"""

import argparse
import contextlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from act import machine, stop
from act.config import INPUT, Config, OneLineParser
from act.errors import DatasetError, JobError
from act.run import log_to_terminal, tell
from convert.check_cameras import check_cameras
from convert.check_deep import check_deep
from convert.check_files import check_all_files, check_leftovers, check_unlisted
from convert.check_tables import Rows, check_tables
from convert.check_training import check_room, check_training
from convert.check_vectors import Vector, check_pair, check_vector, gather
from convert.findings import Finding, Report, error, refuse, warning
from convert.lerobot import (
    EFFORT_KEY,
    VELOCITY_KEY,
    Dataset,
    Episode,
    choose_cameras,
    read_dataset,
)
from convert.sources import find_datasets, read_sources

logger = logging.getLogger("act")

BROKEN = DatasetError.exit_code
_STATES = ("observation.state", "state", "observation.qpos")
_ACTIONS = ("action", "actions")
_FPS_OFF = 0.01  # of the rate
_FPS_ROUNDED = 1.0


def check(  # noqa: PLR0913  one keyword per flag
    root: Path,
    *,
    camera_keys: tuple[str, ...] = (),
    state_key: str = "auto",
    action_key: str = "auto",
    chunk_size: int = 100,
    state_dim: int = 0,
    resized: bool = False,
    deep: bool = False,
    output: Path | None = None,
    wanted: Callable[[Episode], bool] = lambda _: True,
) -> Report:
    """Look at the dataset in `root` and say everything that is wrong with it.

    resized: images will be brought to one size, so sizes may differ
    output: where it would be converted to, for the room on that disk
    wanted: which episodes are to be used; the others are checked in the metadata alone
    """
    report = Report(root)
    try:
        dataset = read_dataset(root, report.say)
    except DatasetError as problem:
        report.catch(problem, root / "meta/info.json")
        check_all_files(root, report)
        return report.finish()
    check_unlisted(dataset, report)
    dataset = replace(dataset, episodes=tuple(e for e in dataset.episodes if wanted(e)))
    _check_list(dataset, report)
    cameras = choose_cameras(dataset, camera_keys, report.say)
    vectors = [
        _vector_key(dataset, "state", state_key, _STATES, report),
        _vector_key(dataset, "action", action_key, _ACTIONS, report),
    ]
    _say_facts(dataset, report)
    # threads wait on files and on FFmpeg, so a few more than cores
    with ThreadPoolExecutor(2 * machine.cpu_count()) as pool:
        rows = _check_rows(dataset, [key for key in vectors if key], report, pool)
        sizes = check_cameras(dataset, cameras, resized, report, pool)
        if deep:
            report.facts["decoded"] = f"{check_deep(dataset, cameras, report, pool)} frames"
    check_leftovers(dataset, report)
    report.facts["cameras"] = {key: f"{h}x{w}" for key, (h, w) in sizes.items()}
    _check_values(dataset, rows, vectors, state_dim, report)
    check_training(dataset, chunk_size, report)
    check_room(dataset, sizes, output, report)
    return report.finish()


def _check_rows(
    dataset: Dataset, vectors: list[str], report: Report, pool: ThreadPoolExecutor
) -> list[Rows]:
    others = [key for key in (VELOCITY_KEY, EFFORT_KEY) if key in dataset.features]
    return check_tables(dataset, list(dict.fromkeys([*vectors, *others])), report, pool)


def _check_list(dataset: Dataset, report: Report) -> None:
    empty = [episode for episode in dataset.episodes if episode.length < 1]
    for episode in empty:
        what = f"has length {episode.length} and is skipped"
        report.say(warning("episode-empty", dataset.root / "meta", what, episode=episode.index))
    if dataset.episodes and len(empty) == len(dataset.episodes):
        what = "every episode is empty, expected at least one frame; record the dataset again"
        report.say(error("episodes-empty", dataset.root / "meta", what))
    counts = Counter(task for episode in dataset.episodes for task in episode.tasks)
    if len(counts) > 1:
        named = "; ".join(f"{text!r} in {count}" for text, count in counts.most_common(5))
        what = f"{len(counts)} tasks: {named}; ACT is told none of them and learns one behaviour"
        report.say(warning("tasks", dataset.root / "meta", what))
    info_path = dataset.root / "meta/info.json"
    for key, feature in dataset.features.items():
        if feature.is_depth:
            what = "is marked, shaped or named as depth, or as a mask, and is left out"
            report.say(warning("depth-left-out", info_path, what, camera=key))
        rate, fps = feature.video_fps, float(dataset.fps)
        rounded = rate is not None and 0 <= fps - rate < _FPS_ROUNDED  # 29.97 is written as 29
        if rate is not None and abs(rate - fps) > _FPS_OFF * fps and not rounded:
            what = f"video.fps is {rate:g}, the dataset's fps {fps:g}; the frames' own times count"
            report.say(warning("video-fps", info_path, what, camera=key))


def _vector_key(
    dataset: Dataset, what: str, asked: str, candidates: Sequence[str], report: Report
) -> str:
    """Which feature is the state or the action; "" and an error when there is none."""
    names = candidates if asked == "auto" else (asked,)
    found = next((name for name in names if name in dataset.features), "")
    if not found:
        vectors = {
            key: list(feature.shape)
            for key, feature in dataset.features.items()
            if feature.dtype.startswith(("float", "int")) and key not in _INDEX_KEYS
        }
        said = (
            f"no feature {' or '.join(map(repr, names))} for the {what}; found {vectors}; name it "
            f"with --{what}_key"
        )
        report.say(error(f"{what}-missing", dataset.root / "meta/info.json", said))
    return found


_INDEX_KEYS = {"timestamp", "frame_index", "episode_index", "index", "task_index"}


def _check_values(
    dataset: Dataset, rows: list[Rows], keys: list[str], state_dim: int, report: Report
) -> None:
    vectors: list[Vector | None] = []
    for name, key in zip(("state", "action"), keys, strict=True):
        feature = dataset.features.get(key)
        vector = gather(feature, rows, dataset.root, report) if feature else None
        vectors.append(vector)
        if vector is None:
            continue
        report.facts[name] = f"{key}, {len(vector.names)} dims"
        check_vector(vector, dataset.root, report)
        if 0 < state_dim < len(vector.names):
            cut = ", ".join(vector.names[state_dim:])
            what = f"--state_dim {state_dim} cuts away dims of {key!r}: {cut}"
            report.say(warning("dims-cut", dataset.root / "meta/info.json", what))
    if vectors[0] is not None and vectors[1] is not None:
        check_pair(vectors[0], vectors[1], dataset.root, report)
    worst = max((row.deviation_s for row in rows), default=0.0)
    report.facts["timestamps"] = f"off frame_index / fps by up to {worst * 1e3:.3f} ms"


def _say_facts(dataset: Dataset, report: Report) -> None:
    lengths = [episode.length for episode in dataset.episodes]
    report.facts |= {
        "version": dataset.version,
        "robot": dataset.robot_type or "unknown",
        "episodes": len(lengths),
        "frames": sum(lengths),
        "fps": float(dataset.fps),
        "lengths": f"{min(lengths, default=0)} to {max(lengths, default=0)}",
    }


def check_input(config: Config) -> None:
    """Check what a job is about to convert; says the warnings, raises the first error."""
    chosen: set[tuple[Path, int]] | None = None
    with contextlib.suppress(DatasetError):  # which the check says better
        chosen = {(s.dataset.root, s.episode.index) for s in read_sources(config)[1]}
    errors: list[str] = []
    first: Finding | None = None
    for root in find_datasets(config.input):
        report = check(
            root,
            camera_keys=config.camera_keys,
            state_key=config.state_key,
            action_key=config.action_key,
            chunk_size=config.chunk_size,
            resized=config.image_size != "own",
            output=config.output,
            wanted=partial(_is_chosen, chosen, root),
        )
        for line in report.summary(report.warnings):
            logger.warning("%s", line)
        errors += report.summary(report.errors)
        first = first or next(iter(report.errors), None)
    for line in errors[1:]:
        logger.warning("also broken: %s", line)
    if first is not None:
        refuse(first)


def _is_chosen(chosen: set[tuple[Path, int]] | None, root: Path, episode: Episode) -> bool:
    return chosen is None or (root, episode.index) in chosen


def main(argv: Sequence[str]) -> int:
    """`check INPUT …`: reports on standard output; 0 fine, 3 broken, 2 a wrong command."""
    log_to_terminal()
    logger.setLevel(logging.WARNING)  # standard output is the report's alone
    try:
        asked = _parser().parse_args(argv)
        reports = [
            check(
                root,
                camera_keys=asked.camera_keys,
                state_key=asked.state_key,
                action_key=asked.action_key,
                chunk_size=asked.chunk_size,
                state_dim=asked.state_dim,
                resized=asked.resized,
                deep=asked.deep,
                output=asked.output,
            )
            for root in find_datasets(asked.input)
        ]
    except JobError as problem:
        return tell(problem)
    if asked.json:
        values: Any = [report.as_json() for report in reports]
        text = json.dumps(values[0] if len(values) == 1 else values, indent=2, allow_nan=False)
    else:
        text = "\n".join(report.text() for report in reports)
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n" * asked.json)
    return BROKEN if any(report.errors for report in reports) else 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="check",
        description="Say everything that is wrong with LeRobot datasets, without converting them.",
        epilog="Exit codes: 0 fine (warnings allowed), 3 broken, 2 a wrong command.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "input", nargs="*", type=Path, default=INPUT, metavar="INPUT", help=f"({INPUT[0]})"
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--deep", action="store_true", help="decode every frame too")
    parser.add_argument("--camera_keys", type=_keys, default=(), metavar="A,B,…")
    parser.add_argument("--state_key", default="auto", metavar="KEY")
    parser.add_argument("--action_key", default="auto", metavar="KEY")
    parser.add_argument("--chunk_size", type=_above_0, default=100, metavar="N")
    parser.add_argument("--state_dim", type=_above_0, default=0, metavar="N")
    parser.add_argument("--resized", action="store_true", help="as with --image_size: sizes differ")
    parser.add_argument("--output", type=Path, default=None, metavar="FOLDER")
    return parser


def _keys(text: str) -> tuple[str, ...]:
    return () if text == "auto" else tuple(name.strip() for name in text.split(","))


def _above_0(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number, 1 or more")
    return int(text)


if __name__ == "__main__":
    stop.install()
    sys.exit(main(sys.argv[1:]))
