"""What no longer holds, as a pure state machine.  No clock, no I/O: messages and `now` come in.

The messages are schemas/revocation.py's: entries 1, 2, 3 ... that name the SHA-256 of the one before, and beacons that name the
last entry.  Both are compact JWS, so signature and chain are believed and the transport is not.  The rules:

- Entries are applied in order of their number; early ones are kept, duplicates ignored.
- An entry whose `prev` is not the hash of the one before, or a second entry or head of one number, is equivocation: the view is
  *poisoned* and refuses for as long as it lives.
- Along the chain and among beacons the epoch never goes down.
- A beacon makes the view fresh only when its number and head are what is applied.
- An entry hits what was minted below its number.  One that names a signing key hits whatever that key signed: who holds a stolen key
  writes any number into a token.
- Entries below a beacon's `floor` have left the stream because no token that they hit can live: a view that lacks them starts there.

Left to the caller: which key a `kid` stands for, how messages arrive (weft.feed), and how old is too old.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from weft.errors import InvalidRevocation, UnknownKey
from weft.revocation_messages import BEACON_TYP, ENTRY_TYP, GENESIS, Beacon, Entry, UnverifiedMessage, is_signed, read_event, read_message
from weft.snapshot import Manifest, Row
from weft.token import MAX_TTL_S, SKEW_S

KEEP_S = MAX_TTL_S + 2 * SKEW_S + 60  # a token minted before an entry is dead this long after it; the minute is for views behind
AHEAD_S = 1.0  # a beacon from further in the future says that a clock is wrong: it makes nothing fresh
MAX_EARLY = 250_000  # entries kept until the ones before them arrive

KeyOf = Callable[[str], bytes | None]


class Revocable(Protocol):
    """What of a verified token is asked here; `weft.claims.VerifiedToken` is one."""

    @property
    def rev(self) -> int:
        """The revocation counter it was minted at."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Digests of everything whose revocation ends it."""


