"""Every worker answers `weft.health.<worker>`: no queue group, so that each running copy answers for itself.

The canary is a publish to RECORD that was acknowledged: stream information may look healthy while writes are stuck
(nats-server issue 8519), so nothing less counts.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from nats.aio.msg import Msg

from schemas import health, record
from schemas.envelope import CloudEvent
from streams.bus import HEADERS, Malformed, Publisher, PublishFailed, event, parse
from streams.subjects import HEALTH, RECORD
from workers.common.raw import as_received

if TYPE_CHECKING:
    from workers.common.runtime import Runtime

CANARY_EVERY_S = 10.0  # asked more often, the last result is told again
CANARY_DEADLINE_S = 2.0


class Canary:
    """Publishes an event to RECORD and says whether it was acknowledged.  It stays there: a record without holes is worth more."""

    def __init__(self, publisher: Publisher, worker: str) -> None:
        self._publisher = publisher
        self._subject = RECORD.at(worker, "canary", "health")
        self._worker = worker
        self._lock = asyncio.Lock()
        self._sung: tuple[float, bool] | None = None

    async def sing(self) -> bool:
        """Whether RECORD acknowledges, not older than `CANARY_EVERY_S`."""
        async with self._lock:
            now = time.monotonic()
            if self._sung is None or now - self._sung[0] > CANARY_EVERY_S:
                self._sung = (now, await self._publish())
            return self._sung[1]

    async def _publish(self) -> bool:
        body = event(record.CANARY, record.Canary(worker=self._worker), source=f"/weft/{self._worker}")
        try:
            await self._publisher.publish(
                "RECORD",
                self._subject,
                body,
                msg_id=f"{self._worker}:canary:{uuid4().hex}",
                deadline_s=CANARY_DEADLINE_S,
            )
        except PublishFailed:
            return False
        return True


def answer_health(runtime: Runtime, subject: str | None = None) -> None:
    """Declare the subscriber, on `weft.health.<worker>` unless told otherwise.

    A malformed question is answered like a plain one: there is nothing in it to refuse.
    """

    async def on_health(msg: Any) -> None:
        if msg.reply:
            runtime.handle(_answer(runtime, msg), name="health")

    on_health.__annotations__["msg"] = CloudEvent[health.Asked]  # for AsyncAPI
    runtime.broker.subscriber(subject or HEALTH.at(runtime.worker), decoder=as_received, no_reply=True, title=f"{runtime.worker}_health")(
        on_health
    )


async def _answer(runtime: Runtime, msg: Msg) -> None:
    try:
        canary = parse(health.Asked, msg.data).data.canary
    except Malformed:
        canary = False
    answer = await runtime.health(canary=canary)
    await runtime.nc.publish(msg.reply, event(health.ANSWERED, answer, source=f"/weft/{runtime.worker}"), headers=HEADERS)
