"""A signal, the step-up it asks for, and how it is satisfied: on a real server, with every worker that has a part in it.

Verifies that a person's approval lets exactly one request of one instance pass, that an agent cannot give it to itself, and that fresh
attestation and proof of possession are things an agent can show.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client
from weft.agent import Agent
from weft.digest import sha256
from weft.grants import Grant, HTTPCall, Refusal, StepUp
from weft.nkey import KeyPair
from weft.spiffeid import SpiffeID

from schemas.base import Wire
from schemas.commands import APPROVE, WAITING, Approve, Waiting
from schemas.facts import Grant as Role
from schemas.facts import Person, ResponsePolicy, Transmitter, TransmitterCeiling
from schemas.points import SET_DELIVERED, SetDelivery
from schemas.responses import Need, ResponseRule
from schemas.signals import CAEP
from streams import subjects
from streams.bus import HEADERS, event
from tests.support.fabric import FabricServer
from tests.support.identities import Signer
from tests.support.invocations import RESEARCHER, AgentSide
from tests.support.invoking import Invoking

WORKERS = ("revocation", "registry", "broker", "gateway", "signals")
ISS, AUD = "https://risk.example", "https://txn-svc.88mph.com"
DOC, EVE = KeyPair("U"), KeyPair("U")
ROOT = "spiffe://88mph.com"
FLUX = HTTPCall("GET", "/search?q=flux")


class Held:
    """What the SDK asks of a connection, over a client of this test: its SVID is renewed when it is told to."""

    def __init__(self, nc: Client, side: AgentSide) -> None:
        self.nc, self.side = nc, side
        self.name, self.key, self.spiffe_id = side.name, side.key, SpiffeID.parse(side.id)
        self.svid = side.svid(time.time() - 30)

    async def request(self, subject: str, body: bytes, timeout_s: float) -> bytes:
        return (await self.nc.request(subject, body, timeout=timeout_s, headers=HEADERS)).data

    def renew(self) -> None:
        self.svid = self.side.svid(time.time(), jti=uuid.uuid4().hex)


class Story:
    """The fabric, a risk engine whose word asks for a step-up, and people."""

    def __init__(self, invoking: Invoking) -> None:
        self.invoking = invoking
        self.risk = Signer(kid="risk-1")
        self.people: dict[str, Client] = {}

    async def start(self, need: Need) -> None:
        rule = ResponseRule(name="medium", confidence="medium", response="step_up", needs=need, scope="agent")
        ceiling = TransmitterCeiling(namespaces=(ROOT,), strongest="quarantine")
        await self.invoking.write_world()
        await self.invoking.server.put_facts(
            Transmitter(iss=ISS, aud=AUD, jwks={"keys": [self.risk.jwk]}, trust={"*": "high"}, ceiling=ceiling),
            ResponsePolicy(name="p", rules=(rule,)),
            person(DOC, "doc", "approver", "transmitter"),
            person(EVE, "eve", "auditor"),
        )
        for key in (DOC, EVE):
            self.people[key.public] = await self.invoking.server.outer("operator", key.public, key)

    async def agent(self, **options: Any) -> Agent:
        side = self.invoking.agent(**options)
        return Agent(Held(await self.invoking.connect(side), side))  # type: ignore[arg-type]

    async def ask_as(self, key: KeyPair, subject: str, type_: str, data: Wire) -> dict[str, Any]:
        body = event(type_, data, source="/test")
        return json.loads((await self.people[key.public].request(subject, body, timeout=6)).data)["data"]

    async def suspect(self) -> None:
        """The risk engine says that the researcher is a medium risk; once the posture is there, the agent has to step up."""
        claims = {
            "iss": ISS,
            "aud": AUD,
            "iat": int(time.time()),
            "jti": uuid.uuid4().hex,
            "sub_id": {"format": "uri", "uri": RESEARCHER},
            "events": {f"{CAEP}risk-level-change": {"principal": "WORKLOAD", "current_level": "MEDIUM"}},
        }
        unverified = self.risk.sign(claims, typ="secevent+jwt")
        answer = await self.ask_as(DOC, subjects.SET.at(DOC.public), SET_DELIVERED, SetDelivery(set=unverified))
        assert answer["accepted"]

    async def answer(self, key: KeyPair, id_: str, verdict: str = "approve") -> dict[str, Any]:
        order = Approve(id=id_, verdict=verdict, reason="seen and meant")  # type: ignore[arg-type]
        return await self.ask_as(key, subjects.APPROVE.at(key.public), APPROVE, order)

    async def waiting(self, key: KeyPair) -> list[dict[str, Any]]:
        return (await self.ask_as(key, subjects.APPROVALS.at(key.public), WAITING, Waiting()))["rows"]


def person(key: KeyPair, name: str, *roles: str) -> Person:
    return Person(nkey=key.public, name=name, user=f"{name}@88mph.com", roles=tuple(Role(role=role, namespace=ROOT) for role in roles))  # type: ignore[arg-type]


async def search(agent: Agent, call: HTTPCall = FLUX) -> Grant | Refusal:
    return await agent.invoke("web-search", ["search"], "web.search.execute", call=call)


async def stepped_up(agent: Agent, needs: str) -> StepUp:
    """Once the signal has arrived everywhere."""
    async with asyncio.timeout(8):
        while True:
            refusal = await search(agent)
            if isinstance(refusal, StepUp) and refusal.needs == needs:
                return refusal
            await asyncio.sleep(0.05)


@pytest.fixture
async def story(fabric_server: FabricServer) -> Story:
    return Story(Invoking(fabric_server))


async def test_a_person_lets_one_request_pass_and_an_agent_cannot_be_that_person(story: Story) -> None:
    """INVARIANT: an approval is a person's, for one request, once.

    Broken by an agent that reaches the subject where people answer, by anybody's word, or by an approval that is not spent.
    """
    await story.start("approval")
    async with story.invoking.workers(*WORKERS):
        agent = await story.agent()
        assert isinstance(await search(agent), Grant)
        await story.suspect()
        refusal = await stepped_up(agent, "approval")
        assert not refusal
        assert refusal.approval is not None

        await an_agent_answers_itself(agent, refusal.approval)
        assert (await story.answer(EVE, refusal.approval))["reason"] == "not_authorized"
        assert await story.waiting(EVE) == []

        waits = asyncio.create_task(agent.step_up(refusal, wait_s=20))
        row = await shown(story)
        assert (row["agent"], row["arguments"]) == (RESEARCHER, {"path": "/search?q=flux", "body": ""})
        assert (await story.answer(DOC, row["id"]))["rows"][0]["state"] == "approved"
        granted = await waits
        assert isinstance(granted, Grant), granted

        again = await search(agent)  # the very same call: the approval is spent
        assert isinstance(again, StepUp)
        assert again.approval not in (None, refusal.approval)
        other = await search(agent, HTTPCall("GET", "/search?q=plutonium"))
        assert isinstance(other, StepUp)
        assert (await story.answer(DOC, str(again.approval), "deny"))["rows"][0]["state"] == "denied"
        denied = await agent.step_up(again, wait_s=10)
        assert (denied.code if isinstance(denied, Refusal) else "granted") == "denied"
    approved = [e["data"] for _, e in await story.invoking.record() if e["type"].endswith("approved.v1")]
    assert [a["what"] for a in approved if a["id"] == refusal.approval] == ["asked", "approved", "spent"]


async def an_agent_answers_itself(agent: Agent, id_: str) -> None:
    held: Any = agent.connection
    order = event(APPROVE, Approve(id=id_, verdict="approve", reason="I trust me"), source="/test")
    mine, his = subjects.APPROVE.at(held.name), subjects.APPROVE.at(DOC.public)
    for subject in (mine, his, subjects.APPROVAL_SPEND.at(), subjects.APPROVAL_ASK.at()):
        with pytest.raises((nats.errors.TimeoutError, nats.errors.NoRespondersError)):
            await held.request(subject, order, 0.3)


async def shown(story: Story) -> dict[str, Any]:
    """The one that waits, once the agent has shown its call."""
    async with asyncio.timeout(8):
        while True:
            rows = await story.waiting(DOC)
            if rows and rows[0].get("arguments"):
                return rows[0]
            await asyncio.sleep(0.05)


async def test_a_fresh_attestation_and_a_proof_of_possession_can_be_shown(story: Story) -> None:
    await story.start("fresh_attestation")
    async with story.invoking.workers(*WORKERS):
        agent = await story.agent()
        await story.suspect()
        refusal = await stepped_up(agent, "fresh_attestation")
        assert isinstance(await search(agent), StepUp)  # asking again shows nothing
        assert isinstance(await agent.step_up(refusal, wait_s=20), Grant)

        rule = ResponseRule(name="medium", confidence="medium", response="step_up", needs="proof_of_possession", scope="agent")
        await story.invoking.server.put_facts(ResponsePolicy(name="p", rules=(rule,)))
        await story.suspect()
        refusal = await stepped_up(agent, "proof_of_possession")
        assert refusal.challenge is not None
        invented = await agent._ask(
            type(refusal.asked)({**refusal.asked.payload, "challenge": sha256("mine")}, refusal.asked.carried),
            5.0,  # type: ignore[union-attr]
        )
        assert isinstance(invented, StepUp)
        assert isinstance(await agent.step_up(refusal, wait_s=20), Grant)
