"""Security Event Tokens of ours.  Pure but for `Signatures`.  RFC 8417 section 2.2, SSF 1.0 section 4.1, CAEP Interop 1.0.

Exactly one event; neither `sub` nor `exp`; `txn` is one for all SETs of one cause.  `jti` follows from the cause and the stream, so that
telling of one thing twice makes one SET.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
from weft.digest import sha256

from schemas.events import Event, ssf
from schemas.facts import EventStream
from schemas.signals import SET_TYP
from schemas.ssf import Queued
from schemas.subject_ids import AnySubject, OpaqueSubject
from streams.keys import SigningKey
from workers.signals.transmitter.ports import Signs
from workers.signals.transmitter.wanted import algorithm


@dataclass(frozen=True, slots=True)
class Happening:
    """Something to be told, to whoever wants to hear it.  `cause`: what it all comes from; of one cause may be several."""

    event: Event
    subject: AnySubject
    cause: str
    also: tuple[AnySubject, ...] = ()  # further names of the same person, by which a receiver may have added or removed them


class Keys(Protocol):
    """Of one algorithm; `workers.signals.ring.Ring` is one."""

    @property
    def alg(self) -> str:
        """As JWS names it."""

    @property
    def current(self) -> SigningKey:
        """The key of the moment."""


class Signatures:
    """The keys of SETs, one at a time for each algorithm."""

    def __init__(self, keys: Iterable[Keys]) -> None:
        self._keys = {held.alg: held for held in keys}

    def sign(self, alg: str, claims: Mapping[str, Any]) -> str:
        """A compact JWS.  Raises KeyError for an algorithm without a key."""
        key = self._keys[alg].current
        return jwt.encode(dict(claims), key.private, key.alg, {"typ": SET_TYP, "kid": key.kid})


def queued(happening: Happening, stream: EventStream, issuer: str, signs: Signs, now: float) -> Queued:
    """As it will be sent on this stream."""
    uri = happening.event.URI
    txn = sha256(happening.cause)
    jti = sha256("\0".join((happening.cause, stream.stream_id, uri, happening.subject.wire().decode())))
    claims = {
        "iss": issuer,
        "aud": stream.aud,
        "iat": int(now),
        "jti": jti,
        "txn": txn,
        "sub_id": happening.subject.plain(),
        "events": {uri: happening.event.plain()},
    }
    signed = signs.sign(algorithm(stream), claims)
    return Queued.model_validate({"stream_id": stream.stream_id, "jti": jti, "event": uri, "txn": txn, "set": signed})


def verification(stream: EventStream, state: str | None, cause: str) -> Happening:
    """SSF 1.0 section 8.1.4.1.  `state` is what the receiver sent, and nothing where it sent none."""
    return Happening(ssf.Verification(state=state), _itself(stream), cause)


def stream_updated(stream: EventStream, cause: str) -> Happening:
    """SSF 1.0 section 8.1.5: the status that it has, or is about to have."""
    return Happening(ssf.StreamUpdated(status=stream.status, reason=stream.status_reason), _itself(stream), cause)


def _itself(stream: EventStream) -> OpaqueSubject:
    return OpaqueSubject(format="opaque", id=stream.stream_id)
