"""The broker's ports over the bus."""

from __future__ import annotations

from nats.aio.client import Client

from streams.facts_table import FactsTable
from workers.broker.ports import HistoryUnavailable, RecordedEvent
from workers.common import directget
from workers.common.recorder import RECORD_STREAM
from workers.common.runtime import Runtime

READ_S = 1.0  # of a request's 4 s


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

    def fresh(self, now: float) -> bool:
        """See ports.Views."""
        return self._runtime.views_fresh(now)

    async def reach(self, revision: int, timeout_s: float) -> bool:
        """See ports.Views."""
        return await self._runtime.facts.wait_for(revision, timeout_s)
