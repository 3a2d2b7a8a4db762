"""`serve`: what a robot asks and gets, what anybody else gets, and how it ends."""

import asyncio
import contextlib
import logging
import os
import re
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from act import load_policy
from act.load.limits import OFF, Limits
from act.load.loaded_policy import ExecutionOptions, LoadedPolicy
from act.serve.__main__ import main as serve
from act.serve.__main__ import parse
from act.serve.access import KEY_VARIABLE, access_of
from act.serve.flags import ServeFlags
from act.serve.metrics import Metrics
from act.serve.request import Keys
from act.serve.server import PolicyServer
from episodes.arrays import Frame
from job.errors import UsageError
from tests.support.commands import HANGS_S, command_environment
from tests.support.episodes import CAMERAS, frame_of
from tests.support.errors import raises_code
from tests.support.hostile import HANDSHAKE
from tests.support.jobs import Job
from tests.support.processes import wait_for
from tests.support.robot_client import RobotClient, get, packed
from tests.support.serving import Gate, served
from tests.support.training import Short

STATE = np.array([0.5, -1.0, 0.25], np.float32)
KEY = "0123456789abcdef0123456789abcdef"
AUTHORIZED = {"Authorization": f"Api-Key {KEY}"}


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Short:
    """A run of one epoch."""
    short = Short(tmp_path_factory.mktemp("short"))
    short.run(num_epochs=1)
    return short


@pytest.fixture(scope="module")
def policy(training: Short) -> LoadedPolicy:
    return load_policy(training.folder, device="cpu")


@pytest.fixture(scope="module")
def port(policy: LoadedPolicy) -> Iterator[int]:
    """A server for whatever leaves it as it was."""
    with served(policy) as (port, _):
        yield port


def frames(ts: int = 0) -> dict[str, Frame]:
    return {name: frame_of(0, number, ts) for number, name in enumerate(CAMERAS)}


def observation(ts: int = 0, state: Any = STATE) -> dict[str, Any]:
    return {"state": state} | {f"images/{name}": frame for name, frame in frames(ts).items()}


def gated(policy: LoadedPolicy, limits: Limits = OFF, **executed: Any) -> tuple[LoadedPolicy, Gate]:
    """The same policy, whose queries a test lets through."""
    gate = Gate(policy.backend)
    executed = {"mode": "open_loop"} | executed
    made = LoadedPolicy(policy.contract, gate, executed=ExecutionOptions(**executed), limits=limits)
    return made, gate


def test_a_chunk_is_what_load_policy_gives_to_the_last_bit(policy: LoadedPolicy, port: int) -> None:
    with RobotClient(port) as robot:
        contract = robot.metadata["contract"]
        assert contract == policy.contract.model_dump(mode="json")
        assert robot.metadata["observation"] == ["images/top", "images/wrist", "state"]
        first, second = (robot.infer(observation(ts)) for ts in (0, 1))
    for ts, answer in enumerate((first, second)):
        np.testing.assert_array_equal(answer["actions"], policy.predict(STATE, frames(ts)))
    assert first["server_timing"].keys() == {"infer_ms"}
    assert second["server_timing"].keys() == {"infer_ms", "prev_total_ms"}
    assert second["server_timing"]["prev_total_ms"] > first["server_timing"]["infer_ms"]


def test_openpis_aloha_form_gives_the_same(policy: LoadedPolicy, port: int) -> None:
    images = {name: np.ascontiguousarray(one.transpose(2, 0, 1)) for name, one in frames().items()}
    aloha = {"state": STATE.astype(np.float64), "images": images, "prompt": "lift the cube"}
    with RobotClient(port) as robot:
        found = robot.infer(aloha)["actions"]
        nested = robot.infer({"state": STATE, "images": frames()})["actions"]
    np.testing.assert_array_equal(found, policy.predict(STATE, frames()))
    np.testing.assert_array_equal(nested, found)


