"""Follows RECORD for the detections of the facts, and has what they find said.

Without a detection nothing is followed.  When detections change, RECORD is read anew from as far back as the longest of them looks; what
was said before has the same `jti` again and is stored once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import nats.errors
import structlog
from nats.aio.client import Client
from weft.feed import RepublishedFeed

from schemas.detections import DetectionRule
from streams.subjects import PUSH_RECORD, RECORD
from workers.common import directget, log
from workers.common.clock import Clock
from workers.common.rpc import Refused
from workers.signals.watch.detect import ISSUED_S, Detector, Finding, Issued
from workers.signals.watch.seen import read

STREAM = "RECORD"
RETRY_S = 1.0
MAX_SAID = 10_000
Say = Callable[[Finding], Awaitable[None]]
logger = structlog.get_logger()


class Watcher:
    """`run` belongs to the worker's tasks."""

    def __init__(self, nc: Client, rules: Callable[[], Sequence[DetectionRule]], say: Say, clock: Clock) -> None:
        self._nc = nc
        self._rules = rules
        self._say = say
        self._clock = clock
        self._changed = asyncio.Event()
        self._changed.set()
        self._found: asyncio.Queue[Finding] = asyncio.Queue()
        self._said: OrderedDict[str, None] = OrderedDict()
        self._feed: RepublishedFeed | None = None
        self._detectors: tuple[Detector, ...] = ()
        self._issued = Issued(clock.now())

    @property
    def sequence(self) -> int | None:
        """The last sequence of RECORD that was looked at; none where nothing is followed."""
        return None if self._feed is None else self._feed.sequence

    def changed(self) -> None:
        """The detections of the facts are others now."""
        self._changed.set()

    def reconnected(self) -> None:
        """Catches up at once."""
        if self._feed is not None:
            self._feed.catch_up()

    async def run(self) -> None:
        """Until cancelled."""
        speaking = asyncio.create_task(self._speak(), name="detections")
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._stop()
                try:
                    await self._follow(tuple(self._rules()))
                except (nats.errors.Error, TimeoutError, directget.Unavailable) as error:
                    logger.warning(log.WATCH_DELAYED, error=type(error).__name__)
                    await asyncio.sleep(RETRY_S)
                    self._changed.set()
        finally:
            speaking.cancel()
            with suppress(asyncio.CancelledError):
                await speaking
            await self._stop()

    async def _follow(self, rules: tuple[DetectionRule, ...]) -> None:
        if not rules:
            return
        since = self._clock.now() - max(rule.within_s for rule in rules) - ISSUED_S
        self._issued = Issued(since)
        self._detectors = tuple(Detector(rule, self._issued) for rule in rules)
        first = await self._first_since(since)
        self._feed = RepublishedFeed(self._nc, STREAM, RECORD.filter, PUSH_RECORD.filter, self._arrived, start_seq=first)
        await self._feed.start()

    async def _first_since(self, since: float) -> int:
        """The sequence of the first event recorded from then on, or of the one to come."""
        time = datetime.fromtimestamp(since, UTC).isoformat().replace("+00:00", "Z")
        async for stored in directget.since(self._nc, STREAM, RECORD.filter, time):
            return stored.seq
        info = await self._nc.jetstream().stream_info(STREAM)
        return int(info.state.last_seq) + 1

    async def _stop(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            await feed.stop()

    def _arrived(self, seq: int, subject: str, body: bytes) -> None:
        seen = read(seq, subject, body)
        if seen is None:
            return
        self._issued.note(seen)
        for detector in self._detectors:
            finding = detector.observe(seen)
            if finding is not None and finding.once not in self._said:
                self._found.put_nowait(finding)

    async def _speak(self) -> None:
        """One after the other; what cannot be said now is said later, and what was said is not said again."""
        while True:
            finding = await self._found.get()
            while finding.once not in self._said:
                try:
                    await self._say(finding)
                except Exception as error:  # noqa: BLE001 - no key to sign with, say: what was found stays to be said
                    reason = str(error.reason) if isinstance(error, Refused) else type(error).__name__
                    logger.warning(log.DETECTION_UNSAID, detection=finding.rule.name, reason=reason)
                    await asyncio.sleep(RETRY_S)
                else:
                    logger.info(log.DETECTED, detection=finding.rule.name)
                    self._said[finding.once] = None
            while len(self._said) > MAX_SAID:
                self._said.popitem(last=False)
