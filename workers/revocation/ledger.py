"""The ledger: what the next entry and beacon say, and where a writer that takes over goes on.  Pure: no clock, no logger, no await.

Implements the chain of `schemas.revocation`: entries numbered 1, 2, 3 ... without a hole, each naming the SHA-256 of the previous
entry's JWS.  Rules kept here:

* The *epoch* is the stream sequence of the beacon by which its writer took over.  Sequences only grow and outlive every message, so
  an epoch is never used twice, and a stream restored from a backup shows itself by an older one.
* Every message names the stream's last sequence as it expects it (`Head.seq`); what a deposed writer still sends is refused.
* When the last entry and beacon have aged away, the counter goes on from the stream's last sequence: each entry took one, so no
  number was higher, and no token alive was minted at a higher one.

Signatures and storage are left to the writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from weft.digest import sha256

from schemas.revocation import GENESIS, Beacon, Entry, Target

MAX_TARGETS = 128  # of one entry: 10 KB of JWS, where `Compact` holds 16


@dataclass(frozen=True, slots=True)
class Head:
    """Where the ledger stands."""

    n: int = 0  # the last entry
    digest: str = GENESIS  # its SHA-256
    epoch: int = 0  # of the writer that wrote last
    floor: int = 1  # the first entry still in the stream; n + 1 when there is none
    seq: int = 0  # the last sequence of the stream


def next_entry(head: Head, targets: Sequence[Target], *, at: int, posture: int | None = None) -> Entry:
    """The entry after `head`.  Raises ValueError for none or too many targets."""
    if not 0 < len(targets) <= MAX_TARGETS:
        raise ValueError(f"an entry has 1 to {MAX_TARGETS} targets")
    return Entry(n=head.n + 1, prev=head.digest, epoch=head.epoch, at=at, targets=tuple(targets), posture=posture)


def next_beacon(head: Head, *, at: float, facts: int) -> Beacon:
    """The beacon that says `head`."""
    return Beacon(n=head.n, head=head.digest, epoch=head.epoch, at=at, facts=facts, floor=head.floor)


def take_over(head: Head) -> Head:
    """The head of a writer whose first beacon is about to be committed."""
    return replace(head, epoch=head.seq + 1)


def after_entry(head: Head, jws: str, seq: int) -> Head:
    """The head once that entry is committed."""
    return replace(head, n=head.n + 1, digest=sha256(jws), seq=seq)


def after_beacon(head: Head, seq: int) -> Head:
    """The head once a beacon is committed."""
    return replace(head, seq=seq)


def with_floor(head: Head, first: int | None) -> Head:
    """`first` is the number of the first entry still stored; none when there is none."""
    return replace(head, floor=head.n + 1 if first is None else first)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a stream still holds: verified payloads, and the exact JWS of the last entry."""

    last_seq: int
    first_entry: Entry | None = None
    last_entry: Entry | None = None
    last_entry_jws: str | None = None
    last_beacon: Beacon | None = None


class BrokenLedger(Exception):
    """What the stream holds contradicts itself; nobody may write on top of it."""


def recover(stored: Stored) -> Head:
    """Where the ledger stands according to the stream.  Raises BrokenLedger."""
    entry, beacon = stored.last_entry, stored.last_beacon
    if entry is not None and stored.last_entry_jws is not None:
        return _from_entry(stored, entry, sha256(stored.last_entry_jws))
    if beacon is not None:
        return Head(n=beacon.n, digest=beacon.head, epoch=beacon.epoch, floor=beacon.n + 1, seq=stored.last_seq)
    n = stored.last_seq
    return Head(n=n, digest=GENESIS, epoch=n, floor=n + 1, seq=n)


def _from_entry(stored: Stored, entry: Entry, digest: str) -> Head:
    beacon, first = stored.last_beacon, stored.first_entry
    if beacon is not None and (beacon.n > entry.n or (beacon.n == entry.n and beacon.head != digest)):
        raise BrokenLedger(f"a beacon contradicts entry {entry.n}")
    if first is None or first.n > entry.n:
        raise BrokenLedger(f"entry {entry.n} is stored before the first one")
    epoch = max(entry.epoch, beacon.epoch if beacon is not None else 0)
    return Head(n=entry.n, digest=digest, epoch=epoch, floor=first.n, seq=stored.last_seq)
