"""A robot that asks a policy server: openpi's messages, packed here by what is known of the wire.

An array is a map of the byte strings `__ndarray__` (true), `data`, `dtype` and `shape`.
"""

import contextlib
import http.client
from collections.abc import Mapping
from typing import Any, Self

import msgpack
import numpy as np
from websockets.sync.client import connect

WAITS_S = 60


class RobotClient:
    """One connection; `infer` is openpi's, and raises RuntimeError with the text of an error."""

    def __init__(
        self, port: int, *, headers: Mapping[str, str] | None = None, host: str = "127.0.0.1"
    ) -> None:
        made = connect(
            f"ws://{host}:{port}",
            compression=None,
            max_size=None,
            additional_headers=headers,
            open_timeout=WAITS_S,
        )
        self._closing = contextlib.ExitStack()
        self.connection = self._closing.enter_context(made)
        self.metadata = unpacked(self._received())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def infer(self, message: Mapping[str, Any]) -> Any:
        """The answer to a message."""
        self.send(packed(message))
        return self.answer()

    def send(self, frame: bytes | str) -> None:
        """Send a frame as it is."""
        self.connection.send(frame)

    def answer(self) -> Any:
        """The next answer."""
        return unpacked(self._received())

    def _received(self) -> bytes:
        frame = self.connection.recv(timeout=WAITS_S)
        if isinstance(frame, str):
            raise RuntimeError(frame)
        return frame


def packed(message: Any) -> bytes:
    """A message as a robot sends it."""

    def of_array(value: Any) -> Any:
        assert isinstance(value, np.ndarray)
        return {
            b"__ndarray__": True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }

    frame: bytes = msgpack.packb(message, default=of_array)
    return frame


def unpacked(frame: bytes) -> Any:
    """What a frame of the server says."""

    def to_array(value: Any) -> Any:
        if b"__ndarray__" not in value:
            return value
        return np.frombuffer(value[b"data"], value[b"dtype"]).reshape(value[b"shape"])

    return msgpack.unpackb(frame, object_hook=to_array)


def get(
    port: int, path: str, headers: Mapping[str, str] | None = None, *, host: str = "127.0.0.1"
) -> tuple[int, str]:
    """Status and body of an HTTP request."""
    connection = http.client.HTTPConnection(host, port, timeout=WAITS_S)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
