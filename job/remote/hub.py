"""A repository of the Hugging Face Hub that a finished run is pushed to: each time in one commit.

The token comes from HF_TOKEN, or from `hf auth login`, and is never shown.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from job.errors import OutputError, UsageError, first_line
from job.output_names import CONTRACT
from job.remote.address import EXTRAS, Address
from job.remote.store import Store
from job.remote.tries import PATIENCE_S, tried
from job.whole_files import parse_json

T = TypeVar("T")

_BRANCH = "main"
_OF_THE_HUB = {".gitattributes", "README.md", "LICENSE"}  # which a new repository may have


class Repository:
    """A model repository, `hf://USER/NAME[@BRANCH]`."""

    def __init__(self, address: Address, patience_s: float = PATIENCE_S) -> None:
        """Raises UsageError where the address is no such repository, or a package is missing."""
        self._address = address
        self.patience_s = patience_s
        name, _, branch = address.path.partition("@")
        if name.startswith("datasets/") or name.count("/") != 1 or "/" in branch:
            raise UsageError(
                f"--output {address}: expected hf://USER/NAME[@BRANCH], a repository of models, "
                f"which a finished run is pushed to as a whole",
                code="address-unknown",
            )
        self.name, self._branch = name, branch or _BRANCH
        try:
            from huggingface_hub import HfApi
            from huggingface_hub.utils.tqdm import disable_progress_bars
        except ImportError as error:
            raise UsageError(
                f"{address}: the package for hf:// is not installed ({first_line(error)}); "
                f"pip install 'lerobot-to-act[{EXTRAS['hf']}]'",
                code="package-missing",
            ) from error
        # as they are now, not as they were when it was imported
        disable_progress_bars()
        self._api: Any = HfApi(os.environ.get("HF_ENDPOINT"), os.environ.get("HF_TOKEN"))

    @property
    def download(self) -> str:
        """What `hf download` takes for it."""
        return self.name if self._branch == _BRANCH else f"{self.name} --revision {self._branch}"

    def claim(self, run_name: str) -> None:
        """Know that the run can be pushed there; one that is missing becomes private.

        Raises OutputError where the token does not allow it, or another run is there.
        """
        self._tried(self._create, "cannot be written")
        found = self._there()
        if found not in ("", f"the run {run_name!r}"):
            raise OutputError(
                f"{self._address}: holds {found}, expected nothing, or the run {run_name!r}; give "
                f"another repository, or a branch of its own: hf://{self.name}@{run_name}",
                code="output-other-run",
            )

    def push(self, files: Mapping[str, Path | bytes], message: str) -> str:
        """Push files by their names in one commit; gives its address.

        Raises OutputError where it is refused, Interrupted where there is no answer.
        """

        def push() -> str:
            from huggingface_hub import CommitOperationAdd

            added = [
                CommitOperationAdd(name, str(file) if isinstance(file, Path) else file)
                for name, file in files.items()
            ]
            try:
                done = self._api.create_commit(
                    self.name, added, commit_message=message, revision=self._branch
                )
            except RuntimeError as error:  # which only names the file
                raise error.__cause__ or error from None
            address: str = done.commit_url
            return address

        return self._tried(push, "cannot be written")

    def _create(self) -> None:
        """Have the repository and the branch, and the right to write to it."""
        self._api.create_repo(self.name, private=True, exist_ok=True)
        if self._branch != _BRANCH:
            self._api.create_branch(self.name, branch=self._branch, exist_ok=True)
        self._api.auth_check(self.name, write=True)

    def _there(self) -> str:
        """What is there, in words; empty: nothing."""
        store = Store(Address("hf", f"{self.name}@{self._branch}"), self.patience_s, is_output=True)
        names = store.files().keys()
        if CONTRACT in names:
            with suppress(ValueError, TypeError, KeyError):
                return f"the run {parse_json(store.read(CONTRACT))['run_name']!r}"
        return "files of something else" if names - _OF_THE_HUB else ""

    def _tried(self, do: Callable[[], T], what: str) -> T:
        return tried(do, str(self._address), what, self.patience_s, is_output=True)
