"""Who writes: a standby until the beacons stop, a writer until it is fenced.

No lock and no leader election: the stream is the judge.  A copy that hears no beacon for `SILENCE_S` (and a little more, different for
each copy) reads the ledger from the stream and publishes a beacon of a new epoch, naming the last sequence it read.  The stream
takes one such message; whoever comes second reads on as a standby.  Taking over by mistake is harmless: nobody's entry is lost or
doubled, the earlier writer hears at its next publish that it is none.

The 3 s budget of a guard (design 5) holds one missed second, this silence, and the takeover itself.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from secrets import randbelow

import structlog

from schemas.revocation import Beacon
from workers.common import log
from workers.common.clock import Clock
from workers.revocation import ledger
from workers.revocation.ports import Fenced, LedgerStream, Uncertain
from workers.revocation.writer import Writer

SILENCE_S = 2.2
JITTER_MS = 250

Duty = Callable[[Writer], Coroutine[None, None, None]]
logger = structlog.get_logger()


class Role:
    """`run` for the worker's life.  `writer` is the writer while this copy is it."""

    def __init__(self, stream: LedgerStream, writer_at: Callable[[ledger.Head], Writer], duties: Sequence[Duty], clock: Clock) -> None:
        self.writer: Writer | None = None
        self._stream = stream
        self._writer_at = writer_at
        self._duties = duties  # what a writer does besides writing; each is cancelled when the copy is deposed
        self._clock = clock
        self._silence_s = SILENCE_S + randbelow(JITTER_MS) / 1e3
        self._heard_at = -math.inf  # of the event loop's clock
        self._beacon_at = 0.0  # what the newest beacon says of itself
        self._heard = asyncio.Event()
        self._resigned = False

    def beacon_heard(self, beacon: Beacon) -> None:
        """A committed beacon arrived."""
        self._beacon_at = max(self._beacon_at, beacon.at)
        self._heard_at = asyncio.get_running_loop().time()
        self._heard.set()
        if self.writer is not None and beacon.epoch > self.writer.head.epoch:
            self.writer.depose()

    def resign(self) -> None:
        """Take part no longer: `run` returns soon."""
        self._resigned = True
        self._heard.set()
        if self.writer is not None:
            self.writer.depose()

    async def run(self) -> None:
        """Take part until told to resign.  Raises BrokenLedger, on which nobody may write."""
        while not self._resigned:
            await self._until_silent()
            try:
                await self._write()
            except* Fenced:
                self._heard_at = asyncio.get_running_loop().time()  # somebody has just written
                logger.warning(log.WRITER_DEPOSED, cause="fenced")
            except* Uncertain:
                logger.warning(log.WRITER_DEPOSED, cause="stream_unavailable")

    async def _until_silent(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._resigned and (left := self._heard_at + self._silence_s - loop.time()) > 0:
            self._heard.clear()
            try:
                async with asyncio.timeout(left):
                    await self._heard.wait()
            except TimeoutError:
                continue

    async def _write(self) -> None:
        stored = await self._stream.read()
        if self._resigned or self._somebody_writes(stored.last_beacon):
            return
        writer = self._writer_at(ledger.recover(stored))
        await writer.take_over()
        logger.info(log.WRITER_STARTED, epoch=writer.head.epoch, n=writer.head.n)
        self.writer = writer
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(writer.run(), name="writer")
                for duty in self._duties:
                    tasks.create_task(_carry_out(duty, writer), name="duty")
        finally:
            self.writer = None

    def _somebody_writes(self, beacon: Beacon | None) -> bool:
        """The stream holds a beacon that we have not heard, and that is not old: we are deaf, or have just started."""
        if beacon is None or beacon.at <= self._beacon_at:
            return False
        self._beacon_at = beacon.at
        age = max(0.0, self._clock.now() - beacon.at)
        self._heard_at = asyncio.get_running_loop().time() - age
        return age < self._silence_s


async def _carry_out(duty: Duty, writer: Writer) -> None:
    """A writer ends with any of its duties, even where a cancellation is swallowed on its way (bpo-37658)."""
    try:
        await duty(writer)
    finally:
        writer.depose()
