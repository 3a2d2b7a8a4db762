"""A server that answers as the Hugging Face Hub does: repositories are read and pushed to."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

_REPOS = r"/api/(?:datasets|models)/([^/]+/[^/]+)"
_REPO = re.compile(_REPOS + r"(/revision/([^/]+))?")
_TREE = re.compile(_REPOS + r"/tree/([^/]+)(/(.*))?")
_PATHS = re.compile(_REPOS + r"/paths-info/([^/]+)")
_FILE = re.compile(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.*)")
_CREATE = re.compile(r"/api/repos/create")
_BRANCH = re.compile(_REPOS + r"/branch/([^/]+)")
_COMMITS = re.compile(_REPOS + r"/commits/([^/]+)")
_MAY_WRITE = re.compile(_REPOS + r"/auth-check/write")
_CARD = re.compile(r"/api/validate-yaml")
_PREUPLOAD = re.compile(_REPOS + r"/preupload/([^/]+)")
_BATCH = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")
_OBJECT = re.compile(r"/lfs/([0-9a-f]{64})")
_COMMIT = re.compile(_REPOS + r"/commit/([^/]+)")
_LFS_BYTES = 10_000  # larger files are in LFS


class Hub(ThreadingHTTPServer):
    """Repositories by their names, each with commits, and branches, of which one is `main`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches: dict[str, dict[str, str]] = {}  # the commit of each
        self.private: set[str] = set()
        self.refusal = "GatedRepo"  # why a request without it is refused
        self.read_only: set[str] = set()  # which the token does not allow to be written
        self.objects: dict[str, bytes] = {}  # of LFS, by their digests
        self.token: str | None = None  # that a request must have
        self.failing = 0  # uploads that fail before one succeeds
        self.status = 500  # what they are answered
        self.meanwhile: dict[str, bytes] | None = None  # what somebody commits during the next push
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
        return self.put(name, "main", files)

    def put(self, name: str, branch: str, files: dict[str, bytes]) -> str:
        """A new commit of a branch with these files alone."""
        number = sum(map(len, self.commits.values()))
        digest = hashlib.sha1(b"%d" % number + b"".join(files.values())).hexdigest()
        self.commits.setdefault(name, {})[digest] = files
        self.branches.setdefault(name, {})[branch] = digest
        return digest

    def files(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit of a revision and its files."""
        commits = self.commits.get(name, {})
        found = self.branches.get(name, {}).get(revision, revision)
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
        signed = path.startswith("/lfs/")
        if token and not signed and self.headers.get("Authorization") != f"Bearer {token}":
            return self._error(401, self.server.refusal)
        for pattern, answer in (
            (_TREE, self._tree),
            (_PATHS, self._paths),
            (_REPO, self._repo),
            (_FILE, self._file),
            (_CREATE, self._create),
            (_BRANCH, self._branch),
            (_COMMITS, self._commits),
            (_MAY_WRITE, self._may_write),
            (_CARD, self._card),
            (_PREUPLOAD, self._preupload),
            (_BATCH, self._batch),
            (_OBJECT, self._object),
            (_COMMIT, self._commit),
        ):
            if (match := pattern.fullmatch(path)) is not None:
                return answer(match)
        return self._error(404, "EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815  http.server's names

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

    def _create(self, _: re.Match[str]) -> None:
        asked = json.loads(self._body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.server.read_only:
            return self._error(403, "")
        is_there = name in self.server.commits
        if not is_there:
            self.server.put(name, "main", {".gitattributes": b""})
            if asked.get("private") or asked.get("visibility") == "private":
                self.server.private.add(name)
        url = f"{self.server.environment['HF_ENDPOINT']}/{name}"
        return self._json({"url": url}, 409 if is_there else 200)

    def _branch(self, match: re.Match[str]) -> None:
        branches = self.server.branches[match[1]]
        if match[2] in branches:
            return self._error(409, "")
        asked = json.loads(self._body or b"{}")
        branches[match[2]] = asked.get("startingPoint") or branches["main"]
        return self._json({})

    def _commits(self, match: re.Match[str]) -> None:
        """All of the repository, the newest first."""
        said = {"authors": [], "date": "2026-01-01T00:00:00.000Z", "title": "", "message": ""}
        known = reversed(self.server.commits[match[1]])
        return self._json([said | {"id": one} for one in known])

    def _may_write(self, match: re.Match[str]) -> None:
        return self._error(403, "") if match[1] in self.server.read_only else self._json({})

    def _card(self, _: re.Match[str]) -> None:
        metadata = json.loads(self._body)["content"].split("---\n")[1]
        assert yaml.safe_load(metadata)["library_name"]
        return self._json({"errors": [], "warnings": []})

    def _preupload(self, match: re.Match[str]) -> None:
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["size"] > _LFS_BYTES else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(self._body)["files"]
        ]
        return self._json({"files": files})

    def _batch(self, _: re.Match[str]) -> None:
        def answer(one: dict[str, Any]) -> dict[str, Any]:
            if one["oid"] in self.server.objects:
                return one
            href = f"{self.server.environment['HF_ENDPOINT']}/lfs/{one['oid']}"
            return one | {"actions": {"upload": {"href": href}}}

        objects = [answer(one) for one in json.loads(self._body)["objects"]]
        return self._json({"transfer": "basic", "objects": objects})

    def _object(self, match: re.Match[str]) -> None:
        if self.server.failing > 0:
            self.server.failing -= 1
            return self._error(self.server.status, "")
        assert hashlib.sha256(self._body).hexdigest() == match[1]
        self.server.objects[match[1]] = self._body
        return self._json({})

    def _commit(self, match: re.Match[str]) -> None:
        if self.server.meanwhile is not None:
            self.server.put(match[1], match[2], self.server.meanwhile)
            self.server.meanwhile = None
        found = self.server.files(match[1], match[2])
        if found is None:
            return self._error(404, "RevisionNotFound")
        header = json.loads(self._body.splitlines()[0])["value"]
        if header.get("parentCommit", found[0]) != found[0]:
            return self._error(412, "")
        files = dict(found[1])
        for line in self._body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
        oid = self.server.put(match[1], match[2], files)
        url = f"{self.server.environment['HF_ENDPOINT']}/{match[1]}/commit/{oid}"
        return self._json({"success": True, "commitOid": oid, "commitUrl": url})

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

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
