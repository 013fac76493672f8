"""The broker's ports over the bus."""

from __future__ import annotations

from nats.aio.client import Client

from schemas import approvals
from schemas.approvals import Held, Spend
from schemas.points import Failure
from schemas.reasons import DenyReason
from streams.bus import event
from streams.facts_table import FactsTable
from streams.subjects import APPROVAL_SPEND
from workers.broker.ports import HistoryUnavailable, RecordedEvent
from workers.common import asking, directget
from workers.common.recorder import RECORD_STREAM
from workers.common.requests import RequestRefused
from workers.common.runtime import Runtime

READ_S = 1.0  # of a request's 4 s
SPEND_S = 2.0  # the same


class RecordHistory:
    """RECORD by direct get."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def at(self, seq: int) -> RecordedEvent | None:
        """See ports.History."""
        try:
            stored = await directget.at(self._nc, RECORD_STREAM, seq, deadline_s=READ_S)
        except directget.Unavailable:
            raise HistoryUnavailable from None
        return None if stored is None else RecordedEvent(stored.subject, stored.body)


class BusApprovals:
    """Approvals, by way of whichever registry answers."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def spend(self, spend: Spend) -> None:
        """See ports.Approvals."""
        body = event(approvals.SPEND, spend, source="/weft/broker")
        try:
            answer = await asking.ask(self._nc, APPROVAL_SPEND.at(), body, approvals.HELD, Held, deadline_s=SPEND_S)
        except asking.Unanswered:
            raise RequestRefused(DenyReason.RECORD_UNAVAILABLE, "the approval could not be spent in time") from None
        if isinstance(answer, Failure):
            raise RequestRefused(answer.reason, answer.detail)


class WorkerViews:
    """The runtime's views."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def facts(self) -> FactsTable:
        """See ports.Views."""
        return self._runtime.facts.table

    @property
    def facts_needed(self) -> int:
        """See ports.Views."""
        return self._runtime.revocations.view.facts_needed

    @property
    def revocations(self) -> int:
        """See ports.Views."""
        return self._runtime.revocations.view.counter

    def challenged_at(self, challenge: str | None) -> int | None:
        """See ports.Views."""
        return self._runtime.revocations.challenges.made_at(challenge)

    def fresh(self, now: float) -> bool:
        """See ports.Views."""
        return self._runtime.views_fresh(now)

    async def reach(self, revision: int, timeout_s: float) -> bool:
        """See ports.Views."""
        return await self._runtime.facts.wait_for(revision, timeout_s)
