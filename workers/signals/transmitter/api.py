"""Receivers' requests, answered.  SSF 1.0 section 8, RFC 8936, RFC 6750, CAEP Interoperability Profile 1.0.

1. No token in the URI (400), a token (401), of ours and good (401), with the scope that the operation needs (403).
2. The body in form (400).
   Changes at the pace of one receiver (429): each is a fact, which is kept for ever.
3. The stream: that of this very receiver, or there is none (404).
4. `manage` decides; the new state is committed where the old one still stands; then what follows from it is done.

The document about the transmitter and its keys are for everyone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from secrets import token_hex
from typing import Any, TypeVar, assert_never

import structlog

from schemas.facts import EventStream, PollDelivery, PushDelivery
from schemas.ssf import Answered, Asked
from workers.common import log
from workers.common.buckets import Buckets
from workers.common.clock import Clock
from workers.common.outbound.rules import Rules
from workers.signals.transmitter import manage
from workers.signals.transmitter.bodies import Changes, NewStatus, PollWish, SubjectChange, VerificationWish, Wishes, read
from workers.signals.transmitter.configuration import Transmitter, status_of
from workers.signals.transmitter.outbox import Outbox
from workers.signals.transmitter.outcome import Rejected, bad, empty, in_query, insufficient, ok, unauthenticated, unknown
from workers.signals.transmitter.poll import Poller
from workers.signals.transmitter.ports import MANAGE, READ, Authorizer, Conflict, Held, Receiver, Streams, Unavailable
from workers.signals.transmitter.pushers import Pushers
from workers.signals.transmitter.queue import OutgoingQueue
from workers.signals.transmitter.sealing import SealBroken, Sealer
from workers.signals.transmitter.sets import verification

READS = ("read", "read_status")
PACED = ("create", "update", "replace", "delete", "update_status", "add_subject", "remove_subject")
PACE = 0.5, 300.0  # changes of one receiver: a second in the long run, and at once; each copy of this worker counts for itself
MOST_VERIFIED = 1000  # SETs that wait on a stream while verifications are still put on top
TRIES = 5
PAUSE_S = 0.02
REMEMBERED = 4096  # streams whose last verification is known
Change = Callable[[EventStream], EventStream]
BodyT = TypeVar("BodyT")
logger = structlog.get_logger()


class API:
    """Every operation of `schemas.ssf.Operation`."""

    def __init__(
        self,
        transmitter: Transmitter,
        streams: Streams,
        queue: OutgoingQueue,
        *,
        authorizer: Authorizer,
        outbox: Outbox,
        poller: Poller,
        pushers: Pushers,
        sealer: Sealer,
        rules: Rules,
        clock: Clock,
        jwks: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._transmitter = transmitter
        self._streams = streams
        self._queue = queue
        self._authorizer = authorizer
        self._outbox = outbox
        self._poller = poller
        self._pushers = pushers
        self._sealer = sealer
        self._rules = rules
        self._clock = clock
        self._jwks = jwks
        self._verified_at: dict[str, float] = {}
        self._changes = Buckets(*PACE)

    async def answer(self, asked: Asked) -> Answered:
        """Never raises but to be cancelled and for bugs."""
        try:
            return await self._answer(asked)
        except Rejected as rejected:
            return rejected.answer()
        except (Unavailable, Conflict):
            return Rejected(503, "unavailable", "the fabric did not answer in time: try again", retry_after_s=1).answer()

    async def _answer(self, asked: Asked) -> Answered:  # noqa: C901, PLR0911 - one line per operation
        if asked.operation == "configuration":
            return ok(self._transmitter.metadata())
        if asked.operation == "jwks":
            return ok(self._jwks())
        receiver = self._authorized(asked)
        match asked.operation:
            case "create":
                return await self._create(receiver, asked)
            case "read":
                return await self._read(receiver, asked.stream_id)
            case "update" | "replace":
                return await self._update(receiver, asked)
            case "delete":
                return await self._delete(receiver, asked.stream_id)
            case "read_status":
                return ok(status_of(await self._own(receiver, _named(asked.stream_id))))
            case "update_status":
                return await self._update_status(receiver, asked)
            case "add_subject" | "remove_subject":
                return await self._subject(receiver, asked)
            case "verify":
                return await self._verify(receiver, asked)
            case "poll":
                return await self._poll(receiver, asked)
            case never:
                assert_never(never)

    def _authorized(self, asked: Asked) -> Receiver:
        if asked.in_query:  # 1
            raise in_query()
        if not asked.token:
            raise unauthenticated()
        receiver = self._authorizer.receiver(asked.token, self._clock.now())
        enough = (MANAGE, READ) if asked.operation in READS else (MANAGE,)
        if not any(scope in receiver.scope for scope in enough):
            raise insufficient(enough[-1])
        if asked.operation in PACED and not self._changes.take(receiver.client_id):
            raise Rejected(429, "too_many_requests", "streams are changed more often than anybody needs to", retry_after_s=2)
        return receiver

    # --- streams ---------------------------------------------------------------------------------------------------------------

    async def _create(self, receiver: Receiver, asked: Asked) -> Answered:
        wishes = read(Wishes, asked.body)
        stream = manage.create(
            wishes,
            stream_id=token_hex(16),
            client_id=receiver.client_id,
            held=len(self._of(receiver)),
            rules=self._rules,
            seal=self._sealer.seal,
            now=self._clock.now(),
        )
        await self._streams.write(stream.stream_id, stream, 0, by=_by(receiver), reason="created")
        return ok(self._described(stream, receiver), 201)

    async def _read(self, receiver: Receiver, stream_id: str | None) -> Answered:
        if stream_id is None:
            return ok([self._described(stream, receiver) for stream in self._of(receiver)])
        return ok(self._described(await self._own(receiver, stream_id), receiver))

    async def _update(self, receiver: Receiver, asked: Asked) -> Answered:
        changes = read(Changes, asked.body)
        decide = manage.update if asked.operation == "update" else manage.replace

        def change(stream: EventStream) -> EventStream:
            return decide(stream, changes, self._transmitter, rules=self._rules, seal=self._sealer.seal)

        stream = await self._changed(receiver, changes.stream_id, change, f"{asked.operation}d")
        if isinstance(stream.delivery, PollDelivery):
            await self._pushers.release(stream.stream_id)
        return ok(self._described(stream, receiver))

    async def _delete(self, receiver: Receiver, stream_id: str | None) -> Answered:
        name = _named(stream_id)

        async def once() -> None:
            held = await self._held(receiver, name)
            await self._streams.write(name, None, held.revision, by=_by(receiver), reason="deleted")

        await _until_settled(once)
        await self._pushers.release(name)
        await self._queue.forget(name)
        return empty()

    async def _update_status(self, receiver: Receiver, asked: Asked) -> Answered:
        """By the receiver itself: no stream-updated event tells it what it just did (SSF 1.0 section 8.1.5)."""
        wish = read(NewStatus, asked.body)
        stream = await self._changed(
            receiver, wish.stream_id, lambda held: manage.set_status(held, wish.status, wish.reason), f"status {wish.status}"
        )
        if stream.status == "disabled":
            await self._queue.drop(stream.stream_id)
        return ok(status_of(stream))

    async def _subject(self, receiver: Receiver, asked: Asked) -> Answered:
        wish = read(SubjectChange, asked.body)
        everyone = self._transmitter.defaults == "ALL"
        decide = manage.add_subject if asked.operation == "add_subject" else manage.remove_subject
        await self._changed(
            receiver, wish.stream_id, lambda held: decide(held, wish.subject, default_all=everyone), asked.operation.replace("_", " ")
        )
        return empty(200 if asked.operation == "add_subject" else 204)

    # --- delivery --------------------------------------------------------------------------------------------------------------

    async def _verify(self, receiver: Receiver, asked: Asked) -> Answered:
        """A disabled stream holds nothing, not even this."""
        wish = read(VerificationWish, asked.body)
        stream = await self._own(receiver, wish.stream_id)
        self._check_pace(stream.stream_id)
        if await self._queue.size(stream.stream_id) >= MOST_VERIFIED:
            raise Rejected(429, "too_many_requests", "fetch what waits first", retry_after_s=60)
        if stream.status != "disabled":
            await self._outbox.put(verification(stream, wish.state, f"verification\0{token_hex(16)}"), stream)
        return empty()

    def _check_pace(self, stream_id: str) -> None:
        """`min_verification_interval`, SSF 1.0 section 8.1.4.2.  Each copy of this worker counts for itself."""
        now, least_s = self._clock.now(), self._transmitter.min_verification_interval_s
        last = self._verified_at.get(stream_id)
        if last is not None and now - last < least_s:
            wait_s = max(1, round(least_s - (now - last)))
            raise Rejected(429, "too_many_requests", f"a verification every {least_s} s at most", retry_after_s=wait_s)
        self._verified_at.pop(stream_id, None)
        self._verified_at[stream_id] = now
        if len(self._verified_at) > REMEMBERED:
            del self._verified_at[next(iter(self._verified_at))]

    async def _poll(self, receiver: Receiver, asked: Asked) -> Answered:
        wish = read(PollWish, asked.body)
        stream = await self._own(receiver, _named(asked.stream_id))
        if not isinstance(stream.delivery, PollDelivery):
            raise unknown()
        return await self._poller.poll(stream, wish, silent=not self._outbox.may_send(stream))

    # --- what they share -------------------------------------------------------------------------------------------------------

    def _of(self, receiver: Receiver) -> tuple[EventStream, ...]:
        return tuple(stream for stream in self._streams.all() if stream.client_id == receiver.client_id)

    async def _held(self, receiver: Receiver, stream_id: str) -> Held:
        held = await self._streams.read(stream_id)
        if held.stream is None or held.stream.client_id != receiver.client_id:  # 3
            raise unknown()
        return held

    async def _own(self, receiver: Receiver, stream_id: str) -> EventStream:
        stream = (await self._held(receiver, stream_id)).stream
        if stream is None:
            raise unknown()
        return stream

    async def _changed(self, receiver: Receiver, stream_id: str, change: Change, reason: str) -> EventStream:
        """4: decided over the stream as it stands, again where somebody else was faster.  Nothing is written where nothing changes."""

        async def once() -> EventStream:
            held = await self._held(receiver, stream_id)
            if held.stream is None:
                raise unknown()
            stream = change(held.stream)
            if stream != held.stream:
                await self._streams.write(stream_id, stream, held.revision, by=_by(receiver), reason=reason)
            return stream

        return await _until_settled(once)

    def _described(self, stream: EventStream, receiver: Receiver) -> dict[str, Any]:
        """The receiver's own credential is told to whoever may change it, and not to who may only read."""
        return self._transmitter.described(stream, self._credential(stream) if MANAGE in receiver.scope else None)

    def _credential(self, stream: EventStream) -> str | None:
        if not isinstance(stream.delivery, PushDelivery) or stream.delivery.authorization is None:
            return None
        try:
            return self._sealer.open(stream.stream_id, stream.delivery.authorization)
        except SealBroken:
            logger.warning(log.REQUEST_FAILED, what="seal", stream=stream.stream_id)
            return None


async def _until_settled(once: Callable[[], Awaitable[BodyT]]) -> BodyT:
    """Raises Conflict after `TRIES`."""
    for _ in range(TRIES - 1):
        try:
            return await once()
        except Conflict:
            await asyncio.sleep(PAUSE_S)
    return await once()


def _named(stream_id: str | None) -> str:
    if not stream_id:
        raise bad("stream_id is missing")
    return stream_id


def _by(receiver: Receiver) -> str:
    return f"client:{receiver.client_id}"