def test_other_robots_keys_are_mapped_and_joined(policy: LoadedPolicy) -> None:
    pairs = (
        ("observation/joints", "state"),
        ("observation/gripper", "state"),
        ("observation/front", "top"),
        ("observation/hand", "images/wrist"),
        ("observation/depth", "-"),
    )
    images = frames()
    sent = {
        "observation/gripper": float(STATE[2]),
        "observation": {"joints": STATE[:2], "front": images["top"], "hand": images["wrist"]},
        "observation/depth": np.zeros((4, 4), np.uint16),
    }
    with served(policy, map=pairs) as (port, _), RobotClient(port) as robot:
        found = robot.infer(sent)["actions"]
        with pytest.raises(RuntimeError, match="'observation/gripper' is missing"):
            robot.infer({name: one for name, one in sent.items() if "gripper" not in name})
        with pytest.raises(RuntimeError, match="'state' is not known"):
            robot.infer(sent | {"state": STATE})
    np.testing.assert_array_equal(found, policy.predict(STATE, images))


@pytest.mark.parametrize(
    "pairs",
    [
        (("a", "tip"),),
        (("a", "env_state"),),
        (("a", "top"), ("a", "wrist")),
        (("a", "top"), ("b", "images/top")),
        (("state", "-"),),
        (("images/top", "-"),),
        (("state", "top"),),
    ],
)
def test_a_map_that_does_not_go_with_the_policy(pairs: tuple[tuple[str, str], ...]) -> None:
    with raises_code(UsageError, "map-key"):
        Keys(CAMERAS, False, pairs)


SHORT = np.zeros(2, np.float32)
WRONG: dict[str, Any] = {
    "observation-vector-width": {"state": SHORT},
    "observation-not-finite": {"state": np.array([0, np.nan, 0])},
    "observation-vector-type": {"state": [[1], [1, 2]]},
    "observation-batch": {"state": np.zeros((1, 3))},
    "observation-image-size": {"images/top": np.zeros((16, 24, 3), np.uint8)},
    "observation-image-type": {"images/top": np.zeros((32, 48, 3), np.int32)},
    "observation-image-channels": {"images/top": "none"},
    "observation-camera-extra": {"images/third": frame_of(0, 0, 0)},
    "observation-env-state": {"env_state": SHORT},
    "observation-key": {"sate": STATE},
    "message-malformed": {"images": {"top": frame_of(0, 0, 0)}},  # which is there twice
}


