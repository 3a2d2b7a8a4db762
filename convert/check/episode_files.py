"""Everything that is wrong with folders of episode files, in one report for each.

They are looked at together, as training takes them: the first file says which cameras and dims the
others must have. Nothing is decoded but the first frame of each camera; `--deep` decodes them all.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from convert.cameras import check_reduction
from convert.check.budget import check_padding
from convert.check.deep import BLANK, FROZEN, Stillness
from convert.check.vectors import Place, Vector, check_pair, check_vector
from convert.check.whole_episodes import without_leaving_out
from convert.findings import ERROR, Finding, Report, error, warning
from convert.flags import DataFlags
from episodes.arrays import FloatArray, Frame
from episodes.episode_set import Episodes, check_like_first, check_room, look_at, without_none
from episodes.estimates import estimate_episodes
from episodes.folder import EpisodeFile, choose_files
from episodes.frames import open_frames
from episodes.input_file import OnRead, ignore
from episodes.padding import recorded_dims
from episodes.reader import EpisodeInfo, read_env_state, read_vectors
from episodes.reading import ENV_STATE
from episodes.remarks import remarks
from episodes.resize import Size, by
from job import signals
from job.errors import DatasetError

_REPORT_EVERY = 64  # frames


@dataclass(frozen=True)
class _Look:
    """A file that goes together with the first one."""

    file: EpisodeFile
    info: EpisodeInfo
    camera_names: tuple[str, ...]  # that are used


@dataclass(frozen=True)
class _Seen(_Look):
    """And its vectors."""

    qpos: FloatArray  # (T, Q)
    action: FloatArray  # (T, A)
    env_state: FloatArray | None  # (T, E)


_Reports = Mapping[Path, Report]  # by folder


def check_episode_files(
    folders: Sequence[Path],
    flags: DataFlags,
    *,
    deep: bool = False,
    unread: frozenset[Path] = frozenset(),
    on_read: OnRead = ignore,
) -> list[Report]:
    """Look at the episode files in `folders` that are asked for; a report for each folder.

    flags: those of the job that is to be judged
    unread: files that must not be opened
    on_read: called with each file before it is opened, and again while a long one is read
    """
    reports = {folder: Report(folder) for folder in folders}
    try:
        files = choose_files(folders, flags)
    except DatasetError as problem:
        where = problem.where or folders[0]
        reports.get(where, reports.get(where.parent, reports[folders[0]])).catch(problem, where)
        return [report.finish() for report in reports.values()]
    infos = _look_at_all([f for f in files if f.path not in unread], flags, reports, on_read)
    seen = _read_all(infos, flags, reports, on_read)
    for folder, report in reports.items():
        mine = [one for one in seen if one.file.path.parent == folder]
        if mine:
            _add_facts(mine, flags, report)
            _check_sizes(mine, flags, report)
            _check_frames(mine, flags, report, deep, on_read)
            _check_vectors(mine, flags, report)
            check_padding([one.info.length for one in mine], flags.chunk_size, folder, report)
    _name_the_flag(files, reports)
    return [report.finish() for report in reports.values()]


def numbers_to_exclude(files: Sequence[EpisodeFile], errors: Sequence[Finding]) -> list[int]:
    """The numbers of the broken files, where leaving them out mends everything; else none."""
    broken = {finding.where for finding in errors}
    numbers = [file.number for file in files if str(file.path) in broken]
    is_all = len(numbers) == len(broken) and all(one.episode is not None for one in errors)
    return numbers if is_all and len(numbers) < len(files) else []


def _name_the_flag(files: Sequence[EpisodeFile], reports: _Reports) -> None:
    """Say in each error how its file is left out, where others remain then."""
    errors = [finding for report in reports.values() for finding in report.errors]
    helps = numbers_to_exclude(files, errors)
    numbers = {str(file.path): file.number for file in files}
    for report in reports.values():
        for place, finding in enumerate(report.findings):
            if finding.severity == ERROR and finding.episode is not None:
                message = without_leaving_out(finding).message
                if helps:
                    number = numbers[finding.where]
                    message += f"; --exclude_episodes {number} leaves it out"
                report.findings[place] = replace(finding, message=message)


def _look_at_all(
    files: Sequence[EpisodeFile], flags: DataFlags, reports: _Reports, on_read: OnRead
) -> list[_Look]:
    """The files that go together with the first one; the findings are added to `reports`."""
    reading, names = flags.reading, flags.camera_names
    found: list[_Look] = []
    for file in files:
        on_read(file.path)
        with _caught(file, reports):
            info = look_at(file.path, names, reading)
            names = names or tuple(info.image_sizes)
            check_like_first(info, found[0].info if found else info, names, reading)
            found.append(_Look(file, info, without_none(names)))
    infos = [look.info for look in found]
    for remark in remarks(infos, without_none(names), flags.camera_names, reading) if infos else ():
        reports[remark.where].add(
            warning(remark.code, remark.where, remark.what, camera=remark.camera)
        )
    if infos:
        _check_state_dim(flags, infos[0], reports[files[0].path.parent])
    return found


def _read_all(
    looks: Sequence[_Look], flags: DataFlags, reports: _Reports, on_read: OnRead
) -> list[_Seen]:
    found: list[_Seen] = []
    try:
        check_room([look.info for look in looks])
    except DatasetError as problem:
        folder = looks[0].file.path.parent
        reports[folder].catch(problem, folder)
        return found
    for look in looks:
        on_read(look.file.path)
        with _caught(look.file, reports):
            vectors = read_vectors(look.file.path, flags.reading.base_action)
            there = look.info.env_state_dim is not None
            env_state = read_env_state(look.file.path) if there else None
            found.append(_Seen(look.file, look.info, look.camera_names, *vectors, env_state))
    return found


@contextlib.contextmanager
def _caught(file: EpisodeFile, reports: _Reports) -> Iterator[None]:
    """What training would refuse a file for becomes a finding."""
    signals.check()
    try:
        yield
    except DatasetError as problem:
        reports[file.path.parent].catch(problem, file.path, episode=file.own_number)


def _check_state_dim(flags: DataFlags, info: EpisodeInfo, report: Report) -> None:
    dims = {info.qpos_dim, info.action_dim}
    if "state_dim" in flags.given and flags.state_dim and dims != {flags.state_dim}:
        what = (
            f"--state_dim {flags.state_dim} cannot apply: the episodes have {info.qpos_dim} qpos "
            f"and {info.action_dim} action dims, and are not converted; leave it out"
        )
        report.add(error("flag-unused", report.root, what))


def _add_facts(seen: Sequence[_Seen], flags: DataFlags, report: Report) -> None:
    info, lengths = seen[0].info, [one.info.length for one in seen]
    read_as = "" if flags.sim == "auto" else f", read as {flags.sim}"
    report.facts |= {
        "format": "aloha_hdf5",
        "episodes": len(seen),
        "frames": sum(lengths),
        "fps": info.fps or "unknown",
        "lengths": f"{min(lengths)} to {max(lengths)}",
        "sim": " and ".join(sorted({str(one.info.sim).lower() for one in seen})) + read_as,
        "cameras": {name: by(info.image_sizes[name]) for name in seen[0].camera_names},
        "state": f"qpos, {info.qpos_dim} dims",
        "action": f"action, {info.action_dim} dims",
    }
    if info.env_state_dim is not None:
        report.facts["env_state"] = f"{ENV_STATE}, {info.env_state_dim} dims"


def _check_sizes(seen: Sequence[_Seen], flags: DataFlags, report: Report) -> None:
    """--image_size against each size of each camera, once."""
    found: dict[tuple[str, Size], Path] = {}
    for one in seen:
        for name in one.camera_names:
            found.setdefault((name, one.info.image_sizes[name]), one.file.path)
    for (name, size), path in found.items():
        check_reduction(name, size, flags.image_height_width, path, report.add)


def _check_frames(
    seen: Sequence[_Seen], flags: DataFlags, report: Report, deep: bool, on_read: OnRead
) -> None:
    """Read the first frame of each camera as training would, or all of them."""
    if any(finding.code == "image-enlarged" for finding in report.errors):
        return
    decoded = 0
    for one in seen:
        stills = [Stillness() for _ in one.camera_names]
        with _caught(one.file, {report.root: report}):
            for frames in _frames(one, flags, deep, on_read):
                for still, frame in zip(stills, frames, strict=True):
                    still.add(frame)
                    decoded += 1
            for camera, still in zip(one.camera_names, stills, strict=True):
                _add_stillness(one.file, camera, still, report)
    if deep:
        report.facts["decoded"] = f"{decoded} frames"


def _frames(one: _Seen, flags: DataFlags, deep: bool, on_read: OnRead) -> Iterator[Frame]:
    """The frames (C, H, W, 3) of the first time step, or of each."""
    on_read(one.file.path)
    with contextlib.closing(open_frames(_episodes([one], flags))) as source:
        out = np.empty((1, *source.shape), np.uint8)
        for ts in range(one.info.length if deep else 1):
            signals.check()
            if ts % _REPORT_EVERY == 0:
                on_read(one.file.path)
            source.copy_into(np.array([0]), np.array([ts]), out)
            yield out[0]


def _add_stillness(file: EpisodeFile, camera: str, still: Stillness, report: Report) -> None:
    found = [("video-blank", BLANK)] if still.is_blank else []
    found += [("video-frozen", FROZEN)] if still.is_frozen else []
    for code, what in found:
        report.add(warning(code, file.path, what, episode=file.own_number, camera=camera))


def _check_vectors(seen: Sequence[_Seen], flags: DataFlags, report: Report) -> None:
    info = seen[0].info
    qpos = _vector("qpos", info.qpos_names, [(one.file, one.qpos) for one in seen])
    action = _vector("action", info.action_names, [(one.file, one.action) for one in seen])
    states = [(one.file, one.env_state) for one in seen if one.env_state is not None]
    others = [_vector(ENV_STATE, info.env_state_names, states)] if states else []
    for vector in (qpos, action, *others):
        check_vector(vector, report.root, False, report, moves=vector.key != ENV_STATE)
    check_pair(qpos, action, report.root, report)
    numbers = [one.file.own_number for one in seen]
    report.estimate(estimate_episodes(_episodes(seen, flags), flags.chunk_size, numbers))


def _vector(
    key: str, names: tuple[str, ...] | None, parts: Sequence[tuple[EpisodeFile, FloatArray]]
) -> Vector:
    """A vector of all files, without the dims that a conversion added."""
    width = parts[0][1].shape[1]
    kept = recorded_dims(names, width)
    names = names or tuple(f"{key}[{dim}]" for dim in range(width))
    places = [(Place(file.path, file.own_number), values[:, :kept]) for file, values in parts]
    return Vector(key, names[:kept], places)


def _episodes(seen: Sequence[_Seen], flags: DataFlags) -> Episodes:
    """Some of the files as training has them."""
    return Episodes(
        tuple(one.info for one in seen),
        tuple(one.qpos for one in seen),
        tuple(one.action for one in seen),
        seen[0].camera_names,
        flags.reading,
    )
