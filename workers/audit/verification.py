"""`weft record verify`, page by page: every decision once, every message of FACTS once, however many pages.  Promise 6.

Decisions are taken in the order of the facts revisions that they name, so that the facts, rebuilt from FACTS' first message on, only go
forward.  One person's verification keeps its facts between his pages; a page is at most `PAGE_S` of work, and the deciding is done in a
thread, so that audit answers others meanwhile.  Another copy of audit, or one that forgot, rebuilds the facts and goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from nats.aio.client import Client

from schemas.commands import Answer, Query
from schemas.reasons import DenyReason
from streams.facts_table import FactsTable
from streams.subjects import FACT
from workers.audit.index import Decided, Index
from workers.audit.verify import verify
from workers.common.directget import Stored, Unavailable, many
from workers.common.rpc import Refused

PAGE_S = 2.0  # of work for one answer; what is left is the next page's
IDLE_S = 60.0  # facts of a verification that nobody goes on with are forgotten
MAX_RUNS = 4
LAG_S = 0.1  # for a replica that has not heard of a fact yet


class Past:
    """The facts as they were: a table of its own, which goes forward along FACTS."""

    def __init__(self, nc: Client, head: Callable[[], int]) -> None:
        """`head` is the last sequence that FACTS is known to hold."""
        self._nc, self._head = nc, head
        self._ahead: deque[Stored] = deque()
        self.lock = asyncio.Lock()
        self.table = FactsTable()

    async def rewind(self, revision: int) -> None:
        """To the beginning, where this revision has been passed."""
        if self.table.revision > revision:
            self._ahead.clear()
            self.table = FactsTable()

    async def advance(self, revision: int, until: float) -> bool:
        """To this revision, or as far as FACTS goes; false where `until`, on the loop's clock, came first.  Raises Unavailable."""
        goal = min(revision, self._head())
        while self.table.revision < goal:
            if not self._ahead:
                self._ahead.extend(await many(self._nc, "FACTS", FACT.filter, self.table.revision + 1))
                if not self._ahead:
                    await asyncio.sleep(LAG_S)
            while self._ahead and self._ahead[0].seq <= goal:
                stored = self._ahead.popleft()
                self.table.apply(stored.seq, stored.subject, stored.body)
            if asyncio.get_running_loop().time() > until:
                return self.table.revision >= goal
        return True


class Verification:
    """Whoever verifies, and how far the facts of each have gone."""

    def __init__(self, nc: Client, index: Index, head: Callable[[], int]) -> None:
        self._nc, self._index, self._head = nc, index, head
        self._runs: dict[str, Past] = {}
        self._forgetting: dict[str, asyncio.TimerHandle] = {}

    async def page(self, asker: str, asked: Query) -> Answer:
        """Decisions after (`asked.revision`, `asked.after`).  The answer's `revision` and `next` are where to go on.  Raises Refused."""
        events = await self._index.decided(asked.revision, asked.after, asked.limit)
        if not events:
            self._forget(asker)
            return Answer(rows=({"checked": 0, "differ": []},))
        past = self._run(asker)
        try:
            async with past.lock:
                await past.rewind(events[0].revision)
                row, last = await _verified(events, past)
        except Unavailable as error:
            raise Refused(DenyReason.VIEW_BEHIND, str(error)) from None
        if last is events[-1] and len(events) < asked.limit:
            self._forget(asker)
            return Answer(rows=(row,))
        place = (asked.revision, asked.after) if last is None else (last.revision, last.event.seq)
        return Answer(rows=(row,), revision=place[0], next=place[1])

    def _run(self, asker: str) -> Past:
        """The asker's, for a while."""
        past = self._runs.pop(asker, None) or Past(self._nc, self._head)
        self._runs[asker] = past
        if len(self._runs) > MAX_RUNS:
            self._forget(next(iter(self._runs)))
        if asker in self._forgetting:
            self._forgetting[asker].cancel()
        self._forgetting[asker] = asyncio.get_running_loop().call_later(IDLE_S, self._forget, asker)
        return past

    def _forget(self, asker: str) -> None:
        self._runs.pop(asker, None)
        timer = self._forgetting.pop(asker, None)
        if timer is not None:
            timer.cancel()


async def _verified(events: Sequence[Decided], past: Past) -> tuple[dict[str, Any], Decided | None]:
    """As many as `PAGE_S` is enough for, and the last of them."""
    until = asyncio.get_running_loop().time() + PAGE_S
    checked, last = 0, None
    differ: list[dict[str, Any]] = []
    for revision, group in groupby(events, key=lambda decided: decided.revision):
        if not await past.advance(revision, until):
            break
        decided = list(group)
        found = await asyncio.to_thread(verify, [one.event for one in decided], past.table)
        checked, differ, last = checked + found["checked"], differ + found["differ"], decided[-1]
    return {"checked": checked, "differ": differ}, last