@pytest.mark.parametrize("code", WRONG)
def test_an_error_is_one_sentence_and_the_next_query_is_answered(
    policy: LoadedPolicy,
    port: int,
    code: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("act"), "propagate", True)
    with RobotClient(port) as robot:
        before = errors(port).get(code, 0)
        with pytest.raises(RuntimeError) as raised:
            robot.infer(observation() | WRONG[code])
        np.testing.assert_array_equal(
            robot.infer(observation())["actions"], policy.predict(STATE, frames())
        )
        assert errors(port)[code] == before + 1
    text = str(raised.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert [one for one in caplog.messages if text in one]
    assert not any(record.exc_info for record in caplog.records)


def errors(port: int) -> dict[str, int]:
    """The errors that the server has counted, by code."""
    found = re.findall(r'errors_total\{code="([\w-]+)"\} (\d+)', get(port, "/metrics")[1])
    return {code: int(count) for code, count in found}


def test_a_camera_that_is_missing_is_named(port: int) -> None:
    with RobotClient(port) as robot, pytest.raises(RuntimeError, match="'wrist' is missing"):
        robot.infer({"state": STATE, "images/top": frame_of(0, 0, 0)})


def test_what_a_client_sends_is_shown_without_its_control_characters(port: int) -> None:
    with RobotClient(port) as robot:
        with pytest.raises(RuntimeError) as raised:
            robot.infer(observation() | {"a\n\x1b[2Jerror: b": 1})
        with pytest.raises(RuntimeError) as long:
            robot.infer(observation() | {"images/" + 4000 * "x": 1})
    assert str(raised.value).isprintable()
    assert len(str(long.value)) <= 500


def test_a_failing_policy_ends_neither_the_connection_nor_the_server(policy: LoadedPolicy) -> None:
    broken, gate = gated(policy)
    with served(broken) as (port, _), RobotClient(port) as robot:
        for error in (ValueError("a bug\nof ours"), MemoryError()):
            gate.error = error
            with pytest.raises(RuntimeError, match=type(error).__name__) as raised:
                robot.infer(observation())
            assert "\n" not in str(raised.value)
            assert ".py" not in str(raised.value)
        gate.error = None
        assert robot.infer(observation())["actions"].shape == (5, 3)
        assert errors(port) == {"policy-failed": 2}


def test_steps_are_ensembled_for_each_connection_by_itself(policy: LoadedPolicy) -> None:
    ensembled, _ = gated(policy, mode="temporal_ensembling")
    alone = ensembled.session()
    expected = [alone.step(STATE, frames(ts)) for ts in range(3)]
    with served(ensembled) as (port, _), RobotClient(port) as one, RobotClient(port) as other:
        found = []
        for ts in range(3):
            found.append(one.infer(observation(ts) | {"step": True})["actions"])
            other.infer(observation(8 - ts) | {"step": True})
        np.testing.assert_array_equal(np.concatenate(found), expected)
        answer = one.infer({"reset": True})
        assert answer["reset"] is True
        assert "actions" not in answer
        again = one.infer(observation(0) | {"step": True})["actions"]
        both = one.infer(observation(0) | {"step": True, "reset": True})["actions"]
    np.testing.assert_array_equal(again, found[0])
    np.testing.assert_array_equal(both, found[0])


def test_a_reset_says_where_the_robot_stands(policy: LoadedPolicy) -> None:
    limited, _ = gated(policy, Limits(max_change=0.01))
    here = np.array([5, 5, 5], np.float32)
    with served(limited) as (port, _), RobotClient(port) as robot:
        robot.infer({"reset": True, "last_action": here})
        [action] = robot.infer(observation() | {"step": True})["actions"]
        np.testing.assert_allclose(np.abs(action - here), 0.01, rtol=1e-3)
        for wrong, code in (([1.0, 2.0], "flag-value"), ("here", "observation-vector-type")):
            with pytest.raises(RuntimeError):
                robot.infer({"reset": True, "last_action": wrong})
            assert code in errors(port)


def test_robots_are_answered_in_turn_however_much_one_asks(policy: LoadedPolicy) -> None:
    slow, gate = gated(policy)
    with served(slow) as (port, _), RobotClient(port) as greedy, RobotClient(port) as modest:
        gate.open.clear()
        for ts in range(4):
            greedy.send(packed(observation(state=np.full(3, 1 + ts, np.float32))))
        assert gate.entered.acquire(timeout=60)
        modest.send(packed(observation(state=np.full(3, 10, np.float32))))
        wait_for(lambda: pending(port) == 2)
        gate.open.set()
        assert modest.answer()["actions"].shape == (5, 3)
        for _ in range(4):
            greedy.answer()
    assert gate.states == [1, 10, 2, 3, 4]


def pending(port: int) -> int:
    """Requests that wait or are computed."""
    [found] = re.findall(r"^lerobot_to_act_pending (\d+)$", get(port, "/metrics")[1], re.M)
    return int(found)


def test_beyond_its_bounds_the_server_says_that_it_is_busy(policy: LoadedPolicy) -> None:
    slow, gate = gated(policy)
    with served(slow, max_waiting=1, max_connections=3) as (port, _):
        with RobotClient(port) as one, RobotClient(port) as two, RobotClient(port) as three:
            with pytest.raises(InvalidStatus) as refused:
                RobotClient(port)
            assert refused.value.response.status_code == 503
            assert b"busy" in (refused.value.response.body or b"")
            gate.open.clear()
            one.send(packed(observation()))
            assert gate.entered.acquire(timeout=60)
            two.send(packed(observation()))
            wait_for(lambda: pending(port) == 2)
            with pytest.raises(RuntimeError, match="busy"):
                three.infer(observation())
            gate.open.set()
            for robot in (one, two):
                robot.answer()
            assert three.infer(observation())["actions"].shape == (5, 3)
        assert errors(port) == {"server-busy": 2}


def test_nothing_is_computed_for_a_robot_that_has_left(policy: LoadedPolicy) -> None:
    slow, gate = gated(policy)
    with served(slow) as (port, _), RobotClient(port) as robot:
        gate.open.clear()
        robot.send(packed(observation()))
        assert gate.entered.acquire(timeout=60)
        with RobotClient(port) as leaving:
            leaving.send(packed(observation()))
            wait_for(lambda: pending(port) == 2)
        gate.open.set()
        robot.answer()
        wait_for(lambda: "client-left" in errors(port))
    assert len(gate.states) == 1


def test_the_query_under_way_is_answered_at_the_end_and_waiting_ones_are_told(
    policy: LoadedPolicy,
) -> None:
    slow, gate = gated(policy)
    with (
        served(slow) as (port, ending),
        RobotClient(port) as one,
        RobotClient(port) as two,
        RobotClient(port) as idle,
    ):
        gate.open.clear()
        one.send(packed(observation()))
        assert gate.entered.acquire(timeout=60)
        two.send(packed(observation()))
        wait_for(lambda: pending(port) == 2)
        ending.reason = "asked to"
        wait_for(lambda: refuses(port))
        gate.open.set()
        assert one.answer()["actions"].shape == (5, 3)
        with pytest.raises(RuntimeError, match="the server ends"):
            two.answer()
        for robot in (one, two, idle):
            with pytest.raises(ConnectionClosed) as closed:
                robot.answer()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_health_and_metrics(policy: LoadedPolicy) -> None:
    with served(policy) as (port, _):
        assert get(port, "/healthz") == (200, "OK\n")
        assert "last_request_age_seconds NaN" in get(port, "/metrics")[1]
        with RobotClient(port) as robot:
            robot.infer(observation())
            robot.infer(observation() | {"step": True})
            status, text = get(port, "/metrics")
        assert status == 200
        for line in (
            'requests_total{kind="chunk"} 1',
            'requests_total{kind="step"} 1',
            'requests_total{kind="reset"} 0',
            'latency_seconds_bucket{le="+Inf"} 2',
            "latency_seconds_count 2",
            "connections 1",
        ):
            assert f"lerobot_to_act_{line}\n" in text
        [age] = re.findall(r"last_request_age_seconds ([\d.]+)\n", text)
        assert 0 <= float(age) < 60
        assert get(port, "/")[0] == 426


def test_late_queries_are_counted(policy: LoadedPolicy) -> None:
    """Of chunks and of steps; the first of each is not counted."""
    contract = policy.contract.model_copy(update={"fps": 1e6})
    way = ExecutionOptions(mode="temporal_ensembling")
    hurried = LoadedPolicy(contract, policy.backend, executed=way, limits=OFF)
    for one, late in ((hurried, 3), (policy, 0)):
        with served(one) as (port, _):
            with RobotClient(port) as robot:
                for is_step in (True, True, True, False, False):
                    robot.infer(observation() | {"step": is_step})
            assert f"lerobot_to_act_late_queries_total {late}\n" in get(port, "/metrics")[1]


def test_the_buckets_of_a_histogram_add_up() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.005, 0.3, 100.0):
        metrics.answered("chunk", seconds)
    text = metrics.text(connections=0, pending=0, late=0)
    found = re.findall(r'_bucket\{le="([^"]+)"\} (\d+)', text)
    counts = {"2": ("0.005", "0.01", "0.02", "0.05", "0.1", "0.2"), "4": ("+Inf",)}
    counts["3"] = ("0.5", "1.0", "2.0", "5.0", "10.0")
    assert dict(found) == {bound: count for count, bounds in counts.items() for bound in bounds}
    assert "latency_seconds_sum 100.306000\n" in text


