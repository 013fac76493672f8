"""Keeps the index at the head of RECORD: a republished feed from the checkpoint on, committed in batches.

A follower needs no consumer on the server, so that every copy of audit has the whole index and a deleted file replays from the start
(docs/decisions/0006).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from nats.aio.client import Client
from weft.feed import RepublishedFeed
from weft.watermark import Watermark

from streams.subjects import PUSH_RECORD, RECORD
from workers.audit.index import Arrived, Index

BATCH = 500
LINGER_S = 0.05  # for more to arrive: a commit costs a dozen times what an event does, and the machine may be busy with calls
STREAM = "RECORD"
HEAD_S = 2.0


class Follower:
    """`run` belongs to the worker's tasks; `start` after it."""

    def __init__(self, nc: Client, index: Index, checkpoint: int) -> None:
        self._nc = nc
        self._index = index
        self._waiting: asyncio.Queue[Arrived] = asyncio.Queue()
        self._indexed = Watermark(checkpoint)
        self._asking = 0
        self._asked = asyncio.Event()
        self._feed = RepublishedFeed(nc, STREAM, RECORD.filter, PUSH_RECORD.filter, self._arrived, start_seq=checkpoint + 1)

    @property
    def sequence(self) -> int:
        """The last sequence in the index."""
        return self._indexed.value

    async def start(self) -> None:
        """Follows; returns once what RECORD held is read."""
        await self._feed.start()

    async def stop(self) -> None:
        """Ends the feed."""
        await self._feed.stop()

    def reconnected(self) -> None:
        """Catches up at once."""
        self._feed.catch_up()

    async def run(self) -> None:
        """Commits what arrives, as much as there is at a time; at once where somebody waits for it."""
        while True:
            batch = [await self._waiting.get()]
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    await self._asked.wait()
            while len(batch) < BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            await self._index.add(batch)
            self._indexed.advance(batch[-1].seq)

    async def current(self, timeout_s: float = HEAD_S) -> bool:
        """True once the index holds all that RECORD holds now."""
        try:
            head = (await self._nc.jetstream().stream_info(STREAM)).state.last_seq
        except Exception:  # noqa: BLE001 - nats-py raises its own errors, JetStream's and timeouts; all mean: unknown
            return False
        return await self.reached(head, timeout_s)

    async def reached(self, seq: int, timeout_s: float) -> bool:
        """True once the index holds that sequence."""
        if self._indexed.value >= seq:
            return True
        self._feed.catch_up()
        self._asking += 1
        self._asked.set()
        try:
            return await self._indexed.reached(seq, timeout_s)
        finally:
            self._asking -= 1
            if not self._asking:
                self._asked.clear()

    def _arrived(self, seq: int, subject: str, body: bytes) -> None:
        self._waiting.put_nowait(Arrived(seq, subject, body))
