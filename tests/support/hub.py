"""A server that answers as the Hugging Face Hub does, as far as a dataset is read from it."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_REPO = re.compile(r"/api/datasets/([^/]+/[^/]+)(/revision/([^/]+))?")
_TREE = re.compile(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)(/(.*))?")
_PATHS = re.compile(r"/api/datasets/([^/]+/[^/]+)/paths-info/([^/]+)")
_FILE = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.*)")
_LFS_BYTES = 10_000  # larger files are in LFS


class Hub(ThreadingHTTPServer):
    """Datasets by their names, each with commits, the last of which is `main`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.token: str | None = None  # that a request must have
        self.corrupt = ""  # the file whose bytes are others than its digest says
        self.seen: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """What finds it."""
        return {"HF_ENDPOINT": f"http://127.0.0.1:{self.server_address[1]}", "HF_HUB_OFFLINE": "0"}

    def commit(self, name: str, folder: Path) -> str:
        """A new commit of a dataset, which is its `main` then."""
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        digest = hashlib.sha1(b"".join(files.values())).hexdigest()
        self.commits.setdefault(name, {})[digest] = files
        return digest

    def files(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit of a revision and its files."""
        commits = self.commits.get(name, {})
        found = [*commits][-1] if revision == "main" and commits else revision
        return (found, commits[found]) if found in commits else None


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        self._body = self.rfile.read(size)
        path = unquote(urlsplit(self.path).path)
        self.server.seen.append(f"{self.command} {path}")
        token = self.server.token
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            return self._error(401, "GatedRepo")
        for pattern, answer in (
            (_TREE, self._tree),
            (_PATHS, self._paths),
            (_REPO, self._repo),
            (_FILE, self._file),
        ):
            if (match := pattern.fullmatch(path)) is not None:
                return answer(match)
        return self._error(404, "EntryNotFound")

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815  http.server's names

    def _repo(self, match: re.Match[str]) -> None:
        found = self.server.files(match[1], match[3] or "main")
        if found is None:
            known = match[1] in self.server.commits
            return self._error(404, "RevisionNotFound" if known else "RepoNotFound")
        siblings = [{"rfilename": name} for name in found[1]]
        return self._json({"_id": "1", "id": match[1], "sha": found[0], "siblings": siblings})

    def _tree(self, match: re.Match[str]) -> None:
        found = self.server.files(match[1], match[2])
        if found is None:
            return self._error(404, "RevisionNotFound")
        below = f"{match[4]}/" if match[4] else ""
        return self._json([_entry(n, c) for n, c in found[1].items() if n.startswith(below)])

    def _paths(self, match: re.Match[str]) -> None:
        found = self.server.files(match[1], match[2])
        if found is None:
            return self._error(404, "RevisionNotFound")
        asked = json.loads(self._body)["paths"]
        return self._json([_entry(name, found[1][name]) for name in asked if name in found[1]])

    def _file(self, match: re.Match[str]) -> None:
        found = self.server.files(match[1], match[2])
        if found is None or match[3] not in found[1]:
            return self._error(404, "EntryNotFound")
        content = found[1][match[3]]
        if self.server.corrupt and match[3].endswith(self.server.corrupt):
            content = bytes(len(content))
        status, whole = 200, len(content)
        headers = {"X-Repo-Commit": found[0], "ETag": f'"{_git(content)}"'}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, end = int(asked[1]), int(asked[2] or whole - 1)
            content, status = content[start : end + 1], 206
            headers["Content-Range"] = f"bytes {start}-{min(end, whole - 1)}/{whole}"
        return self._send(status, content, headers)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "a test says so"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def _entry(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content)}
    entry["oid"] = _git(content)
    if len(content) > _LFS_BYTES:
        sha256 = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
    return entry


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
