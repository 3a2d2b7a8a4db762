"""What a run notes of its conversion, hidden in its folder, for the same command's next time.

.temporary_hdf5.json       the episodes in the run's folder of converted_hdf5/ that it removes in
                           the end; others that it finds there were kept on purpose
.temporary_episodes.json   the same of a version that put the episodes of all runs into one folder
.left_out.json             what a check that decoded everything left out, and of which input

Both may be missing or lost: then nothing is removed, and everything is checked again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from convert.flags import DataFlags, RunConversionFlags
from convert.sources import LeftOut, find_datasets
from job import signals
from job.output_names import CONVERTED
from job.run_flags import RunFlags
from job.whole_files import output_errors, read_json, sampled_sha256, write_json

_TEMPORARY, _LEFT_OUT = ".temporary_hdf5.json", ".left_out.json"
_OF_ALL_RUNS = ".temporary_episodes.json"


def episodes_folder(flags: RunFlags) -> Path:
    """Where the run's converted episodes are."""
    return flags.output / CONVERTED / flags.run_name


def note_temporary(flags: RunFlags, fingerprints: Mapping[str, str]) -> None:
    """Note episodes before the run writes them: file name to fingerprint."""
    path = flags.run_folder / _TEMPORARY
    if not fingerprints.items() <= _read(path).items():
        write_json(path, _read(path) | dict(fingerprints))


def temporary(flags: RunFlags) -> list[tuple[Path, dict[str, str]]]:
    """The episodes that the run wrote for itself, by folder: file name to fingerprint."""
    folders = {_TEMPORARY: episodes_folder(flags), _OF_ALL_RUNS: flags.output / CONVERTED}
    noted = [(folder, _read(flags.run_folder / name)) for name, folder in folders.items()]
    return [(folder, fingerprints) for folder, fingerprints in noted if fingerprints]


def forget_temporary(flags: RunFlags) -> None:
    """They are removed."""
    for name in (_TEMPORARY, _OF_ALL_RUNS):
        path = flags.run_folder / name
        with output_errors(path):
            path.unlink(missing_ok=True)


def keep(flags: RunFlags, names: Iterable[str]) -> None:
    """Episodes of the run are kept on purpose from now on."""
    path, names = flags.run_folder / _TEMPORARY, set(names)
    noted = _read(path)
    if names & set(noted):
        write_json(path, {name: noted[name] for name in noted if name not in names})


def input_digest(flags: RunConversionFlags) -> str:
    """A digest of every file in the input and of the flags that shape its check."""
    digest = hashlib.sha256(json.dumps(flags.part(DataFlags).shaping()).encode())
    for number, root in enumerate(find_datasets(flags.folders)):
        for path in _files(root):
            signals.check()
            name = os.fsencode(path.relative_to(root))
            digest.update(b"%d %s\0%s\0" % (number, name, _content(path).encode()))
    return digest.hexdigest()


def note_left_out(flags: RunConversionFlags, digest: str, left_out: LeftOut) -> None:
    """Note what a check of the input with that digest left out."""
    roots = find_datasets(flags.folders)
    pairs = sorted([roots.index(root), index] for root, index in left_out)
    path, values = flags.run_folder / _LEFT_OUT, {"input": digest, "left_out": pairs}
    if _read(path) != values:
        write_json(path, values)


def noted_left_out(flags: RunConversionFlags, digest: str) -> LeftOut | None:
    """What a check of this very input left out; None when that is not known."""
    noted, roots = _read(flags.run_folder / _LEFT_OUT), find_datasets(flags.folders)
    if noted.get("input") != digest:
        return None
    try:
        return frozenset((roots[number], int(index)) for number, index in noted["left_out"])
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _files(root: Path) -> Iterator[Path]:
    """Every file below a folder, in order; links are followed, each folder once."""
    seen = set()
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        below[:] = [] if real in seen else sorted(below)
        yield from (Path(folder, name) for name in sorted(names) if real not in seen)
        seen.add(real)


def _content(path: Path) -> str:
    try:
        return sampled_sha256(path) if path.is_file() else "no file"
    except OSError as error:
        return str(error.strerror)
