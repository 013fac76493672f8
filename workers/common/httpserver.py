"""uvicorn inside a worker: its socket is ours, its signals are the supervisor's, and it ends when the worker stops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 256
HEADER_BYTES = 16_384
HEADER_S = 10.0  # for the head of a request to be whole, from the connection's begin or its own first byte
IDLE_S = 5
STOP_S = 3


class _Server(uvicorn.Server):
    """Leaves signals alone: one supervisor owns them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HTTPProtocol(H11Protocol):
    """uvicorn's own, which waits for a request's head no longer than `HEADER_S`: there are only so many connections for everybody."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._heard()

    def _expect(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._heard()
        elif self._late is None:
            self._late = self.loop.call_later(HEADER_S, self.transport.abort)

    def _heard(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that the copies of a worker on this machine share (SO_REUSEPORT).  Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(CONNECTIONS)  # from here on nobody is turned away: the kernel holds them until uvicorn accepts
        listener.setblocking(False)  # noqa: FBT003 - its only argument
    except OSError:
        listener.close()
        raise
    return listener


@dataclass(frozen=True, slots=True)
class Listening:
    """Where; with a certificate for what is not loopback."""

    host: str
    port: int
    cert: Path | None = None
    key: Path | None = None


class HTTPServer:
    """Listens from the moment it is made.  `on_end` is called where uvicorn ends by itself: the worker is no use without it."""

    def __init__(
        self, app: ASGIApp, place: Listening, on_end: Callable[[], None], options: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """`options` go to uvicorn besides ours."""
        self._socket = listen(place.host, place.port)
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=CONNECTIONS,
                h11_max_incomplete_event_size=HEADER_BYTES,
                ws="none",
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=STOP_S,
                ssl_certfile=place.cert,
                ssl_keyfile=place.key,
                **{"http": HTTPProtocol, **options},
            )
        )
        self._on_end = on_end
        self._serving = asyncio.create_task(self._serve(), name="http")

    @property
    def port(self) -> int:
        """The port it listens on."""
        number: int = self._socket.getsockname()[1]
        return number

    async def _serve(self) -> None:
        try:
            await self._server.serve([self._socket])
        finally:
            self._socket.close()
            if not self._server.should_exit:
                self._on_end()

    async def stop(self) -> None:
        """No new connections; what runs may finish within `STOP_S`."""
        self._server.should_exit = True
        await asyncio.gather(self._serving, return_exceptions=True)
