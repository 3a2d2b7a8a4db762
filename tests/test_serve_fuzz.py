"""Hostile frames: none ends the server, none makes it grow, and robots are answered all along.

`SERVE_FUZZ=10000` in the environment sends so many of them; the suite sends fewer.
"""

import contextlib
import os
import re
import socket
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from act import load_policy
from job.machine import resident_bytes
from tests.support.commands import HANGS_S, command_environment
from tests.support.episodes import CAMERAS, frame_of
from tests.support.hostile import messages, streams
from tests.support.jobs import Job
from tests.support.processes import wait_for
from tests.support.robot_client import RobotClient, get
from tests.support.training import Short

FRAMES = int(os.environ.get("SERVE_FUZZ", "400"))
_GROWS = 32 * 2**20  # bytes: a message of the largest size is taken, and given back
STATE = np.array([0.5, -1.0, 0.25], np.float32)
OBSERVATION = {"state": STATE} | {f"images/{n}": frame_of(0, i, 0) for i, n in enumerate(CAMERAS)}


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Short:
    """A run of one epoch."""
    short = Short(tmp_path_factory.mktemp("short"))
    short.run(num_epochs=1)
    return short


@pytest.mark.slow
def test_hostile_frames_neither_end_the_server_nor_make_it_grow(
    training: Short, tmp_path: Path
) -> None:
    expected = load_policy(training.folder, device="cpu").predict(
        STATE, {name: OBSERVATION[f"images/{name}"] for name in CAMERAS}
    )
    log = tmp_path / "log"
    words: list[str | Path] = ["entrypoint.py", "serve", training.folder, "--port", "0"]
    with log.open("w") as file:
        job = Job([*words, "--device", "cpu"], command_environment(), file.fileno(), file.fileno())
    try:
        wait_for(lambda: "listening" in log.read_text() or job.poll() is not None)
        [port] = map(int, re.findall(r"ws://127\.0\.0\.1:(\d+)", log.read_text()))
        send(port, FRAMES // 4, seed=0)  # what is kept from the first ones on
        before = resident_bytes(job.pid)
        send(port, FRAMES, seed=1)
        assert resident_bytes(job.pid) - before < _GROWS
        assert get(port, "/healthz") == (200, "OK\n")
        with RobotClient(port) as robot:
            found = robot.infer(OBSERVATION)["actions"]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        job.terminate()
        assert job.wait(HANGS_S) == 0
    finally:
        job.kill()
        job.wait(HANGS_S)
    text = log.read_text()
    assert "Traceback" not in text
    assert "policy-failed" not in text
    assert not [line for line in text.splitlines() if not line.isprintable()]


def send(port: int, count: int, seed: int) -> None:
    """Half as messages over one connection, which answers each; half as connections that fail."""
    with RobotClient(port) as robot:
        for message in islice(messages(OBSERVATION, seed), count - count // 2):
            robot.send(message)
            with contextlib.suppress(RuntimeError):  # the text of an error
                robot.answer()
        assert robot.infer(OBSERVATION)["actions"].shape == (5, 3)
    for number, stream in enumerate(islice(streams(seed), count // 2)):
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", port), timeout=30) as raw,
        ):
            raw.sendall(stream)
            raw.shutdown(socket.SHUT_WR)
            while number % 5 and raw.recv(2**16):  # some do not even listen
                pass
