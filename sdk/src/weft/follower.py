"""The revocation view of an enforcement point, kept current: feed, freshness, acknowledgements.

An acknowledgement says *applied in this process*, so it is sent after the entry counts here, never before; several entries that
arrive together share one.  Every third beacon is acknowledged too, so that the fabric knows which points live.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from nats.aio.client import Client

from weft.errors import InvalidRevocation, Unavailable, UnknownKey
from weft.feed import RepublishedFeed
from weft.revocation import KeyOf, RevocationView
from weft.snapshot import Manifest, Row
from weft.watermark import Watermark

STREAM = "REVOCATIONS"
SOURCE = "weft.revocation.>"
PUSH = "weft.push.revocation.>"
BEACONS_PER_ACK = 3
ACK_RETRY_S = 1.0
ACK_AFTER_S = 0.002  # other points of this process refuse first, and entries that follow at once share the acknowledgement

SendAck = Callable[[int, int], Awaitable[None]]
FetchSnapshot = Callable[[KeyOf], Awaitable[tuple[Manifest, list[Row]] | None]]
logger = logging.getLogger("weft.follower")


class RevocationFollower:
    """`view` is the state; `on_entry` is called after each entry, in the same breath, so that nothing can be accepted in between."""

    def __init__(
        self,
        nc: Client,
        key_of: KeyOf,
        *,
        on_entry: Callable[[], None],
        on_unknown_key: Callable[[], None],
        send_ack: SendAck,
        snapshot: FetchSnapshot | None = None,
    ) -> None:
        """`snapshot`: asked once, before the stream; whatever it raises, and None, mean that the stream is read from its start."""
        self.view = RevocationView(key_of)
        self._counter = Watermark()
        self._on_entry = on_entry
        self._on_unknown_key = on_unknown_key
        self._send_ack = send_ack
        self._key_of = key_of
        self._snapshot = snapshot
        self._beacons = 0
        self._reached = asyncio.Event()
        self._ack_due = asyncio.Event()
        self._feed = RepublishedFeed(nc, STREAM, SOURCE, PUSH, self._on_message)
        self._acks: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load, and return once a beacon has matched what is applied; the caller sets the deadline."""
        self._acks = asyncio.create_task(self._acknowledge(), name="weft acknowledgements")
        try:
            await self._load_snapshot()
            await self._feed.start()
            await self._reached.wait()
        except BaseException:
            await self.stop()
            raise

    async def _load_snapshot(self) -> None:
        """It saves time and nothing else: doubt about it is a longer start."""
        try:
            found = await self._snapshot(self._key_of) if self._snapshot is not None else None
        except (InvalidRevocation, Unavailable) as error:
            logger.warning("snapshot_refused", extra={"detail": str(error)})
            return
        if found is not None:
            self.view.load(*found)
            self._counter.advance(self.view.counter)
            self._feed.skip_to(found[0].seq)

    async def stop(self) -> None:
        """End and await everything it owns."""
        if self._acks is not None:
            self._acks.cancel()
            await asyncio.gather(self._acks, return_exceptions=True)
            self._acks = None
        await self._feed.stop()

    async def attach(self, nc: Client) -> None:
        """Follow on this client from now on."""
        await self._feed.attach(nc)

    def catch_up(self) -> None:
        """Something may have been missed."""
        self._feed.catch_up()

    async def wait_for(self, counter: int, timeout_s: float) -> bool:
        """True once entry `counter` is applied; False when that took too long."""
        if self._counter.value < counter:
            self._feed.catch_up()
        return await self._counter.reached(counter, timeout_s)

    def _on_message(self, sequence: int, _subject: str, body: bytes) -> None:
        counter, reached = self.view.counter, self.view.reached_at
        try:
            self.view.apply(body)
        except UnknownKey:
            self._on_unknown_key()
            raise  # the feed stands still, the view ages, and it is tried again
        except InvalidRevocation as refused:  # an entry left out shows in the next beacon: nothing is fresh any more
            logger.warning("revocation_refused", extra={"sequence": sequence, "detail": str(refused)})
            return
        if self.view.counter > counter:
            self._on_entry()
            self._counter.advance(self.view.counter)
            asyncio.get_running_loop().call_later(ACK_AFTER_S, self._ack_due.set)
        if self.view.reached_at > reached:
            self._beacon_reached()

    def _beacon_reached(self) -> None:
        self._reached.set()
        self._beacons += 1
        if self._beacons % BEACONS_PER_ACK == 1:
            self._ack_due.set()

    async def _acknowledge(self) -> None:
        while True:
            await self._ack_due.wait()
            self._ack_due.clear()
            try:
                if not self.view.poisoned:
                    await self._send_ack(self.view.counter, self.view.epoch)
            except Exception as error:  # noqa: BLE001 - the client's; the next beacon asks again
                logger.info("acknowledgement_failed", extra={"error": type(error).__name__})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ACK_RETRY_S):
                        await self._ack_due.wait()
                self._ack_due.set()
