"""The OAuth face's ports over the bus: CLAIMS, and orders to revoke."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from schemas.points import Failure
from schemas.reasons import DenyReason
from schemas.revocation import COMMITTED, ORDER, Order, Ordered
from streams.bus import event
from streams.subjects import ORDER as ORDERS
from workers.broker.oauth.clients import Once
from workers.broker.oauth.recording import SOURCE
from workers.broker.oauth.refusals import OAuthRefused, unavailable
from workers.common.asking import Unanswered, ask
from workers.common.credentials import SKEW_S
from workers.common.singleuse import ClaimUnavailable, SingleUse

ATTEMPT_S = 1.5
PAUSE_S = 0.1  # while nobody writes revocations


class Claims:
    """See workers.broker.oauth.parts.OnceOnly."""

    def __init__(self, single_use: SingleUse) -> None:
        self._single_use = single_use

    async def claim(self, once: Once, now: float) -> bool:
        """For as long as what is claimed could be shown again."""
        try:
            return await self._single_use.first(once.key, int(once.exp - now) + SKEW_S + 1)
        except ClaimUnavailable:
            raise unavailable(DenyReason.RECORD_UNAVAILABLE) from None


class RevocationOrders:
    """See workers.broker.oauth.inspection.Orders.  The caller sets the deadline; repeating is harmless: an order's id makes one entry."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def revoke(self, order: Order) -> None:
        """Until an entry is committed."""
        body = event(ORDER, order, source=SOURCE, id=f"order:{order.id}"[:128])
        while True:
            try:
                answer = await ask(self._nc, ORDERS.at(), body, COMMITTED, Ordered, deadline_s=ATTEMPT_S)
            except Unanswered:
                await asyncio.sleep(PAUSE_S)
                continue
            if isinstance(answer, Failure):
                raise OAuthRefused("temporarily_unavailable", "try again", answer.reason, status=503, retry_after_s=1)
            return
