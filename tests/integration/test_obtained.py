"""Verifies that what a broker obtained from another server is taken back though the broker is killed: real nats-server, real processes."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.errors import NoRespondersError

from config.settings import OutboundPrivate
from schemas.facts import AuthorizationServer, Relation, Tool
from schemas.invocation import Granted
from schemas.record import OBTAINED
from tests.support import world
from tests.support.fabric import FabricServer
from tests.support.facts import body
from tests.support.invocations import RESEARCHER
from tests.support.invoking import Invoking, process
from tests.support.ordering import revoke
from tests.support.tokenserver import TokenServer, token_server

CRM = "https://crm.88mph.com"
ASK = {"tool": "crm", "actions": ["read"], "purpose": "web.search.execute"}


class Place:
    """A fabric whose gateway and revocation run here, and whose brokers are processes that can be killed."""

    def __init__(self, invoking: Invoking, other: TokenServer) -> None:
        self.invoking = invoking
        self.other = other

    async def token(self, instance: str) -> str:
        """What an instance of the agent is handed."""
        agent = self.invoking.agent(id=RESEARCHER, instance=f"i{instance * 26}")
        nc = await self.invoking.connect(agent)
        async with asyncio.timeout(15):
            while True:
                try:
                    granted = await self.invoking.invoke(nc, agent, **ASK)
                except NoRespondersError:
                    await asyncio.sleep(0.05)
                    continue
                assert isinstance(granted, Granted), await self.invoking.reason(granted.explanation)
                assert granted.token is not None
                return granted.token

    async def revoke(self, kind: Any, value: str) -> None:
        await revoke(self.invoking.server, kind, value)

    async def until_told(self, *expected: str) -> None:
        """Until RECORD says this of obtaining, and nothing else."""
        async with asyncio.timeout(10):
            while True:
                told = sorted(said["data"]["state"] for _, said in await self.invoking.record() if said["type"] == OBTAINED)
                if told == sorted(expected):
                    return
                await asyncio.sleep(0.1)


@pytest.fixture
async def place(fabric_server: FabricServer) -> AsyncIterator[Place]:
    async with token_server() as other, _place(fabric_server, other) as made:
        yield made


@asynccontextmanager
async def _place(server: FabricServer, other: TokenServer) -> AsyncIterator[Place]:
    server.settings = server.settings.model_copy(update={"outbound_private": OutboundPrivate(servers=("127.0.0.0/8",))})
    invoking = Invoking(server)
    await invoking.write_world()
    plain = world.bodies()["researcher"]
    agent = body({**plain, "charter": {**plain["charter"], "tools": ["*"], "actions": ["*"]}})
    fact = {
        "name": "other", "owner": "o", "issuer": other.url, "client_id": "weft", "resources": [CRM], "grants": ["client_credentials"],
        "token_endpoint": f"{other.url}/token", "revocation_endpoint": f"{other.url}/revoke", "revocable": True,
    }  # fmt: skip
    tool = {
        "name": "crm", "owner": "o", "workload": "spiffe://88mph.com/tools/crm", "endpoint": CRM, "resource": CRM, "actions": ["read"],
        "purposes": ["web.search.execute"], "bind": [], "token_form": "external", "obtain": {"server": "other", "by": "client_credentials"},
    }  # fmt: skip
    await server.put_facts(
        agent,
        Relation(subject=f"agent:{RESEARCHER}", relation="operates", object="tool:crm"),
        AuthorizationServer.model_validate_json(json.dumps(fact)),
        Tool.model_validate_json(json.dumps(tool)),
    )
    async with invoking.workers("revocation", "gateway"):
        yield Place(invoking, other)


def clear(folder: Path, tokens: set[str]) -> list[str]:
    """Files under the fabric's folder, the bus's own among them, that hold one of these in clear."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if any(token.encode() in path.read_bytes() for token in tokens)]


async def test_a_broker_that_is_killed_leaves_nothing_that_nobody_takes_back(place: Place) -> None:
    """INVARIANT: kill -9 of a broker loses no obtained token: what a revocation names meanwhile, the next broker takes back (issue 4).

    Broken by keeping what was obtained in memory alone; or by a file that anybody can read.
    """
    settings = place.invoking.server.settings
    async with process("broker", settings) as broker:
        hit, live = await place.token("b"), await place.token("c")
        broker.send_signal(signal.SIGKILL)
        await broker.wait()
    assert clear(settings.state, {hit, live}) == []
    await place.revoke("instance", f"i{'b' * 26}")
    assert place.other.revoked == []
    place.other.away = True
    async with process("broker", settings):
        await place.other.asked.wait()  # and was told to come again
        place.other.away = False
        await place.other.until_revoked({hit})
        assert live not in place.other.revoked
        assert await place.token("c") == live, "what serves a live grant goes on"
        await place.revoke("agent", RESEARCHER)
        await place.other.until_revoked({live})
        await place.until_told("asked", "asked", "got", "got", "revoked", "revoked")
    assert sorted(place.other.revoked) == sorted([hit, live])
    assert clear(settings.state, {hit, live}) == []


async def test_of_two_brokers_the_one_that_lives_takes_back_what_the_other_left(place: Place) -> None:
    settings = place.invoking.server.settings
    async with process("broker", settings) as first, process("broker", settings):
        tokens = {await place.token(letter) for letter in "bcdefg"}
        assert len(tokens) == 6
        first.send_signal(signal.SIGKILL)
        await first.wait()
        await place.revoke("agent", RESEARCHER)
        await place.other.until_revoked(tokens)
        assert sorted(place.other.revoked) == sorted(tokens), "each once"
