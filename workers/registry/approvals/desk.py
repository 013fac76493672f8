"""The approvals desk: decides over the view, writes against the revision it decided on, and tries again where somebody was faster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from secrets import token_hex
from typing import Any, Literal

from schemas.approvals import Ask, Held, Show, Spend
from schemas.commands import Answer, Approve, Waiting
from schemas.facts import Approval, Kind
from schemas.reasons import DenyReason
from schemas.record import APPROVED, Approved
from streams.bus import PublishConflict, PublishFailed, event
from streams.facts_keys import key_of
from streams.facts_table import FactsTable
from streams.subjects import RECORD
from workers.common.approvals import expired, why_not
from workers.common.clock import Clock
from workers.common.factwriter import FactWriter
from workers.common.recorder import Recorder, RecordUnavailable
from workers.common.rpc import Refused
from workers.registry.approvals.decide import NotYet, decide_answer, decide_ask, decide_show, decide_spend
from workers.registry.recording import SOURCE

DEADLINE_S = 1.5  # less than who asks waits
PAUSE_S = 0.02  # for the view to show what somebody else wrote
What = Literal["asked", "approved", "denied", "spent"]


class Approvals:
    """Every method raises Refused."""

    def __init__(self, facts: FactsTable, writer: FactWriter, recorder: Recorder, clock: Clock) -> None:
        self._facts = facts
        self._writer = writer
        self._recorder = recorder
        self._clock = clock

    async def ask(self, ask: Ask) -> Held:
        """Somebody may be asked; the same question twice is one."""
        id_ = token_hex(8)
        held = await self._change(
            lambda now: decide_ask(ask, self._facts.approvals_of(ask.agent), now=now, id_=id_), by="registry", reason=None
        )
        if held.id == id_:
            await self._record(held, "asked", ask.caller)
        return _held(held)

    async def show(self, show: Show) -> Held:
        """The arguments, to whoever is asked."""
        return _held(await self._change(lambda _: decide_show(show, self._of(show.agent, show.id)), by="registry", reason=None))

    async def answer(self, nkey: str, answer: Approve) -> Answer:
        """A person approves or denies."""

        def decide(now: int) -> Approval:
            return decide_answer(self._find(answer.id), self._facts.person(nkey), answer, self._facts, now=now)

        held = await self._change(decide, by=nkey, reason=answer.reason)
        await self._record(held, "denied" if answer.verdict == "deny" else "approved", nkey)
        return Answer(rows=(_row(held),))

    async def spend(self, spend: Spend) -> Held:
        """One request uses it."""
        held = await self._change(lambda now: decide_spend(self._of(spend.agent, spend.id), spend, now=now), by="registry", reason=None)
        await self._record(held, "spent", "broker")
        return _held(held)

    def waiting(self, nkey: str, asked: Waiting) -> Answer:
        """What this person may answer, the oldest first; with `all`, what was answered or ran out too, while its slot holds it."""
        now, person = int(self._clock.now()), self._facts.person(nkey)
        if person is None or person.state != "active":
            raise Refused(DenyReason.NOT_AUTHORIZED, "you are not an active operator of this fabric")
        mine = [a for a in self._facts.approvals() if why_not(person, a.agent, None, self._facts, now) is None]
        shown = [a for a in mine if asked.all or (a.state == "pending" and not expired(a, now))]
        rows = []
        for approval in sorted(shown, key=lambda a: (a.asked_at, a.id)):
            missing = why_not(person, approval.agent, approval.user, self._facts, now)
            over = {"state": "expired"} if expired(approval, now) and approval.state in ("pending", "approved") else {}
            rows.append(_row(approval) | over | ({"not_by_you": missing} if missing else {}))
        return Answer(rows=tuple(rows))

    # --- deciding and writing -------------------------------------------------------------------------------------------------

    async def _change(self, decide: Callable[[int], Approval], *, by: str, reason: str | None) -> Approval:
        ends = asyncio.get_running_loop().time() + DEADLINE_S
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            try:
                wanted = decide(int(self._clock.now()))
                key = key_of(wanted)
                held = self._facts.get(Kind.APPROVAL, key)
                if held is not None and held[1].body == wanted:
                    return wanted
                await self._writer.write(wanted, self._facts.revision_of(Kind.APPROVAL, key), by=by, reason=reason, deadline_s=left)
            except (NotYet, PublishConflict):
                await asyncio.sleep(PAUSE_S)
            except PublishFailed:
                break
            else:
                return wanted
        raise Refused(DenyReason.RECORD_UNAVAILABLE, "FACTS did not take it in time")

    def _find(self, id_: str) -> Approval | None:
        return next((approval for approval in self._facts.approvals() if approval.id == id_), None)

    def _of(self, agent: str, id_: str) -> Approval | None:
        return next((approval for approval in self._facts.approvals_of(agent) if approval.id == id_), None)

    async def _record(self, held: Approval, what: What, by: str) -> None:
        said = Approved(
            id=held.id,
            agent=held.agent,
            instance=held.instance,
            tool=held.tool,
            digest=held.digest,
            what=what,
            by=by,
            explanation=held.explanation,
            reason=held.reason if what in ("approved", "denied") else None,
            expires_at=held.expires_at,
            spent_on=held.spent_on,
        )
        id_ = f"registry:approval:{held.id}:{what}"
        body = event(APPROVED, said, source=SOURCE, id=id_)
        try:
            await self._recorder.record(RECORD.at("registry", "approved", by.partition(".")[2] or by), body, id_)
        except RecordUnavailable:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "it is done, and RECORD did not acknowledge: repeat it") from None


def _held(approval: Approval) -> Held:
    return Held(id=approval.id, state=approval.state, expires_at=approval.expires_at)


def _row(approval: Approval) -> dict[str, Any]:
    hidden = ("kind", "slot", "digest")
    return {name: value for name, value in approval.plain().items() if name not in hidden}
