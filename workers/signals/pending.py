"""Responses beyond a transmitter's ceiling: kept until an operator confirms or dismisses them, and carried out then.

Each takes one of its transmitter's slots in FACTS; the same rule about the same target waits once, however often it is signalled.  When
all slots are taken, what comes on top is on RECORD alone, and says so.  A confirmation is written first and then carried out; one that
was interrupted in between is carried out when it is repeated.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from weft.digest import sha256

from schemas.commands import ANSWER, Answer, Resolve, Waiting
from schemas.facts import MAX_PENDING, Kind, Pending, Trigger
from schemas.reasons import DenyReason
from schemas.record import Responded
from streams.bus import Caller, PublishConflict, PublishFailed, event
from streams.facts_keys import key_of
from streams.facts_table import FactsTable
from workers.common import log
from workers.common.clock import Clock
from workers.common.factwriter import FactWriter
from workers.common.recorder import RecordUnavailable
from workers.common.roles import holds
from workers.common.rpc import Refused
from workers.signals.changes import Unchanged
from workers.signals.doing import Doing, Done
from workers.signals.instances import InstanceRecord, Unanswered
from workers.signals.policy.assess import Signal
from workers.signals.policy.respond import Act
from workers.signals.policy.targets import Target
from workers.signals.recording import SOURCE
from workers.signals.telling import Telling, aimed, levels, wants_receipts

LIFE_S = 7 * 86_400
DEADLINE_S = 2.0
SHOWN = frozenset(
    [
        "id",
        "iss",
        "event",
        "confidence",
        "policy",
        "rule",
        "response",
        "scope",
        "value",
        "why",
        "duration_s",
        "asked_at",
        "expires_at",
        "by",
        "reason",
    ]
)
PAUSE_S = 0.02  # for the view to show what somebody else wrote
logger = structlog.get_logger()


class PendingResponses:
    """The slots, and the people who answer for them."""

    def __init__(
        self, facts: FactsTable, writer: FactWriter, doing: Doing, telling: Telling, clock: Clock, *, instances: InstanceRecord, root: str
    ) -> None:
        """`root`: the trust domain's SPIFFE ID."""
        self._instances = instances
        self._root = root
        self._facts = facts
        self._writer = writer
        self._doing = doing
        self._telling = telling
        self._clock = clock

    async def keep(self, signal: Signal, act: Act, why: str) -> str | None:
        """The id it waits under; none where no slot is free.  Raises Unchanged."""
        ends = asyncio.get_running_loop().time() + DEADLINE_S
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            now = int(self._clock.now())
            held = [p for p in self._facts.pending() if p.iss == signal.iss]
            waiting = next((p for p in held if _waits(p, now) and _same(p, act)), None)
            if waiting is not None:
                return waiting.id
            taken = {p.slot for p in held if _waits(p, now)}
            slot = next((slot for slot in range(MAX_PENDING) if slot not in taken), None)
            if slot is None:
                logger.error(log.SIGNAL_WAITING, detail=f"{MAX_PENDING} responses of this sender wait already")
                return None
            receipt = wants_receipts(self._facts.transmitter(signal.iss), asked=act.chosen.rule.receipt)
            wanted = _pending(signal, act, why, slot, receipt=receipt, now=now)
            try:
                await self._write(wanted, by="signals", reason=why, deadline_s=left)
            except PublishConflict:
                await asyncio.sleep(PAUSE_S)
            except PublishFailed as error:
                raise Unchanged("FACTS did not answer in time") from error
            else:
                return wanted.id
        raise Unchanged("FACTS did not take it in time")

    def waiting(self, who: Caller, asked: Waiting) -> bytes:
        """What this person may answer, the oldest first; with `all`, what was answered too.  Raises Refused."""
        now, person = int(self._clock.now()), self._facts.person(who.name)
        if person is None or person.state != "active":
            raise Refused(DenyReason.NOT_AUTHORIZED, "you are not an active operator of this fabric")
        mine = [p for p in self._facts.pending() if holds(person, "revoker", p.place)]
        shown = sorted((p for p in mine if asked.all or _waits(p, now)), key=lambda p: (p.asked_at, p.id))
        return event(ANSWER, Answer(rows=tuple(_row(p, now) for p in shown)), source=SOURCE)

    async def resolve(self, who: Caller, order: Resolve) -> bytes:
        """Confirmed and carried out, or dismissed.  Raises Refused; repeated by the same person, it is done again harmlessly."""
        await self._check_instance(who.name, order)
        pending = await self._decided(who, order)
        done = Done() if pending.state == "dismissed" else await self._carry_out(pending)
        try:
            await self._telling.tell(self._told(pending, done), f"resolved\0{pending.id}\0{pending.state}")
        except RecordUnavailable:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "it is done, and RECORD did not acknowledge: repeat it") from None
        detail = levels(done.changed) or (f"entry {done.entry}" if done.entry is not None else "")
        return event(ANSWER, Answer(rows=(_row(pending, int(self._clock.now())) | {"done": detail},)), source=SOURCE)

    async def _check_instance(self, nkey: str, order: Resolve) -> None:
        """Whose instance it is, is its sender's word, and that lies beyond the sender's ceiling.  Raises Refused."""
        held = self._find(order.id)
        person = self._facts.person(nkey)
        if held is None or held.scope != "instance" or order.verdict != "confirm" or holds(person, "revoker", self._root):
            return
        try:
            known = await self._instances.belongs(held.value, held.place)
        except Unanswered:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "RECORD did not answer") from None
        if not known:
            raise Refused(DenyReason.NOT_FOUND, "no such instance of that agent is known: dismiss it, or ask a revoker of the trust domain")

    async def _decided(self, who: Caller, order: Resolve) -> Pending:
        ends = asyncio.get_running_loop().time() + DEADLINE_S
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            now = int(self._clock.now())
            wanted = decide(self._find(order.id), who.name, order, now=now, may=self._may(who.name))
            try:
                if wanted != self._find(order.id):
                    await self._write(wanted, by=who.name, reason=order.reason, deadline_s=left)
            except PublishConflict:
                await asyncio.sleep(PAUSE_S)
            except PublishFailed:
                break
            else:
                return wanted
        raise Refused(DenyReason.RECORD_UNAVAILABLE, "FACTS did not take it in time")

    def _may(self, nkey: str) -> Any:
        person = self._facts.person(nkey)
        return lambda place: holds(person, "revoker", place)

    async def _carry_out(self, pending: Pending) -> Done:
        trigger = Trigger(
            iss=pending.iss,
            jti=pending.jti,
            rule=pending.rule,
            policy=pending.policy,
            id=pending.id,
            receipt=pending.receipt,
            confirmed_by=pending.by,
        )
        try:
            return await self._doing.do(
                Target(pending.scope, pending.value),
                pending.response,
                pending.causes,
                trigger=trigger,
                by=pending.by or "signals",
                reason=pending.reason or pending.why,
            )
        except Unchanged as error:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, f"{error}: repeat it") from None

    def _told(self, pending: Pending, done: Done) -> Responded:
        dismissed = pending.state == "dismissed"
        return Responded(
            iss=pending.iss,
            jti=pending.jti,
            event=pending.event,
            confidence=pending.confidence,
            rule=pending.rule,
            policy=pending.policy,
            policy_revision=self._telling.revision_of(pending.policy),
            response="record" if dismissed else pending.response,
            asked=pending.response if dismissed else None,
            **aimed(Target(pending.scope, pending.value)),
            posture_revision=done.changed.revision if done.changed is not None else None,
            before=done.changed.level_before if done.changed is not None else None,
            entry=done.entry,
            agent=pending.place if pending.scope == "instance" else None,
            pending=pending.id,
            confirmed_by=pending.by,
            detail="; ".join(part for part in (pending.state, levels(done.changed), pending.reason) if part),
            deliver=pending.receipt,
        )

    def _find(self, id_: str) -> Pending | None:
        return next((pending for pending in self._facts.pending() if pending.id == id_), None)

    async def _write(self, pending: Pending, *, by: str, reason: str, deadline_s: float) -> None:
        revision = self._facts.revision_of(Kind.PENDING, key_of(pending))
        await self._writer.write(pending, revision, by=by, reason=reason[:512], deadline_s=deadline_s)


