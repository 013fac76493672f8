"""A tool behind a guard on a real server: facts, the workers that a guard talks to, a connection, tokens as the broker mints them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as Late
from weft.connection import Connection
from weft.digest import sha256
from weft.enforcement import Asked
from weft.guard import Guard
from weft.identity import Identity
from weft.session import connect

from schemas.facts import Tool
from schemas.revocation import ORDER, Order, Ordered
from streams import subjects
from streams.bus import event, parse
from tests.support.fabric import FabricServer
from tests.support.signed import BODY, PAYMENTS, TokenKey, call_claim, claims
from tests.support.workers import running
from workers.registry.app import build as registry
from workers.revocation.app import build as revocation

INSTANCE = "i" + "c4" * 13
ASKED = Asked("payments-processing", ("refund",), "POST", "/refunds", BODY)


class Clock:
    """The machine's, ahead by what a test says."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


def tool(**changes: Any) -> Tool:
    """The tool's record."""
    record = {
        "name": "payments-processing",
        "owner": "payments@88mph.com",
        "workload": PAYMENTS,
        "endpoint": "http://127.0.0.1:1",
        "resource": "https://payments.flux.88mph.com",
        "actions": ["refund", "payout"],
        "purposes": ["process.refund"],
        "object_fields": {"order": "/order", "amount": "/amount"},
    }
    return Tool.model_validate_json(json.dumps(record | changes))


class Place:
    """One server, its workers, and what a test does there."""

    def __init__(self, server: FabricServer) -> None:
        self.server = server
        self.signals: Client
        self.clock = Clock()
        self._stack = AsyncExitStack()

    async def connection(self, instance: str = INSTANCE, kind: Any = "point", spiffe_id: str = PAYMENTS) -> Connection:
        """A connection of that kind, admitted by the stand-in."""
        if self.server._callout is None:
            await self.admit()

        async def svid(audience: str) -> str:
            now = int(time.time())
            return TokenKey().sign({"sub": spiffe_id, "aud": [audience], "iat": now, "exp": now + 300, "weft_instance": instance})

        async def connector(identity: Identity, options: dict[str, Any]) -> Client:
            return await connect(identity, {**options, "token": f"{identity.kind} {identity.name}"})

        made = Connection([self.server.url], kind, svid, trust_domain="88mph.com", connector=connector)
        await made.start()
        self._stack.push_async_callback(made.close)
        return made

    async def admit(self) -> None:
        """The stand-in for admission runs from here on; it does not outlive a server."""
        self.server._callout = None
        await (await self.server.outer("point", f"{INSTANCE}.88mph~com.tools.payments")).close()

    async def guard(self, connection: Connection | None = None, **options: Any) -> Guard:
        """A guard that is current."""
        made = Guard(connection or await self.connection(), ["payments-processing"], clock=self.clock, **options)
        await made.start(deadline_s=10)
        self._stack.push_async_callback(made.stop)
        return made

    def token(self, call: dict[str, Any] | None = None, **changes: Any) -> str:
        """As the broker would mint it now."""
        key = self.server.keys["tokens"]
        made = claims(int(self.clock()), call=call_claim(**(call or {})), **changes)
        return TokenKey(key.kid, key.private).sign(made)  # type: ignore[arg-type]

    async def revoke(self, kind: Any, value: str) -> int:
        """Orders it as `signals` does; the entry's number, once committed."""
        order = Order(id=sha256(f"{kind} {value}"), targets=((kind, value),), cause="test", by="test")
        while True:
            try:
                answer = await self.signals.request(subjects.ORDER.at(), event(ORDER, order, source="/test"), timeout=2)
            except (NoRespondersError, Late):
                await asyncio.sleep(0.05)  # its role is being taken
            else:
                return parse(Ordered, answer.data).data.n

    async def records(self, type_: str) -> list[tuple[int, dict[str, Any]]]:
        """Sequence and data of what RECORD holds of one type."""
        nc, found, seq = await self.server.worker("audit"), [], 1
        while True:
            msg = await nc.request(
                "$JS.API.DIRECT.GET.RECORD", json.dumps({"seq": seq, "next_by_subj": "weft.record.>"}).encode(), timeout=2
            )
            if (msg.headers or {}).get("Status"):
                await nc.close()
                return found
            seq = int((msg.headers or {})["Nats-Sequence"]) + 1
            said = json.loads(msg.data)
            found += [(seq - 1, said["data"])] if said["type"] == type_ else []


@asynccontextmanager
async def place(server: FabricServer, **record: Any) -> AsyncIterator[Place]:
    """Registry and revocation running, the tool registered."""
    await server.put_facts(tool(**record))
    made = Place(server)
    async with made._stack, running(registry, server.settings), running(revocation, server.settings):
        made.signals = await server.worker("signals")
        try:
            yield made
        finally:
            await made._stack.aclose()
