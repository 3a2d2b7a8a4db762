"""Objects below an address, by fsspec's file systems: listed, read in parts, put whole, removed.

Credentials and endpoints come from the usual environment variables of each (`AWS_ENDPOINT_URL`,
`HF_TOKEN`, …), and are never shown.
"""

import base64
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from job.errors import OutputError, UsageError, first_line
from job.remote.address import EXTRAS, Address
from job.remote.tries import PATIENCE_S, hub_token, tried

T = TypeVar("T")

_CONNECT_S, _TIMEOUT_S = 10, 60  # without an answer
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_IS_THERE = "PreconditionFailed"  # S3's word, of which s3fs makes an error of any kind


@dataclass(frozen=True)
class Stored:
    """An object as its server lists it."""

    size_bytes: int
    version: str  # another one with other content: the ETag, or the digest
    digest: str = ""  # `sha256:…`, `md5:…` or `git:…`, in hex; empty: the server tells none


class Store:
    """The objects below an address."""

    def __init__(
        self,
        address: Address,
        patience_s: float = PATIENCE_S,
        *,
        is_output: bool = False,
        file_system: Any = None,
    ) -> None:
        """Raises UsageError where the file system's package is not installed.

        is_output: what is missing is the output's fault, not a dataset's
        file_system: one that is made already
        """
        self._is_output = is_output
        self.address = address
        self.patience_s = patience_s
        self.ends_on_signal = True  # else what is under way is still sent
        self.revision: str | None = None  # the commit that it is pinned to
        self._fs = file_system or _file_system(address)
        self._root = address.path

    def below(self, folder: str) -> "Store":
        """The store of a folder in it."""
        return Store(
            self.address / folder,
            self.patience_s,
            is_output=self._is_output,
            file_system=self._fs,
        )

    def pinned(self) -> "Store":
        """The store at the commit that its branch is at now; itself where there are no commits."""
        if self.address.scheme != "hf":
            return self
        commit = self._tried(self._commit, "cannot be looked up")
        address = replace(self.address, path=_at(self.address.path, commit))
        found = Store(address, self.patience_s, file_system=self._fs)
        found.revision = commit
        return found

    def _commit(self) -> str:
        api, found = self._fs._api, self._fs.resolve_path(self._root)
        info = api.repo_info(found.repo_id, revision=found.revision, repo_type=found.repo_type)
        commit: str = info.sha
        return commit

    def files(self, below: str = "") -> dict[str, Stored]:
        """All objects by their names below the address; none where nothing is there.

        below: a folder of them alone
        """

        def find() -> dict[str, Any]:
            place = f"{self._root}/{below}".rstrip("/")
            try:
                found: dict[str, Any] | list[str] = self._fs.find(place, detail=True)
            except FileNotFoundError:
                return {}
            if isinstance(found, list):  # adlfs: an object itself, without its entry
                return {path: self._fs.info(path) for path in found}
            return found

        start = len(self._root) + 1
        listed = self._tried(find, "cannot be listed")
        return {
            path[start:]: _stored(entry)
            for path, entry in listed.items()
            if entry["type"] == "file" and not path.endswith("/")
        }

    def version(self, name: str) -> str:
        """The version of an object; empty where it is not there."""
        found = self.files(name)
        return found[name].version if name in found else ""

    def is_encrypted_by_key(self, name: str) -> bool:
        """Whether S3 encrypts an object by a key: its ETag is then no MD5, though it looks so."""
        if self.address.scheme != "s3":
            return False
        bucket, _, root = self._root.partition("/")
        key = f"{root}/{name}".lstrip("/")
        head = self._tried(
            lambda: self._fs.call_s3("head_object", Bucket=bucket, Key=key), "cannot be read", name
        )
        return (
            head.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in head
        )

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Some bytes of an object; raises DatasetError where it is not there."""
        path = f"{self._root}/{name}"
        found: bytes = self._tried(
            lambda: self._fs.cat_file(path, start=start, end=end), "cannot be read", name
        )
        return found

    def put(self, path: Path, name: str) -> None:
        """Put a file; it is under its name once it is whole."""
        to = f"{self._root}/{name}"
        self._tried(lambda: self._fs.put_file(str(path), to), "cannot be written", name)

    def put_bytes(self, content: bytes, name: str) -> None:
        """Put an object."""
        to = f"{self._root}/{name}"
        self._tried(lambda: self._fs.pipe_file(to, content), "cannot be written", name)

    def create(self, content: bytes, name: str) -> bool:
        """Put an object that is not there; False where one is, as far as the server can tell."""
        to = f"{self._root}/{name}"

        def create() -> bool:
            try:
                self._fs.pipe_file(to, content, mode="create")
            except OSError as error:
                if isinstance(error, FileExistsError) or _IS_THERE in str(error.__cause__):
                    return False
                raise
            return True

        return self._tried(create, "cannot be written", name)

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        path = f"{self._root}/{name}"
        self._tried(lambda: _if_there(lambda: self._fs.rm_file(path)), "cannot be removed", name)

    def written_at(self, name: str) -> float | None:
        """When an object was put, in seconds of its server's clock; None: it is not there."""
        path = f"{self._root}/{name}"
        found: datetime | None = self._tried(
            lambda: _if_there(lambda: self._fs.modified(path)), "cannot be read", name
        )
        return None if found is None else found.timestamp()

    def _tried(self, do: Callable[[], T], what: str, name: str = "") -> T:
        """What a request gives, tried again where it may come right."""
        where = f"{self.address}/{name}" if name else str(self.address)
        return tried(
            do,
            where,
            what,
            self.patience_s,
            is_output=self._is_output,
            ends_on_signal=self.ends_on_signal,
        )


