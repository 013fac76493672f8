"""The signals of the last while, for rules that count: SIGNALS read again, up to the message that is being answered.

Whichever copy of this worker answers a signal has seen every one that was stored before it, whoever answered those: it reads on from where
it stopped, and after a restart from the start of the longest window.  What stands on the stream is verified again, and assessed by the
facts as they are now; when a policy, a transmitter or a provider of people changes, it is read anew.  Without a rule that counts nothing
is read at all.

What cannot be verified, since its sender's keys are out of reach, is put aside until they are not: nobody else's signal waits for it, but
for the moment that a try takes, now and then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Protocol

from nats.aio.client import Client

from schemas.facts import Kind
from schemas.points import SetDelivery
from streams.bus import Malformed, parse
from streams.facts_table import FactsTable
from streams.subjects import SIGNAL
from workers.common import directget
from workers.signals.policy.assess import assess
from workers.signals.policy.windows import Seen, horizon_s
from workers.signals.verify import KeyUnknown, SETRefused, VerifiedSET

STREAM = "SIGNALS"
DEADLINE_S = 8.0  # of reading up to one message; it is delivered again after 10
KEYS_S = 1.5  # of one try to fetch the keys that are missing, of all senders together
TRY_EVERY_S = 30.0
MOST_ASIDE = 1000  # of one sender; its latest count


class Behind(Exception):
    """SIGNALS did not answer, or a replica that lags did."""


class Senders(Protocol):
    """Their keys; `workers.signals.receiver.transmitters.Transmitters` is one."""

    @property
    def version(self) -> int:
        """Another one once keys were fetched."""
        ...

    def verify_known(self, unverified: str, now: float) -> VerifiedSET:
        """With the keys that are known.  Raises SETRefused, KeyUnknown."""
        ...

    def refresh(self, iss: object, *, unknown_key: bool = False) -> Awaitable[bool]:
        """Fetches them."""
        ...


class Recent:
    """One copy's memory."""

    def __init__(self, nc: Client, facts: FactsTable, senders: Senders) -> None:
        self._nc = nc
        self._facts = facts
        self._senders = senders
        self._tried: dict[str, float] = {}
        self._turn = asyncio.Lock()
        self._of: tuple[int, ...] = ()
        self._forget_all(0.0)

    def _forget_all(self, since: float) -> None:
        self._seen = Seen()
        self._since = since  # from when on nothing is missing
        self._read = 0  # up to which sequence
        self._aside: dict[str, deque[directget.Stored]] = {}  # by sender
        self._version = self._senders.version

    async def up_to(self, seq: int, stored_at: float) -> Seen:
        """Everything up to that message, as far back as a window of its reaches.  Raises Behind."""
        horizon = horizon_s(self._facts.responses())
        if horizon is None:
            return Seen()
        async with self._turn:
            self._fit(stored_at - horizon)
            try:
                async with asyncio.timeout(DEADLINE_S):
                    while self._read < seq:
                        await self._read_on()
                    await self._look_again()
            except (TimeoutError, directget.Unavailable) as error:
                raise Behind("SIGNALS did not answer in time") from error
            self._forget(stored_at - 2 * horizon)
            return self._seen

    def _fit(self, since: float) -> None:
        """Start anew where the facts that signals are assessed by have changed, or the message is older than what is remembered."""
        of = tuple(self._facts.version(kind) for kind in (Kind.RESPONSE, Kind.TRANSMITTER, Kind.ISSUER))
        if of != self._of or self._read == 0 or since < self._since:
            self._of = of
            self._forget_all(since)

    def _forget(self, before: float) -> None:
        if before > self._since:
            self._seen.forget(before)
            self._since = before

    async def _read_on(self) -> None:
        since = _rfc3339(self._since) if self._read == 0 else None
        found, more = await directget.page(self._nc, STREAM, SIGNAL.filter, seq=self._read + 1, time=since)
        for stored in found:
            self._take(stored)
            self._read = stored.seq
            await asyncio.sleep(0)  # a signature each: others have their turn
        if not more:
            await asyncio.sleep(directget.PAUSE_S if not found else 0)  # a replica may lag

    def _take(self, stored: directget.Stored) -> None:
        at = datetime.fromisoformat(stored.time).timestamp()
        try:
            verified = self._senders.verify_known(parse(SetDelivery, stored.body).data.set, at)
        except KeyUnknown as missing:
            self._aside.setdefault(missing.iss or "", deque(maxlen=MOST_ASIDE)).append(stored)
        except (Malformed, SETRefused):
            return
        else:
            self._seen.add(assess(verified, self._facts.issuers(), stored_at=at))

    async def _look_again(self) -> None:
        """At what was put aside.  A key that its sender does not publish is none: what it signed counts for nothing any more."""
        fetched = await self._fetched_anew()
        if self._version == self._senders.version:
            return
        self._version = self._senders.version
        aside, self._aside = self._aside, {}
        for stored in (stored for own in aside.values() for stored in own):
            self._take(stored)
            await asyncio.sleep(0)
        for iss in fetched:
            self._aside.pop(iss, None)

    async def _fetched_anew(self) -> list[str]:
        """Whose keys were asked for just now, and given."""
        now = asyncio.get_running_loop().time()
        due = [iss for iss in self._aside if now - self._tried.get(iss, -TRY_EVERY_S) >= TRY_EVERY_S]
        if not due:
            return []
        self._tried |= dict.fromkeys(due, now)
        try:
            async with asyncio.timeout(KEYS_S):
                given = await asyncio.gather(*(self._senders.refresh(iss, unknown_key=True) for iss in due))
        except TimeoutError:
            return []
        return [iss for iss, new in zip(due, given, strict=True) if new]


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
