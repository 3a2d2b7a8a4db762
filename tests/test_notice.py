"""--notify_url: one message at the end, to a real server, whatever that does."""

import json
import signal
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from job.errors import DatasetError, UsageError
from job.manifest import Manifest
from job.notice import Notice
from lerobot_to_act import JobFlags, parser
from tests.support.commands import HANGS_S, make_config, run_job, start_job
from tests.support.errors import raises_code
from tests.support.paths import SMALL
from tests.test_distributed import wait_while_running

SECRET = "hunter2"
Heard = list[tuple[str, dict[str, str], dict[str, Any]]]


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, Heard]]:
    """Its address with a secret login and a secret path, and what it hears; `answer` answers."""
    heard: Heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.path, dict(self.headers), json.loads(content)))
            answer(self)

        do_GET = do_POST  # noqa: N815  http.server's name

        def log_message(self, *_: Any) -> None:
            pass

    class Server(socketserver.ThreadingMixIn, HTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://user:{SECRET}@127.0.0.1:{listening.server_port}/{SECRET}", heard
        listening.shutdown()
        thread.join()


def answers(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code, SECRET)
        for name, text in headers.items():
            handler.send_header(name, text)
        handler.end_headers()

    return answer


def manifest(folder: Path) -> Manifest:
    return Manifest(folder / "manifest.json", {"run_name": "cube", "task_name": "t"})


def sent(url: str, folder: Path, code: int = 3) -> None:
    ended = manifest(folder)
    ended.fail(DatasetError("meta/info.json: fps is 0", code="fps"))
    Notice(url, lambda: ended.content).send(code)


def test_it_is_sent_with_the_login_of_the_address_and_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ended = manifest(tmp_path)
    ended.complete()
    with server(answers(200)) as (url, heard):
        notice = Notice(url, lambda: ended.content)
        notice.send(0)
        notice.send(75)
    ((path, headers, content),) = heard
    assert path == f"/{SECRET}"
    assert headers["Authorization"] == "Basic dXNlcjpodW50ZXIy"
    assert headers["Content-Type"] == "application/json"
    assert (content["status"], content["exit_code"], content["reason"]) == ("completed", 0, "done")
    assert content["text"] == "cube completed (0): done"
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (answers(500), "it answered 500"),
        (answers(302, Location="http://127.0.0.1:1/"), "it answered 302"),
        (lambda handler: handler.connection.close(), ""),
    ],
    ids=["500", "redirect", "closes"],
)
def test_what_a_server_does_is_one_warning_without_the_address(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    answer: Callable[[BaseHTTPRequestHandler], None],
    said: str,
) -> None:
    with server(answer) as (url, heard):
        sent(url, tmp_path)
    assert len(heard) == 1  # nowhere else either
    (warning,) = caplog.messages
    assert warning.startswith("notice-unsent: the notice to 127.0.0.1 was not taken: ")
    assert said in warning
    assert SECRET not in warning


def test_one_that_hangs_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("job.notice._TIMEOUT_S", 0.1)
    over = threading.Event()
    with server(lambda _: _wait(over)) as (url, heard):
        sent(url, tmp_path)
        over.set()
    assert len(heard) == 1
    assert "no answer within 0.1 s" in caplog.text


def _wait(over: threading.Event) -> None:
    over.wait(60)


def test_one_that_never_ends_its_answer_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Though each byte comes in time."""
    monkeypatch.setattr("job.notice._LONGEST_S", 0.2)
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        while not over.wait(0.05):
            handler.wfile.write(b"H")

    with server(drip) as (url, _):
        sent(url, tmp_path)
        over.set()
    assert "no answer within 0.2 s" in caplog.text


def test_nobody_listens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sent(f"http://127.0.0.1:{port}/{SECRET}", tmp_path)
    assert "Connection refused" in caplog.text
    assert SECRET not in caplog.text


def test_a_job_that_found_everything_done_sends_none(tmp_path: Path) -> None:
    with server(answers(200)) as (url, heard):
        Notice(url, lambda: manifest(tmp_path).content).send(0)
    assert heard == []


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "file:///etc/passwd", "host", "http://:80", "http://a b/"]
)
def test_other_addresses_are_refused_without_being_shown(tmp_path: Path, url: str) -> None:
    with raises_code(UsageError, "flag-value", "--notify_url") as refused:
        make_config(tmp_path, notify_url=url)
    assert url not in str(refused.value)


def test_the_address_is_recorded_without_its_secrets(tmp_path: Path) -> None:
    url = f"https://user:{SECRET}@Example.org:8443/{SECRET}?token={SECRET}"
    flags: JobFlags = make_config(tmp_path, notify_url=url)
    assert flags.notify_url == url
    assert flags.resolved()["notify_url"] == "https://example.org:8443"
    assert "notify_url" not in flags.shaping()
    assert SECRET not in parser({"NOTIFY_URL": url}).format_help()


@pytest.mark.slow
def test_a_job_that_is_interrupted_says_so_to_one_that_hangs(tmp_path: Path) -> None:
    """Within the grace, with its state saved; a second job, which fails, says why."""
    over = threading.Event()
    with server(lambda _: _wait(over)) as (url, heard):
        flags: dict[str, Any] = {"input": SMALL / "v21_h264", "num_epochs": 100000}
        flags |= {"notify_url": url, "output": tmp_path}
        with start_job(**flags) as process:
            metrics = tmp_path / "checkpoints/test/metrics.jsonl"
            wait_while_running(process, lambda: metrics.exists() and metrics.stat().st_size > 0)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(HANGS_S)
            assert process.wait() == 75
        over.set()
        failed = run_job(tmp_path, input=tmp_path / "none", notify_url=url)
    assert failed.code == 3
    interrupted, missing = (content for _, _, content in heard)
    assert (interrupted["status"], interrupted["exit_code"]) == ("interrupted", 75)
    assert interrupted["epochs_done"] > 0
    assert (missing["status"], missing["exit_code"]) == ("failed", 3)
    assert str(tmp_path / "none") in missing["reason"]
    assert "notice-unsent: the notice to 127.0.0.1" in err
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (tmp_path / "checkpoints/test/state.ckpt") in written
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert SECRET not in out + err + failed.out + failed.err
