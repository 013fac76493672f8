"""Who failed to prove to be a client, counted: what goes on RECORD is bounded, however often strangers try.

Within a window failures are counted for each registered client that a request *named*, which proves nothing, and together for all names
that are nobody's.  Written is one event for each of them when the window ends, and one before where a client's reach `ALARM`: at most
twice `MAX_NAMED` + 1 in a window of one copy of the broker.  Addresses stand in it as digests.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import structlog
from weft.digest import sha256

from schemas.facts import Client
from schemas.reasons import DenyReason
from schemas.record import MAX_ADDRESSES, NotAuthenticated
from workers.broker.oauth.clients import MAX_ASSERTION_BYTES, Facts
from workers.broker.oauth.form import Form
from workers.broker.oauth.tools import instance_of
from workers.common import log
from workers.common.addresses import name_of
from workers.common.clock import Clock
from workers.common.credentials import IdentityRefused, parsed
from workers.common.recorder import RecordUnavailable

WINDOW_S = 60.0
ALARM = 10  # failures of one client that are told at once, and not when the window ends
MAX_NAMED = 32  # clients that are counted by name within a window; more are counted with the unknown
MAX_TRACKED = 256  # addresses that are told apart for each
MAX_UNSENT = 2 * (MAX_NAMED + 1)  # events that wait for a RECORD that does not answer
logger = structlog.get_logger()


@dataclass
class _Count:
    client: Client | None
    since: int
    failures: int = 0
    replays: int = 0
    addresses: Counter[str] = field(default_factory=Counter)
    told: bool = False

    def event(self, now: int) -> NotAuthenticated:
        most = [address for address, _ in self.addresses.most_common(MAX_ADDRESSES)]
        workload = None if self.client is None else self.client.spiffe_id
        return NotAuthenticated(
            client=None if self.client is None else self.client.client_id,
            workload=None if workload is None or workload.endswith("*") else workload,
            instance=None if self.client is None else instance_of(self.client.client_id),
            failures=self.failures,
            replays=self.replays,
            addresses=tuple(most),
            address_count=len(self.addresses),
            since=self.since,
            until=now,
        )


class Failures:
    """The counts of one window.  No clock of its own."""

    def __init__(self) -> None:
        self.total = 0  # since the start
        self._counts: dict[str | None, _Count] = {}

    def note(self, client: Client | None, address: str, now: float, *, replay: bool = False) -> NotAuthenticated | None:
        """One more.  The event, where this makes it an alarm: what it tells of is not told again."""
        self.total += 1
        count = self._count_of(client, int(now))
        count.failures += 1
        count.replays += replay
        caller = sha256(name_of(address))
        if caller in count.addresses or len(count.addresses) < MAX_TRACKED:
            count.addresses[caller] += 1
        if count.client is None or count.told or count.failures < ALARM:
            return None
        return self._told(count, int(now))

    def due(self, now: float) -> list[NotAuthenticated]:
        """The window ends."""
        ended, self._counts = self._counts, {}
        return [count.event(int(now)) for count in ended.values() if count.failures]

    def _count_of(self, client: Client | None, now: int) -> _Count:
        key = None if client is None else client.client_id
        if key is not None and key not in self._counts and len(self._counts.keys() - {None}) >= MAX_NAMED:
            key = client = None
        return self._counts.setdefault(key, _Count(client, now))

    def _told(self, count: _Count, now: int) -> NotAuthenticated:
        event = count.event(now)
        self._counts[event.client] = _Count(count.client, now, told=True)
        return event


class FailureRecords:
    """Counts them, and has them recorded; `run` belongs to the worker's tasks."""

    def __init__(self, write: Callable[[NotAuthenticated], Awaitable[object]], clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._failures = Failures()
        self._unsent: deque[NotAuthenticated] = deque(maxlen=MAX_UNSENT)
        self._alarmed = asyncio.Event()

    @property
    def total(self) -> int:
        """Since the start."""
        return self._failures.total

    def note(self, client: Client | None, address: str, *, replay: bool = False) -> None:
        """One more; nobody waits for its record."""
        alarm = self._failures.note(client, address, self._clock.now(), replay=replay)
        if alarm is not None:
            self._unsent.append(alarm)
            self._alarmed.set()

    async def run(self) -> None:
        """For the worker's life."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + WINDOW_S
        while True:
            try:
                async with asyncio.timeout_at(ends):
                    await self._alarmed.wait()
            except TimeoutError:
                ends = loop.time() + WINDOW_S
                self._unsent.extend(self._failures.due(self._clock.now()))
            self._alarmed.clear()
            await self.flush()

    async def close(self) -> None:
        """What was counted is told before the worker ends."""
        self._unsent.extend(self._failures.due(self._clock.now()))
        await self.flush()

    async def flush(self) -> None:
        """What waits goes on RECORD; where that does not answer, with the next."""
        while self._unsent:
            event = self._unsent[0]
            try:
                await self._write(event)
            except RecordUnavailable:
                logger.warning(log.RECORD_FAILED, what="notauthenticated")
                return
            logger.warning(log.CLIENT_NOT_AUTHENTICATED, client=event.client, failures=event.failures, replays=event.replays)
            if self._unsent and self._unsent[0] is event:
                self._unsent.popleft()


def claimed(form: Form, facts: Facts) -> Client | None:
    """The registered client that a request names.  NOT checked: everything."""
    names = [name for name in (form.get("client_id"), *_asserted(form.get("client_assertion"))) if name is not None]
    known = next((found for found in map(facts.client, names) if found is not None), None)
    return known or next((client for client in facts.clients() if client.spiffe_id in names), None)


def _asserted(unverified: str | None) -> Iterable[str]:
    try:
        payload = parsed(unverified or "", MAX_ASSERTION_BYTES, DenyReason.CLIENT_NOT_AUTHENTICATED).unverified_payload
    except IdentityRefused:
        return ()
    return [name for name in (payload.get("iss"), payload.get("sub")) if isinstance(name, str)]
