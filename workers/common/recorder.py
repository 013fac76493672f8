"""RECORD's writer: group commit of events (design 4.5), atomic batches by ADR-50.

Whoever waits for `record` holds back what the record is of until JetStream acknowledged it.  Nothing waits for company: an event that
finds the recorder idle is published at once, and what arrives while others are being committed goes together when they are done.
A batch alone lets the loop turn a few times first, so that what has reached this process goes with it instead of after it.
Up to ten are published singly in parallel, since an atomic batch costs about 2 ms on one replica; more go as one batch, since each
single one costs a sync of its own.  A batch that is refused, for a member whose id is known already, say, or whose fate is unknown,
is published singly: an event that was stored after all is then acknowledged as the duplicate it is, with the sequence of the first.

What a duplicate means is the caller's to judge: a retry of ours, another worker's answer to the same request, or a planted id.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from streams.bus import Message, Outgoing, PubAck, PublishConflict, PublishFailed

RECORD_STREAM = "RECORD"
RECORD_DEADLINE_S = 2.0  # of one commit; well within a request's 5 s, so that a refusal still arrives
MAX_SINGLES = 10
TURNS = 8  # of the loop: what lies in the socket is read (two, for sixteen requests), taken apart, handed over and decided meanwhile
MAX_BATCH = 900  # the server takes 1,000
MAX_BATCH_BYTES = 1_000_000  # far below the server's max_pending of a connection (8 MB), which would cut us


class RecordUnavailable(Exception):
    """No acknowledgement came: the event may or may not be in RECORD, and what depends on it must not happen."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where the event stands.  `duplicate`: its id was there before, and `seq` is that event's."""

    seq: int
    duplicate: bool


class RecordStream(Protocol):
    """What the recorder calls; `streams.bus.Publisher` is one.  Both raise PublishFailed or PublishConflict."""

    async def publish(self, stream: str, subject: str, body: bytes, *, msg_id: str, deadline_s: float) -> PubAck:
        """One message; returns when it is stored."""

    async def publish_batch(self, stream: str, messages: Sequence[Message], *, deadline_s: float) -> PubAck:
        """All of them in adjacent sequences, or none; returns the acknowledgement of the last."""


class Recorder:
    """Commits events in groups.  `close` when the worker stops."""

    def __init__(self, publisher: RecordStream, *, deadline_s: float = RECORD_DEADLINE_S) -> None:
        self._publisher = publisher
        self._deadline_s = deadline_s
        self._pending: deque[tuple[Outgoing, asyncio.Future[Recorded]]] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False

    async def record(self, subject: str, body: bytes, msg_id: str) -> int:
        """Commit one event; returns its sequence.  Raises RecordUnavailable within twice the deadline."""
        return (await self.commit(subject, body, msg_id)).seq

    async def commit(self, subject: str, body: bytes, msg_id: str) -> Recorded:
        """As `record`, and says whether the id was known before."""
        if self._closed:
            raise RecordUnavailable("the recorder has ended")
        future: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        self._pending.append((Outgoing(subject, body, msg_id), future))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(), name="recorder")
        return await future  # whoever commits it keeps the deadline: one commit that is under way, and its own

    async def close(self) -> None:
        """Commit what is pending, within the deadline, and end.  Who still waits then is told RecordUnavailable."""
        self._closed = True
        if self._flushing is not None:
            await asyncio.wait({self._flushing}, timeout=self._deadline_s)
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        while self._pending:
            _settle(self._pending.popleft()[1], RecordUnavailable("the recorder has ended"))

    async def _flush(self) -> None:
        try:
            while self._pending:
                await self._company()
                await self._commit_group(self._next_group())
        finally:
            self._flushing = None

    async def _company(self) -> None:
        """What goes as a batch anyway takes along what is on its way here already; what goes singly waits for no turn."""
        for _ in range(TURNS):
            if len(self._pending) <= MAX_SINGLES:
                return
            await asyncio.sleep(0)

    def _next_group(self) -> list[tuple[Outgoing, asyncio.Future[Recorded]]]:
        """The oldest pending events, within the limits of a batch.  Who gave up waiting is left out: nothing was published for them."""
        group: list[tuple[Outgoing, asyncio.Future[Recorded]]] = []
        size = 0
        while self._pending and len(group) < MAX_BATCH:
            event, future = self._pending[0]
            size += len(event.body)
            if group and size > MAX_BATCH_BYTES:
                break
            self._pending.popleft()
            if not future.done():
                group.append((event, future))
        return group

    async def _commit_group(self, group: list[tuple[Outgoing, asyncio.Future[Recorded]]]) -> None:
        try:
            async with asyncio.timeout(self._deadline_s):
                if len(group) == 1:
                    await self._single(*group[0])
                elif len(group) <= MAX_SINGLES or not await self._batch(group):
                    await asyncio.gather(*(self._single(event, future) for event, future in group))
        except TimeoutError:
            pass  # what has no acknowledgement by now is told so below
        finally:
            for _, future in group:  # cancelled or a fault: nobody is left waiting
                _settle(future, RecordUnavailable("the commit was given up"))

    async def _batch(self, group: list[tuple[Outgoing, asyncio.Future[Recorded]]]) -> bool:
        try:
            ack = await self._publisher.publish_batch(RECORD_STREAM, [event for event, _ in group], deadline_s=self._deadline_s)
        except (PublishFailed, PublishConflict):
            return False
        first = ack.seq - len(group) + 1
        for offset, (_, future) in enumerate(group):
            _settle(future, Recorded(first + offset, duplicate=False))
        return True

    async def _single(self, event: Outgoing, future: asyncio.Future[Recorded]) -> None:
        try:
            ack = await self._publisher.publish(RECORD_STREAM, event.subject, event.body, msg_id=event.msg_id, deadline_s=self._deadline_s)
        except (PublishFailed, PublishConflict):
            _settle(future, RecordUnavailable("RECORD did not take it"))
        else:
            _settle(future, Recorded(ack.seq, bool(ack.duplicate)))


def _settle(future: asyncio.Future[Recorded], outcome: Recorded | RecordUnavailable) -> None:
    if future.done():
        return
    if isinstance(outcome, Recorded):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)
