"""An input at an address becomes folders on this machine: metadata first, then what a job needs.

Fetched are the tables of the chosen episodes and their chosen cameras' videos, or all episode files
of a folder that holds such. Metadata that are wrong end the job before the rest is fetched.
"""

import contextlib
import dataclasses
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from convert.flags import RecordingFlags
from convert.lerobot.dataset import choose_cameras
from convert.sources import read_sources
from episodes.folder import is_episode_name
from job import workers
from job.errors import DatasetError
from job.remote.address import Address, addresses
from job.remote.cache import Cache
from job.remote.download import Download, Fetched, digest_of_all
from job.remote.store import Store, Stored
from job.sections.fetched import FetchedInput
from job.words import counted

logger = logging.getLogger("act")

F = TypeVar("F", bound=RecordingFlags)

# What the processes of a run are told by the one that starts them, as it has fetched the input.
_FETCHED = "LEROBOT_TO_ACT_FETCHED"
_INFO, _META = "meta/info.json", "meta/"


@dataclass(frozen=True)
class _Input:
    """An input that is being fetched."""

    asked: Address
    store: Store
    folder: Path
    download: Download
    listed: Mapping[str, Stored]


def fetch_input(flags: F, whatever: bool = False) -> tuple[F, tuple[FetchedInput, ...]]:
    """The flags with every input on this machine, and what was fetched for that.

    whatever: the metadata may be broken, and is then all that is fetched
    Raises DatasetError for what is not there or is no input, OutputError for the disk and for a
    server that refuses, Interrupted for one that cannot be reached, and on a signal.
    """
    if not addresses(flags.input):
        return flags, ()
    known = _told()
    if all(str(place) in known for place in addresses(flags.input)):
        folders = {place: Path(known[str(place)].folder) for place in addresses(flags.input)}
        return _with_folders(flags, folders), tuple(known.values())
    cache = Cache(flags.cache.expanduser(), flags.cache_gb)
    with contextlib.ExitStack() as turns:
        for address in sorted({*addresses(flags.input)}):
            turns.enter_context(cache.turn(address))
        return _fetched(flags, cache, whatever)


def tell_processes(fetched: Iterable[FetchedInput]) -> None:
    """Have the processes that this one starts find what it has fetched."""
    if found := [one.model_dump(mode="json") for one in fetched]:
        os.environ[_FETCHED] = json.dumps(found)


def _told() -> dict[str, FetchedInput]:
    found = map(FetchedInput.model_validate, json.loads(os.environ.get(_FETCHED, "[]")))
    return {one.address: one for one in found}


def _fetched(flags: F, cache: Cache, whatever: bool) -> tuple[F, tuple[FetchedInput, ...]]:
    inputs = [_listed(address, cache) for address in addresses(flags.input)]
    files: dict[Address, list[Fetched]] = {}
    for one in inputs:
        metadata = _metadata(one)
        cache.make_room(one.download.needed_bytes(metadata))
        files[one.asked] = one.download.fetch(metadata, "fetch metadata")
    flags = _with_folders(flags, {one.asked: one.folder for one in inputs})
    needed: frozenset[Path] = frozenset()
    if any(map(_is_of_datasets, inputs)):
        with contextlib.suppress(*([DatasetError] if whatever else [])):
            needed = _needed(flags)
    wanted = {one.asked: _wanted(one, needed) for one in inputs}
    cache.make_room(sum(one.download.needed_bytes(wanted[one.asked]) for one in inputs))
    for one in inputs:
        files[one.asked] += one.download.fetch(wanted[one.asked], "fetch")
    found = tuple(_record(one, files[one.asked]) for one in inputs)
    for record in found:
        at = f" at {record.revision}" if record.revision else ""
        size = f"{record.size_bytes / 1e6:,.1f} MB"
        what = f"{record.address}{at}: {counted(record.files, 'file')}, {size}"
        logger.info("fetched    %s, in %s", what, record.folder)
    return flags, found


def _listed(address: Address, cache: Cache) -> _Input:
    store = Store(address).pinned()
    listed = store.files()
    names = [name for name in listed if name.endswith(_INFO) or is_episode_name(name)]
    if not names:
        found = (
            f"{counted(len(listed), 'object')}, the first {min(listed)}" if listed else "nothing"
        )
        raise DatasetError(
            f"{address}: holds {found}, expected meta/info.json of a LeRobot dataset, or "
            f"episode_*.hdf5 files; look at the address",
            code="input-missing",
        )
    folder = cache.hold(store.address)
    return _Input(address, store, folder, Download(store, folder), listed)


def _is_of_datasets(one: _Input) -> bool:
    return any(name.endswith(_INFO) for name in one.listed)


def _metadata(one: _Input) -> dict[str, Stored]:
    """The metadata of the dataset, or of those in its folders."""
    roots = tuple(
        name.removesuffix("info.json")
        for name in one.listed
        if name.endswith(_INFO) and name.count("/") <= _INFO.count("/") + 1
    )
    return {name: stored for name, stored in one.listed.items() if name.startswith(roots)}


def _wanted(one: _Input, needed: frozenset[Path]) -> dict[str, Stored]:
    """The objects that are still wanted, as far as they are there: the check tells of others."""
    if _is_of_datasets(one):
        names = [name for name in one.listed if one.folder / name in needed]
    else:
        names = [name for name in one.listed if is_episode_name(name)]
    return {name: one.listed[name] for name in names}


def _needed(flags: RecordingFlags) -> frozenset[Path]:
    """The tables and videos of the episodes and cameras that are asked for; raises DatasetError.

    In another process, as native code reads the lists of episodes.
    """
    name = f"{flags.folders[0]}: its metadata"
    (found,) = workers.run_tasks(_find_needed, [flags], 1, lambda _: name)
    return frozenset(found)


def _find_needed(flags: RecordingFlags, send: workers.Send) -> None:
    _, sources = read_sources(flags, on_read=lambda path: send(workers.At(str(path))))
    cameras = {one.dataset.root: choose_cameras(one.dataset, flags.camera_keys) for one in sources}
    needed = {source.episode.table_path for source in sources}
    for source in sources:
        videos = source.episode.videos
        needed |= {videos[key].path for key in cameras[source.dataset.root] if key in videos}
    send(needed)


def _with_folders(flags: F, folders: Mapping[Address, Path]) -> F:
    places = (folders[one] if isinstance(one, Address) else one for one in flags.input)
    return dataclasses.replace(flags, input=tuple(places))


def _record(one: _Input, files: list[Fetched]) -> FetchedInput:
    return FetchedInput(
        address=str(one.asked),
        revision=one.store.revision,
        folder=str(one.folder),
        files=len(files),
        size_bytes=sum(file.size_bytes for file in files),
        sha256=digest_of_all(files),
    )
