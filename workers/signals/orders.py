"""Orders to `revocation`, for what is no posture: tokens, transactions and keys."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client
from nats.errors import Error as NATSError

from schemas.commands import FAILED
from schemas.points import Failure
from schemas.reasons import DenyReason
from schemas.revocation import ORDER, Order, Ordered
from streams import subjects
from streams.bus import HEADERS, Malformed, event, parse
from workers.common.rpc import Refused
from workers.signals.recording import SOURCE

DEADLINE_S = 5.0  # a takeover of the writer fits in
ATTEMPT_S = 2.0
PAUSE_S = 0.1  # while nobody writes


class Orders:
    """Asks until an entry is committed.  Repeating is harmless: an order's id makes one entry."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def revoke(self, order: Order) -> Ordered:
        """Raises Refused."""
        body = event(ORDER, order, source=SOURCE, id=f"order:{order.id}"[:128])
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    answer = await self._ask(body)
                    if isinstance(answer, Ordered):
                        return answer
                    if answer is not None:
                        raise Refused(answer.reason, answer.detail)
                    await asyncio.sleep(PAUSE_S)
        except TimeoutError:
            raise Refused(DenyReason.DEADLINE_EXCEEDED, "no entry was committed in time") from None

    async def _ask(self, body: bytes) -> Ordered | Failure | None:
        try:
            answer = (await self._nc.request(subjects.ORDER.at(), body, timeout=ATTEMPT_S, headers=HEADERS)).data
        except NATSError:
            return None
        try:
            return parse(Ordered, answer).data
        except Malformed:
            return _failure(answer)


def _failure(answer: bytes) -> Failure | None:
    try:
        failed = parse(Failure, answer)
    except Malformed:
        return None
    return failed.data if failed.type == FAILED else None
