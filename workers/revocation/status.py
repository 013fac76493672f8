"""The issuer of status lists: gives a token its entry, and signs the lists for the edge.

An entry is a create-if-absent on CLAIMS under the list's number and the index; a taken one is answered with another try.  So an entry is
given once, and any copy can put the list together again from what CLAIMS holds.  A list is signed only while the revocation view is fresh:
a copy that may have missed an entry says nothing, and verifiers refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import randbelow
from typing import Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from nats.aio.client import Client
from weft.revocation import RevocationView
from weft.statuslist import ALG, TYP

from config.settings import Settings
from schemas.reasons import DenyReason
from schemas.status import ALLOCATED, Allocated, Given, ListAnswered
from schemas.token import MAX_TTL_S, SKEW_S
from streams import keys
from streams.bus import Malformed, PublishConflict, Publisher, PublishFailed, event, parse
from streams.subjects import CLAIMED
from workers.common import directget
from workers.common.clock import Clock
from workers.common.rpc import Refused
from workers.revocation.recording import SOURCE
from workers.revocation.statuslists import EXP_S, RENEW_S, SIZE, TTL_S, Entries, ends_at, list_at, stands

STREAM = "CLAIMS"
TRIES = 16  # a list half full gives one up in 65,000 times
DEADLINE_S = 1.0
READ_EVERY_S = 1.0  # CLAIMS is read at most so often: the publication interval
BUDGET_S = 3.0


class Allocations(Protocol):
    """CLAIMS, as far as lists need it."""

    async def create(self, number: int, idx: int, allocated: Allocated, ttl_s: int) -> bool:
        """Whether nobody had it.  Raises Refused."""
        ...

    async def read(self, number: int, entries: Entries) -> None:
        """What was given since.  Raises Refused."""
        ...


class NATSAllocations:
    """`Allocations` on the bus."""

    def __init__(self, nc: Client, publisher: Publisher) -> None:
        self._nc = nc
        self._publisher = publisher

    async def create(self, number: int, idx: int, allocated: Allocated, ttl_s: int) -> bool:
        """One publish, expecting that nobody was there."""
        subject = _subject(number, idx)
        id_ = f"revocation:status:{number}:{idx}:{allocated.targets[0]}"
        try:
            await self._publisher.publish(
                STREAM,
                subject,
                event(ALLOCATED, allocated, source=SOURCE, id=id_),
                msg_id=id_,
                expected_last_subject_seq=0,
                ttl_s=ttl_s,
                deadline_s=DEADLINE_S,
            )
        except PublishConflict:  # another token's, or our own attempt whose acknowledgement was lost: another entry does as well
            return False
        except PublishFailed as error:
            raise Refused(DenyReason.STATUS_UNAVAILABLE, "CLAIMS did not acknowledge") from error
        return True

    async def read(self, number: int, entries: Entries) -> None:
        """By batched direct get, from where it stopped."""
        try:
            while page := await directget.many(self._nc, STREAM, f"{CLAIMED.at('status', str(number))}.>", entries.seq + 1):
                for stored in page:
                    entries.add(int(stored.subject.rpartition(".")[2]), parse(Allocated, stored.body).data)
                entries.seq = page[-1].seq
        except (directget.Unavailable, Malformed, ValueError) as error:
            raise Refused(DenyReason.STATUS_UNAVAILABLE, "CLAIMS cannot be read") from error


@dataclass(frozen=True, slots=True)
class Signed:
    """A list token as served."""

    token: str = field(repr=False)
    at: float


class StatusIssuer:
    """Any copy answers both questions."""

    def __init__(
        self,
        allocations: Allocations,
        view: RevocationView,
        settings: Settings,
        clock: Clock,
        choose: Callable[[int], int] = randbelow,
    ) -> None:
        self._allocations = allocations
        self._view = view
        self._clock = clock
        self._choose = choose
        self._prefix = f"{settings.issuer}/status/"
        self._kid, self._key = _key(settings)
        self._lists: dict[int, Entries] = {}
        self._read_at: dict[int, float] = {}
        self._signed: dict[int, Signed] = {}
        self._lock = asyncio.Lock()

    async def allocate(self, wanted: Allocated) -> Given:
        """An entry that nobody else has.  Raises Refused."""
        now = self._clock.now()
        if not 0 < wanted.exp - now <= MAX_TTL_S + SKEW_S:
            raise Refused(DenyReason.INVALID_CHANGE, "no token ends then")
        number = list_at(now)
        for _ in range(TRIES):
            idx = self._choose(SIZE)
            if await self._allocations.create(number, idx, wanted, ends_at(number) - int(now)):
                return Given(idx=idx, uri=f"{self._prefix}{number}")
        raise Refused(DenyReason.STATUS_UNAVAILABLE, "the list is full")

    async def published(self, number: int) -> ListAnswered:
        """The list token.  Raises Refused: NOT_FOUND for a list that is none of now, VIEW_STALE, STATUS_UNAVAILABLE."""
        async with self._lock:
            now = self._clock.now()
            self._drop(now)
            if not stands(number, now):
                raise Refused(DenyReason.NOT_FOUND, "no such list")
            if now - self._read_at.get(number, 0.0) >= READ_EVERY_S:
                await self._allocations.read(number, self._lists.setdefault(number, Entries()))
                self._read_at[number] = now
            now = self._clock.now()
            if self._view.age(now) > BUDGET_S or self._view.announced > self._view.counter:
                raise Refused(DenyReason.VIEW_STALE, "the revocation view is not current")
            return ListAnswered(token=self._current(number, now).token, max_age_s=TTL_S)

    def _current(self, number: int, now: float) -> Signed:
        entries, signed = self._lists[number], self._signed.get(number)
        if entries.judge(self._view.hit, self._view.counter) or signed is None or now - signed.at >= RENEW_S:
            signed = self._signed[number] = Signed(self._sign(number, entries, int(now)), now)
        return signed

    def _sign(self, number: int, entries: Entries, now: int) -> str:
        claims = {"sub": f"{self._prefix}{number}", "iat": now, "exp": now + EXP_S, "ttl": TTL_S, "status_list": entries.statuses().claim()}
        return jwt.encode(claims, self._key, ALG, {"typ": TYP, "kid": self._kid})

    def _drop(self, now: float) -> None:
        for number in [number for number in self._lists if not stands(number, now)]:
            for held in (self._lists, self._read_at, self._signed):
                held.pop(number, None)


def _subject(number: int, idx: int) -> str:
    return CLAIMED.at("status", str(number), str(idx))


def _key(settings: Settings) -> tuple[str, EllipticCurvePrivateKey]:
    key = keys.load_or_create(settings, "status")
    if not isinstance(key.private, EllipticCurvePrivateKey):
        raise keys.WrongKey("the status key is not a P-256 key")
    return key.kid, key.private
