"""What a revoker commands: take back, and give back.  Design section 5, Operators: deny by default; the record names the person.

Instances, agents, namespaces and people get a cause in their posture, which quarantines them until someone lifts it; tokens,
transactions and keys get an entry alone, by way of `revocation`.  A person holds a role over namespaces: what has no place in one
(people, keys) takes the role over the trust domain, and so does an instance that admission never saw under the name it is given.
Whose a token or a transaction is, RECORD tells (`belonging`); where the command does not say where, it takes the trust domain too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from weft.digest import target_digest
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.commands import ANSWER, Answer, Lift, Revoke, Sweep, Swept
from schemas.facts import Cause, Level, Person
from schemas.reasons import DenyReason
from schemas.record import Responded
from schemas.revocation import Order
from streams.bus import Caller, event
from streams.facts_table import FactsTable
from workers.common.clock import Clock
from workers.common.people import provider_of
from workers.common.recorder import RecordUnavailable
from workers.common.roles import holds
from workers.common.rpc import Refused
from workers.signals.belonging import Belonging
from workers.signals.changes import Changed, Postures, Unchanged
from workers.signals.instances import InstanceRecord, Unanswered
from workers.signals.orders import Orders
from workers.signals.policy.posture import OPERATOR
from workers.signals.policy.targets import Target
from workers.signals.receipts import Signer
from workers.signals.recording import SOURCE, Recording

POSTURED = ("instance", "agent", "namespace", "user")
MAX_PREVIEWED = 200
_INSTANCE = re.compile(r"[ik][a-z2-7]{26}", re.ASCII)


class Commands:
    """Revoke and lift."""

    def __init__(
        self,
        facts: FactsTable,
        postures: Postures,
        *,
        orders: Orders,
        instances: InstanceRecord,
        belonging: Belonging,
        recording: Recording,
        signer: Signer,
        clock: Clock,
        trust_domain: str,
    ) -> None:
        self._facts = facts
        self._postures = postures
        self._orders = orders
        self._instances = instances
        self._belonging = belonging
        self._recording = recording
        self._signer = signer
        self._clock = clock
        self._root = f"spiffe://{trust_domain}"

    async def revoke(self, who: Caller, order: Revoke) -> bytes:
        """`ANSWER`, or raises Refused."""
        await self._check_role(who, order.kind, order)
        if order.preview:
            return _answer(self._preview(order))
        if order.kind not in POSTURED:
            return await self._order(who, order)
        target = Target(order.kind, order.value)  # type: ignore[arg-type]  # one of POSTURED
        changed = await self._rewrite(target, who, order.id, "quarantined", order.reason)
        return await self._told(who, order, target, changed)

    async def sweep(self, who: Caller, order: Sweep) -> bytes:
        """`ANSWER`, or raises Refused: one role missing, and nothing is revoked."""
        for target in order.targets:
            await self._check_role(who, target.kind, target)
        named = tuple((target.kind, target.value) for target in order.targets)
        ordered = await self._orders.revoke(Order(id=order.id, targets=named, cause=order.reason, by=who.name))
        return _answer([_row(kind, value) | {"n": ordered.n, "at": ordered.at} for kind, value in named])

    async def lift(self, who: Caller, order: Lift) -> bytes:
        """`ANSWER`, or raises Refused.  An operator lifts whatever anyone caused."""
        await self._check_role(who, order.scope, order)
        target = Target(order.scope, order.value)
        if self._facts.posture(order.scope, target.digest) is None:
            raise Refused(DenyReason.NOT_FOUND, "it has no posture")
        changed = await self._rewrite(target, who, order.id, "normal", order.reason)
        return await self._told(who, order, target, changed)

    async def _check_role(self, who: Caller, kind: str, named: Revoke | Swept | Lift) -> None:
        """The role over what is named, by what RECORD tells of it.  Raises Refused."""
        person: Person | None = self._facts.person(who.name)
        try:
            place = await self._place(kind, named)
            if not holds(person, "revoker", place):
                raise Refused(DenyReason.NOT_AUTHORIZED, f"takes the role of a revoker over {_over(kind, named)}")
            if kind != "instance" or holds(person, "revoker", self._root):
                return
            known = await self._instances.belongs(named.value, place)
        except Unanswered:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "RECORD did not answer") from None
        if not known:
            raise Refused(DenyReason.NOT_FOUND, "no such instance of that agent is known")

    async def _place(self, kind: str, named: Revoke | Swept | Lift) -> str:
        """The SPIFFE ID that the role must lie above.  Raises Refused, Unanswered."""
        if kind in ("agent", "namespace"):
            return _spiffe_id(named.value)
        if kind == "instance":
            return _instance_of(named.value, named.agent)
        if kind not in ("token", "transaction") or named.record is None:
            return self._root
        whose = await self._belonging.whose(kind, named.value, named.record)  # type: ignore[arg-type]  # one of both
        if whose is None or named.agent not in (None, whose):
            raise Refused(DenyReason.NOT_FOUND, f"record {named.record} tells of no such {kind}{' of that agent' if named.agent else ''}")
        return whose

    async def _rewrite(self, target: Target, who: Caller, order_id: str, level: Level, reason: str) -> Changed:
        """Commands are ordered by their commits, not by seconds: each comes after everything it means to follow."""

        def add(causes: tuple[Cause, ...]) -> tuple[Cause, ...]:
            id_ = f"operator.{order_id}"[:128]
            if any(cause.id == id_ for cause in causes):
                return causes
            lifts = [cause.event_time for cause in causes if cause.level == "normal"]
            others = [cause.event_time + 1 for cause in causes if cause.level != "normal"]
            at = max(int(self._clock.now()), *(lifts if level != "normal" else [*others, *lifts]), 0)
            return (*causes, Cause(id=id_, by=who.name, level=level, event_time=at, event=OPERATOR))

        try:
            return await self._postures.rewrite(target, add, by=who.name, reason=reason)
        except Unchanged as error:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, str(error)) from None

    async def _order(self, who: Caller, order: Revoke) -> bytes:
        wanted = Order(id=order.id, targets=((order.kind, order.value),), cause=order.reason, by=who.name)
        ordered = await self._orders.revoke(wanted)
        return _answer([_row(order.kind, order.value) | {"n": ordered.n, "at": ordered.at}])

    async def _told(self, who: Caller, order: Revoke | Lift, target: Target, changed: Changed) -> bytes:
        """On RECORD with a receipt, and answered.  The posture stands whatever RECORD says."""
        level = changed.after.level if changed.after is not None else "normal"
        told = Responded(
            iss=who.name,
            jti=order.id,
            event=OPERATOR,
            confidence="high",
            response="lift" if isinstance(order, Lift) else "quarantine",
            scope=target.scope,
            target=target.digest,
            value=None if target.scope == "user" else target.value,
            agent=order.agent if target.scope == "instance" else None,
            posture_revision=changed.revision,
            before=changed.level_before,
            detail=order.reason,
        )
        try:
            told = told.model_copy(update={"receipt": self._signer.receipt(told, self._clock.now())})
            await self._recording.responded(told, f"operator\0{who.name}\0{order.id}")
        except RecordUnavailable:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "it is done, and RECORD did not acknowledge: repeat it") from None
        row = self._named(target.scope, target.value) | {"level": level, "posture_revision": changed.revision}
        return _answer([row], changed.revision)

    def _named(self, kind: str, value: str) -> dict[str, Any]:
        """Of a person also which provider calls them so, where one does."""
        found = provider_of(value, self._facts.issuers()) if kind == "user" else None
        return _row(kind, value) | ({} if found is None else {"provider": found[0].iss})

    def _preview(self, order: Revoke) -> list[dict[str, Any]]:
        """Whom it would hit, as far as the facts know; nothing is done."""
        rows = [self._named(order.kind, order.value)]
        if order.kind in ("agent", "namespace"):
            below = (agent.id for agent in self._facts.agents() if _under(agent.id, order.value))
            rows += [_row("agent", agent) for agent in _first(below, MAX_PREVIEWED) if agent != order.value]
        if order.kind in POSTURED:
            held = self._facts.posture(order.kind, target_digest(order.kind, order.value))  # type: ignore[arg-type]
            rows[0]["level"] = held.level if held is not None else "normal"
        return rows


def _instance_of(value: str, agent: str | None) -> str:
    if agent is None:
        raise Refused(DenyReason.INVALID_CHANGE, "whose instance it is has to be said: agent")
    if not _INSTANCE.fullmatch(value):
        raise Refused(DenyReason.INVALID_CHANGE, "not the id of an instance")
    return agent


def _over(kind: str, named: Revoke | Swept | Lift) -> str:
    if kind in ("token", "transaction") and named.record is None:
        return f"the trust domain, where no record is named that tells whose {kind} it is"
    return "it"


def _spiffe_id(value: str) -> str:
    try:
        return str(SpiffeID.parse(value))
    except InvalidSpiffeID as error:
        raise Refused(DenyReason.INVALID_CHANGE, str(error)) from None


def _under(spiffe_id: str, prefix: str) -> bool:
    return spiffe_id == prefix or spiffe_id.startswith(f"{prefix}/")


def _first(values: Iterable[str], count: int) -> list[str]:
    return [value for value, _ in zip(values, range(count), strict=False)]


def _row(kind: str, value: str) -> dict[str, Any]:
    shown = {} if kind == "user" else {"value": value}
    return {"kind": kind, **shown, "target": target_digest(kind, value)}  # type: ignore[arg-type]  # one of TargetKind


def _answer(rows: list[dict[str, Any]], revision: int | None = None) -> bytes:
    return event(ANSWER, Answer(rows=tuple(rows), revision=revision), source=SOURCE)
