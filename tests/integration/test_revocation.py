"""The revocation worker on a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from nats.aio.client import Client
from weft.digest import target_digest

from schemas.facts import Cause as PostureCause
from schemas.facts import Posture
from schemas.revocation import ORDER, Order, Ordered
from streams import subjects
from streams.bus import event, parse
from tests.support.fabric import FabricServer
from tests.support.workers import running
from workers.revocation.app import build

AGENT = "spiffe://88mph.com/agents/advisor"


def posture(value: str, *, revoke: bool = True) -> Posture:
    cause = PostureCause(id="c1", by="https://risk.example", level="quarantined", event_time=1, event="operator")
    return Posture(scope="agent", target=target_digest("agent", value), value=value, level="quarantined", causes=(cause,), revoke=revoke)


async def entries(nc: Client) -> list[dict[str, Any]]:
    """Every entry of the stream, payloads as plain data."""
    from weft.digest import unb64u

    found, seq = [], 1
    while True:
        query = json.dumps({"seq": seq, "next_by_subj": "weft.revocation.entry"}).encode()
        msg = await nc.request("$JS.API.DIRECT.GET.REVOCATIONS", query, timeout=2)
        if (msg.headers or {}).get("Status"):
            return found
        seq = int(msg.headers["Nats-Sequence"]) + 1
        jws = json.loads(msg.data)["data"]["jws"]
        found.append({"jws": jws, **json.loads(unb64u(jws.split(".")[1]))})


async def eventually(check: Callable[[], Any], within_s: float = 5.0) -> Any:
    """The first true answer."""
    async with asyncio.timeout(within_s):
        while not (answer := await check()):
            await asyncio.sleep(0.02)
        return answer


async def test_a_posture_becomes_an_entry_that_names_it(fabric_server: FabricServer) -> None:
    nc = await fabric_server.worker("signals")
    async with running(build, fabric_server.settings):
        ack = await fabric_server.put_facts(posture(AGENT))
        (entry,) = await eventually(lambda: entries(nc))
    assert entry["posture"] == ack.seq
    assert entry["targets"] == [{"kind": "agent", "digest": target_digest("agent", AGENT)}]