def test_a_key_is_asked_for(policy: LoadedPolicy, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    with served(policy, api_key_file=str(file)) as (port, _):
        with RobotClient(port, headers=AUTHORIZED) as robot:
            assert robot.infer(observation())["actions"].shape == (5, 3)
        for wrong in ({}, {"Authorization": f"Api-Key {KEY}x"}, {"Authorization": f"Basic {KEY}"}):
            with pytest.raises(InvalidStatus) as refused:
                RobotClient(port, headers=wrong)
            assert refused.value.response.status_code == 401
            assert get(port, "/metrics", wrong)[0] == 401
        assert get(port, "/metrics", AUTHORIZED)[0] == 200
        assert get(port, "/healthz") == (200, "OK\n")  # a scheduler has no key


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/"])
def test_a_page_in_a_browser_gets_nothing(port: int, path: str) -> None:
    assert get(port, path, {"Origin": "http://127.0.0.1"})[0] == 403


def test_a_page_in_a_browser_is_refused(port: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        RobotClient(port, headers={"Origin": "http://127.0.0.1"})
    assert refused.value.response.status_code == 403


def test_the_key_of_the_environment_is_taken_out_of_it() -> None:
    environ = {KEY_VARIABLE: KEY, "PATH": "/bin"}
    access = access_of(ServeFlags(host="0.0.0.0"), environ)
    assert environ == {"PATH": "/bin"}
    assert access.allows([AUTHORIZED["Authorization"]])
    assert not access.allows([])
    assert not access.allows([AUTHORIZED["Authorization"]] * 2)
    assert KEY not in repr(access)
    with raises_code(UsageError, "api-key-missing"):
        access_of(ServeFlags(host="0.0.0.0"), environ)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "robot.example", "127.0.0.1.x"])
