"""Revocations: entries, beacons, acknowledgements.  Ours; no standard defines revocation of Transaction Tokens.

Each is a compact JWS (EdDSA, the revocation key, `typ` below) inside a CloudEvent, so that a receiver trusts signature and
chain and not the transport.  Entries are numbered 1, 2, 3 ... and name the SHA-256 of the previous entry's JWS.
An entry n hits every matching token whose `rev` is below n, whatever its `iat`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Compact, Digest, Opaque, Seconds, Sequence, TargetDigest, Wire

ENTRY = "org.weft.revocation.entry.v1"
BEACON = "org.weft.revocation.beacon.v1"
ORDER = "org.weft.revocation.ordered.v1"
COMMITTED = "org.weft.revocation.committed.v1"  # answers an order, and a completed transaction
COMPLETE = "org.weft.transaction.completed.v1"
ENTRY_TYP = "weft-revocation+jwt"
BEACON_TYP = "weft-beacon+jwt"
GENESIS = "A" * 43  # what entry 1 names as its previous


class Signed(Wire):
    """`data` of both: the JWS exactly as signed."""

    jws: Compact


class Target(Wire):
    """weft.digest.target_digest of what is hit."""

    kind: Literal["token", "transaction", "instance", "agent", "namespace", "user", "key"]
    digest: TargetDigest


class Entry(Wire):
    """The payload of an entry."""

    n: int
    prev: Digest
    epoch: int  # counts up with every writer that takes over
    at: Seconds
    targets: tuple[Target, ...]
    posture: Sequence | None = None  # the facts revision of the posture that caused it
    minted_before: Seconds | None = None  # only for things minted elsewhere, which carry no counter


class Beacon(Wire):
    """The payload of a beacon: once a second, committed, so that silence and isolation show."""

    n: int  # the last entry
    head: Digest  # its SHA-256, GENESIS for none
    epoch: int
    at: float  # seconds since the epoch
    facts: Sequence  # head of FACTS
    floor: int  # the first entry still in the stream; n + 1 when there is none


class Ack(Wire):
    """`data` of `org.weft.point.acked.v1`: applied in this process, up to and including n."""

    n: int
    epoch: int
    at: float


class Order(Wire):
    """`data` of `ORDER`: by signals (operators' commands) or by the bearer completing its own transaction."""

    id: Opaque
    targets: tuple[tuple[Literal["token", "transaction", "instance", "agent", "namespace", "user", "key"], str], ...]
    cause: str
    by: str


class Ordered(Wire):
    """`data` of `COMMITTED`: the entry is committed."""

    n: int
    at: float


class Complete(Wire):
    """`data` of `COMPLETE`, by an agent: its own token and all descendants end."""

    token: Compact = Field(repr=False)
