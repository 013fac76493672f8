"""Follows every entry to its end: hears the feed and the acknowledgements in every copy, records the outcomes in the one that writes."""

from __future__ import annotations

import asyncio

import structlog

from schemas.record import Completed
from schemas.revocation import Ack, Beacon, Entry
from workers.common import log
from workers.common.clock import Clock
from workers.common.recorder import RecordUnavailable
from workers.revocation.completion import Tracker
from workers.revocation.ports import Commits
from workers.revocation.recording import Recording

RETRY_S = 1.0  # after RECORD refused an outcome
logger = structlog.get_logger()


class Outcomes:
    """The tracker with a clock and a hand on RECORD."""

    def __init__(self, tracker: Tracker, recording: Recording, clock: Clock) -> None:
        self.tracker = tracker
        self._recording = recording
        self._clock = clock
        self._changed = asyncio.Event()

    def entry_seen(self, entry: Entry) -> None:
        """An entry was republished: it is committed, by whomever."""
        now = self._clock.now()
        self.tracker.begin(entry.n, entry.epoch, now, entry.posture)
        self.tracker.committed(entry.n, now)
        self._changed.set()

    def beacon_seen(self, beacon: Beacon) -> None:
        """Once a second: what exists, and what time closes."""
        self.tracker.known(beacon.n)
        self.tracker.tick(self._clock.now())
        self._changed.set()

    def acked(self, name: str, ack: Ack) -> None:
        """A point, by the name the server attested, applied everything up to `ack.n`."""
        if not self.tracker.heard(name, ack.n, ack.epoch, self._clock.now()):
            logger.warning(log.ACK_REFUSED, point=name, n=ack.n)
        elif self.tracker.ready:  # a thousand points answer for one entry, and the last of them closes it
            self._changed.set()

    async def serve(self, _: Commits) -> None:
        """The writer's duty: record what has ended, until cancelled.  What time closes, the next beacon finds, within a second."""
        while True:
            self._changed.clear()
            failed = not all([await self._record(completed) for completed in self.tracker.outcomes()])
            try:
                async with asyncio.timeout(RETRY_S if failed else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _record(self, completed: Completed) -> bool:
        if not completed.contained:
            left = [outcome.point for outcome in completed.points if outcome.state == "uncontained"]
            logger.error(log.ENTRY_UNCONTAINED, n=completed.n, points=left)
        try:
            await self._recording.completed(completed)
        except RecordUnavailable:
            logger.warning(log.RECORD_FAILED, what="completed", n=completed.n)
            return False
        self.tracker.recorded(completed.n)
        return True
