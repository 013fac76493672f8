"""A worker's own connection as the guard wants one: the static credential of account EGRESS instead of an SVID.

The name is an instance of this process and the egress's SPIFFE ID, under which alone its credential may publish; so every copy is an
enforcement point of its own, whose acknowledgements are its own.  The client reconnects by itself and is never replaced; where it closes
for good the worker ends.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from weft.connection import Connection
from weft.errors import Unavailable
from weft.spiffeid import SpiffeID

from streams.bus import HEADERS
from streams.subjects import connection_name
from workers.common.runtime import Runtime


class EgressConnection(Connection):
    """`name`, `source`, `nc`, and the verbs; nothing of a connection's life, which is the runtime's."""

    def __init__(self, runtime: Runtime, egress_id: str) -> None:
        self._runtime = runtime
        self._name = connection_name(_instance(), SpiffeID.parse(egress_id))
        self._egress_id = egress_id

    @property
    def name(self) -> str:
        """See Connection."""
        return self._name

    @property
    def source(self) -> str:
        """See Connection."""
        return self._egress_id

    @property
    def nc(self) -> Client:
        """See Connection."""
        return self._runtime.nc

    async def request(self, subject: str, body: bytes, timeout_s: float) -> bytes:
        """See Connection."""
        return (await self.nc.request(subject, body, timeout=timeout_s, headers=HEADERS)).data

    async def subscribe(self, subject: str, on_message: Callable[[Msg], Awaitable[None]]) -> None:
        """See Connection."""
        await self.nc.subscribe(subject, cb=on_message)

    def on_rebuilt(self, callback: Callable[[Client], Awaitable[None]]) -> None:
        """Never called: the worker is built anew instead."""

    def on_reconnected(self, callback: Callable[[], None]) -> None:
        """See Connection."""
        self._runtime.on_reconnected(callback)

    async def svid_for(self, audience: str) -> str:  # noqa: ARG002
        """The egress has none."""
        raise Unavailable("the egress has no SVID")


def _instance() -> str:
    """128 random bits as an instance id."""
    return "i" + base64.b32encode(secrets.token_bytes(20)).decode().lower()[:26]
