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

import structlog
import uvicorn
from starlette.types import ASGIApp

from workers.common import log
from workers.common.httpconnections import HANDSHAKE_S, READ_S, Connections, HTTPProtocol, protocol_of

HEADER_BYTES = 16_384
BACKLOG = 256
IDLE_S = 5
STOP_S = 3


NO_MORE_FILES_S = 1.0  # between attempts to accept, where the process has no file descriptor left
logger = structlog.get_logger()


class _Server(uvicorn.Server):
    """Leaves signals alone, since one supervisor owns them, and accepts connections itself.

    asyncio's own server tells nobody who connects before TLS has been agreed upon, and gives that a minute: whoever only connects would
    be counted nowhere.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket, connections: Connections) -> None:
        super().__init__(config)
        self._listener = listener
        self._connections = connections
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        await self.lifespan.startup()
        self.servers = []
        self._accepting = asyncio.create_task(self._accept(), name="http_accept")
        self._accepting.add_done_callback(self._ended)
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        tasks = [task for task in (self._accepting, *self._handshakes) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await super().shutdown(sockets)

    def _ended(self, accepting: asyncio.Task[None]) -> None:
        """By itself: then nobody is served, and the worker has to know."""
        if not accepting.cancelled():
            self.should_exit = self.gave_up = True

    gave_up = False

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(self._listener)
            except ConnectionError:
                continue
            except OSError as error:
                logger.error(log.ACCEPTING_FAILED, error=type(error).__name__, errno=error.errno)  # noqa: TRY400
                await asyncio.sleep(NO_MORE_FILES_S)
                continue
            name = self._connections.enter(peer[0])
            if name is None:
                accepted.close()
                continue
            task = asyncio.create_task(self._serve_one(accepted, name), name="http_handshake")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _serve_one(self, accepted: socket.socket, name: str) -> None:
        """To the end of the handshake.  Until then the task is what waits; from then on the protocol."""
        task, held = asyncio.current_task(), [name]

        def lost() -> None:
            while held:  # once, whoever notices first
                self._connections.leave(held.pop())

        def made() -> Any:
            return protocol_of(
                self.config.http_protocol_class,
                self._connections,
                lost,
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )

        if task is not None and self.config.ssl is not None:
            self._connections.waits(task, task.cancel)
        try:
            limits = {} if self.config.ssl is None else {"ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": READ_S}
            await asyncio.get_running_loop().connect_accepted_socket(made, accepted, ssl=self.config.ssl, **limits)
        except BaseException as error:
            lost()
            accepted.close()
            if not isinstance(error, OSError):  # ssl.SSLError is one, and TimeoutError: it never became a connection
                raise
        finally:
            self._connections.works(task)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that the copies of a worker on this machine share (SO_REUSEPORT).  Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)  # from here on nobody is turned away: the kernel holds them until uvicorn accepts
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
        self,
        app: ASGIApp,
        place: Listening,
        on_end: Callable[[], None],
        options: Mapping[str, Any] = MappingProxyType({}),
        connections: Connections | None = None,
    ) -> None:
        """`options` go to uvicorn besides ours."""
        self._socket = listen(place.host, place.port)
        connections = connections or Connections()
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=connections.most + 1,
                h11_max_incomplete_event_size=HEADER_BYTES,
                ws="none",
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=STOP_S,
                ssl_certfile=place.cert,
                ssl_keyfile=place.key,
                **{"http": HTTPProtocol, **options},
            ),
            self._socket,
            connections,
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
            if not self._server.should_exit or self._server.gave_up:
                self._on_end()

    async def stop(self) -> None:
        """No new connections; what runs may finish within `STOP_S`."""
        self._server.should_exit = True
        await asyncio.gather(self._serving, return_exceptions=True)
