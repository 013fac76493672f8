"""One NATS client of a connection: how it is made, and how it ends once another has taken its place."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from nats.aio.client import Client, Server

from weft.identity import Identity
from weft.lean import LeanClient

GRACE_S = 5.0  # what requests in flight are given on a client that was replaced
RECONNECT_S = (0.05, 0.5)  # pause before an attempt to reconnect, evenly spread so that many do not return at once


def _next_server(servers: list[Server], _: dict[str, Any]) -> tuple[Server, float]:
    return random.choice(servers), random.uniform(*RECONNECT_S)  # noqa: S311 - spreading load, not hiding anything


# Measured: the defaults notice a dead peer after six minutes, give up after sixty attempts, and connect in less than a callout may take.
CLIENT_OPTIONS: dict[str, Any] = {
    "connect_timeout": 5,
    "reconnect_time_wait": 0.2,  # of the first connect; afterwards _next_server says
    "max_reconnect_attempts": -1,
    "ping_interval": 5,
    "max_outstanding_pings": 2,
    "reconnect_to_server_handler": _next_server,
}

Connector = Callable[[Identity, dict[str, Any]], Awaitable[Client]]
logger = logging.getLogger("weft.connection")


async def connect(_: Identity, options: dict[str, Any]) -> Client:
    """The connector: one attempt, so that a refusal shows at once; from then on the client reconnects by itself."""
    nc = LeanClient()
    try:
        await nc.connect(**{**options, "allow_reconnect": False})
    except BaseException:
        await nc.close()
        raise
    nc.options["allow_reconnect"] = True
    return nc


@dataclass
class Session:
    """One client, and the requests in flight on it."""

    identity: Identity
    nc: Client
    in_flight: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


async def end(session: Session) -> None:
    """Closes a replaced client once its requests are answered, or have had their time."""
    try:
        if session.in_flight:
            async with asyncio.timeout(GRACE_S):
                await session.idle.wait()
    except TimeoutError:
        logger.info("requests_abandoned", extra={"count": session.in_flight})
    finally:
        await session.nc.close()


def checked_server(server: str) -> str:
    """The same; raises ValueError for one that is neither loopback nor TLS."""
    parts = urlsplit(server)
    if parts.scheme != "tls" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError("a server that is not on loopback needs tls://")
    return server
