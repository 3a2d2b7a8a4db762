"""The folder that `--input` names, and what to do when it is not there."""

import re
from pathlib import Path

from job.errors import DatasetError

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)  # user/name


def list_input(folder: Path) -> list[Path]:
    """What lies in an input folder; raises DatasetError when it cannot be read."""
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise DatasetError(
            f"{folder}: cannot be read ({error.strerror}); {_expected(folder)}",
            code="input-missing",
            where=folder,
        ) from error


def _expected(folder: Path) -> str:
    if _HUB_ID.fullmatch(str(folder)) and not folder.parent.exists():
        return (
            f"expected a folder, not the name of a dataset on the Hugging Face Hub; download it "
            f"with: hf download {folder} --repo-type dataset --local-dir {folder.name}, and give "
            f"that folder"
        )
    return "expected a folder with a LeRobot dataset or episode_*.hdf5 files; mount it there"
