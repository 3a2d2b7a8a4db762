"""The websocket server: a policy that several robots ask, each over a connection of its own.

Binary frames hold messages, as openpi's client expects them: the server's first one is its
metadata, then each request has one answer. An error is a frame of text, which openpi's client
raises; the connection stays open, and the next request is answered.
"""

import asyncio
import contextlib
import http
import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response
from websockets.protocol import State

from act.load.loaded_policy import LoadedPolicy, Session
from act.load.pace import Pace
from act.serve.access import Access
from act.serve.computing import ComputingThread
from act.serve.flags import NetworkFlags
from act.serve.limited import Limited
from act.serve.metrics import Metrics
from act.serve.request import Keys, Request
from act.serve.wire import pack, unpack
from job import signals
from job.errors import JobError, UsageError, first_line

logger = logging.getLogger("act")

_MB = 2**20
_FOR_HEALTH = 16  # connections besides those of robots: /healthz, /metrics, and who is refused
_OPEN_S, _CLOSE_S = 5.0, 0.7
_SENDS_S = 0.7  # for answers on their way, when the server ends
_LOOK_S = 0.1  # between looks for a signal
_LONGEST_LINE = 500
_USUAL = (1000, 1001)  # codes with which websockets are closed in order


@dataclass(frozen=True)
class Robot:
    """A connection: who it is, and what its steps go on from."""

    name: str
    session: Session


