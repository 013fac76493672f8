"""An invocation on a real server: gateway, broker and revocation as workers, an agent that speaks the bare contract."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from nats.aio.client import Client

from schemas.envelope import CloudEvent
from schemas.invocation import GRANTED, Granted, Refused
from streams import subjects
from streams.bus import HEADERS, parse
from tests.support import world
from tests.support.fabric import FabricServer
from tests.support.facts import body as fact_body
from tests.support.identities import Signer
from tests.support.invocations import AgentSide
from tests.support.workers import running
from workers.broker.app import build as build_broker
from workers.gateway.app import build as build_gateway
from workers.revocation.app import build as build_revocation


@dataclass
class Fabric:
    """The running fabric and what its tests ask of it."""

    server: FabricServer
    issuer: Signer

    def agent(self, **options: Any) -> AgentSide:
        return AgentSide(self.issuer, **options)

    async def connect(self, agent: AgentSide) -> Client:
        return await self.server.outer("agent", agent.name, agent.key)

    async def invoke(self, nc: Client, agent: AgentSide, **changes: Any) -> Granted | Refused:
        return answer_in((await self.raw(nc, agent, agent.body(time.time(), **changes))).data)

    async def raw(self, nc: Client, agent: AgentSide, body: bytes) -> Any:
        return await nc.request(subjects.INVOKE.at(agent.name), body, timeout=6, headers=HEADERS)


def answer_in(raw: bytes) -> Granted | Refused:
    granted = CloudEvent[dict].model_validate_json(raw).type == GRANTED
    return parse(Granted, raw).data if granted else parse(Refused, raw).data


@pytest.fixture
async def fabric(fabric_server: FabricServer) -> AsyncIterator[Fabric]:
    issuer = Signer(kid="dev1")
    facts = [fact_body(plain) for plain in world.bodies().values()]
    await fabric_server.put_facts(issuer.fact(assurance="development"), *facts)
    async with AsyncExitStack() as stack:
        for build in (build_revocation, build_broker, build_gateway):
            app = await stack.enter_async_context(running(build, fabric_server.settings))
        await app.runtime.wait_current()
        yield Fabric(fabric_server, issuer)


async def test_an_agent_is_granted_one_call(fabric: Fabric) -> None:
    agent = fabric.agent()
    nc = await fabric.connect(agent)
    granted = await fabric.invoke(nc, agent)
    assert isinstance(granted, Granted), granted
    assert granted.endpoint == "http://127.0.0.1:9004"
