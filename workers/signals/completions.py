"""Second receipts: once RECORD holds the completion of an entry, whoever's signal caused it can be told how it ended.

A durable consumer of RECORD brings every completion once or more often.  The entry names the posture's revision, the posture what made
it so (`Trigger`): an operator's order and the end of a response have none, and need no receipt.  A fault leaves the message to be delivered
again.
"""

from __future__ import annotations

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NATSError

from schemas.facts import Kind, Posture, Trigger
from schemas.record import COMPLETED, Completed, Receipted
from streams.bus import Malformed, parse
from streams.facts_keys import place_of, read_fact
from workers.common import directget, log
from workers.common.clock import Clock
from workers.common.recorder import RecordUnavailable
from workers.signals.receipts import Signer
from workers.signals.recording import Recording

ACK_S = 2.0
RETRY_S = 2.0
logger = structlog.get_logger()


class Completions:
    """One message at a time; any number at once."""

    def __init__(self, nc: Client, recording: Recording, signer: Signer, clock: Clock) -> None:
        self._nc = nc
        self._recording = recording
        self._signer = signer
        self._clock = clock

    async def on_message(self, msg: Msg) -> None:
        """Never raises but to be cancelled."""
        try:
            await self._on_message(msg)
            await msg.ack_sync(timeout=ACK_S)
        except NATSError:
            return  # delivered again
        except (RecordUnavailable, directget.Unavailable) as error:
            logger.warning(log.RECORD_FAILED, what="receipted", error=type(error).__name__)
            try:
                await msg.nak(delay=RETRY_S)
            except NATSError:
                return

    async def _on_message(self, msg: Msg) -> None:
        try:
            said = parse(Completed, msg.data)
        except Malformed:
            return  # not ours to read
        completed = said.data
        if said.type != COMPLETED or completed.posture_revision is None:
            return
        trigger = await self._trigger(completed.posture_revision)
        if trigger is not None:
            told = receipted(completed, completed.posture_revision, trigger, int(self._clock.now()))
            receipt = self._signer.completion(told, self._clock.now())
            await self._recording.receipted(told.model_copy(update={"receipt": receipt}))

    async def _trigger(self, revision: int) -> Trigger | None:
        found = await directget.at(self._nc, "FACTS", revision)
        place = place_of(found.subject) if found is not None else None
        if found is None or place is None or place[0] is not Kind.POSTURE:
            return None
        fact = read_fact(*place, found.body)
        return fact.body.trigger if fact is not None and isinstance(fact.body, Posture) else None


def receipted(completed: Completed, revision: int, trigger: Trigger, now: int) -> Receipted:
    """What is told, before it is signed.  Pure."""
    states = [point.state for point in completed.points]
    return Receipted(
        iss=trigger.iss,
        jti=trigger.jti,
        rule=trigger.rule,
        policy=trigger.policy,
        posture_revision=revision,
        n=completed.n,
        contained=completed.contained,
        confirmed=states.count("confirmed") + completed.omitted,
        expired=states.count("expired"),
        uncontained=tuple(point.point for point in completed.points if point.state == "uncontained"),
        last_ms=completed.last_ms,
        completed_at=now,
        deliver=trigger.receipt,
        receipt="",
    )
