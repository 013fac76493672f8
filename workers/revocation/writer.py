"""The writer: one loop that alone commits to REVOCATIONS, entries as they are wanted and a beacon every second.

Every publish names the stream's last sequence; the first one that does not fit ends the writer (`Fenced`).  So does silence of the
stream (`Uncertain`): what it may have stored is found again by whoever reads the stream next, this copy included.  Those who wait
for a commit hear `Deposed` then, and try again by way of whoever writes.

A cause with a key is an entry of its own, published under a message id made of that key, so that the stream itself refuses a second
entry for it, whoever tries; causes without one (completed transactions) share entries.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from schemas.revocation import BEACON_TYP, ENTRY_TYP, Target
from workers.common.clock import Clock
from workers.revocation import ledger
from workers.revocation.causes import Cause, Committed
from workers.revocation.completion import Tracker
from workers.revocation.ports import Deposed, Fenced, LedgerStream, Signer

BEACON_EVERY_S = 1.0
MAX_PENDING = 10_000  # causes; beyond, they are refused instead of queued


@dataclass(slots=True)
class Waiting:
    """A cause and who waits for it."""

    cause: Cause
    done: asyncio.Future[Committed]


class Writer:
    """`run` for as long as it may write; `commit` from any task."""

    def __init__(
        self,
        head: ledger.Head,
        *,
        stream: LedgerStream,
        signer: Signer,
        tracker: Tracker,
        clock: Clock,
        facts_head: Callable[[], Awaitable[int]],
    ) -> None:
        self.head = ledger.take_over(head)
        self._stream = stream
        self._signer = signer
        self._tracker = tracker
        self._clock = clock
        self._facts_head = facts_head
        self._pending: deque[Waiting] = deque()
        self._wanted = asyncio.Event()
        self._ended = False
        self._deposed = False
        self._tracker.known(head.n)

    async def take_over(self) -> None:
        """Commit the beacon that fences every earlier writer.  Raises Fenced, Uncertain."""
        await self._beacon()

    async def run(self) -> None:
        """Write until fenced.  Raises Fenced, Uncertain, BrokenLedger; whoever still waits hears Deposed."""
        loop = asyncio.get_running_loop()
        due = loop.time() + BEACON_EVERY_S
        try:
            while True:
                await self._until_wanted(due - loop.time())
                if self._deposed:
                    raise Fenced
                if loop.time() >= due:
                    due = max(due + BEACON_EVERY_S, loop.time())
                    await self._beacon()
                if self._pending:
                    await self._entry()
        finally:
            self._end()

    async def commit(self, cause: Cause) -> Committed:
        """Raises Deposed, and ValueError for a cause no entry can hold."""
        if not 0 < len(cause.targets) <= ledger.MAX_TARGETS:
            raise ValueError(f"an entry has 1 to {ledger.MAX_TARGETS} targets")
        if self._ended or len(self._pending) >= MAX_PENDING:
            raise Deposed
        waiting = Waiting(cause, asyncio.get_running_loop().create_future())
        self._pending.append(waiting)
        self._wanted.set()
        return await waiting.done

    def depose(self) -> None:
        """A later writer was heard of: end before the stream has to say it."""
        self._deposed = True
        self._wanted.set()

    async def _until_wanted(self, timeout_s: float) -> None:
        if self._pending or self._deposed:
            return
        self._wanted.clear()
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _beacon(self) -> None:
        head = ledger.with_floor(self.head, await self._stream.first_entry())
        facts = await self._facts_head()
        beacon = ledger.next_beacon(head, at=self._clock.now(), facts=facts)
        jws = self._signer.sign(beacon, BEACON_TYP)
        seq = await self._stream.put_beacon(jws, msg_id=f"revocation:beacon:{head.epoch}:{head.seq + 1}", after=head.seq)
        self.head = ledger.after_beacon(head, seq)

    async def _entry(self) -> None:
        batch, targets = self._take()
        first = batch[0].cause
        n = self.head.n + 1
        at = self._clock.now()
        entry = ledger.next_entry(self.head, targets, at=int(at), posture=first.posture)
        jws = self._signer.sign(entry, ENTRY_TYP)
        msg_id = f"revocation:{first.key or f'{entry.epoch}:{n}'}"
        self._tracker.begin(n, entry.epoch, at, entry.posture)  # a point may acknowledge before the stream has acknowledged to us
        try:
            seq, known = await self._stream.put_entry(jws, n=n, msg_id=msg_id, after=self.head.seq)
            committed = await self._known(seq, jws) if known else self._advance(jws, seq)
        except BaseException:
            self._tracker.abandon(n)
            self._pending.extendleft(reversed(batch))
            raise
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_result(committed)

    def _take(self) -> tuple[list[Waiting], tuple[Target, ...]]:
        """The next cause; with it, if it has no key, those behind it that have none either, as far as one entry holds them."""
        batch = [self._pending.popleft()]
        targets = dict.fromkeys(batch[0].cause.targets)
        while self._pending and batch[-1].cause.key is None and self._pending[0].cause.key is None:
            more = self._pending[0].cause.targets
            if len(targets) + len(more) > ledger.MAX_TARGETS:
                break
            targets.update(dict.fromkeys(more))
            batch.append(self._pending.popleft())
        return batch, tuple(targets)

    def _advance(self, jws: str, seq: int) -> Committed:
        self.head = ledger.after_entry(self.head, jws, seq)
        at = self._clock.now()
        self._tracker.committed(self.head.n, at)
        return Committed(self.head.n, at)

    async def _known(self, seq: int, jws: str) -> Committed:
        """The stream knew the message id: our own publish, repeated; or an entry that an earlier writer made for this cause."""
        entry, stored = await self._stream.entry_at(seq)
        if stored == jws:
            return self._advance(jws, seq)
        self._tracker.abandon(self.head.n + 1)
        return Committed(entry.n, float(entry.at))

    def _end(self) -> None:
        self._ended = True
        for waiting in self._pending:
            if not waiting.done.done():
                waiting.done.set_exception(Deposed())
        self._pending.clear()
