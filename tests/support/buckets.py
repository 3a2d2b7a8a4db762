"""Real servers of buckets as processes, behind a switch that makes them slow, wrong or absent."""

import base64
import contextlib
import http.client
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from adlfs import AzureBlobFileSystem
from gcsfs.core import GCSFileSystem
from s3fs import S3FileSystem

_AZURE_KEY = base64.b64encode(b"SECRET-of-a-test").decode()
_AZURE_ACCOUNT = (
    f"DefaultEndpointsProtocol=http;AccountName=tests;AccountKey={_AZURE_KEY};"
    "BlobEndpoint={at}/tests;"
)


# adlfs leaves its sockets to the garbage collector
LEFT_OPEN = "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"


class Buckets:
    """A server of buckets, seen through a switch."""

    def __init__(self, kind: "Kind", switch: "Switch") -> None:
        self.kind, self.switch = kind, switch
        self._count = 0

    @property
    def environment(self) -> dict[str, str]:
        """What finds it."""
        return self.kind.environment(self.switch.address)

    @property
    def secret(self) -> str:
        """What must not be shown."""
        return self.kind.secret

    @contextlib.contextmanager
    def at_hand(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """A new bucket, whose server this process finds; the switch lets all pass at the end."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        yield self.bucket()
        self.switch.fault = lambda method, path: None

    def bucket(self) -> str:
        """A new bucket's address."""
        self._count += 1
        name = f"bucket-{os.getpid()}-{self._count}"
        self.files.mkdir(name)
        return f"{self.kind.scheme}://{name}"

    @property
    def files(self) -> Any:
        """Its objects, around the switch."""
        return self.kind.files(self.switch.behind)

    def put(self, folder: Path, address: str) -> None:
        """Have a folder's files as objects."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                to = f"{self._path(address)}/{path.relative_to(folder).as_posix()}"
                self.files.put_file(str(path), to)

    def content(self, address: str) -> dict[str, bytes]:
        """Every object below an address, by its name in there."""
        root = self._path(address)
        found = {}
        for path in self.files.find(root):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                found[path[len(root) + 1 :]] = self.files.cat_file(path)
        return found

    def _path(self, address: str) -> str:
        return address.removeprefix(f"{self.kind.scheme}://")


Fault = Callable[[str, str], int | float | None]


class Switch(ThreadingHTTPServer):
    """Passes requests on; `fault` may answer one with a status, or hold it for seconds."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = behind
        self.fault: Fault = lambda method, path: None
        self.seen: list[tuple[str, str]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of ours."""


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Switch

    def _pass(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        self.server.seen.append((self.command, self.path))
        fault = self.server.fault(self.command, self.path)
        if isinstance(fault, int):
            code = _CODES.get(fault, b"InternalError")
            content = b"<Error><Code>%s</Code><Message>a test says so</Message></Error>" % code
            return self._answer(fault, [("Content-Type", "application/xml")], content)
        if isinstance(fault, float):
            time.sleep(fault)
        host = self.server.behind.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in _OWN]
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self._answer(answer.status, kept, content, length)
        connection.close()
        return None

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, length: str | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815  http.server's names

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


_CODES = {403: b"ExpiredToken", 404: b"NoSuchKey", 412: b"PreconditionFailed", 503: b"SlowDown"}
_OWN = ("content-length", "transfer-encoding", "connection", "date", "server")


@dataclass(frozen=True)
class Kind:
    """One of the kinds of buckets, and a server that speaks as it does."""

    scheme: str
    command: Callable[[int], list[str]]  # at a port
    environment: Callable[[str], dict[str, str]]  # that finds it at an address
    files: Callable[[str], Any]  # fsspec's file system, likewise
    secret: str
    missing: str = ""  # why there is no such server here


S3 = Kind(
    "s3",
    lambda port: [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
    lambda at: {
        "AWS_ACCESS_KEY_ID": "of-a-test",
        "AWS_SECRET_ACCESS_KEY": "SECRET-of-a-test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": at,
    },
    lambda at: S3FileSystem(endpoint_url=at, key="a", secret="b", use_listings_cache=False),
    "SECRET-of-a-test",
)
GOOGLE = Kind(
    "gs",
    lambda port: [
        *(sys.executable, "-c", "from gcp_storage_emulator.__main__ import main; main()"),
        *("start", "--host=127.0.0.1", f"--port={port}", "--in-memory"),
    ],
    lambda at: {"STORAGE_EMULATOR_HOST": at},
    lambda at: GCSFileSystem(endpoint_url=at, token="anon", use_listings_cache=False),
    "no secret: the emulator has none",
)
AZURE = Kind(
    "az",
    lambda port: [
        *("env", f"AZURITE_ACCOUNTS=tests:{_AZURE_KEY}"),
        *("azurite-blob", "--silent", "--skipApiVersionCheck", "--inMemoryPersistence"),
        *("--blobPort", str(port)),
    ],
    lambda at: {"AZURE_STORAGE_CONNECTION_STRING": _AZURE_ACCOUNT.format(at=at)},
    lambda at: AzureBlobFileSystem(
        connection_string=_AZURE_ACCOUNT.format(at=at), use_listings_cache=False
    ),
    _AZURE_KEY,
    "" if shutil.which("azurite-blob") else "no azurite-blob here (npm install --global azurite)",
)


@contextlib.contextmanager
def serving(kind: Kind) -> Iterator[Buckets]:
    """A server as a process, behind a switch."""
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as free:
        port = free.server_address[1]
    process = subprocess.Popen(
        kind.command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        switch = Switch(f"http://127.0.0.1:{port}")
        yield Buckets(kind, switch)
        switch.shutdown()
        switch.server_close()
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the server of buckets did not begin to listen")
