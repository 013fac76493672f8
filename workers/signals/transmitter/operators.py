"""What operators ask of the transmitter: whose streams there are, a status of ours, dead letters, an event to be sent.

Takes the role of a revoker over the trust domain: a signal of ours makes others act on our word.
"""

from __future__ import annotations

import asyncio
from secrets import token_hex
from typing import Any

from pydantic import ValidationError

from schemas.commands import ANSWER, Answer
from schemas.events import BY_URI, CAEPEvent, Event, read_event
from schemas.facts import EventStream
from schemas.reasons import DenyReason
from schemas.ssf import Dead, StreamsCommand
from schemas.subject_ids import AnySubject, parse_subject
from streams.bus import Caller, event
from streams.facts_table import FactsTable
from workers.common.clock import Clock
from workers.common.roles import holds
from workers.common.rpc import Refused
from workers.signals.recording import SOURCE
from workers.signals.transmitter import manage
from workers.signals.transmitter.outbox import Outbox
from workers.signals.transmitter.ports import Conflict, Held, Queue, Streams, Unavailable
from workers.signals.transmitter.sets import Happening
from workers.signals.transmitter.wanted import SUPPORTED, delivered

PAGE = 100
TRIES = 5


class Operators:
    """`weft ssf`."""

    def __init__(self, facts: FactsTable, streams: Streams, queue: Queue, outbox: Outbox, *, clock: Clock, root: str) -> None:
        self._facts = facts
        self._streams = streams
        self._queue = queue
        self._outbox = outbox
        self._clock = clock
        self._root = root

    async def answer(self, who: Caller, asked: StreamsCommand) -> bytes:
        """`ANSWER`, or raises Refused."""
        if not holds(self._facts.person(who.name), "revoker", self._root):
            raise Refused(DenyReason.NOT_AUTHORIZED, "takes the role of a revoker over the trust domain")
        try:
            rows, following = await self._done(who, asked)
        except Unavailable:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "the queues did not answer in time: repeat it") from None
        except Conflict:
            raise Refused(DenyReason.CONFLICT, "the stream is being changed by others: repeat it") from None
        return event(ANSWER, Answer(rows=tuple(rows), next=following), source=SOURCE)

    async def _done(self, who: Caller, asked: StreamsCommand) -> tuple[list[dict[str, Any]], int | None]:
        match asked.what:
            case "list":
                return [_row(stream) for stream in self._streams.all()], None
            case "dead":
                letters = await self._queue.dead(asked.stream_id, asked.after, PAGE)
                return [_letter(letter) for _, letter in letters], letters[-1][0] if len(letters) == PAGE else None
            case "resend":
                return await self._resend(asked), None
            case "status":
                return [_row(await self._status(who, asked))], None
            case "emit":
                return await self._emit(asked), None

    async def _resend(self, asked: StreamsCommand) -> list[dict[str, Any]]:
        """Into the queue first: what is sent twice does less harm than what is lost."""
        sent: list[dict[str, Any]] = []
        after = 0
        while letters := await self._queue.dead(asked.stream_id, after, PAGE):
            for seq, letter in letters:
                after = seq
                if asked.jti in (None, letter.queued.jti):
                    await self._queue.put(letter.queued)
                    await self._queue.exhume(letter)
                    sent.append(_letter(letter))
        if asked.jti is not None and not sent:
            raise Refused(DenyReason.NOT_FOUND, "no such dead letter")
        return sent

    async def _status(self, who: Caller, asked: StreamsCommand) -> EventStream:
        """The receiver is told before we stop (SSF 1.0 section 8.1.5), and once we go on."""
        if asked.status is None:
            raise Refused(DenyReason.INVALID_CHANGE, "which status is missing")
        for attempt in range(TRIES):
            held = await self._held(asked.stream_id)
            before = held.stream
            if before is None:
                break
            stream = manage.set_status(before, asked.status, asked.reason)
            if stream == before:
                return stream
            cause = f"status\0{stream.stream_id}\0{held.revision}"
            if asked.status != "enabled":
                await self._outbox.announce(stream, asked.status, cause)
            try:
                await self._streams.write(stream.stream_id, stream, held.revision, by=who.name, reason=asked.reason or "status")
            except Conflict:
                if attempt == TRIES - 1:
                    raise
                await asyncio.sleep(0.02)
                continue
            if asked.status == "enabled":
                await self._outbox.announce(stream, asked.status, cause)
            if asked.status == "disabled":
                await self._queue.drop(stream.stream_id)
            return stream
        raise Refused(DenyReason.NOT_FOUND, "no such stream")

    async def _held(self, stream_id: str | None) -> Held:
        if stream_id is None:
            raise Refused(DenyReason.INVALID_CHANGE, "which stream is missing")
        return await self._streams.read(stream_id)

    async def _emit(self, asked: StreamsCommand) -> list[dict[str, Any]]:
        """A signal of the operator's own making, on every stream that wants it (or on one)."""
        if asked.event not in SUPPORTED or asked.subject is None:
            raise Refused(DenyReason.INVALID_CHANGE, "an event that we send and a subject are needed")
        if asked.stream_id is not None and (await self._held(asked.stream_id)).stream is None:
            raise Refused(DenyReason.NOT_FOUND, "no such stream")
        happening = Happening(self._event(asked), _subject(asked.subject), f"emitted\0{token_hex(16)}")
        formats = happening.event.SUBJECTS
        if formats and happening.subject.format not in formats:
            raise Refused(DenyReason.INVALID_CHANGE, f"the subject of this event is one of {', '.join(sorted(formats))}")
        sent = await self._outbox.tell([happening], asked.stream_id)
        return [{"stream_id": one.stream_id, "jti": one.jti, "event": one.event} for one in sent]

    def _event(self, asked: StreamsCommand) -> Event:
        """With what every event of ours has."""
        uri = asked.event or ""
        ours: dict[str, Any] = {}
        if issubclass(BY_URI[uri], CAEPEvent):
            reason = asked.reason or "reported by an operator"
            ours = {"event_timestamp": int(self._clock.now()), "initiating_entity": "admin", "reason_admin": {"en": reason}}
        try:
            return read_event(uri, {**ours, **asked.members})
        except ValidationError as error:
            wrong = sorted({str(e["loc"][0]) for e in error.errors(include_input=False) if e["loc"]})
            raise Refused(DenyReason.INVALID_CHANGE, f"members of the event that are missing or do not fit: {', '.join(wrong)}") from None


def _subject(said: dict[str, Any]) -> AnySubject:
    try:
        return parse_subject(said)
    except ValueError:
        raise Refused(DenyReason.INVALID_CHANGE, "not a subject identifier") from None


def _row(stream: EventStream) -> dict[str, Any]:
    """Without the receiver's credential, sealed as it is."""
    told = stream.plain()
    told["delivery"] = {name: value for name, value in told["delivery"].items() if name != "authorization"}
    return {**told, "events_delivered": list(delivered(stream))}


def _letter(letter: Dead) -> dict[str, Any]:
    """Without the SET."""
    made = letter.queued
    return {"stream_id": made.stream_id, "jti": made.jti, "event": made.event, "err": letter.err, "detail": letter.detail}
