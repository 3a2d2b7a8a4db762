"""A repository of the Hugging Face Hub that a finished run is pushed to: each time in one commit.

The token comes from HF_TOKEN, or from `hf auth login`, and is never shown.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from job.errors import OutputError, UsageError, first_line
from job.output_names import CONTRACT, RUN
from job.remote.address import EXTRAS, Address
from job.remote.store import Store
from job.remote.tries import PATIENCE_S, hub_token, tried
from job.whole_files import output_errors, parse_json, read_json

T = TypeVar("T")

_BRANCH, _BRANCH_NAME = "main", re.compile(r"\w+([.-]\w+)*", re.ASCII)
_OF_THE_HUB = {".gitattributes", "README.md", "LICENSE"}  # which a new repository may have


class Repository:
    """A model repository, `hf://USER/NAME[@BRANCH]`."""

    def __init__(self, address: Address, patience_s: float = PATIENCE_S) -> None:
        """Raises UsageError where the address is no such repository, or a package is missing."""
        self._address = address
        self.patience_s = patience_s
        name, has_branch, branch = address.path.partition("@")
        self.name, self._branch = name, branch if has_branch else _BRANCH
        try:
            from huggingface_hub import HfApi
            from huggingface_hub.errors import HFValidationError
            from huggingface_hub.utils import (  # type: ignore[attr-defined]  # its documented ones
                disable_progress_bars,
                validate_repo_id,
            )
        except ImportError as error:
            raise UsageError(
                f"{address}: the package for hf:// is not installed ({first_line(error)}); "
                f"pip install 'lerobot-to-act[{EXTRAS['hf']}]'",
                code="package-missing",
            ) from error
        try:
            validate_repo_id(name)
            takes = name.count("/") == 1 and not name.startswith("datasets/")
        except HFValidationError:
            takes = False
        if not takes or not _BRANCH_NAME.fullmatch(self._branch):
            raise UsageError(
                f"--output {address}: expected hf://USER/NAME[@BRANCH], a repository of models "
                f"with names that the Hub takes: letters, digits, and single . _ - between them",
                code="address-unknown",
            )
        disable_progress_bars()
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it shows signed addresses
        # as they are now, not as they were when it was imported
        self._api: Any = HfApi(os.environ.get("HF_ENDPOINT"), hub_token())

    @property
    def download(self) -> str:
        """What `hf download` takes for it."""
        return self.name if self._branch == _BRANCH else f"{self.name} --revision {self._branch}"

    def claim(self, run_folder: Path) -> None:
        """Know that a run can be pushed there; one that is missing becomes private.

        run_folder: the run's on this machine, which may not be there yet
        Raises OutputError where the token does not allow it, or another run is there.
        """
        self._tried(self._create, "cannot be written")
        self._refuse_other(run_folder)

    def _refuse_other(self, run_folder: Path) -> None:
        """Raise OutputError where another run, or something else, is there."""
        if found := self._in_the_way(run_folder):
            name = run_folder.name if _BRANCH_NAME.fullmatch(run_folder.name) else "BRANCH"
            raise OutputError(
                f"{self._address}: holds {found}, expected nothing, or the run of {run_folder}; "
                f"give another repository, or a branch of its own: hf://{self.name}@{name}",
                code="output-other-run",
            )

    def push(self, files: Mapping[str, Path | bytes], message: str, run_folder: Path) -> str:
        """Push a run's files by their names in one commit; gives its address.

        Weights that were pushed before and are not among the files are removed. What somebody
        else commits meanwhile is looked at first.
        Raises OutputError where it is refused, Interrupted where there is no answer.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        for file in files.values():
            if isinstance(file, Path):
                with output_errors(file), file.open("rb"):
                    pass  # what is wrong with it is none of the Hub's

        def push() -> str:
            before = self._api.repo_info(self.name, revision=self._branch).sha
            self._refuse_other(run_folder)
            stale = [one for one in self._store.files() if fnmatch(one, "policy_*.ckpt")]
            changes: list[Any] = [
                CommitOperationAdd(name, str(file) if isinstance(file, Path) else file)
                for name, file in files.items()
            ]
            changes += [CommitOperationDelete(name) for name in stale if name not in files]
            done = self._api.create_commit(
                self.name,
                changes,
                commit_message=message,
                revision=self._branch,
                parent_commit=before,  # refused, and tried again, where it is not the last one
            )
            address: str = done.commit_url
            return address

        return self._tried(push, "cannot be written")

    def _create(self) -> None:
        """Have the repository and the branch, and the right to write to it."""
        self._api.create_repo(self.name, private=True, exist_ok=True)
        if self._branch != _BRANCH:  # of the first commit, as the last one may hold another run
            first = [one.commit_id for one in self._api.list_repo_commits(self.name)][-1]
            self._api.create_branch(self.name, branch=self._branch, revision=first, exist_ok=True)
        self._api.auth_check(self.name, write=True)

    @property
    def _store(self) -> Store:
        where = Address("hf", f"{self.name}@{self._branch}")
        return Store(where, self.patience_s, is_output=True)

    def _in_the_way(self, run_folder: Path) -> str:
        """What is there that the run is not to replace, in words; empty: nothing.

        Its own earlier push is known by the name and, in run.json, the dataset.
        """
        names = self._store.files().keys()
        if not {CONTRACT, RUN} <= names:
            return "files of something else" if names - _OF_THE_HUB else ""
        try:
            name = parse_json(self._store.read(CONTRACT))["run_name"]
            dataset = parse_json(self._store.read(RUN))["dataset"]
        except (ValueError, TypeError, KeyError):
            return "files of something else"
        is_own = name == run_folder.name and _dataset_of(run_folder) == dataset
        return "" if is_own else f"a run {name!r}"

    def _tried(self, do: Callable[[], T], what: str) -> T:
        return tried(do, str(self._address), what, self.patience_s, is_output=True)


def _dataset_of(run_folder: Path) -> Any:
    """What the run on this machine was started on; an empty text where there is none."""
    try:
        return read_json(run_folder / RUN)["dataset"]
    except (OSError, ValueError, TypeError, KeyError):
        return ""
