"""The attested connection to the fabric, for as long as the program lives.

The NATS client under it is replaced where its own reconnecting ends: when the server closes it for good (expiry, a cut, a changed
permission), and before the SVID expires, then by building the new one first.  Subscriptions and callbacks survive.  Each client has a
fresh key and SVID; operators keep their personal key.

What it does not do: hold messages back during an outage, or retry a request.  Both are the caller's, who knows the deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Self

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from weft.errors import Unavailable
from weft.identity import SVID_DEADLINE_S, Identity, Kind, SVIDSource, WorkloadAPI, operator_identity, workload_identity
from weft.nkey import KeyPair
from weft.session import CLIENT_OPTIONS, Connector, Session, checked_server, connect, end
from weft.spiffeid import SpiffeID
from weft.wire import HEADERS

CONNECT_DEADLINE_S = 10.0
START_DEADLINE_S = 30.0
BACKOFF_S = (0.1, 5.0)  # between attempts to build a client: the first, and the longest, before jitter

OnMessage = Callable[[Msg], Awaitable[None]]
OnRebuilt = Callable[[Client], Awaitable[None]]
logger = logging.getLogger("weft.connection")


class Connection:
    """An agent's, a point's or an operator's.  `start` before use, `close` at the end."""

    def __init__(
        self,
        servers: Sequence[str],
        kind: Kind,
        identity: SVIDSource | KeyPair,
        *,
        trust_domain: str,
        tls: ssl.SSLContext | None = None,
        connector: Connector = connect,
    ) -> None:
        """Raises ValueError for a server that is neither loopback nor TLS: CONNECT carries the SVID."""
        self._servers = [checked_server(server) for server in servers]
        self._kind = kind
        self._source = identity
        self._trust_domain = trust_domain
        self._tls = tls
        self._connector = connector
        self._session: Session | None = None
        self._lost = asyncio.Event()
        self._why = ""
        self._subscriptions: list[tuple[str, OnMessage]] = []
        self._on_rebuilt: list[OnRebuilt] = []
        self._on_reconnected: list[Callable[[], None]] = []
        self._on_error: list[Callable[[Exception], None]] = []
        self._keeper: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @classmethod
    def from_env(cls, kind: Kind, environ: Mapping[str, str] | None = None) -> Self:
        """As `weft agent run` sets it up: WEFT_SERVERS, WEFT_TRUST_DOMAIN, SPIFFE_ENDPOINT_SOCKET, WEFT_CA.  Raises KeyError."""
        environ = os.environ if environ is None else environ
        tls = ssl.create_default_context(cafile=environ["WEFT_CA"]) if "WEFT_CA" in environ else None
        source = WorkloadAPI(environ["SPIFFE_ENDPOINT_SOCKET"])
        return cls(environ["WEFT_SERVERS"].split(","), kind, source, trust_domain=environ["WEFT_TRUST_DOMAIN"], tls=tls)

    # --- who and what ---------------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """What the present client shows; another one after a rebuild.  Raises Unavailable before `start`."""
        return self._current().identity

    @property
    def nc(self) -> Client:
        """The present client.  Raises Unavailable before `start`."""
        return self._current().nc

    @property
    def name(self) -> str:
        """The connection's name, as the server attests it."""
        return self.identity.name

    @property
    def instance(self) -> str | None:
        """The instance id; operators have none."""
        return self.identity.instance

    @property
    def spiffe_id(self) -> SpiffeID | None:
        """The SPIFFE ID; operators have none."""
        return self.identity.spiffe_id

    @property
    def key(self) -> KeyPair:
        """The key that the connection and its requests are signed with."""
        return self.identity.key

    @property
    def svid(self) -> str:
        """The SVID bound to that key."""
        return self.identity.svid

    async def svid_for(self, audience: str) -> str:
        """Another SVID of this workload, for a tool that takes SVIDs.  Raises Unavailable."""
        if isinstance(self._source, KeyPair):
            raise Unavailable("an operator has no SVID")
        try:
            async with asyncio.timeout(SVID_DEADLINE_S + 1):
                return await self._source(audience)
        except TimeoutError:
            raise Unavailable("the Workload API did not answer in time") from None

    @property
    def source(self) -> str:
        """`source` of the events sent from here."""
        return str(self.spiffe_id or self.key.public)

    # --- life -----------------------------------------------------------------------------------------------------------------

    async def start(self, deadline_s: float = START_DEADLINE_S) -> None:
        """Connect, trying again until the deadline; raises Unavailable."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._rebuild()
        except TimeoutError:
            raise Unavailable(f"no connection within the deadline; the last attempt: {self._why or 'no answer'}") from None
        self._keeper = asyncio.create_task(self._keep(), name="weft connection")

    async def close(self) -> None:
        """End everything this connection owns."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        for task in tuple(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        session, self._session = self._session, None
        if session is not None:
            await session.nc.close()

    def renew(self) -> None:
        """Replace the client now: the new one first, then the switch, then the old one's end."""
        self._lost.set()

    # --- use ------------------------------------------------------------------------------------------------------------------

    async def request(self, subject: str, body: bytes, timeout_s: float) -> bytes:
        """One request.  Raises nats.errors.Error, TimeoutError or OSError."""
        session = self._current()
        session.in_flight += 1
        session.idle.clear()
        try:
            return (await session.nc.request(subject, body, timeout=timeout_s, headers=HEADERS)).data
        finally:
            session.in_flight -= 1
            if session.in_flight == 0:
                session.idle.set()

    async def publish(self, subject: str, body: bytes) -> None:
        """One message that nobody answers.  Raises nats.errors.Error or OSError."""
        await self.nc.publish(subject, body, headers=HEADERS)

    async def subscribe(self, subject: str, on_message: OnMessage) -> None:
        """From now on, on every client.  A message may come twice while one client replaces another."""
        self._subscriptions.append((subject, on_message))
        await self.nc.subscribe(subject, cb=on_message)

    def on_rebuilt(self, callback: OnRebuilt) -> None:
        """Called with every new client but the first, before the old one ends.  While it raises, the client is not taken."""
        self._on_rebuilt.append(callback)

    def on_reconnected(self, callback: Callable[[], None]) -> None:
        """Called when the present client has reconnected by itself: something may have been missed."""
        self._on_reconnected.append(callback)

    def on_error(self, callback: Callable[[Exception], None]) -> None:
        """Called with what the client reports outside of any call, such as a permissions violation."""
        self._on_error.append(callback)

    # --- building and replacing -----------------------------------------------------------------------------------------------

    def _current(self) -> Session:
        if self._session is None:
            raise Unavailable("not connected")
        return self._session

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.identity.renew_in(time.time())):
                    await self._lost.wait()
            await self._rebuild()

    async def _rebuild(self) -> None:
        pause = BACKOFF_S[0]
        while True:
            self._lost.clear()
            try:
                async with asyncio.timeout(CONNECT_DEADLINE_S):
                    await self._replace(await self._build())
            except (nats.errors.Error, OSError, TimeoutError, Unavailable) as error:
                self._why = _why(error)
                logger.warning("connection_failed", extra={"kind": self._kind, "error": type(error).__name__})
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter, so that many do not return at once
                pause = min(pause * 2, BACKOFF_S[1])
            else:
                return

    async def _build(self) -> Session:
        identity = await self._identify()
        options = {
            **CLIENT_OPTIONS,
            "servers": self._servers,
            "name": identity.name,
            "nkeys_seed_str": identity.key.seed,
            "token": identity.token,
            "inbox_prefix": f"_INBOX.{identity.name}",
            "error_cb": self._error,
            "closed_cb": self._closed,
            "reconnected_cb": self._reconnected,
            **({"tls": self._tls} if self._tls is not None else {}),
        }
        return Session(identity, await self._connector(identity, options))

    async def _identify(self) -> Identity:
        if isinstance(self._source, KeyPair):
            return operator_identity(self._source)
        if self._kind == "operator":
            raise Unavailable("an operator is known by a key")
        return await workload_identity(self._kind, self._source, self._trust_domain)

    async def _replace(self, new: Session) -> None:
        old = self._session
        try:
            for subject, on_message in self._subscriptions:
                await new.nc.subscribe(subject, cb=on_message)
            if old is not None:
                await asyncio.gather(*(callback(new.nc) for callback in self._on_rebuilt))
        except BaseException:
            await new.nc.close()
            raise
        self._session = new
        self._lost.clear()
        if new.nc.is_closed:
            self._lost.set()
        if old is not None:
            self._retire(old)

    def _retire(self, old: Session) -> None:
        task = asyncio.create_task(end(old), name="weft connection retiring")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    # --- what the client reports --------------------------------------------------------------------------------------------

    async def _closed(self) -> None:
        if self._session is not None and self._session.nc.is_closed:
            self._lost.set()

    async def _reconnected(self) -> None:
        for callback in self._on_reconnected:
            callback()

    async def _error(self, error: Exception) -> None:
        logger.debug("client_error", extra={"kind": self._kind, "error": type(error).__name__})
        for callback in self._on_error:
            callback(error)


def _why(error: Exception) -> str:
    """For people: our own errors say it, others may quote what was sent.  A refusal says no more than that, nor does the server."""
    if isinstance(error, Unavailable):
        return str(error)
    return "it was not admitted" if "authorization violation" in str(error).lower() else type(error).__name__
