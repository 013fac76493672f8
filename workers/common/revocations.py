"""The revocation view of a worker: the SDK's own view, fed from the republished stream, with keys from the facts view.

A worker may believe its views only while the last beacon is within the budget *and* the facts view has reached the head of FACTS that
a beacon within the budget names; so an isolated facts feed shows as well as an isolated revocation feed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from nats.aio.client import Client
from weft.digest import unb64u
from weft.errors import InvalidRevocation, UnknownKey
from weft.feed import RepublishedFeed
from weft.revocation import RevocationView
from weft.revocation_messages import read_event

from schemas.facts import Key, KeyPurpose
from streams.subjects import PUSH_REVOCATION, REVOCATION
from workers.common import log
from workers.common.challenges import Challenges
from workers.common.clock import Clock

BUDGET_S = 3.0  # design section 5
logger = structlog.get_logger()


class Facts(Protocol):
    """What of the facts view is read, and told."""

    @property
    def loaded(self) -> bool:
        """Everything was loaded, and nothing speaks against it."""
        ...

    @property
    def revision(self) -> int:
        """The last revision applied."""
        ...

    def keys(self, purpose: KeyPurpose | None = None) -> tuple[Key, ...]:
        """The keys of one purpose."""
        ...

    def note_head(self, head: int) -> None:
        """What a beacon says the head of FACTS is."""
        ...


class Revocations:
    """`view` is `weft.revocation.RevocationView`; `current` is set once both views are fresh for the first time."""

    def __init__(self, nc: Client, facts: Facts, clock: Clock) -> None:
        self._facts = facts
        self._clock = clock
        self._facts_current_at = -float("inf")  # when the facts view had last reached the head that a beacon named
        self.view = RevocationView(self._key_of)
        self.feed = RepublishedFeed(nc, "REVOCATIONS", REVOCATION.filter, PUSH_REVOCATION.filter, self._on_message)
        self.challenges = Challenges()
        self.current = asyncio.Event()
        self.on_applied: list[Callable[[], None]] = []  # called once entries count here; what is done with them takes no time

    async def start(self) -> None:
        """Load and follow.  The caller sets the deadline."""
        await self.feed.start()

    async def stop(self) -> None:
        """End the feed."""
        await self.feed.stop()

    def fresh(self, now: float, budget_s: float) -> bool:
        """Whether both views are within the budget.  Never true on a doubt: no beacon, another head, a poisoned view."""
        self._note_facts(now)
        return self._facts.loaded and self.view.age(now) <= budget_s and now - self._facts_current_at <= budget_s

    def _note_facts(self, now: float) -> None:
        if self.view.facts_head and self._facts.revision >= self.view.facts_head:
            self._facts_current_at = max(self._facts_current_at, now - self.view.age(now))

    def _on_message(self, sequence: int, subject: str, body: bytes) -> None:
        counter = self.view.counter
        try:
            self.view.apply(body)
        except UnknownKey:
            raise  # its key's fact is on the way: the feed stands still and tries again
        except InvalidRevocation as refused:  # the chain shows what it leaves out: the next beacon does not match, nothing is fresh
            logger.warning(log.REVOCATION_REFUSED, sequence=sequence, detail=str(refused))
            return
        if subject == REVOCATION.at("beacon"):
            self.challenges.note(read_event(body).jws)
        for applied in self.on_applied if self.view.counter != counter else ():
            applied()
        self._facts.note_head(self.view.facts_head)
        now = self._clock.now()
        self._note_facts(now)
        if not self.current.is_set() and self.fresh(now, BUDGET_S):
            self.current.set()

    def _key_of(self, kid: str) -> bytes | None:
        """An active `revocation` key, or one retired while what it signed is still in the stream; never a compromised one."""
        for key in self._facts.keys("revocation"):
            if key.kid == kid and key.state != "compromised":
                return _ed25519(key.jwk)
        return None


def _ed25519(jwk: dict[str, Any]) -> bytes | None:
    """RFC 8037 section 2."""
    x = jwk.get("x")
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519" or not isinstance(x, str):
        return None
    try:
        raw = unb64u(x)
    except ValueError:
        return None
    return raw if len(raw) == 32 else None
