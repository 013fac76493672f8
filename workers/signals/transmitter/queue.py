"""SETs on their way, on the stream OUTGOING: `weft.outgoing.<stream>.<event|notice>.<jti>`, dead letters `weft.dead.<stream>.<jti>`.

A message stands until its receiver has it: a push's consumer removes it by acknowledging (the stream is a work queue), a poll's
acknowledgement removes it by its subject.  So a queue survives every restart, and any copy of this worker answers any poll.
"""

from __future__ import annotations

import asyncio
import json
from secrets import token_hex
from typing import TypeVar

from nats.aio.client import Client
from nats.errors import Error as NATSError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from schemas.base import Wire
from schemas.ssf import DEAD, QUEUED, Dead, Queued
from streams import subjects
from streams.bus import Malformed, PublishConflict, Publisher, PublishFailed, event, parse
from workers.common import directget
from workers.signals.recording import SOURCE
from workers.signals.transmitter.ports import Unavailable, Waiting

STREAM = "OUTGOING"
ACK_WAIT_S = 20  # above what one attempt to push may take
DEADLINE_S = 4.0
PURGE_S = 2.0
DataT = TypeVar("DataT", bound=Wire)
MAX_POLLED_BYTES = 131_072  # of one poll's SETs: the answer has to fit a message


class OutgoingQueue:
    """`ports.Queue` on JetStream."""

    def __init__(self, nc: Client, publisher: Publisher) -> None:
        self._nc = nc
        self._publisher = publisher

    async def put(self, queued: Queued, *, notice: bool = False) -> None:
        """Create-if-absent: the same SET again changes nothing while it waits."""
        subject = subjects.OUTGOING.at(queued.stream_id, "notice" if notice else "event", queued.jti)
        await self._store(subject, QUEUED, queued, f"signals:outgoing:{queued.stream_id}:{queued.jti}")

    async def waiting(self, stream_id: str, most: int, *, notices_only: bool) -> Waiting:
        """At least one where there is one, whatever its size."""
        family = subjects.OUTGOING.at(stream_id, "notice") if notices_only else subjects.OUTGOING.at(stream_id)
        sets: dict[str, str] = {}
        size, seq = 0, 0
        while (found := await self._next(f"{family}.>", seq + 1)) is not None:
            seq = found.seq
            queued = _read(Queued, found.body)
            if queued is None or queued.jti in sets:
                continue
            size += len(queued.set)
            if len(sets) >= most or (sets and size > MAX_POLLED_BYTES):
                return Waiting(sets, more=True)
            sets[queued.jti] = queued.set
        return Waiting(sets, more=False)

    async def remove(self, stream_id: str, jti: str) -> Queued | None:
        """What waited.  An id that could be none of ours is none."""
        try:
            family = subjects.OUTGOING.at(stream_id)
            subjects.OUTGOING.at(stream_id, "event", jti)
        except ValueError:
            return None
        if "." in jti:
            return None
        found = await self._next(f"{family}.*.{jti}", 1)
        if found is None:
            return None
        await self._purge(f"{family}.*.{jti}")
        return _read(Queued, found.body)

    async def drop(self, stream_id: str) -> None:
        """Events alone: a notice says why there are none."""
        await self._purge(f"{subjects.OUTGOING.at(stream_id, 'event')}.>")

    async def forget(self, stream_id: str) -> None:
        """Everything of a stream that is gone."""
        await self._purge(f"{subjects.OUTGOING.at(stream_id)}.>")
        await self._purge(f"{subjects.DEAD.at(stream_id)}.>")

    async def size(self, stream_id: str) -> int:
        """How many wait, as the stream's consumer counts them."""
        js = self._nc.jetstream()
        try:
            try:
                found = await js.consumer_info(STREAM, consumer_of(stream_id))
            except NotFoundError:
                found = await js.add_consumer(STREAM, config=consumer_config(stream_id))
        except NATSError as error:
            raise Unavailable(type(error).__name__) from None
        return (found.num_pending or 0) + (found.num_ack_pending or 0)

    async def bury(self, dead: Dead) -> None:
        """Once per jti."""
        stream_id, jti = dead.queued.stream_id, dead.queued.jti
        await self._store(subjects.DEAD.at(stream_id, jti), DEAD, dead, f"signals:dead:{stream_id}:{jti}")

    async def dead(self, stream_id: str | None, after: int, most: int) -> list[tuple[int, Dead]]:
        """After that sequence."""
        family = subjects.DEAD.prefix if stream_id is None else subjects.DEAD.at(stream_id)
        letters: list[tuple[int, Dead]] = []
        seq = after
        while len(letters) < most and (found := await self._next(f"{family}.>", seq + 1)) is not None:
            seq = found.seq
            letter = _read(Dead, found.body)
            if letter is not None:
                letters.append((seq, letter))
        return letters

    async def exhume(self, dead: Dead) -> None:
        """Removes the letter."""
        await self._purge(subjects.DEAD.at(dead.queued.stream_id, dead.queued.jti))

    async def _store(self, subject: str, type_: str, data: Wire, msg_id: str) -> None:
        body = event(type_, data, source=SOURCE)
        try:
            # An id of this attempt: one that followed from the jti would keep a dead letter from being sent again within the window.
            await self._publisher.publish(
                STREAM, subject, body, msg_id=f"{msg_id}:{token_hex(8)}", expected_last_subject_seq=0, deadline_s=DEADLINE_S
            )
        except PublishConflict:
            return  # it waits already
        except PublishFailed as error:
            raise Unavailable(str(error)) from None

    async def _next(self, family: str, seq: int) -> directget.Stored | None:
        try:
            return await directget.following(self._nc, STREAM, family, seq, deadline_s=DEADLINE_S)
        except directget.Unavailable as error:
            raise Unavailable(str(error)) from None

    async def _purge(self, subject: str) -> None:
        """Safe to repeat, and repeated: an answer may have been lost, an election may be on."""
        body = json.dumps({"filter": subject}).encode()
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not await self._purged(body):  # noqa: ASYNC110 - nobody tells when an election is over
                    await asyncio.sleep(directget.PAUSE_S)
        except TimeoutError:
            raise Unavailable("OUTGOING did not answer in time") from None

    async def _purged(self, body: bytes) -> bool:
        try:
            answer = await self._nc.request(f"$JS.API.STREAM.PURGE.{STREAM}", body, timeout=PURGE_S)
        except NATSError:
            return False
        return json.loads(answer.data).get("success") is True


def _read(model: type[DataT], body: bytes) -> DataT | None:
    try:
        return parse(model, body).data
    except Malformed:
        return None


def consumer_of(stream_id: str) -> str:
    """Its name."""
    return f"push-{stream_id}"


def consumer_config(stream_id: str) -> ConsumerConfig:
    """One SET in flight, whatever the number of copies of this worker: a receiver gets them in order."""
    return ConsumerConfig(
        name=consumer_of(stream_id),
        durable_name=consumer_of(stream_id),
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_S,
        max_deliver=-1,
        max_ack_pending=1,
        filter_subject=f"{subjects.OUTGOING.at(stream_id)}.>",
    )
