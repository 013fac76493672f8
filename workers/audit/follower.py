"""Keeps the index at the head of RECORD: read in batches from the checkpoint on, and committed as they come.

A follower needs no consumer on the server, so that every copy of audit has the whole index and a deleted file replays from the start
(docs/decisions/0006).  Nor is anything sent to it while calls are recorded: it looks a few times a second, and often while somebody waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from nats.aio.client import Client
from weft.feed import RepublishedFeed
from weft.watermark import Watermark

from streams.subjects import RECORD
from workers.audit.index import Arrived, Index

BATCH = 500
EVERY_S = 0.25  # a look, a batch and a commit, whatever has happened meanwhile: none of it is paid for by a call that is under way
WAITED_S = 0.02  # while somebody waits for an event
STREAM = "RECORD"
HEAD_S = 2.0


class Follower:
    """`run` belongs to the worker's tasks; `start` after it."""

    def __init__(self, nc: Client, index: Index, checkpoint: int) -> None:
        self._nc = nc
        self._index = index
        self._arrived: deque[Arrived] = deque()
        self._indexed = Watermark(checkpoint)
        self._asking = 0
        self._asked = asyncio.Event()
        self._feed = RepublishedFeed(nc, STREAM, RECORD.filter, None, self._on_message, start_seq=checkpoint + 1)

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
        """Looks for what RECORD holds beyond the index and commits it: a few times a second, or often while somebody waits."""
        while True:
            self._feed.catch_up()
            await self._pause()
            while batch := self._arrivals():
                await self._index.add(batch)
                self._indexed.advance(batch[-1].seq)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY_S):
                await self._asked.wait()
        if self._asking:
            await asyncio.sleep(WAITED_S)

    def _arrivals(self) -> list[Arrived]:
        return [self._arrived.popleft() for _ in range(min(BATCH, len(self._arrived)))]

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

    def _on_message(self, seq: int, subject: str, body: bytes) -> None:
        self._arrived.append(Arrived(seq, subject, body))
