"""Streams of receivers as facts of kind `stream`, changed by comparing and setting."""

from __future__ import annotations

import structlog
from nats.aio.client import Client
from weft.digest import sha256

from schemas.facts import FACT, EventStream, Fact, Kind
from streams.bus import PublishConflict, Publisher, PublishFailed, event
from streams.facts import FactsView
from streams.facts_keys import read_fact, subject_of
from workers.common import directget, log
from workers.signals.recording import SOURCE
from workers.signals.transmitter.ports import Conflict, Held, Unavailable

STREAM = "FACTS"
DEADLINE_S = 4.0
VIEW_S = 2.0  # for this copy's view to hold what it wrote
logger = structlog.get_logger()


class FactStreams:
    """`ports.Streams` on FACTS."""

    def __init__(self, nc: Client, publisher: Publisher, facts: FactsView) -> None:
        self._nc = nc
        self._publisher = publisher
        self._facts = facts

    async def read(self, stream_id: str) -> Held:
        """The newer of the stream's answer (a replica may lag) and the view's.  Raises Unavailable."""
        try:
            subject = subject_of(Kind.STREAM, stream_id)
        except ValueError:
            return Held(None, 0)  # no id of ours
        try:
            found = await directget.last(self._nc, STREAM, subject, deadline_s=DEADLINE_S)
        except directget.Unavailable as error:
            raise Unavailable(str(error)) from None
        seen = self._facts.table.revision_of(Kind.STREAM, stream_id)
        if found is None or found.seq < seen:
            return Held(self._facts.table.stream(stream_id), seen)
        fact = read_fact(Kind.STREAM, stream_id, found.body)
        return Held(fact.body if fact is not None and isinstance(fact.body, EventStream) else None, found.seq)

    async def write(self, stream_id: str, stream: EventStream | None, revision: int, *, by: str, reason: str) -> None:
        """Raises Conflict, Unavailable."""
        fact = Fact(kind=Kind.STREAM, key=stream_id, body=stream, by=by, reason=reason)
        said = stream.wire() if stream is not None else b""
        try:
            ack = await self._publisher.publish(
                STREAM,
                subject_of(Kind.STREAM, stream_id),
                event(FACT, fact, source=SOURCE),
                msg_id=f"signals:stream:{stream_id}:{revision}:{sha256(said)}",
                expected_last_subject_seq=revision,
                deadline_s=DEADLINE_S,
            )
        except PublishConflict as error:
            raise Conflict(str(error)) from None
        except PublishFailed as error:
            raise Unavailable(str(error)) from None
        logger.info(log.STREAM_CHANGED, stream=stream_id, status=stream.status if stream is not None else "deleted", revision=ack.seq)
        await self._facts.wait_for(ack.seq, VIEW_S)

    def all(self) -> tuple[EventStream, ...]:
        """As the view has them."""
        return self._facts.table.streams()
