"""From something that happened to SETs in the queues of whoever wants to hear it, and what becomes of each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import structlog

from schemas.events.ssf import StreamStatus
from schemas.facts import EventStream, PushDelivery
from schemas.record import Transmitted
from schemas.ssf import Dead, Queued
from workers.common import log
from workers.common.clock import Clock
from workers.common.recorder import RecordUnavailable
from workers.signals.recording import Recording
from workers.signals.transmitter.configuration import Transmitter
from workers.signals.transmitter.manage import set_status
from workers.signals.transmitter.ports import Authorizer, Conflict, Fetches, Queue, Signs, Streams, Unavailable
from workers.signals.transmitter.push import Delivered, GivenUp, Retry, Verdict, judge, send
from workers.signals.transmitter.sealing import SealBroken, Sealer
from workers.signals.transmitter.sets import Happening, queued, stream_updated
from workers.signals.transmitter.wanted import FRAMEWORK, goes_to

MOST_WAITING = 10_000  # SETs of one stream
COUNT_EVERY = 64
logger = structlog.get_logger()


class Outbox:
    """What leaves."""

    def __init__(
        self,
        transmitter: Transmitter,
        streams: Streams,
        queue: Queue,
        *,
        authorizer: Authorizer,
        signs: Signs,
        fetches: Fetches,
        sealer: Sealer,
        recording: Recording,
        clock: Clock,
        root: str,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        """`root`: the trust domain's SPIFFE ID, the place of people."""
        self._most_waiting = most_waiting
        self._since_counted: dict[str, int] = {}
        self._transmitter = transmitter
        self._streams = streams
        self._queue = queue
        self._authorizer = authorizer
        self._signs = signs
        self._fetches = fetches
        self._sealer = sealer
        self._recording = recording
        self._clock = clock
        self._root = root

    async def tell(self, happenings: Iterable[Happening], only: str | None = None) -> list[Queued]:
        """On every stream that wants it, or on that one alone if it does.  Raises Unavailable: repeating it is harmless."""
        return [
            await self.put(happening, stream)
            for happening in happenings
            for stream in self._streams.all()
            if only in (None, stream.stream_id) and self._wants(stream, happening)
        ]

    def _wants(self, stream: EventStream, happening: Happening) -> bool:
        return goes_to(
            stream,
            happening.event.URI,
            happening.subject,
            hears=self._authorizer.hears(stream.client_id),
            defaults=self._transmitter.defaults,
            root=self._root,
            also=happening.also,
        )

    async def put(self, happening: Happening, stream: EventStream, *, notice: bool = False) -> Queued:
        """On this stream, unless nobody has fetched from it for so long that we stop it.  Raises Unavailable."""
        made = queued(happening, stream, self._transmitter.issuer, self._signs, self._clock.now())
        if not notice and await self._full(stream.stream_id):
            await self._stop(stream.stream_id)
        else:
            await self._queue.put(made, notice=notice)
        return made

    async def _full(self, stream_id: str) -> bool:
        """Counted once in a while: one receiver that never comes must not fill what all queues share."""
        since = self._since_counted.get(stream_id, COUNT_EVERY)
        if since < COUNT_EVERY:
            self._since_counted[stream_id] = since + 1
            return False
        full = await self._queue.size(stream_id) >= self._most_waiting
        self._since_counted[stream_id] = COUNT_EVERY if full else 1
        return full

    async def _stop(self, stream_id: str) -> None:
        """Disabled by us, and told so (SSF 1.0 sections 8.1.2 and 8.1.5); what waited is dropped, as of every disabled stream."""
        held = await self._streams.read(stream_id)
        if held.stream is None or held.stream.status == "disabled":
            return
        stopped = set_status(held.stream, "disabled", f"more than {self._most_waiting} events wait for their receiver")
        await self.announce(stopped, "disabled", f"full\0{stream_id}\0{held.revision}")
        try:
            await self._streams.write(stream_id, stopped, held.revision, by="signals", reason="its queue is full")
        except Conflict:
            return  # somebody is changing it: the next event comes here again
        await self._queue.drop(stream_id)
        self._since_counted.pop(stream_id, None)

    async def announce(self, stream: EventStream, status: StreamStatus, cause: str) -> None:
        """That we are about to stop, before we do (SSF 1.0 section 8.1.5), or that we go on.  Raises Unavailable.

        A push is tried at once, since the queue is about to be held; what did not arrive waits in it, or for the next poll.
        """
        happening = stream_updated(stream, cause)
        if status != "enabled" and isinstance(stream.delivery, PushDelivery):
            made = queued(happening, stream, self._transmitter.issuer, self._signs, self._clock.now())
            if isinstance(await self._send(stream, made, 1, 0.0), Delivered):
                await self.record(made, "delivered")
                return
        await self.put(happening, stream, notice=True)

    async def attempt(self, made: Queued, attempt: int, waited_s: float) -> Verdict:
        """One push.  What it comes to is on record before it is acknowledged to the queue.  Raises Unavailable."""
        held = await self._streams.read(made.stream_id)
        stream = held.stream
        if stream is None or not isinstance(stream.delivery, PushDelivery):
            return Retry(5.0, "not pushed any more")
        if not self.may_send(stream):
            return Retry(5.0, "not enabled")
        verdict = await self._send(stream, made, attempt, waited_s)
        match verdict:
            case Delivered():
                await self.record(made, "delivered")
            case GivenUp():
                outcome: Literal["refused", "abandoned"] = "abandoned" if verdict.abandoned else "refused"
                await self.give_up(Dead(queued=made, err=verdict.err, detail=verdict.detail), outcome)
            case Retry():
                pass
        return verdict

    def may_send(self, stream: EventStream) -> bool:
        """Its status is enabled, and its client still is one of ours."""
        return stream.status == "enabled" and self._authorizer.hears(stream.client_id) is not None

    async def give_up(self, dead: Dead, outcome: Literal["refused", "abandoned"]) -> None:
        """A dead letter, kept until somebody sends it again, but of what concerns the stream alone.  Raises Unavailable.

        A receiver may have as many verifications as it likes, and would have them kept for a month by refusing them.
        """
        if dead.queued.event not in FRAMEWORK:
            await self._queue.bury(dead)
        logger.warning(log.SET_BURIED, stream=dead.queued.stream_id, signal_event=dead.queued.event, err=dead.err)
        await self.record(dead.queued, outcome, dead.err)

    async def record(self, made: Queued, outcome: Literal["delivered", "refused", "abandoned"], err: str | None = None) -> None:
        """On RECORD.  Raises Unavailable: then it is sent again, and its receiver answers as the first time."""
        told = Transmitted(stream_id=made.stream_id, jti=made.jti, event=made.event, txn=made.txn, outcome=outcome, err=err)
        try:
            await self._recording.transmitted(told)
        except RecordUnavailable as error:
            raise Unavailable("RECORD did not acknowledge") from error

    async def _send(self, stream: EventStream, made: Queued, attempt: int, waited_s: float) -> Verdict:
        delivery = stream.delivery
        if not isinstance(delivery, PushDelivery):
            return Retry(5.0, "not pushed")
        try:
            header = None if delivery.authorization is None else self._sealer.open(stream.stream_id, delivery.authorization)
        except SealBroken:
            return judge(None, attempt, waited_s)  # another key lies in the folder: somebody has to put the old one back
        return judge(await send(self._fetches, delivery, header, made), attempt, waited_s)