def test_other_machines_need_a_key_or_insecure(host: str) -> None:
    with raises_code(UsageError, "api-key-missing", re.escape(host)):
        access_of(ServeFlags(host=host), {})
    assert not access_of(ServeFlags(host=host, insecure=True), {}).is_limited


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_none(host: str) -> None:
    assert not access_of(ServeFlags(host=host), {}).is_limited


@pytest.mark.parametrize("key", ["", "short", "with a space in it", "é" * 20, "x" * 5000])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, key: str) -> None:
    file = tmp_path / "key"
    file.write_text(key, encoding="utf-8")
    with raises_code(UsageError, "api-key-invalid") as caught:
        access_of(ServeFlags(api_key_file=str(file)), {})
    assert not key or key not in str(caught.value)
    with raises_code(UsageError, "api-key-invalid"):
        access_of(ServeFlags(api_key_file=str(tmp_path / "nowhere")), {})


def test_a_port_that_is_taken(policy: LoadedPolicy) -> None:
    with served(policy) as (port, _), raises_code(UsageError, "port-unavailable", str(port)):
        flags = ServeFlags(port=port)
        asyncio.run(PolicyServer(policy, flags, access_of(flags, {})).run(reason=lambda: None))


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_a_host_that_is_no_name(policy: LoadedPolicy, host: str) -> None:
    flags = ServeFlags(host=host, port=0, insecure=True)
    with raises_code(UsageError, "port-unavailable", re.escape(host)) as refused:
        asyncio.run(PolicyServer(policy, flags, access_of(flags, {})).run(reason=lambda: None))
    assert "\n" not in str(refused.value)


def test_a_key_that_another_one_stands_for_may_be_left_out() -> None:
    assert "a" in Keys(CAMERAS, False, (("a", "state"), ("state", "-"))).expected


def test_warm_up_comes_before_the_port_opens(policy: LoadedPolicy) -> None:
    cold, gate = gated(policy)
    with served(cold, warm_up=True) as (port, _):
        assert len(gate.states) == 3
        assert get(port, "/healthz")[0] == 200


def test_a_message_too_large_is_refused_before_it_is_read(policy: LoadedPolicy) -> None:
    with served(policy, max_message_mb=1) as (port, _):
        with RobotClient(port) as robot, pytest.raises(ConnectionClosed) as closed:
            robot.infer({"state": np.zeros(2**18, np.float32)})
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        with RobotClient(port) as robot:
            assert robot.infer(observation())["actions"].shape == (5, 3)


def test_a_message_of_fragments_without_end_is_cut_off(policy: LoadedPolicy) -> None:
    """Which have no bytes, and so no size that is limited."""
    with (
        served(policy) as (port, _),
        socket.create_connection(("127.0.0.1", port), timeout=60) as raw,
    ):
        raw.sendall(HANDSHAKE + b"\r\n" + b"\x02\x80" + bytes(4))
        raw.sendall((b"\x00\x80" + bytes(4)) * 5000)
        answer = b""
        while more := raw.recv(2**16):
            answer += more
    assert (1009).to_bytes(2) in answer[-64:]  # the code of the frame that closes


def test_connections_that_say_nothing_are_cut_off(policy: LoadedPolicy) -> None:
    with served(policy, max_connections=1) as (port, _), contextlib.ExitStack() as opened:
        silent = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            for _ in range(18)
        ]
        ended = [one for one in silent if one in select.select(silent, [], [], 1)[0]]
        assert len(ended) == 1  # 16 besides the one; those that stay are cut off after 5 s
        for one in silent:
            one.close()
        wait_for(lambda: is_healthy(port))


def is_healthy(port: int) -> bool:
    try:
        return get(port, "/healthz") == (200, "OK\n")
    except OSError:
        return False


