"""Orders to revoke, and agents that complete their own transaction.

Any copy may hear the agent; the writer alone hears `weft.order.revoke`, because it alone subscribes to it.  A copy that does not
write hands on over the bus, and so does a writer that was deposed with the order in its hands: the caller waits, within its
deadline, for whoever writes then.  An order is repeated harmlessly, for its entry's message id is made of the order's id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NATSError
from weft.digest import sha256

from schemas.commands import FAILED
from schemas.points import Failure
from schemas.reasons import DenyReason
from schemas.revocation import COMMITTED, ORDER, Order, Ordered
from streams import subjects
from streams.bus import HEADERS, Malformed, event, parse
from workers.common import log
from workers.common.recorder import RecordUnavailable
from workers.common.rpc import Refused, answered, respond
from workers.revocation.causes import Cause, Committed, of_completion, of_order
from workers.revocation.ports import Commits, Deposed
from workers.revocation.recording import SOURCE, Recording

DEADLINE_S = 4.5  # of an order, a takeover included; less than the 5 s its caller waits
ATTEMPT_S = 1.5  # of one try elsewhere
PAUSE_S = 0.1  # while nobody writes
logger = structlog.get_logger()


class Orders:
    """Commits orders here or hands them on."""

    def __init__(self, nc: Client, recording: Recording, writing: Callable[[], Commits | None]) -> None:
        self._nc = nc
        self._recording = recording
        self._writing = writing

    async def carry_out(self, order: Order) -> Ordered:
        """Returns once an entry with these targets is committed.  Raises Refused."""
        return await self._carry_out(of_order(order), order)

    async def complete(self, jti: str, caller: str) -> Ordered:
        """The same for a token that its bearer is done with.  Raises Refused."""
        order = Order(id=f"complete:{sha256(jti)}", targets=(("token", jti),), cause="completed", by=caller)
        return await self._carry_out(of_completion(jti, caller), order)

    async def _carry_out(self, cause: Cause, order: Order) -> Ordered:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    ordered = await self._here(cause) or await self._elsewhere(order)
                    if ordered is not None:
                        return ordered
                    await asyncio.sleep(PAUSE_S)  # nobody writes: a takeover is under way
        except TimeoutError:
            raise Refused(DenyReason.DEADLINE_EXCEEDED, "no entry was committed in time") from None

    async def _here(self, cause: Cause) -> Ordered | None:
        writer = self._writing()
        if writer is None:
            return None
        try:
            committed = await writer.commit(cause)
        except Deposed:
            return None
        except ValueError as error:
            raise Refused(DenyReason.INVALID_CHANGE, str(error)) from None
        await self._record(cause, committed)
        return Ordered(n=committed.n, at=committed.at)

    async def _record(self, cause: Cause, committed: Committed) -> None:
        """The entry is out: that RECORD does not answer is an alarm, not a refusal."""
        try:
            await self._recording.revoked(cause, committed)
        except RecordUnavailable:
            logger.error(log.RECORD_FAILED, what="revoked", n=committed.n)  # noqa: TRY400 - a trace would say no more

    async def _elsewhere(self, order: Order) -> Ordered | None:
        """Ask whoever writes.  Nobody there is no answer; a refusal is one."""
        if self._writing() is not None:
            return None
        try:
            body = event(ORDER, order, source=SOURCE)
            answer = parse_answer((await self._nc.request(subjects.ORDER.at(), body, timeout=ATTEMPT_S, headers=HEADERS)).data)
        except (NATSError, Malformed):
            return None
        if isinstance(answer, Failure):
            raise Refused(answer.reason, answer.detail)
        return answer


class OrderDesk:
    """The duty of a writer: hear orders, as long as it writes."""

    def __init__(self, nc: Client, orders: Orders, handle: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._nc = nc
        self._orders = orders
        self._handle = handle  # runs a request to its end, whatever becomes of the role

    async def serve(self, _: Commits) -> None:
        """Until cancelled."""
        subscription = await self._nc.subscribe(subjects.ORDER.filter, queue="revocation", cb=self._on_order)
        try:
            await asyncio.Event().wait()
        finally:
            with suppress(NATSError):  # the connection is gone
                await subscription.unsubscribe()

    async def _on_order(self, msg: Msg) -> None:
        self._handle(self._answer(msg))

    async def _answer(self, msg: Msg) -> None:
        async def answer() -> bytes:
            ordered = await self._orders.carry_out(parse(Order, msg.data).data)
            return event(COMMITTED, ordered, source=SOURCE)

        await respond(self._nc, msg, await answered(answer, SOURCE))


def parse_answer(body: bytes) -> Ordered | Failure:
    """What the writer said.  Raises Malformed."""
    try:
        return parse(Ordered, body).data
    except Malformed:
        failed = parse(Failure, body)
        if failed.type != FAILED:
            raise
        return failed.data
