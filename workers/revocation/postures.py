"""Postures become entries: what a writer does with the durable consumer `revocation` of FACTS.

A posture's message is acknowledged only once its entry is committed and on RECORD.  What the consumer handed to a writer that was
deposed before it acknowledged is fetched from FACTS at once, not when the consumer delivers it again; which of those postures have
their entry already, the entries themselves say.  nats-py is bound directly here: the pull loop lives as long as the role, not as long
as the application (docs/decisions/0007-revocation-writer.md).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NATSError

from schemas.facts import Fact, Kind, Posture
from streams.facts_keys import place_of, read_fact
from streams.subjects import FACT
from workers.common import directget, log
from workers.common.recorder import RecordUnavailable
from workers.revocation.causes import Cause, Committed, of_posture
from workers.revocation.ports import Commits, Covered, Deposed, Uncertain
from workers.revocation.recording import Recording

STREAM, DURABLE = "FACTS", "revocation"
FILTER = f"{FACT.at(Kind.POSTURE.value)}.>"
BATCH = 64
NEXT = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{DURABLE}"
SILENCE_S = 0.5  # beyond the end of a pull request, after which it is asked again
PULL_S = 1.0  # a pull request outlives a stopped writer by so much; less than the silence that another waits for

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pending:
    """What the consumer delivered and nobody acknowledged: a stretch of FACTS."""

    first: int
    last: int


class PostureFeed:
    """The durable consumer, and FACTS behind it."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def pending(self) -> Pending | None:
        """What an earlier writer left unacknowledged.  Raises Uncertain."""
        try:
            info = await self._nc.jetstream().consumer_info(STREAM, DURABLE)
        except NATSError as error:
            raise Uncertain("the consumer of postures did not answer") from error
        if not info.num_ack_pending or info.ack_floor is None or info.delivered is None:
            return None
        return Pending(info.ack_floor.stream_seq + 1, info.delivered.stream_seq)

    async def between(self, pending: Pending) -> AsyncIterator[directget.Stored]:
        """The postures of that stretch.  Raises Uncertain."""
        seq = pending.first
        while seq <= pending.last:
            try:
                found = await directget.following(self._nc, STREAM, FILTER, seq)
            except directget.Unavailable as error:
                raise Uncertain("FACTS did not answer") from error
            if found is None or found.seq > pending.last:
                return
            yield found
            seq = found.seq + 1

    async def messages(self) -> AsyncGenerator[Msg, None]:
        """New postures, for ever; close it when done, so that the server keeps what was not taken.

        Pulled by hand: nats-py's `fetch` waits with `asyncio.wait_for`, which may swallow a cancellation (bpo-37658), and a writer that
        cannot be stopped is two writers.
        """
        arrived: asyncio.Queue[Msg] = asyncio.Queue()
        inbox = self._nc.new_inbox()
        subscription = await self._nc.subscribe(inbox, cb=arrived.put)
        try:
            while True:
                await self._nc.publish(NEXT, json.dumps({"batch": BATCH, "expires": int(PULL_S * 1e9)}).encode(), reply=inbox)
                async for msg in _batch(arrived):
                    yield msg
        except NATSError as error:
            raise Uncertain("the consumer of postures cannot be asked") from error
        finally:
            with suppress(NATSError):  # the connection is gone
                await subscription.unsubscribe()


async def _batch(arrived: asyncio.Queue[Msg]) -> AsyncIterator[Msg]:
    """What one pull request brings: messages, then a status (ADR-13), or silence where the server is away."""
    for _ in range(BATCH):
        try:
            async with asyncio.timeout(PULL_S + SILENCE_S):
                msg = await arrived.get()
        except TimeoutError:
            return
        if (msg.headers or {}).get("Status") is not None:
            return
        yield msg


class Postures:
    """The duty of a writer: every posture that revokes has one entry."""

    def __init__(self, feed: PostureFeed, covered: Covered, recording: Recording) -> None:
        self._feed = feed
        self._covered = covered
        self._recording = recording

    async def serve(self, writer: Commits) -> None:
        """Until cancelled, or the writer is deposed."""
        try:
            done = await self._catch_up(writer)
            async with asyncio.TaskGroup() as finishing, aclosing(self._feed.messages()) as messages:
                async for msg in messages:
                    cause = read_cause(msg.subject, msg.metadata.sequence.stream, msg.data)
                    if cause is not None and cause.posture not in done:
                        done[cause.posture] = await writer.commit(cause)
                    finishing.create_task(self._finish(msg, cause, done))
        except* Deposed:
            pass  # the role ends, and what was not acknowledged is the next writer's

    async def _catch_up(self, writer: Commits) -> dict[int | None, Committed]:
        """Commit what an earlier writer took and did not finish.  Returns the entries known, by posture."""
        pending = await self._feed.pending()
        left = [found async for found in self._feed.between(pending)] if pending is not None else []
        done: dict[int | None, Committed] = {}
        if left:
            done |= await self._covered.postures_since(left[0].time)
        for found in left:
            cause = read_cause(found.subject, found.seq, found.body)
            if cause is not None and found.seq not in done:
                done[found.seq] = await writer.commit(cause)
        return done

    async def _finish(self, msg: Msg, cause: Cause | None, done: dict[int | None, Committed]) -> None:
        """Record, then acknowledge; whatever fails is delivered again, and finds its entry in `done`."""
        try:
            if cause is not None:
                await self._recording.revoked(cause, done[cause.posture])
            await msg.ack_sync(timeout=directget.DEADLINE_S)
        except (RecordUnavailable, NATSError) as error:
            logger.warning(log.RECORD_FAILED, what="revoked", error=type(error).__name__)
        else:
            done.pop(cause.posture if cause is not None else None, None)


def read_cause(subject: str, revision: int, body: bytes) -> Cause | None:
    """A message of FACTS to the cause it is; none where it revokes nothing.

    One that cannot be read is logged and passed over: every view reads it as a quarantine of its subject (streams.facts_table).
    """
    place = place_of(subject)
    fact: Fact | None = read_fact(*place, body) if place is not None else None
    if fact is None:
        logger.error(log.CAUSE_REFUSED, revision=revision)
        return None
    return of_posture(fact.body, revision, fact.by) if isinstance(fact.body, Posture) else None
