"""The revocation view of a worker: the SDK's own view, fed from the republished stream, with keys from the facts view.

A worker may believe its views only while the last beacon is within the budget and the facts view has reached the head of FACTS that
a beacon within the budget names; so an isolated facts feed shows as well as an isolated revocation feed.
"""

from __future__ import annotations

from nats.aio.client import Client
from nats.aio.msg import Msg
from weft.feed import RepublishedFeed
from weft.revocation import RevocationView

from streams.facts import FactsView
from streams.subjects import PUSH_REVOCATION, REVOCATION
from workers.common.clock import Clock


class Revocations:
    """`view` is `weft.revocation.RevocationView`; `start` returns once it is current."""

    def __init__(self, nc: Client, facts: FactsView, clock: Clock) -> None:
        self._facts = facts
        self._clock = clock
        self._facts_current_at = 0.0
        self.view = RevocationView(self._keys)
        self._feed = RepublishedFeed(nc, "REVOCATIONS", REVOCATION.filter, PUSH_REVOCATION.filter, self._apply)

    async def start(self) -> None:
        """Load and follow.  The caller sets the deadline."""
        await self._feed.start()

    async def stop(self) -> None:
        """End the feed."""
        await self._feed.stop()

    def fresh(self, now: float, budget_s: float) -> bool:
        """Whether both views are within the budget."""
        self._note_facts()
        return self.view.age(now) <= budget_s and now - self._facts_current_at <= budget_s