def _if_there(do: Callable[[], T]) -> T | None:
    """What it gives; None where the object is not there."""
    try:
        return do()
    except FileNotFoundError:
        return None


def _file_system(address: Address) -> Any:
    try:
        return _FILE_SYSTEMS[address.scheme](
            {"use_listings_cache": False, "skip_instance_cache": True}
        )
    except ImportError as error:
        extra = EXTRAS[address.scheme]
        raise UsageError(
            f"{address}: the package for {address.scheme}:// is not installed "
            f"({first_line(error)}); pip install 'lerobot-to-act[{extra}]'",
            code="package-missing",
        ) from error
    except Exception as error:  # of credentials that it cannot understand, which it may show
        raise OutputError(
            f"{address}: the credentials in the environment are not understood "
            f"({type(error).__name__}), expected those of {address.scheme}://; look at them",
            code="address-refused",
        ) from None


def _s3(options: dict[str, Any]) -> Any:
    import fsspec

    limits = {"connect_timeout": _CONNECT_S, "read_timeout": _TIMEOUT_S}
    config = limits | {"retries": {"max_attempts": 1}}
    return fsspec.filesystem("s3", config_kwargs=config, **options)


def _google(options: dict[str, Any]) -> Any:
    """The plain one: gcsfs's default asks for each bucket's kind first."""
    from aiohttp import ClientTimeout
    from gcsfs.core import GCSFileSystem

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # tracebacks of what is tried again
    if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):  # and no others, where these are no good
        options["token"] = "google_default"
    return GCSFileSystem(
        requests_timeout=ClientTimeout(sock_connect=_CONNECT_S, sock_read=_TIMEOUT_S),
        session_kwargs={"trust_env": True},  # HTTPS_PROXY
        **options,
    )


def _azure(options: dict[str, Any]) -> Any:
    import fsspec

    logging.getLogger("azure").setLevel(logging.CRITICAL)  # as gcsfs's
    limits = {"connection_timeout": _CONNECT_S, "read_timeout": _TIMEOUT_S}
    # pieces of 4 MB that are read at once; its default takes as many as files may be open
    return fsspec.filesystem("az", max_concurrency=4, **limits, **options)


def _hub(options: dict[str, Any]) -> Any:
    import fsspec

    # as they are now, not as they were when it was imported
    return fsspec.filesystem(
        "hf", endpoint=os.environ.get("HF_ENDPOINT"), token=hub_token(), **options
    )


_FILE_SYSTEMS = {"s3": _s3, "gs": _google, "az": _azure, "hf": _hub}


def _at(path: str, revision: str) -> str:
    """The path of a repository, `USER/NAME…` or `datasets/USER/NAME…`, at a revision."""
    parts = path.split("/")
    number = 2 if parts[0] == "datasets" else 1
    parts[number] = f"{parts[number].partition('@')[0]}@{revision}"
    return "/".join(parts)


def _stored(entry: dict[str, Any]) -> Stored:
    size, digest = int(entry["size"] or 0), ""
    lfs, tag = entry.get("lfs") or {}, str(entry.get("ETag") or entry.get("etag") or "")
    if sha256 := lfs.get("sha256"):
        digest = f"sha256:{sha256}"
    elif blob := entry.get("blob_id"):
        digest = f"git:{blob}"
    elif md5 := entry.get("md5Hash"):
        digest = f"md5:{base64.b64decode(md5).hex()}"
    elif md5 := (entry.get("content_settings") or {}).get("content_md5"):
        digest = f"md5:{bytes(md5).hex()}"
    elif "ETag" in entry and (found := _MD5.fullmatch(tag)):  # of S3; of parts, it has a -
        digest = f"md5:{found[1]}"
    return Stored(size, digest or tag.strip('"') or f"{size}", digest)