class PolicyServer:
    """Answers for one policy until a signal comes."""

    def __init__(self, policy: LoadedPolicy, flags: NetworkFlags, access: Access) -> None:
        """Raises UsageError for a --map that does not go with the policy."""
        self._policy, self._flags, self._access = policy, flags, access
        self._keys = Keys(policy.cameras, policy.contract.env_state is not None, flags.map)
        self._thread = ComputingThread(flags.max_waiting)
        self._metrics = Metrics()
        # of whole chunks: how much of them a client executes is not known
        self._pace = Pace(policy.fps, policy.chunk_size, policy.chunk_size)
        self._metadata = pack(self._described())
        self._answering = 0
        self._is_ending = False

    async def run(
        self,
        opened: Callable[[int], None] = lambda _: None,
        reason: Callable[[], str | None] = signals.reason,
    ) -> None:
        """Warm up, take requests, and end in order when it is asked to.

        opened: called with the port once requests are taken
        reason: what asks it to end, by default a signal; None as long as nothing does
        Raises UsageError when the port cannot be had.
        """
        if self._flags.warm_up:
            await self._warm_up(reason)
        if reason() is None:
            server = await self._listen()
            port = server.sockets[0].getsockname()[1]
            logger.info("listening  ws://%s:%d%s", self._flags.host, port, self._key_note())
            opened(port)
            while reason() is None:
                await asyncio.sleep(_LOOK_S)
            await self._end(server)
            logger.info("ended      %s", reason())
        self._thread.close()

    def _described(self) -> dict[str, Any]:
        """The metadata: the contract, and what a request may hold."""
        return {
            "contract": self._policy.contract.model_dump(mode="json"),
            "observation": self._keys.expected,
            "max_message_mb": self._flags.max_message_mb,
        }

    def _key_note(self) -> str:
        return ", with a key" if self._access.is_limited else ", without a key"

    async def _warm_up(self, reason: Callable[[], str | None]) -> None:
        for _ in range(3):  # the first compiles, the second allocates
            if reason() is None:
                _, seconds = await self._thread.do(self._policy.warm_up)
                logger.info("warm-up    a query takes %.1f ms", seconds * 1e3)

    async def _listen(self) -> Server:
        flags = self._flags
        try:
            return await serve(
                self._connected,
                flags.host,
                flags.port,
                process_request=self._admitted,
                create_connection=partial(  # type: ignore[arg-type]  # a factory does
                    Limited, others=set(), most=flags.max_connections + _FOR_HEALTH
                ),
                compression=None,  # a message is as large as it looks
                max_size=flags.max_message_mb * _MB,
                max_queue=1,
                open_timeout=_OPEN_S,
                close_timeout=_CLOSE_S,
                server_header=None,
                logger=_library_log(),
            )
        except (OSError, UnicodeError) as error:  # the latter where it is no host's name
            reason = getattr(error, "strerror", None) or first_line(error)
            raise UsageError(
                f"--host {flags.host} --port {flags.port}: cannot be listened on "
                f"({reason}), expected an address of this machine and a port that is free",
                code="port-unavailable",
            ) from error

    def _admitted(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Answer what is no websocket, and refuse who may not ask."""
        if request.headers.get_all("Origin"):  # a page in a browser reaches loopback as well
            return self._refused(
                connection,
                403,
                "origin-refused",
                "requests of web pages, which have an Origin, are not taken, expected none; ask "
                "from a program that sends no Origin",
            )
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if not self._access.allows(request.headers.get_all("Authorization")):
            return self._refused(
                connection,
                401,
                "api-key-wrong",
                "the API key is missing or not the server's, expected the header `Authorization: "
                "Api-Key KEY`; give the client the key that the server was started with",
            )
        if path == "/metrics":
            response = connection.respond(http.HTTPStatus.OK, self._metrics_text(connection.server))
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
            return response
        if len(connection.server.connections) >= self._flags.max_connections:
            text = f"busy: {self._flags.max_connections} clients are connected; ask again later"
            return self._refused(connection, 503, "server-busy", text)
        return None

    def _refused(self, connection: ServerConnection, status: int, code: str, text: str) -> Response:
        self._metrics.failed(code)
        logger.warning("%s: refused: %s", _address(connection), text)
        return connection.respond(http.HTTPStatus(status), text + "\n")

    def _metrics_text(self, server: Server) -> str:
        late = self._policy.pace.late + self._pace.late
        pending, connections = self._thread.pending, len(server.connections)
        return self._metrics.text(connections=connections, pending=pending, late=late)

    async def _connected(self, connection: ServerConnection) -> None:
        robot = Robot(_address(connection), self._policy.session())
        logger.info("connected  %s", robot.name)
        try:
            await connection.send(self._metadata)
            await self._converse(connection, robot)
        except ConnectionClosed as error:
            if error.sent is not None and error.sent.code not in _USUAL:  # too large, or no frame
                self._metrics.failed("connection-ended")
                logger.warning("%s: connection ended: %s", robot.name, one_line(str(error)))
        except Exception as error:  # a bug of ours ends this connection alone
            text = one_line(f"{type(error).__name__}: {first_line(error)}")
            logger.error("%s: connection failed: %s%s", robot.name, text, _place(error))
        logger.info("left       %s", robot.name)

    async def _converse(self, connection: ServerConnection, robot: Robot) -> None:
        total_ms: float | None = None
        while not self._is_ending:
            message = await connection.recv(decode=False)
            came = time.perf_counter()
            self._answering += 1
            try:
                answer = await self._answer(connection, robot, message, total_ms)
                del message
                await connection.send(answer)
            finally:
                self._answering -= 1
            total_ms = (time.perf_counter() - came) * 1e3
        await connection.close(1001, "the server ends")

    async def _answer(
        self, connection: ServerConnection, robot: Robot, message: bytes, total_ms: float | None
    ) -> bytes | str:
        """What is sent for a request: a message, or the text of an error."""
        came = time.perf_counter()
        self._metrics.came()
        try:
            request = self._keys.request(unpack(message))
            work = partial(self._do, connection, robot, request)
            actions, seconds = await self._thread.do(work)
        except JobError as error:
            return self._failed(robot, error.code, one_line(str(error)))
        except Exception as error:  # a bug ends neither the server nor the connection
            text = f"the policy failed: {type(error).__name__}: {first_line(error)}"
            return self._failed(robot, "policy-failed", one_line(text), _place(error))
        timing = {"infer_ms": seconds * 1e3}
        if total_ms is not None:
            timing["prev_total_ms"] = total_ms
        answer = {"server_timing": timing}
        made = {"reset": True} if actions is None else {"actions": actions}
        self._metrics.answered(request.kind, time.perf_counter() - came)
        return pack(made | answer)

    def _do(self, connection: ServerConnection, robot: Robot, request: Request) -> Any:
        """The actions (K, A) of a request, or (1, A) of a step; in the thread that computes."""
        if self._is_ending:
            raise UsageError("the server ends; ask another one", code="server-ending")
        if connection.state is not State.OPEN:
            raise UsageError(
                "the client has left before its answer, expected it to wait; connect again",
                code="client-left",
            )
        if request.is_reset:
            robot.session.reset(request.last_action)
        if request.state is None:
            return None
        seen = request.state, request.images, request.env_state
        if request.is_step:
            return robot.session.step(*seen)[None]
        with self._pace.query():
            return self._policy.predict(*seen)

    def _failed(self, robot: Robot, code: str, text: str, place: str = "") -> str:
        self._metrics.failed(code)
        logger.warning("%s: %s%s", robot.name, text, place)
        return text

    async def _end(self, server: Server) -> None:
        """Answer the query under way, refuse those that wait, and take leave of who is there."""
        self._is_ending = True
        server.close(close_connections=False)
        while self._thread.pending:
            await asyncio.sleep(_LOOK_S / 10)
        until = time.monotonic() + _SENDS_S
        while self._answering and time.monotonic() < until:
            await asyncio.sleep(_LOOK_S / 10)
        if leaving := [
            asyncio.ensure_future(one.close(1001, "the server ends")) for one in server.connections
        ]:
            await asyncio.wait(leaving, timeout=_CLOSE_S)


def one_line(text: str) -> str:
    """A text of whatever a client sent, as one line that a terminal takes."""
    shown = "".join(one if one.isprintable() else "\ufffd" for one in text)
    return shown if len(shown) <= _LONGEST_LINE else f"{shown[: _LONGEST_LINE - 1]}…"


def _place(error: Exception) -> str:
    """Where in the code an error arose, for the log."""
    with contextlib.suppress(IndexError):
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f" (at {Path(last.filename).name}:{last.lineno})"
    return ""


def _address(connection: ServerConnection) -> str:
    """Who asks, for the log."""
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if address else "a client"


def _library_log() -> logging.Logger:
    """Where websockets logs: its tracebacks of handshakes that fail are nobody's concern, and its
    debug lines hold the headers, a key among them."""
    quiet = logging.Logger("websockets")  # not of the tree: no setting of others reaches it
    quiet.addHandler(logging.NullHandler())
    quiet.setLevel(logging.CRITICAL)
    return quiet
