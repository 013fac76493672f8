"""What a receiver's request does to its stream.  Pure: the request and the stream as it stands go in, the new stream comes out.

SSF 1.0 section 8.1.  Create and replace take what the receiver says and forget the rest; an update leaves alone what it does not name.
What is ours to say (`stream_id`, `iss`, `aud`, `events_supported`, `events_delivered`, `min_verification_interval`, a poll's URL) may be
repeated in an update or a replacement, and must then be what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.events.ssf import StreamStatus
from schemas.facts import EventStream, PollDelivery, PushDelivery
from schemas.subject_ids import AnySubject
from workers.common.outbound.rules import OutboundRefused, Rules
from workers.signals.transmitter.bodies import Changes, Poll, Push, Wishes
from workers.signals.transmitter.configuration import Transmitter
from workers.signals.transmitter.outcome import Rejected, bad

MAX_STREAMS = 32  # of one receiver
MAX_SUBJECTS = 200  # named by one stream: a fact has to hold them
MAX_DESCRIPTION = 512
MAX_STREAM_BYTES = 32_768  # of the fact: FACTS is kept for ever, and every worker holds what stands on it
Seal = Callable[[str, str], str]  # of a header's value, for a stream
Delivery = PushDelivery | PollDelivery


def create(wishes: Wishes, *, stream_id: str, client_id: str, held: int, rules: Rules, seal: Seal, now: float) -> EventStream:
    """A new stream.  `held`: how many this receiver has.  Raises Rejected (400, 409)."""
    if held >= MAX_STREAMS:
        raise Rejected(409, "conflict", f"{held} streams are the most that one receiver may have: delete one")
    stream = EventStream(
        stream_id=stream_id,
        client_id=client_id,
        aud=client_id,
        events_requested=wishes.events_requested,
        delivery=_delivery(wishes.delivery, stream_id, rules, seal),
        description=_short(wishes.description),
        created_at=int(now),
    )
    return _sized(stream)


def update(stream: EventStream, changes: Changes, transmitter: Transmitter, *, rules: Rules, seal: Seal) -> EventStream:
    """What it names.  Raises Rejected (400)."""
    check_supplied(stream, changes, transmitter)
    changed: dict[str, Any] = {}
    if changes.events_requested is not None:
        changed["events_requested"] = changes.events_requested
    if changes.delivery is not None:
        changed["delivery"] = _delivery(changes.delivery, stream.stream_id, rules, seal)
    if changes.description is not None:
        changed["description"] = _short(changes.description)
    return _sized(stream.model_copy(update=changed))


def replace(stream: EventStream, changes: Changes, transmitter: Transmitter, *, rules: Rules, seal: Seal) -> EventStream:
    """All that a receiver says of a stream, anew.  Raises Rejected (400)."""
    check_supplied(stream, changes, transmitter)
    said = {
        "events_requested": changes.events_requested,
        "delivery": _delivery(changes.delivery, stream.stream_id, rules, seal),
        "description": _short(changes.description),
    }
    return _sized(stream.model_copy(update=said))


def set_status(stream: EventStream, status: StreamStatus, reason: str | None) -> EventStream:
    """SSF 1.0 section 8.1.2.2."""
    return stream.model_copy(update={"status": status, "status_reason": reason})


def add_subject(stream: EventStream, subject: AnySubject, *, default_all: bool) -> EventStream:
    """Takes back its removal; where nobody is told of by default it is noted.  Raises Rejected (429)."""
    removed = tuple(one for one in stream.removed if one != subject)
    added = stream.added if default_all or subject in stream.added else (*stream.added, subject)
    return _bounded(stream.model_copy(update={"removed": removed, "added": added}))


def remove_subject(stream: EventStream, subject: AnySubject, *, default_all: bool) -> EventStream:
    """Nothing more about it, whoever it is: whether we know the subject is not told.  Raises Rejected (429)."""
    added = tuple(one for one in stream.added if one != subject)
    removed = (*stream.removed, subject) if default_all and subject not in stream.removed else stream.removed
    return _bounded(stream.model_copy(update={"added": added, "removed": removed}))


def check_supplied(stream: EventStream, changes: Changes, transmitter: Transmitter) -> None:
    """What of ours the request repeats is what it is.  Raises Rejected (400)."""
    for name, ours in transmitter.supplied(stream).items():
        if (said := getattr(changes, name)) is not None and not _same(said, ours):
            raise bad(f"{name} is the transmitter's to say, and is another")
    if changes.inactivity_timeout is not None:
        raise bad("inactivity_timeout is the transmitter's to say, and this one has none")
    if isinstance(changes.delivery, Poll) and changes.delivery.endpoint_url not in (None, transmitter.poll_url(stream.stream_id)):
        raise bad("delivery.endpoint_url of a poll is the transmitter's to say, and is another")


def _same(said: Any, ours: Any) -> bool:
    """Arrays as sets: their order means nothing."""
    if isinstance(ours, list):
        return isinstance(said, tuple) and len(said) == len(ours) and all(one in ours for one in said)
    return bool(said == ours) and type(said) is type(ours)


def _delivery(wish: Push | Poll | None, stream_id: str, rules: Rules, seal: Seal) -> Delivery:
    """Without a wish SETs are polled for (SSF 1.0 section 8.1.1.1)."""
    if not isinstance(wish, Push):
        return PollDelivery()
    try:
        rules.check_url(wish.endpoint_url)
    except OutboundRefused as refused:
        raise bad(f"delivery.endpoint_url: {refused}") from None
    header = wish.authorization_header
    return PushDelivery(endpoint_url=wish.endpoint_url, authorization=None if header is None else seal(stream_id, header))


def _short(description: str | None) -> str | None:
    """A transmitter may truncate it (SSF 1.0 section 8.1.1)."""
    return None if description is None else description[:MAX_DESCRIPTION]


def _bounded(stream: EventStream) -> EventStream:
    if len(stream.added) + len(stream.removed) > MAX_SUBJECTS:
        raise Rejected(429, "too_many_subjects", f"a stream names at most {MAX_SUBJECTS} subjects")
    return _sized(stream)


def _sized(stream: EventStream) -> EventStream:
    if len(stream.wire()) > MAX_STREAM_BYTES:
        raise bad(f"a stream is described by at most {MAX_STREAM_BYTES} bytes: fewer or shorter events_requested or subjects")
    return stream