class RevocationView:
    """One receiver's view.  `key_of` gives the 32 Ed25519 bytes of a `kid` of purpose `revocation`, or None."""

    def __init__(self, key_of: KeyOf) -> None:
        self._key_of = key_of
        self._head = GENESIS
        self._hashes: dict[int, str] = {}  # of applied entries that are still kept
        self._early: dict[int, Entry] = {}
        self._hit: dict[str, int] = {}  # target digest to the highest entry that names it
        self._keys: set[str] = set()  # those of them that are signing keys
        self._kept: deque[Entry] = deque()
        self._loaded: deque[Row] = deque()  # from a snapshot, the oldest first
        self._posture = 0  # the newest facts revision that an applied entry names
        self._newest: Beacon | None = None  # the newest beacon, reached or not
        self._reached: Beacon | None = None  # the newest beacon that matched what is applied
        self.counter = 0  # the last entry applied
        self.epoch = 0  # of that entry, or of the beacon that anchored the view
        self.poisoned: str | None = None

    # --- what it answers ------------------------------------------------------------------------------------------------------

    @property
    def facts_head(self) -> int:
        """The head of FACTS, as the last beacon that matched names it."""
        return self._reached.facts if self._reached else 0

    @property
    def facts_needed(self) -> int:
        """The facts revision that what is applied rests on: who mints at `counter` must know every posture that an entry stands for."""
        return max(self.facts_head, self._posture)

    @property
    def reached_at(self) -> float:
        """When the writer made the last beacon that matched; 0 for none."""
        return self._reached.at if self._reached else 0.0

    def age(self, now: float) -> float:
        """Seconds since the last beacon that matched; infinite for a view without one, or poisoned."""
        if self._reached is None or self.poisoned:
            return math.inf
        age = now - self._reached.at
        return math.inf if age < -AHEAD_S else max(0.0, age)

    @property
    def announced(self) -> int:
        """The last entry that this view has heard of, applied or not."""
        return max(self.counter, self._newest.n if self._newest else 0)

    def behind(self, token: Revocable) -> bool:
        """Whether entries are missing that were announced, or that the token's issuer knew: whoever can, waits for them."""
        return max(self.announced, token.rev) > self.counter

    def revoked(self, token: Revocable) -> int | None:
        """The entry that hits the token, or None.  Whether the view may be believed is the caller's question (`age`, `behind`)."""
        return self.hit(token.targets, token.rev)

    def hit(self, targets: Iterable[str], rev: int) -> int | None:
        """The entry that hits something minted at counter `rev`, by the digests of whatever could be named to end it; or None."""
        hit = self._hit
        for target in targets:
            n = hit.get(target)
            if n is not None and (n > rev or target in self._keys):
                return n
        return None

    @property
    def head(self) -> str:
        """The hash of the last entry applied."""
        return self._head

    @property
    def posture(self) -> int:
        """The newest facts revision that an applied entry names."""
        return self._posture

    def rows(self) -> list[Row]:
        """Everything that is kept, for a snapshot: each target once, with the highest entry that names it."""
        hit, keys = self._hit, self._keys
        rows = [row for row in self._loaded if hit.get(row.target) == row.n]
        rows += [Row(t, e.n, e.at, t in keys) for e in self._kept for t in e.targets if hit.get(t) == e.n]
        return rows

    def load(self, manifest: Manifest, rows: Sequence[Row]) -> None:
        """Start from a snapshot whose signature and chunks were verified; raises InvalidRevocation where anything was heard before."""
        if self.counter or self._early or self._newest is not None:
            raise InvalidRevocation("a view that has begun takes no snapshot")
        self.counter, self._head, self.epoch, self._posture = manifest.n, manifest.head, manifest.epoch, manifest.posture
        self._loaded = deque(rows)
        self._hit = {row.target: row.n for row in rows}
        self._keys = {row.target for row in rows if row.is_key}

    # --- what it hears --------------------------------------------------------------------------------------------------------

    def apply(self, event: bytes) -> None:
        """A message as the stream holds it (CloudEvent of an entry or a beacon); raises InvalidRevocation and is then unchanged."""
        self._take(read_event(event))

    def apply_entry(self, jws: str) -> None:
        """An entry; raises InvalidRevocation."""
        self._take(read_message(jws, ENTRY_TYP))

    def apply_beacon(self, jws: str) -> None:
        """A beacon; raises InvalidRevocation."""
        self._take(read_message(jws, BEACON_TYP))

    def _take(self, message: UnverifiedMessage) -> None:
        key = self._key_of(message.kid)
        if key is None:
            raise UnknownKey("signed by a key that is not known")
        if not is_signed(message.jws, key):
            raise InvalidRevocation("the signature does not verify")
        if self.poisoned:
            return
        if isinstance(message.content, Entry):
            self._take_entry(message.content)
        else:
            self._take_beacon(message.content)
        self._settle()

    def _take_entry(self, entry: Entry) -> None:
        known = self._hashes.get(entry.n) or (self._early[entry.n].hash if entry.n in self._early else None)
        if known is not None and known != entry.hash:
            self._poison(f"two entries {entry.n}")
        if known is not None or entry.n <= self.counter:
            return
        if self._newest is not None and entry.n > self._newest.n and entry.epoch < self._newest.epoch:
            raise InvalidRevocation("an entry by a writer that was superseded")
        if len(self._early) >= MAX_EARLY:
            raise InvalidRevocation("too many entries without the ones before them")
        self._early[entry.n] = entry

    def _take_beacon(self, beacon: Beacon) -> None:
        newest = self._newest
        if newest is not None and beacon.epoch < newest.epoch:
            raise InvalidRevocation("a beacon by a writer that was superseded")
        if newest is None or (beacon.epoch, beacon.n, beacon.at) > (newest.epoch, newest.n, newest.at):
            if newest is not None and beacon.n < newest.n:
                self._poison("the history went back")
            self._newest = beacon
        elif beacon.n == newest.n and beacon.head != newest.head:
            self._poison(f"two heads at {beacon.n}")

    # --- bringing both together ---------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        self._apply_early()
        beacon = self._newest
        if beacon is None or self.poisoned:
            return
        if self.counter + 1 < beacon.floor:
            self._start_at(beacon)
        self._check_head(beacon)
        self._prune(beacon.at)

    def _apply_early(self) -> None:
        while (entry := self._early.pop(self.counter + 1, None)) is not None and not self.poisoned:
            if entry.prev != self._head:
                self._poison(f"entry {entry.n} does not follow")
            elif entry.epoch < self.epoch:
                self._poison(f"entry {entry.n} is of an earlier epoch")
            else:
                self._commit(entry)

    def _commit(self, entry: Entry) -> None:
        self.counter, self._head, self.epoch = entry.n, entry.hash, entry.epoch
        self._hashes[entry.n] = entry.hash
        self._kept.append(entry)
        self._posture = max(self._posture, entry.posture or 0)
        self._keys |= entry.keys
        for target in entry.targets:
            self._hit[target] = entry.n

    def _start_at(self, beacon: Beacon) -> None:
        """Skips what has left the stream.  The first entry left names a hash nobody can check any more; the beacon's head checks it."""
        first = self._early.get(beacon.floor)
        if beacon.floor <= beacon.n and first is None:
            return  # it is on its way
        self.counter = beacon.floor - 1
        self._head = first.prev if first is not None else beacon.head
        self._early = {n: entry for n, entry in self._early.items() if n >= beacon.floor}
        self._apply_early()

    def _check_head(self, beacon: Beacon) -> None:
        head = self._head if beacon.n == self.counter else self._hashes.get(beacon.n)
        if head is None:
            return  # entries are missing
        if head != beacon.head:
            self._poison(f"another head at {beacon.n}")
        elif beacon.n < self.counter and beacon.epoch > self.epoch:
            self._poison("the history went back")
        elif beacon.n == self.counter:
            self._reached = beacon
            self.epoch = max(self.epoch, beacon.epoch)

    def _prune(self, now: float) -> None:
        while self._kept and self._kept[0].at + KEEP_S < now:
            entry = self._kept.popleft()
            del self._hashes[entry.n]
            for target in entry.targets:
                if self._hit.get(target) == entry.n:
                    del self._hit[target]
                    self._keys.discard(target)
        while self._loaded and self._loaded[0].at + KEEP_S < now:
            row = self._loaded.popleft()
            if self._hit.get(row.target) == row.n:
                del self._hit[row.target]
                self._keys.discard(row.target)

    def _poison(self, why: str) -> None:
        self.poisoned = self.poisoned or why
