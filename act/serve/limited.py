"""A connection of the server, as websockets has it, with limits on the memory that it takes."""

import asyncio
from typing import Any

from websockets.asyncio.server import ServerConnection

MOST_UNSENT = 8 * 2**20  # bytes for a client that does not read them; an answer has far less


class Limited(ServerConnection):
    """A connection that takes no more memory than it may: one of so many, and one that reads."""

    def __init__(
        self, *arguments: Any, others: set[ServerConnection], most: int, **options: Any
    ) -> None:
        """others: those that there are, of which there may be `most`"""
        super().__init__(*arguments, **options)
        self._others, self._most = others, most

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Cut off who comes beyond what even refusals are kept for."""
        super().connection_made(transport)
        self._others.add(self)
        if len(self._others) > self._most:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room."""
        self._others.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Cut off who asks, or pings, and does not read what is sent."""
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MOST_UNSENT:
            self.transport.abort()
