"""Carries a response out: by a posture, or where there can be none by an order to `revocation`.  Every way is repeated harmlessly."""

from __future__ import annotations

from typing import NamedTuple

from schemas.facts import Cause, Trigger
from schemas.responses import Answer
from schemas.revocation import Order
from workers.common.rpc import Refused
from workers.signals.changes import Changed, Postures, Unchanged
from workers.signals.orders import Orders
from workers.signals.policy.respond import LEVEL
from workers.signals.policy.targets import POSTURED, Target


class Done(NamedTuple):
    """The posture that stands now, or the entry that was committed; neither for an answer that changes nothing."""

    changed: Changed | None = None
    entry: int | None = None


class Doing:
    """Raises Unchanged."""

    def __init__(self, postures: Postures, orders: Orders) -> None:
        self._postures = postures
        self._orders = orders

    async def do(self, target: Target, answer: Answer, causes: tuple[Cause, ...], *, trigger: Trigger, by: str, reason: str) -> Done:
        """Once it returns, the posture or the entry is committed."""
        if answer in LEVEL:
            return Done(await self._postures.add(target, causes, trigger=trigger, by=by, reason=reason))
        if answer != "revoke":
            return Done()
        if target.scope in POSTURED:
            return Done(await self._postures.strike(target, trigger=trigger, by=by, reason=reason))
        order = Order(id=f"signal:{trigger.id}", targets=((target.scope, target.value),), cause=reason, by=by)
        try:
            return Done(entry=(await self._orders.revoke(order)).n)
        except Refused as refused:
            raise Unchanged(refused.detail) from None
