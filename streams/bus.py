"""The one way onto the bus: a FastStream broker with every setting that matters, and what goes with it.

Why each setting: nats-py gives up after two minutes and notices a dead peer after six by default; FastStream terminates messages on
errors, logs payloads and names every connection alike.  A client never gives up reconnecting; one that closes nevertheless is
told through `closed_cb`, and its worker is built anew.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import structlog
from faststream import AckPolicy
from faststream.nats import NatsBroker
from faststream.nats.security import NatsCredentials
from nats.aio.client import Client, Server
from weft.lean import LeanClient

from config.settings import Settings
from streams.callers import Caller, CallerUnknown, caller
from streams.publisher import DEADLINE_S, Message, Outgoing, PubAck, PublishConflict, Publisher, PublishFailed
from streams.serverconf import loopback
from streams.subjects import worker_inbox
from streams.wire import HEADERS, Malformed, event, event_of, parse

__all__ = [
    "DEADLINE_S",
    "HEADERS",
    "Caller",
    "CallerUnknown",
    "Malformed",
    "Message",
    "Outgoing",
    "PubAck",
    "PublishConflict",
    "PublishFailed",
    "Publisher",
    "caller",
    "client",
    "connect_options",
    "event",
    "event_of",
    "fabric_broker",
    "parse",
]

CONNECTION_ERROR = "connection_error"
CONNECT_TIMEOUT_S = 5  # above the server's authorization timeout, so that its refusal is heard
logger = structlog.get_logger()


class InsecureServer(ValueError):
    """A server that is not on this machine, without TLS."""


class FabricBroker(NatsBroker):
    """Closes what it began to connect: nats-py leaves the socket of a start that was refused or interrupted open."""

    async def _connect(self) -> Client:
        connection = LeanClient()
        try:
            await connection.connect(**self._connection_kwargs)
        except BaseException:
            await connection.close()
            raise
        self.config.connect(connection)
        return connection


def fabric_broker(
    worker: str,
    settings: Settings,
    *,
    closed_cb: Callable[[], Awaitable[None]] | None = None,
    reconnected_cb: Callable[[], Awaitable[None]] | None = None,
) -> NatsBroker:
    """A worker's broker, on its own credential.  Not connected yet."""
    return FabricBroker(
        security=NatsCredentials.from_file(settings.creds / f"{worker}.creds", ssl_context=tls_context(settings)),
        apply_types=False,
        ack_policy=AckPolicy.MANUAL,
        logger=None,
        closed_cb=closed_cb,
        reconnected_cb=reconnected_cb,
        **_options(worker, settings),
    )


def connect_options(worker: str, settings: Settings) -> dict[str, Any]:
    """The same for a bare `nats.connect`."""
    tls = tls_context(settings)
    return {
        "user_credentials": str(settings.creds / f"{worker}.creds"),
        **({} if tls is None else {"tls": tls}),
        **_options(worker, settings),
    }


def client(broker: NatsBroker) -> Client:
    """The broker's connection.  Raises RuntimeError before it is connected."""
    connection = broker._connection  # noqa: SLF001 - FastStream 0.7 has no public way to it; pinned exactly
    if connection is None:
        raise RuntimeError("the broker is not connected")
    return connection


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What verifies the servers; none where all are on this machine and none asks for TLS.  Raises InsecureServer."""
    urls = [urlsplit(server) for server in settings.servers]
    if settings.tls_ca is not None:
        return ssl.create_default_context(cafile=str(settings.tls_ca))
    if any(url.scheme == "tls" for url in urls):
        return ssl.create_default_context()
    if not all(loopback(url.hostname or "") for url in urls):
        raise InsecureServer("a server that is not loopback needs tls:// or tls_ca")
    return None


def _options(worker: str, settings: Settings) -> dict[str, Any]:
    return {
        "servers": list(settings.servers),
        "name": worker,
        "inbox_prefix": worker_inbox(worker),
        "connect_timeout": CONNECT_TIMEOUT_S,
        "max_reconnect_attempts": -1,
        "reconnect_to_server_handler": _next_server,
        "ping_interval": 5,
        "max_outstanding_pings": 2,
        "error_cb": _on_error,
    }


def _next_server(servers: list[Server], _: dict[str, Any]) -> tuple[Server | None, float]:
    """The server tried least, soon and not all at once: a herd of workers returns within a second of its server."""
    server = min(servers, key=lambda known: known.reconnects)
    return server, random.uniform(0.01, min(1.0, 0.05 * 2.0 ** min(server.reconnects, 5)))  # noqa: S311 - jitter


async def _on_error(error: Exception) -> None:
    logger.warning(CONNECTION_ERROR, error=type(error).__name__)  # its text may hold a subject, which names someone
