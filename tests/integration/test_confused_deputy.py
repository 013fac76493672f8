"""The confused deputy on a real bus: gateway, broker and revocation as workers, the scenarios of tests/support/deputies.py in turn.

Each attacker publishes on its own subject, and then once more has the gateway's own credential to lie to the broker with.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from schemas.facts import Kind
from schemas.invocation import Granted, Refused
from schemas.minting import MINT, MintAnswers, MintRequests
from schemas.reasons import DenyReason as Deny
from schemas.record import DENIED, Used
from streams import subjects
from streams.bus import HEADERS, event, parse
from streams.facts_keys import key_of
from tests.support import world
from tests.support.deputies import BOTH, Scenario, Town, a_step_right_after_the_consent_expired, claims_of
from tests.support.fabric import FabricServer
from tests.support.facts import body as fact_body
from tests.support.invocations import AgentSide
from tests.support.invoking import Invoking
from tests.support.ordering import revoke

NOT_HERE = {a_step_right_after_the_consent_expired}  # time is the machine's here, and nobody waits twenty seconds for it


class RealTown(Town):
    """A fabric; what a scenario changed is undone before the next one."""

    def __init__(self, invoking: Invoking, apps: list[Any]) -> None:
        self.invoking = invoking
        self.apps = apps
        self._changed: list[Any] = []
        self.begin()

    def begin(self) -> None:
        """Everybody anew, with keys of their own."""
        super().__init__(self.invoking.issuer)

    async def end(self) -> None:
        """The world as it was."""
        known = {(body.kind, key_of(body)): body for body in map(fact_body, world.bodies().values())}
        back = [known[key] for key in dict.fromkeys((body.kind, key_of(body)) for body in self._changed) if key in known]
        gone = {(body.kind, key_of(body)) for body in self._changed} - known.keys() - {(Kind.ISSUER, key_of(self.login()))}
        self._changed.clear()
        ack = await self.invoking.server.put_facts(*back) if back else None
        for kind, key in sorted(gone):
            ack = await self.invoking.server.delete_fact(kind, key)
        await self._known(ack)

    def now(self) -> float:
        return time.time()

    async def later(self, seconds: float) -> None:
        raise AssertionError(f"this clock is everybody's: a scenario of {seconds} s stays in process")

    async def put(self, *bodies: Any) -> None:
        self._changed += bodies
        await self._known(await self.invoking.server.put_facts(*bodies))

    async def _known(self, ack: Any) -> None:
        if ack is not None:
            assert all(await asyncio.gather(*(app.runtime.facts.wait_for(ack.seq, 10) for app in self.apps)))

    def fact(self, kind: str, name: str) -> Any:
        table = self.apps[0].runtime.facts.table
        return table.agent(name) if kind == "agent" else table.tool(name)

    async def ask(self, agent: AgentSide, body: bytes) -> Granted | Refused:
        nc = await self.invoking.connect(agent)
        try:
            return await self.invoking.send(nc, agent, body)
        finally:
            await nc.close()

    async def grant(self, agent: AgentSide, **asked: Any) -> Granted:
        granted = await self.ask(agent, agent.body(self.now(), **asked))
        assert isinstance(granted, Granted), await self.reason(granted.explanation)
        return granted

    async def revoke(self, granted: Granted) -> None:
        await revoke(self.invoking.server, "token", claims_of(granted)["jti"])

    async def report(self, used: Used, body: bytes) -> int:
        nc = await self.invoking.server.worker("revocation")
        ack = await nc.jetstream().publish(subjects.RECORD.at("point", "used", used.point), body, stream="RECORD")
        await nc.close()
        return ack.seq

    async def reason(self, explanation: str) -> str:
        denied = [kept["data"] for _, kept in await self.invoking.record() if kept["type"] == DENIED]
        return next(str(data["reason"]) for data in denied if data["explanation"] == explanation)

    async def honestly(self, agent: AgentSide, asked: dict[str, Any]) -> str:
        """Why it is refused over the bus, by whichever of the two."""
        name = asked.get("connection", agent.name)
        nc = await self.invoking.server.outer("agent", name, agent.key)
        raw = self.message(agent, asked)
        answer = await nc.request(subjects.INVOKE.at(name), raw, timeout=6, headers=HEADERS)
        await nc.close()
        assert json.loads(answer.data)["type"] == "org.weft.invocation.refused.v1"
        return await self.reason(parse(Refused, answer.data).data.explanation)

    async def with_the_gateways_credential(self, agent: AgentSide, asked: dict[str, Any]) -> Deny | None:
        """What the broker answers a gateway that allows it."""
        lie = await self.lie(agent, asked, self.apps[0].runtime.facts.table.revision)
        nc = await self.invoking.server.worker("gateway")
        answer = await nc.request(
            subjects.MINT.at(), event(MINT, MintRequests(requests=(lie,)), source="/test"), timeout=6, headers=HEADERS
        )
        await nc.close()
        (one,) = parse(MintAnswers, answer.data).data.answers
        return one.refused


@pytest.mark.timeout(180)
async def test_no_deputy_is_confused_on_a_real_bus(fabric_server: FabricServer) -> None:
    """INVARIANT: no agent acts with more than asker, agent, person and consent hold together, over the bus and with the gateway's help
    (promises 3 and 8).

    Broken by whatever the workers leave out that the functions they are made of do.
    """
    invoking = Invoking(fabric_server)
    await invoking.write_world()
    async with invoking.workers("revocation", "broker", "gateway") as apps:
        town = RealTown(invoking, [app for app in apps if app.runtime.worker in ("broker", "gateway")])
        await town.put(town.login())
        found: dict[str, tuple[str, str | None]] = {}
        for scenario in (each for each in BOTH if each not in NOT_HERE):
            found[scenario.__name__] = await _played(town, scenario)
    assert found == {each.__name__: (str(BOTH[each]), str(BOTH[each])) for each in BOTH if each not in NOT_HERE}
    assert len(found) >= 30


async def _played(town: RealTown, scenario: Scenario) -> tuple[str, str | None]:
    town.begin()
    agent, asked = await scenario(town)
    honest = await town.honestly(agent, dict(asked))
    forged = await town.with_the_gateways_credential(agent, dict(asked))
    await town.end()
    return honest, None if forged is None else str(forged)
