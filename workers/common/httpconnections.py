"""The connections of an HTTP server: how many there are, whose, and how long one may keep still.

There are only so many for everybody, so nobody holds one that does nothing with it.  A connection ends when its TLS handshake, the head
of a request or the reading of an answer takes too long; one address has no more than its share; and where all are taken, the one
that has waited longest for its client's next word makes room.  Bodies are the application's to wait for (workers.edge.limits).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from workers.common.addresses import Networks, name_of, trusted

CONNECTIONS = 256
HANDSHAKE_S = 10.0  # of TLS, from the connection's begin
HEADER_S = 10.0  # for the head of a request to be whole, from the connection's begin or its own first byte
READ_S = 10.0  # for a client that is behind to take what was written: 64 KiB and more of an answer, or the rest of it


class Connections:
    """The book of them.  `each`: how many one address may have, none: as many as there are.  Of a trusted proxy that is so in any case."""

    def __init__(self, most: int = CONNECTIONS, each: int | None = None, proxies: Networks = ()) -> None:
        self.most = most
        self._each = most if each is None else each
        self._proxies = proxies
        self._held: Counter[str] = Counter()
        self._waiting: dict[object, Callable[[], object]] = {}  # the longest first

    def enter(self, address: str) -> str | None:
        """One more: the name to give to `leave`, or none where that address has its share.  May end another, that only waits."""
        name = name_of(address)
        if not trusted(address, self._proxies) and self._held[name] >= self._each:
            return None
        if self._held.total() >= self.most and self._waiting:
            self._waiting.pop(next(iter(self._waiting)))()
        self._held[name] += 1
        return name

    def leave(self, name: str) -> None:
        """It has ended."""
        self._held[name] -= 1
        if self._held[name] <= 0:
            del self._held[name]

    def waits(self, connection: object, end: Callable[[], object]) -> None:
        """Nothing is under way for its client: it is among those that make room."""
        self._waiting.setdefault(connection, end)

    def works(self, connection: object) -> None:
        """Something is, or it has ended."""
        self._waiting.pop(connection, None)


class HTTPProtocol(H11Protocol):
    """uvicorn's own, with deadlines for its client: `HEADER_S` for the head of a request, `READ_S` for taking what was written."""

    book: Connections | None = None
    on_lost: Callable[[], None] | None = None
    _late: asyncio.TimerHandle | None = None
    _behind: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._heard()
        self._caught_up()
        if self.on_lost is not None:
            self.on_lost()

    # --- a client that sends slowly -------------------------------------------------------------------------------------------------

    def _expect(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._heard()
        elif self._late is None:
            self._late = self.loop.call_later(HEADER_S, self.transport.abort)
            if self.book is not None:
                self.book.waits(self, self.transport.abort)

    def _heard(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self.book is not None:
            self.book.works(self)

    # --- a client that reads slowly -------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._must_read()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._caught_up()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._caught_up()
            self._must_read()
        elif self.book is not None and self.conn.their_state is h11.IDLE:
            self.book.waits(self, self.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._must_read()  # closing waits until all was read

    def _must_read(self) -> None:
        if self._behind is None:
            self._behind = self.loop.call_later(READ_S, self._give_up)

    def _give_up(self) -> None:
        self._behind = None
        if self.transport.is_closing() or self.flow.write_paused or self.transport.get_write_buffer_size():
            self.transport.abort()

    def _caught_up(self) -> None:
        if self._behind is not None:
            self._behind.cancel()
            self._behind = None


def protocol_of(kind: Callable[..., Any], connections: Connections, on_lost: Callable[[], None], **options: Any) -> Any:
    """One connection's, entered in the book already."""
    made = kind(**options)
    made.book, made.on_lost = connections, on_lost
    return made