def decide(held: Pending | None, nkey: str, order: Resolve, *, now: int, may: Any) -> Pending:
    """What becomes of it.  Pure.  Raises Refused; said again by the same person it stays as it is.

    What is confirmed lasts from now on, not from when it was signalled; its sender may still take its own word back.
    """
    if held is None or not may(held.place):
        raise Refused(DenyReason.NOT_FOUND, "no such response waits for you")
    wanted = "confirmed" if order.verdict == "confirm" else "dismissed"
    if (held.state, held.by) == (wanted, nkey):
        return held
    if not _waits(held, now):
        raise Refused(DenyReason.CONFLICT, "it has expired" if held.state == "pending" else f"it is {held.state} already")
    until = now + held.duration_s if held.duration_s is not None else None
    causes = tuple(cause.model_copy(update={"confirmed_by": nkey, "until": until}) for cause in held.causes)
    return held.model_copy(update={"state": wanted, "by": nkey, "reason": order.reason, "causes": causes})


def _pending(signal: Signal, act: Act, why: str, slot: int, *, receipt: bool, now: int) -> Pending:
    rule = act.chosen.rule
    return Pending(
        iss=signal.iss,
        slot=slot,
        id=sha256(f"{signal.id}\0{act.chosen.policy}\0{rule.name}\0{act.target.digest}")[:16],
        jti=signal.jti,
        event=signal.event,
        confidence=signal.confidence or "low",
        rule=rule.name,
        policy=act.chosen.policy,
        response=rule.response,
        scope=act.target.scope,
        value=act.target.value,
        place=act.place,
        why=why,
        causes=act.causes,
        duration_s=rule.duration_s,
        receipt=receipt,
        asked_at=now,
        expires_at=now + LIFE_S,
    )


def _same(pending: Pending, act: Act) -> bool:
    chosen, target = act.chosen, act.target
    return (pending.policy, pending.rule, pending.scope, pending.value) == (chosen.policy, chosen.rule.name, target.scope, target.value)


def _waits(pending: Pending, now: int) -> bool:
    return pending.state == "pending" and pending.expires_at > now


def _row(pending: Pending, now: int) -> dict[str, Any]:
    state = "expired" if pending.state == "pending" and pending.expires_at <= now else pending.state
    return {name: value for name, value in pending.plain().items() if name in SHOWN} | {"state": state}
