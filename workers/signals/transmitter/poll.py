"""Poll delivery, RFC 8936: acknowledgements and errors first, then what waits, or the wait for it.

A SET is offered until it is acknowledged or reported in `setErrs`; what was reported becomes a dead letter and is not offered again.
Acknowledging twice is harmless.  The bus allows an answer ten seconds, so a long poll is held for less, and the edge asks again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from nats.aio.msg import Msg

from schemas.facts import EventStream
from schemas.ssf import Answered, Dead
from streams.subjects import PUSH_OUTGOING
from workers.signals.transmitter.bodies import PollWish
from workers.signals.transmitter.outbox import Outbox
from workers.signals.transmitter.outcome import ok
from workers.signals.transmitter.ports import Queue, Waiting

HOLD_S = 7.0
MOST = 100  # of one answer, whatever was asked for


class Arrivals:
    """Wakes whoever waits for a SET of a stream: the server says that one was stored, by whichever copy."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    async def on_message(self, msg: Msg) -> None:
        """A message of `weft.push.outgoing`."""
        stream_id = PUSH_OUTGOING.name(msg.subject).partition(".")[0]
        for event in self._waiting.get(stream_id, ()):
            event.set()

    @contextmanager
    def of(self, stream_id: str) -> Iterator[asyncio.Event]:
        """Set once something arrives from now on."""
        event = asyncio.Event()
        self._waiting[stream_id].add(event)
        try:
            yield event
        finally:
            self._waiting[stream_id].discard(event)
            if not self._waiting[stream_id]:
                del self._waiting[stream_id]


class Poller:
    """Answers polls."""

    def __init__(self, queue: Queue, outbox: Outbox, arrivals: Arrivals, *, hold_s: float = HOLD_S) -> None:
        self._queue = queue
        self._outbox = outbox
        self._arrivals = arrivals
        self._hold_s = hold_s

    async def poll(self, stream: EventStream, wish: PollWish, *, silent: bool) -> Answered:
        """`silent`: nothing but notices may be sent on this stream now.  Raises Unavailable."""
        await self._settle(stream, wish)
        if wish.max_events == 0:
            return ok({"sets": {}})
        most = MOST if wish.max_events is None else min(wish.max_events, MOST)
        with self._arrivals.of(stream.stream_id) as arrival:
            found = await self._queue.waiting(stream.stream_id, most, notices_only=silent)
            if not found.sets and not wish.return_immediately:
                found = await self._awaited(stream, arrival, most, silent=silent)
        answer = ok({"sets": dict(found.sets), "moreAvailable": found.more})
        return answer.model_copy(update={"nothing_yet": not found.sets and not wish.return_immediately})

    async def _awaited(self, stream: EventStream, arrival: asyncio.Event, most: int, *, silent: bool) -> Waiting:
        """Until something arrives; a status that changes meanwhile is seen when the edge asks again."""
        try:
            async with asyncio.timeout(self._hold_s):
                await arrival.wait()
        except TimeoutError:
            return Waiting({}, more=False)
        return await self._queue.waiting(stream.stream_id, most, notices_only=silent)

    async def _settle(self, stream: EventStream, wish: PollWish) -> None:
        for jti in dict.fromkeys(wish.ack):
            queued = await self._queue.remove(stream.stream_id, jti)
            if queued is not None:
                await self._outbox.record(queued, "delivered")
        for jti, said in wish.set_errs.items():
            queued = await self._queue.remove(stream.stream_id, jti)
            if queued is not None:
                await self._outbox.give_up(Dead(queued=queued, err=_code(said.err), detail="reported in setErrs"), "refused")


def _code(err: str) -> str:
    """A code of RFC 8935's registry; whatever else somebody writes there is not repeated."""
    return err if err.isascii() and err.replace("_", "").isalnum() and len(err) <= 64 else "unknown"
