"""The unmodified openpi-client drives the server, from an environment of its own.

OPENPI_PYTHON names the Python of that environment: `pip install openpi-client typing_extensions`.
The client wants NumPy 1, so it cannot be in this one. The other tests of the server speak the same
messages by tests/support/robot_client.py.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act import load_policy
from act.load.loaded_policy import LoadedPolicy
from tests.support.episodes import CAMERAS, frame_of
from tests.support.paths import ROOT
from tests.support.serving import WAITS_S, served
from tests.support.training import Short

PYTHON = os.environ.get("OPENPI_PYTHON", "")
KEY = "0123456789abcdef0123456789abcdef"

pytestmark = pytest.mark.skipif(
    not PYTHON, reason="OPENPI_PYTHON names no Python with openpi-client in it"
)

# Replays an episode as chunks and as steps, with an error in between, and with openpi's own broker.
REPLAY = """
import sys
import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy

port, key, episode, result = sys.argv[1:]
policy = WebsocketClientPolicy("127.0.0.1", int(port), api_key=key)
cameras = [camera["name"] for camera in policy.get_server_metadata()["contract"]["cameras"]]
recorded = np.load(episode)
states = recorded["state"]
seen = [
    {"state": state, "images": {name: recorded[name][ts] for name in cameras}, "prompt": "go"}
    for ts, state in enumerate(states)
]
chunks = [policy.infer(one)["actions"] for one in seen]
refused = []
for wrong in ({"state": states[0]}, {**seen[0], "state": states[0][:-1]}, {"images": 3}):
    try:
        policy.infer(wrong)
    except RuntimeError as error:
        refused.append(str(error))
assert len(refused) == 3, refused
after = policy.infer(seen[0])["actions"]
steps = [policy.infer({**one, "step": True})["actions"][0] for one in seen]
broker = ActionChunkBroker(policy, 3)
walked = [broker.infer(one)["actions"] for one in seen]
np.savez(result, chunks=chunks, after=after, steps=steps, walked=walked)
"""


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Short:
    """A run of one epoch."""
    short = Short(tmp_path_factory.mktemp("short"))
    short.run(num_epochs=1)
    return short


@pytest.fixture(scope="module")
def policy(training: Short) -> LoadedPolicy:
    return load_policy(training.folder, device="cpu", mode="temporal_ensembling")


def run(*words: str | Path) -> str:
    done = subprocess.run(
        [PYTHON, *map(str, words)], capture_output=True, text=True, timeout=WAITS_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_replayed_episode_has_the_actions_of_load_policy(
    policy: LoadedPolicy, tmp_path: Path
) -> None:
    states = np.random.default_rng(0).standard_normal((7, 3), np.float32)
    frames = {
        name: np.stack([frame_of(0, number, ts) for ts in range(len(states))])
        for number, name in enumerate(CAMERAS)
    }
    first = {name: one.transpose(0, 3, 1, 2) for name, one in frames.items()}
    recorded: dict[str, Any] = {"state": states} | first  # as openpi's ALOHA sends them
    np.savez(tmp_path / "episode.npz", **recorded)
    (tmp_path / "key").write_text(KEY)
    result = tmp_path / "result.npz"
    with served(policy, api_key_file=str(tmp_path / "key")) as (port, _):
        run("-c", REPLAY, str(port), KEY, tmp_path / "episode.npz", result)
    seen = [(one, {n: f[ts] for n, f in frames.items()}) for ts, one in enumerate(states)]
    expected = np.stack([policy.predict(*one) for one in seen])
    session = policy.session()
    with np.load(result) as found:
        np.testing.assert_array_equal(found["chunks"], expected)
        np.testing.assert_array_equal(found["after"], expected[0])
        np.testing.assert_array_equal(found["steps"], [session.step(*one) for one in seen])
        walked = [expected[ts - ts % 3][ts % 3] for ts in range(len(states))]
        np.testing.assert_array_equal(found["walked"], walked)


def test_the_example_runs(policy: LoadedPolicy) -> None:
    with served(policy) as (port, _):
        printed = run(ROOT / "examples/client.py", "127.0.0.1", str(port))
    assert printed.startswith("a chunk of (5, 3) in {")
    assert "is missing" in printed
    assert printed.count("[") > 20
