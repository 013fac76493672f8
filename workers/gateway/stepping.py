"""What a step-up offers the agent: something to wait for, something to answer, or nothing but its name.

For an approval a person is asked, by way of the registry, and once: while the question about this very request stands, another request
like it is told the same id.  An agent may ask what became of an approval of its own instance, and show the arguments it is about.  None
of it lets anything pass: the next request is decided anew, by gateway and broker.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from schemas.approvals import Ask, Held, Show
from schemas.facts import MAX_APPROVALS, Approval, Kind
from schemas.invocation import ApprovalAsked, ApprovalState
from schemas.reasons import DenyReason
from schemas.responses import Need
from streams.facts_table import FactChange, FactsTable
from streams.subjects import parse_connection_name
from workers.common.approvals import asked_digest, expired
from workers.common.clock import Clock

RETRY_AFTER_S = 5.0  # where no question could be asked now


class NotAsked(Exception):
    """The registry did not take it, or did not answer."""

    def __init__(self, reason: DenyReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class People(Protocol):
    """The registry, over the bus.  Both raise NotAsked."""

    async def ask(self, ask: Ask, *, timeout_s: float) -> Held:
        """Have a person asked."""
        ...

    async def show(self, show: Show, *, timeout_s: float) -> Held:
        """Show the person what it is about."""
        ...


class Challenges(Protocol):
    """`workers.common.challenges.Challenges` is one."""

    def newest(self) -> str | None:
        """To be answered next."""
        ...


@dataclass(frozen=True, slots=True)
class Offer:
    """Of a step-up."""

    needs: Need
    approval: str | None = None
    challenge: str | None = None
    retry_after_s: float | None = None
    detail: str | None = None  # for the record: why nobody was asked


class Stepping:
    """The gateway's side of step-ups; `changed` hears every change of the facts."""

    def __init__(self, facts: FactsTable, challenges: Challenges, people: People, clock: Clock) -> None:
        self._facts = facts
        self._challenges = challenges
        self._people = people
        self._clock = clock
        self._answered = asyncio.Event()

    def changed(self, change: FactChange) -> None:
        """Somebody may be waiting for this."""
        if change.kind is Kind.APPROVAL:
            self._answered.set()
            self._answered = asyncio.Event()

    async def offer(self, needs: Need, call: Ask | None, *, timeout_s: float) -> Offer:
        """What the agent is told.  `call` is what a person would be asked; none where there is nothing to bind an approval to."""
        if needs == "proof_of_possession":
            return Offer(needs, challenge=self._challenges.newest())
        if needs != "approval":
            return Offer(needs)
        if call is None:
            return Offer(needs, detail="the request names no call that an approval could be bound to")
        return await self._question(call, timeout_s)

    async def _question(self, call: Ask, timeout_s: float) -> Offer:
        live = [a for a in self._facts.approvals_of(call.agent) if not expired(a, self._clock.now())]
        standing = next((a for a in live if a.state == "pending" and a.digest == asked_digest(call)), None)
        if standing is not None:
            return Offer("approval", approval=standing.id)
        if len(live) >= MAX_APPROVALS:  # the registry would say so too; a flood ends here
            return Offer("approval", retry_after_s=RETRY_AFTER_S, detail=f"nobody was asked: {len(live)} questions of this agent stand")
        try:
            return Offer("approval", approval=(await self._people.ask(call, timeout_s=timeout_s)).id)
        except NotAsked as error:
            return Offer("approval", retry_after_s=RETRY_AFTER_S, detail=f"nobody was asked: {error.detail}")

    async def state(self, name: str, asked: ApprovalAsked) -> ApprovalState | None:
        """What became of it; waits for an answer as long as it is told to.  None for what is not this instance's."""
        instance, workload = parse_connection_name(name)
        until = asyncio.get_running_loop().time() + asked.wait_s
        if asked.arguments is not None:
            await self._show(str(workload), instance, asked)
        while True:
            told, answered = self._told(str(workload), instance, asked.id), self._answered
            left = until - asyncio.get_running_loop().time()
            if told is None or told.state != "pending" or left <= 0:
                return told
            try:
                async with asyncio.timeout(left):
                    await answered.wait()
            except TimeoutError:
                continue

    async def _show(self, agent: str, instance: str, asked: ApprovalAsked) -> None:
        held = self._held(agent, instance, asked.id)
        if held is None or held.state != "pending" or held.arguments is not None or asked.arguments is None:
            return
        await self._people.show(Show(agent=agent, id=asked.id, arguments=asked.arguments), timeout_s=2.0)

    def _held(self, agent: str, instance: str, id_: str) -> Approval | None:
        return next((a for a in self._facts.approvals_of(agent) if a.id == id_ and a.instance == instance), None)

    def _told(self, agent: str, instance: str, id_: str) -> ApprovalState | None:
        held = self._held(agent, instance, id_)
        if held is None:
            return None
        over = held.state in ("pending", "approved") and expired(held, self._clock.now())
        return ApprovalState(id=id_, state="expired" if over else held.state, expires_at=held.expires_at)
