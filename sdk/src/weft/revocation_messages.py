"""Entries and beacons as they stand on the stream: a CloudEvent around a compact JWS.  The same names as schemas/revocation.py.

Reading and verifying are memoised by the bytes, so that many receivers in one process pay once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from weft import wire
from weft.digest import sha256
from weft.errors import InvalidRevocation, Malformed
from weft.jws import eddsa_verifies, parse_jws
from weft.reading import objects, text
from weft.strictjson import parse_object

ENTRY = "org.weft.revocation.entry.v1"
BEACON = "org.weft.revocation.beacon.v1"
ENTRY_TYP = "weft-revocation+jwt"
BEACON_TYP = "weft-beacon+jwt"
GENESIS = "A" * 43  # what entry 1 names as its previous, and a beacon as its head while there is none
MAX_JWS_BYTES = 16_384
_TYPS = {ENTRY: ENTRY_TYP, BEACON: BEACON_TYP}


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry, read; `hash` is the SHA-256 of its JWS, `targets` are digests."""

    n: int
    prev: str
    epoch: int
    at: int
    targets: tuple[str, ...]
    keys: frozenset[str]  # those of them that are signing keys
    posture: int | None
    hash: str


@dataclass(frozen=True, slots=True)
class Beacon:
    """A beacon, read."""

    n: int
    head: str
    epoch: int
    at: float
    facts: int
    floor: int


@dataclass(frozen=True, slots=True)
class UnverifiedMessage:
    """What a JWS says, and what is needed to verify it."""

    content: Entry | Beacon
    kid: str
    jws: str


@lru_cache(maxsize=1024)
def read_event(event: bytes) -> UnverifiedMessage:
    """A message as the stream holds it; raises InvalidRevocation.  Its signature is not verified."""
    try:
        envelope = wire.parse(event)
        jws = text(envelope.data, "jws")
    except Malformed as error:
        raise InvalidRevocation(str(error)) from None
    typ = _TYPS.get(envelope.type)
    if typ is None:
        raise InvalidRevocation("neither an entry nor a beacon")
    return read_message(jws, typ)


@lru_cache(maxsize=1024)
def read_message(unverified: str, typ: str) -> UnverifiedMessage:
    """The JWS of an entry or a beacon; raises InvalidRevocation.  Its signature is not verified."""
    try:
        jws = parse_jws(unverified, MAX_JWS_BYTES)
        kid = jws.kid("EdDSA", typ)
        payload = parse_object(jws.payload, "the payload")
        return UnverifiedMessage(_entry(payload, unverified) if typ == ENTRY_TYP else _beacon(payload), kid, unverified)
    except (Malformed, KeyError, TypeError) as error:
        raise InvalidRevocation(str(error) if isinstance(error, Malformed) else "a member is missing or of another type") from None


@lru_cache(maxsize=1024)
def is_signed(jws: str, key: bytes) -> bool:
    """Whether the key made the signature."""
    return eddsa_verifies(key, parse_jws(jws, MAX_JWS_BYTES))


def _entry(payload: Mapping[str, Any], jws: str) -> Entry:
    named = tuple((text(target, "digest"), text(target, "kind")) for target in objects(payload, "targets"))
    targets = tuple(digest for digest, _ in named)
    if not targets:
        raise Malformed("an entry without targets")
    return Entry(
        n=_whole(payload["n"], 1),
        prev=text(payload, "prev"),
        epoch=_whole(payload["epoch"]),
        at=_whole(payload["at"]),
        targets=targets,
        keys=frozenset(digest for digest, kind in named if kind == "key"),
        posture=None if payload.get("posture") is None else _whole(payload["posture"]),
        hash=sha256(jws),
    )


def _beacon(payload: Mapping[str, Any]) -> Beacon:
    if type(payload["at"]) not in (int, float):
        raise Malformed("at is not a time")
    beacon = Beacon(
        n=_whole(payload["n"]),
        head=text(payload, "head"),
        epoch=_whole(payload["epoch"]),
        at=float(payload["at"]),
        facts=_whole(payload["facts"]),
        floor=_whole(payload["floor"], 1),
    )
    if beacon.floor > beacon.n + 1:
        raise Malformed("the floor is above the last entry")
    return beacon


def _whole(value: Any, least: int = 0) -> int:
    if type(value) is not int or value < least:
        raise Malformed("not a whole number")
    return value
