"""The confused deputy, through gateway and broker in one process: each scenario at an honest gateway, and with one that lies for him.

On a real bus the same scenarios are played by tests/integration/test_confused_deputy.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from schemas.invocation import Granted
from schemas.reasons import DenyReason as Deny
from schemas.record import Denied, Used
from streams.bus import parse
from streams.subjects import RECORD
from tests.support.deputies import (
    AT_THE_BROKER_ALONE,
    BOTH,
    FRAUD,
    REFUND,
    SEARCHING,
    Scenario,
    claims_of,
)
from tests.support.deputies import Town as AnyTown
from tests.support.hotpath import HotPath
from tests.support.invocations import ADVISOR, RESEARCHER, AgentSide
from workers.broker.mint import NotAllowed
from workers.common.identity import IdentityRefused
from workers.common.requests import RequestRefused


class Town(AnyTown):
    """Without a bus: RECORD in memory, time that stands still."""

    def __init__(self) -> None:
        self.hot = HotPath()
        super().__init__(self.hot.issuer)
        self.hot.put(self.login())

    def now(self) -> float:
        return self.hot.clock.at

    async def later(self, seconds: float) -> None:
        self.hot.clock.at += seconds

    async def put(self, *bodies: Any) -> None:
        self.hot.put(*bodies)

    def fact(self, kind: str, name: str) -> Any:
        return self.hot.table.agent(name) if kind == "agent" else self.hot.table.tool(name)

    async def grant(self, agent: AgentSide, **asked: Any) -> Granted:
        return await self.hot.mint.grant(await self.hot.allowed(agent, **asked))

    async def revoke(self, granted: Granted) -> None:
        self.hot.revocations.hit.add(claims_of(granted)["jti"])

    async def report(self, used: Used, body: bytes) -> int:
        return await self.hot.recorder.record(RECORD.at("point", "used", used.point), body, f"point:{used.jti}")

    async def at_the_gateway(self, agent: AgentSide, asked: dict[str, Any]) -> Deny | None:
        """Why an honest gateway refuses; none where it asks the broker."""
        self.hot.broker.asked.clear()
        await self.hot.gateway.invoke(agent.name, self.message(agent, asked), self.now())
        return None if self.hot.broker.asked else parse(Denied, self.hot.stream.messages[-1][1]).data.reason

    async def through_a_lie(self, agent: AgentSide, asked: dict[str, Any]) -> Deny:
        """Why the broker refuses what a gateway says it allows.  Nothing was recorded as issued."""
        before = len(self.hot.stream.messages)
        with pytest.raises((RequestRefused, IdentityRefused, NotAllowed)) as caught:
            await self.hot.mint.grant(await self.lie(agent, asked, self.hot.table.revision))
        assert len(self.hot.stream.messages) == before
        return caught.value.reason


@pytest.mark.parametrize("scenario", BOTH, ids=lambda scenario: scenario.__name__)
async def test_a_deputy_is_not_confused(scenario: Scenario) -> None:
    """INVARIANT: no agent acts with more than asker, agent, person and consent hold together, whoever of them is the stronger (promise 3).

    Broken by any check that looks at one of them alone, or at a credential without asking whose it is.
    """
    town = Town()
    agent, asked = await scenario(town)
    expected = None if scenario in AT_THE_BROKER_ALONE else BOTH[scenario]
    assert await town.at_the_gateway(agent, asked) is expected


@pytest.mark.parametrize("scenario", BOTH, ids=lambda scenario: scenario.__name__)
async def test_not_with_the_gateways_help_either(scenario: Scenario) -> None:
    """INVARIANT: what a deputy may not do, a lying gateway cannot have it do (promise 8).

    Broken by a broker that leaves one of these questions to the gateway.
    """
    town = Town()
    agent, asked = await scenario(town)
    assert await town.through_a_lie(agent, asked) is BOTH[scenario]


async def test_the_honest_ways_are_open() -> None:
    """Or the refusals above would prove nothing."""
    town = Town()
    checked = await town.checked()
    evidence = [await town.used(checked)]
    refund = claims_of(await town.grant(town.advisor, user=town.user(), parent=checked.token, evidence=evidence, **REFUND))
    assert (refund["sub"], refund["act"]["sub"], refund["call"]["actions"]) == ("marty", ADVISOR, ["refund"])
    assert claims_of(await town.grant(town.search, parent=(await town.delegated()).token, **SEARCHING))["sub"] == RESEARCHER
    assert claims_of(await town.grant(town.advisor, user=town.user(agent="frontend", may_act={"sub": ADVISOR}), **FRAUD))["sub"] == "marty"
