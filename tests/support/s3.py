"""A real S3 server as a process, behind a switch that makes it slow, wrong or absent."""

import contextlib
import http.client
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec

_KEYS = {
    "AWS_ACCESS_KEY_ID": "of-a-test",
    "AWS_SECRET_ACCESS_KEY": "SECRET-of-a-test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass
class S3:
    """The server, seen through the switch."""

    address: str  # of the switch
    switch: "Switch"
    count: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What finds it."""
        return {**_KEYS, "AWS_ENDPOINT_URL": self.address}

    def bucket(self) -> str:
        """A new bucket's address."""
        self.count += 1
        name = f"bucket-{os.getpid()}-{self.count}"
        self.files.mkdir(name)
        return f"s3://{name}"

    @property
    def files(self) -> Any:
        """Its objects, around the switch."""
        options = {"endpoint_url": self.switch.behind, "key": "a", "secret": "b"}
        return fsspec.filesystem("s3", **options, use_listings_cache=False)

    def put(self, folder: Path, address: str) -> None:
        """Have a folder's files as objects."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                to = f"{address.removeprefix('s3://')}/{path.relative_to(folder).as_posix()}"
                self.files.put_file(str(path), to)

    def content(self, address: str) -> dict[str, bytes]:
        """Every object below an address, by its name in there."""
        root = address.removeprefix("s3://")
        found = {}
        for path in self.files.find(root):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                found[path[len(root) + 1 :]] = self.files.cat_file(path)
        return found


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


def start_server() -> tuple["subprocess.Popen[bytes]", str]:
    """An S3 server as a process, and its address."""
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as free:
        port = free.server_address[1]
    words = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"http://127.0.0.1:{port}"
        time.sleep(0.1)
    raise TimeoutError("the S3 server did not begin to listen")
