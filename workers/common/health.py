"""Every worker answers `weft.health.<worker>`: no queue group, so that each running copy answers for itself.

The canary is a publish to RECORD that was acknowledged: stream information may look healthy while writes are stuck
(nats-server issue 8519), so nothing less counts.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from faststream.nats import NatsResponse

from schemas import health
from schemas.base import Wire
from schemas.envelope import CONTENT_TYPE
from streams.bus import Malformed, Publisher, PublishFailed, event, parse
from streams.subjects import HEALTH, RECORD

if TYPE_CHECKING:
    from workers.common.runtime import Runtime

CANARY = "org.weft.record.canary.v1"
CANARY_EVERY_S = 10.0  # asked more often, the last result is told again
CANARY_DEADLINE_S = 2.0


class CanaryEvent(Wire):
    """`data` of `CANARY`."""

    worker: str


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
        body = event(CANARY, CanaryEvent(worker=self._worker), source=f"/weft/{self._worker}")
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


def answer_health(runtime: Runtime) -> None:
    """Declare the subscriber.  A malformed question is answered like a plain one: there is nothing in it to refuse."""

    @runtime.broker.subscriber(HEALTH.at(runtime.worker), title=f"{runtime.worker}_health")
    async def on_health(body: bytes) -> NatsResponse:
        try:
            canary = parse(health.Asked, body).data.canary
        except Malformed:
            canary = False
        answer = await runtime.health(canary=canary)
        return NatsResponse(event(health.ANSWERED, answer, source=f"/weft/{runtime.worker}"), headers={"Content-Type": CONTENT_TYPE})
