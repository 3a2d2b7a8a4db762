"""The folder of an export: only what an export wrote there is replaced or removed.

Which files those are, the former export's manifest says. While files change places there is no
manifest: their names stand in a hidden file then, so that those that a kill leaves are known.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from job.errors import UsageError, first_line
from job.output_names import MANIFEST
from job.sections.export import Export
from job.whole_files import output_errors, read_json, whole_path, write_json

_UNDER_WAY = ".publishing.json"


def refuse_link(folder: Path) -> None:
    """Raise UsageError for an export's folder that is a link: it would lead out of the run."""
    for path in (folder.parent, folder):
        if path.is_symlink():
            raise _foreign(path, "is a link", "a folder", "remove the link")


def publish(folder: Path, scratch: Path, files: Sequence[Path], manifest: Export) -> None:
    """Put the files under their names, the manifest last.

    scratch: the folder that the files lie in, on the same file system
    Raises UsageError where a file is in the way that no export wrote, OutputError for the disk.
    """
    names = [path.relative_to(scratch).as_posix() for path in files]
    with output_errors(folder):
        former = _listed(folder)
        for name in names:
            _refuse_in_the_way(folder, name, former)
        write_json(folder / _UNDER_WAY, {"artifacts": [{"path": n} for n in {*former, *names}]})
        (folder / MANIFEST).unlink(missing_ok=True)
        for name in former.difference(names):
            if _is_inside(folder, name):
                (folder / name).unlink(missing_ok=True)  # of an export with other flags
    for name, path in zip(names, files, strict=True):
        with whole_path(folder / name) as partial:
            path.rename(partial)
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    with output_errors(folder):
        (folder / _UNDER_WAY).unlink()


def _listed(folder: Path) -> set[str]:
    """The names of the files that exports have written into the folder."""
    found = set()
    for path in (folder / MANIFEST, folder / _UNDER_WAY):
        if not os.path.lexists(path):
            continue
        try:
            found |= {str(one["path"]) for one in read_json(path)["artifacts"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"lists no files ({first_line(error)})"
            raise _foreign(path, reason, "what an export wrote", "move it away") from error
    return found


def _refuse_in_the_way(folder: Path, name: str, former: set[str]) -> None:
    if not _is_inside(folder, name):
        raise _foreign((folder / name).parent, "is a link", "a folder", "remove the link")
    if name not in former and os.path.lexists(folder / name):
        expected = f"none, or a file that the {MANIFEST} of an export lists"
        raise _foreign(folder / name, "is there already", expected, "move it away")


def _is_inside(folder: Path, name: str) -> bool:
    """Whether a name means a file of the folder, by no link and no `..`."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return False
    return (folder / path).parent.resolve() == folder.resolve() / path.parent


def _foreign(path: Path, found: str, expected: str, remedy: str) -> UsageError:
    return UsageError(
        f"{path}: {found}, expected {expected}, as no file of somebody else is replaced; {remedy}",
        code="output-foreign",
    )
