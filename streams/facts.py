"""The facts view: the table of a worker, loaded once and following FACTS.  Design section 2.

`table` is read without an await; `wait_for` waits until it has reached a revision.  A revision is (stream epoch, sequence): where FACTS
turns out to be another stream, or a shorter one (a restored backup), the view is lost for good, reads as not loaded, and says so once.
How fresh it is, the revocation beacon tells, which names the head of FACTS (`note_head`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from nats.aio.client import Client
from weft.feed import RepublishedFeed

from schemas.facts import Key, KeyPurpose
from streams.facts_load import STREAM, LoadFailed, load, stream_state
from streams.facts_table import FactChange, FactsTable
from streams.subjects import FACT, PUSH_FACT

__all__ = ["FactChange", "FactsTable", "FactsView", "LoadFailed"]

LOAD_S = 30.0
PAUSE_S = 0.5  # between tries to ask a stream that has no leader
FACTS_LOST = "facts_lost"
FACTS_CALLBACK_FAILED = "facts_callback_failed"
logger = structlog.get_logger()


class FactsView:
    """One follower of FACTS.  It owns its subscriptions and its tasks; `stop` ends them."""

    def __init__(
        self, nc: Client, table: FactsTable | None = None, *, worker: str = "weft", on_lost: Callable[[], None] | None = None
    ) -> None:
        """`on_lost` is called once if FACTS turns out to be another or a shorter stream."""
        self._nc = nc
        self._worker = worker
        self._on_lost = on_lost
        self._callbacks: list[Callable[[FactChange], None]] = []
        self._feed: RepublishedFeed | None = None
        self._check: asyncio.Task[None] | None = None
        self._current = False
        self._lost = False
        self._head = 0
        self.table = table if table is not None else FactsTable()
        self.epoch: str | None = None

    @property
    def loaded(self) -> bool:
        """Everything was loaded, from this stream, and nothing since speaks against it."""
        return self._current and not self._lost

    @property
    def revision(self) -> int:
        """The last sequence applied."""
        return self.table.revision

    def keys(self, purpose: KeyPurpose | None = None) -> tuple[Key, ...]:
        """The table's."""
        return self.table.keys(purpose)

    def on_change(self, callback: Callable[[FactChange], None]) -> None:
        """Call it with every change from now on, after the table has it.  What it raises is logged and goes no further."""
        self._callbacks.append(callback)

    async def start(self, timeout_s: float = LOAD_S) -> None:
        """Load and follow.  Raises LoadFailed or TimeoutError; a view that failed is not started again."""
        try:
            async with asyncio.timeout(timeout_s):
                self.epoch = await load(self._nc, self.table, self._worker)
                feed = RepublishedFeed(self._nc, STREAM, FACT.filter, PUSH_FACT.filter, self._on_message, start_seq=self.table.revision + 1)
                self._feed = feed
                await feed.start()
        except BaseException:
            await self.stop()
            raise
        self._current = True

    async def stop(self) -> None:
        """End and await everything this view owns."""
        self._current = False
        if self._check is not None:
            self._check.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._check
        if self._feed is not None:
            await self._feed.stop()

    async def wait_for(self, revision: int, timeout_s: float) -> bool:
        """True once the table has reached the revision; False when that took too long, or the view is lost."""
        if self._feed is None or self._lost:
            return False
        return await self._feed.wait_for(revision, timeout_s) and not self._lost

    def note_head(self, head: int) -> None:
        """What the last beacon said the head of FACTS is: what is missing is fetched, and a head that went back is looked into."""
        if self._feed is not None and head > self.revision:
            self._feed.catch_up()
        if head < self._head:
            self.check()
        self._head = head

    def check(self) -> None:
        """Ask whether FACTS is still the stream that was loaded, and fetch what may have been missed.

        To be called when the connection is back.  Until the answer, the view reads as not loaded.
        """
        if self._feed is None or self._lost:
            return
        self._current = False
        self._feed.catch_up()
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._ask_epoch(), name="facts:check")

    async def _ask_epoch(self) -> None:
        while True:
            revision = self.revision  # before the question: the answer may be older than what arrives meanwhile
            try:
                epoch, last = await stream_state(self._nc)
            except LoadFailed:  # no leader yet, or no connection
                await asyncio.sleep(PAUSE_S)
                continue
            if epoch == self.epoch and last >= revision:
                self._current = True
            else:
                self._lose(last)
            return

    def _lose(self, last: int) -> None:
        self._lost = True
        logger.error(FACTS_LOST, revision=self.revision, last=last)
        if self._on_lost is not None:
            self._on_lost()

    def _on_message(self, sequence: int, subject: str, body: bytes) -> None:
        change = self.table.apply(sequence, subject, body)
        for callback in self._callbacks if change is not None else ():
            try:
                callback(change)  # type: ignore[arg-type]  # not none, see the line above
            except Exception as error:  # noqa: BLE001 - the listener's; the view goes on
                logger.warning(FACTS_CALLBACK_FAILED, error=type(error).__name__)