def test_who_does_not_read_is_cut_off(
    policy: LoadedPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("act.serve.limited.MOST_UNSENT", 2**16)
    with served(policy) as (port, _):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(HANDSHAKE + b"\r\n")
            ping = b"\x89\xfd" + bytes(4) + bytes(125)
            with pytest.raises(OSError, match=r"reset|pipe"):
                for _ in range(2**12):
                    raw.sendall(ping * 2**10)
        assert get(port, "/healthz")[0] == 200


@pytest.fixture
def command(training: Short, tmp_path: Path) -> Iterator[tuple[Job, int, Path]]:
    """`serve` by the name of a run, with a key from the environment; its port, what it printed."""
    output, log = tmp_path / "output", tmp_path / "log"
    (output / "checkpoints").mkdir(parents=True)
    (output / "checkpoints/pick").symlink_to(training.folder)
    words: list[str | Path] = ["entrypoint.py", "serve", "pick", "--output", output]
    words += ["--port", "0", "--device", "cpu"]
    with log.open("w") as file:
        job = Job(words, command_environment() | {KEY_VARIABLE: KEY}, file.fileno(), file.fileno())
    try:
        wait_for(lambda: "listening" in log.read_text() or job.poll() is not None)
        [port] = re.findall(r"listening  ws://127\.0\.0\.1:(\d+), with a key", log.read_text())
        yield job, int(port), log
    finally:
        job.kill()
        job.wait(HANGS_S)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_with_0(
    command: tuple[Job, int, Path], policy: LoadedPolicy, number: int
) -> None:
    job, port, log = command
    with RobotClient(port, headers=AUTHORIZED) as robot:
        chunk = robot.infer(observation())["actions"]
        np.testing.assert_allclose(chunk, policy.predict(STATE, frames()), atol=1e-4)
        os.kill(job.pid, number)
        with pytest.raises(ConnectionClosed):
            robot.answer()
    assert job.wait(HANGS_S) == 0
    assert log.read_text().splitlines()[-1] == f"ended      {signal.Signals(number).name} received"
    assert KEY not in log.read_text()


@pytest.mark.slow
def test_the_key_is_in_no_record(command: tuple[Job, int, Path], training: Short) -> None:
    job, port, log = command
    with pytest.raises(InvalidStatus):
        RobotClient(port, headers={"Authorization": f"Api-Key {KEY[:-1]}"})
    assert KEY not in Path(f"/proc/{job.pid}/cmdline").read_text()
    written = [log, *(path for path in training.tmp_path.rglob("*") if path.is_file())]
    assert not [path for path in written if KEY[:-1].encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], "flag-missing"),
        (["run", "--prot", "8000"], "flag-unknown"),
        (["run", "--port", "65536"], "flag-value"),
        (["run", "--checkpoint", ""], "flag-value"),
        (["run", "--map", "front"], "flag-value"),
        (["run", "--margin", "0.1"], "flag-unused"),
    ],
)
def test_a_wrong_command(words: list[str], code: str) -> None:
    with raises_code(UsageError, code):
        parse(words)


def test_flags_that_are_given_several_times() -> None:
    run, flags = parse(["./run", "--map", "a/b=top", "--map", "c==d", "--max_change", "0.5"])
    assert (run, flags.map, flags.max_change) == ("./run", (("a/b", "top"), ("c", "=d")), 0.5)
    assert Limits(**flags.limits()) == Limits(max_change=0.5)


@pytest.mark.parametrize(("words", "loaded"), [([], None), (["--checkpoint", "last"], "last")])
def test_the_checkpoint_is_the_contracts_unless_one_is_named(
    words: list[str], loaded: str | None
) -> None:
    assert parse(["./run", *words])[1].loading()["checkpoint"] == loaded


def test_what_is_wrong_ends_the_command_with_2_before_anything_is_loaded(
    training: Short, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(training.folder)
    loaded: list[object] = []
    monkeypatch.setattr("act.load.torch_backend.load_network", loaded.append)
    assert serve(["nowhere", "--output", str(training.tmp_path)], {}) == 2
    assert serve([folder, "--host", "0.0.0.0"], {}) == 2
    monkeypatch.setattr("act.serve.__main__._NEEDED", ("websockets", "no_such_package"))
    assert serve([folder], {}) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == 3 * ["error"]
    assert "pip install no_such_package" in lines[-1]
    assert loaded == []
