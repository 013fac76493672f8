"""Follows a stream that the server republishes: every message, once, in the stream's order.  ADR-28 (republish), ADR-31 (direct get).

Live messages come by core NATS with `Nats-Sequence`.  A hole is closed by batched direct get, and so is everything missed before the
start or during a reconnect.  A sequence is skipped only when a direct get proves that the stream no longer holds it: the replica that
answers with a later message has applied all before it, and each answer of a batch names the one before, so a lost answer shows.

It waits for events, never for time, but for a bounded pause after an attempt that failed or that a lagging replica answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from weft.errors import Unavailable
from weft.watermark import Watermark

BATCH = 1000  # messages of one direct get
BATCH_DEADLINE_S = 5.0
PAUSE_S = (0.02, 1.0)  # between attempts: the first, and the longest
MAX_EARLY = 4096  # live messages kept until the hole before them is closed; what is dropped is fetched

OnMessage = Callable[[int, str, bytes], None]
logger = logging.getLogger("weft.feed")


class RepublishedFeed:
    """One follower.  `on_message(sequence, subject, body)` is called in order; while it raises, the feed stands still and tries again."""

    def __init__(self, nc: Client, stream: str, source: str, push: str | None, on_message: OnMessage, *, start_seq: int = 1) -> None:
        """`source` filters the stream, `push` is what it is republished as; the first message wanted is `start_seq`.

        Without `push` nothing comes by itself: whoever calls `catch_up` says when to look.
        """
        self._nc = nc
        self._get = f"$JS.API.DIRECT.GET.{stream}"
        self._source = source
        self._push = push
        self._on_message = on_message
        self._applied = Watermark(start_seq - 1)
        self._highest = start_seq - 1  # the highest sequence heard of
        self._early: dict[int, tuple[str, bytes]] = {}
        self._wake = asyncio.Event()
        self._loaded = asyncio.Event()
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        self.gaps = 0
        self.catch_ups = 0

    @property
    def sequence(self) -> int:
        """The last sequence applied."""
        return self._applied.value

    def skip_to(self, sequence: int) -> None:
        """Before `start`: everything up to there is known already."""
        self._applied.advance(sequence)
        self._highest = max(self._highest, sequence)

    async def start(self) -> None:
        """Subscribe, load, follow.  Returns once everything that the stream held is applied; the caller sets the deadline."""
        self._task = asyncio.create_task(self._catch_up(), name=f"feed:{self._push}")
        try:
            await self.attach(self._nc)
            await self._loaded.wait()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End and await everything this feed owns."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self._unsubscribe()

    async def attach(self, nc: Client) -> None:
        """Follow on this connection from now on, and catch up."""
        await self._unsubscribe()
        self._nc = nc
        if self._push is not None:
            self._subscription = await nc.subscribe(self._push, cb=self._on_push)
            await nc.flush()
        self.catch_up()

    def catch_up(self) -> None:
        """Fetch what may have been missed.  To be called when the connection is back, or a later sequence is known to exist."""
        self._wake.set()

    async def wait_for(self, sequence: int, timeout_s: float) -> bool:
        """True once `sequence` is applied; False when that took too long."""
        if self.sequence < sequence:
            self.catch_up()
        return await self._applied.reached(sequence, timeout_s)

    # --- live -----------------------------------------------------------------------------------------------------------------

    async def _on_push(self, msg: Msg) -> None:
        if self._push is None or not msg.subject.startswith(self._push.removesuffix(">")):
            return  # sent by a consumer that somebody pointed here: it bears its stored subject, and headers of its publisher's choice
        headers = msg.headers or {}
        try:
            sequence, subject = int(headers["Nats-Sequence"]), headers["Nats-Subject"]
        except (KeyError, ValueError):
            return  # not republished by a stream
        was_behind = self._highest > self.sequence
        self._highest = max(self._highest, sequence)
        if sequence <= self.sequence:
            return
        if len(self._early) < MAX_EARLY:
            self._early[sequence] = (subject, msg.data)
        if not self._drain() and not was_behind:
            self.gaps += 1
            self.catch_up()

    def _drain(self) -> bool:
        """Apply what follows without a hole.  Whether nothing is missing."""
        try:
            while (early := self._early.pop(self.sequence + 1, None)) is not None:
                self._deliver(self.sequence + 1, *early)
        except Exception as error:  # noqa: BLE001 - the receiver's: it stays behind, and its freshness shows it
            logger.warning("feed_delivery_failed", extra={"push": self._push, "error": type(error).__name__})
        return self.sequence >= self._highest

    def _deliver(self, sequence: int, subject: str, body: bytes) -> None:
        self._on_message(sequence, subject, body)
        self._applied.advance(sequence)
        self._highest = max(self._highest, sequence)

    # --- catching up --------------------------------------------------------------------------------------------------------

    async def _catch_up(self) -> None:
        pause = PAUSE_S[0]
        while True:
            await self._wake.wait()
            self._wake.clear()
            self.catch_ups += 1
            try:
                await self._fetch()
            except Exception as error:  # noqa: BLE001 - whatever it was, the feed is behind, says so, and tries again
                logger.warning("feed_catch_up_failed", extra={"push": self._push, "error": type(error).__name__})
            else:
                self._loaded.set()
                if self._drain():
                    pause = PAUSE_S[0]
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.set()
            pause = min(pause * 2, PAUSE_S[1])

    async def _fetch(self) -> None:
        while await self._fetch_batch():
            pass

    async def _fetch_batch(self) -> bool:
        """One batched direct get, applied.  Whether the stream holds more."""
        inbox = self._nc.new_inbox()
        batch = _Batch(self._take)
        subscription = await self._nc.subscribe(inbox, cb=batch.on_answer)
        try:
            ask = {"seq": self.sequence + 1, "next_by_subj": self._source, "batch": BATCH}
            await self._nc.publish(self._get, json.dumps(ask).encode(), reply=inbox)
            async with asyncio.timeout(BATCH_DEADLINE_S):
                return await batch.done
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    def _take(self, sequence: int, subject: str, body: bytes) -> None:
        """A message of the stream, all before it applied or proven gone."""
        for early in sorted(n for n in self._early if n < sequence):
            if early > self.sequence:
                self._deliver(early, *self._early[early])
            del self._early[early]
        self._early.pop(sequence, None)
        if sequence > self.sequence:
            self._deliver(sequence, subject, body)

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(nats.errors.Error):  # its connection is gone
                await subscription.unsubscribe()


class _Batch:
    """The answers of one batched direct get, ADR-31: messages, each naming the one before, then a status."""

    def __init__(self, take: OnMessage) -> None:
        self._take = take
        self._last = 0
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def on_answer(self, msg: Msg) -> None:
        if self.done.done():
            return
        try:
            self._read(msg)
        except Exception as error:  # noqa: BLE001 - told to whoever awaits `done`
            self.done.set_exception(error)

    def _read(self, msg: Msg) -> None:
        headers = msg.headers or {}
        status = headers.get("Status")
        if status == "404":  # nothing from there on
            self.done.set_result(False)
        elif status is not None and status != "204":
            raise Unavailable(f"direct get was answered {status[:3]}")
        elif int(headers["Nats-Last-Sequence"]) != self._last:
            raise Unavailable("an answer of a batch is missing")
        elif status == "204":
            self.done.set_result(int(headers["Nats-Num-Pending"]) > 0)
        else:
            self._last = int(headers["Nats-Sequence"])
            self._take(self._last, headers["Nats-Subject"], msg.data)
