"""The loops that push: one for every stream that is pushed and enabled, each over its own consumer on OUTGOING."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NATSError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from schemas.ssf import Queued
from streams import subjects
from streams.bus import Malformed, parse
from workers.common import log
from workers.signals.transmitter.ports import Unavailable
from workers.signals.transmitter.push import Delivered, GivenUp, Retry, Verdict
from workers.signals.transmitter.queue import STREAM, consumer_config, consumer_of

FETCH_S = 20.0
PAUSE_S = 1.0
ACK_S = 2.0
STOP_S = 1.0
Attempt = Callable[[Queued, int, float], Awaitable[Verdict]]  # a SET, which attempt it is, since how many seconds it waits
logger = structlog.get_logger()


class Pushers:
    """`sync` says which streams are to be pushed; `close` when the worker stops."""

    def __init__(self, nc: Client, attempt: Attempt, now: Callable[[], float]) -> None:
        self._nc = nc
        self._attempt = attempt
        self._now = now
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # those that have not ended yet

    def sync(self, wanted: set[str]) -> None:
        """These and no others."""
        for stream_id in self._running.keys() - wanted:
            self._running.pop(stream_id).cancel()
        for stream_id in wanted - self._running.keys():
            task = asyncio.create_task(self._run(stream_id), name=f"push:{stream_id}")
            self._running[stream_id] = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all of them, those that `sync` ended before included."""
        self.sync(set())
        while self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_S)
            for task in self._tasks:
                task.cancel()

    async def release(self, stream_id: str) -> None:
        """The stream is pushed no more: its consumer goes, what waits stays.  Raises Unavailable."""
        try:
            await self._nc.jetstream().delete_consumer(STREAM, consumer_of(stream_id))
        except NotFoundError:
            return
        except NATSError as error:
            raise Unavailable(type(error).__name__) from None

    async def _run(self, stream_id: str) -> None:
        while self._wanted(stream_id):
            try:
                await self._serve(stream_id)
            except (NATSError, TimeoutError, Unavailable) as error:
                logger.warning(log.REQUEST_FAILED, what="push", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001 - a bug is no reason to stop telling this receiver, or any other
                logger.error(log.TASK_FAILED, task="push", error=type(error).__name__)  # noqa: TRY400 - a trace may hold the SET
            await asyncio.sleep(PAUSE_S)

    def _wanted(self, stream_id: str) -> bool:
        """Asked at every turn: a cancellation that arrives together with a message is lost in `asyncio.wait_for` (Python 3.11)."""
        return self._running.get(stream_id) is asyncio.current_task()

    async def _serve(self, stream_id: str) -> None:
        js = self._nc.jetstream()
        await js.add_consumer(STREAM, config=consumer_config(stream_id))
        subscription = await _bound(js, stream_id)
        try:
            while self._wanted(stream_id):
                with suppress(TimeoutError):  # nothing to send
                    for msg in await subscription.fetch(1, timeout=FETCH_S):
                        await self._one(msg)
        finally:
            with suppress(NATSError):
                await subscription.unsubscribe()

    async def _one(self, msg: Msg) -> None:
        try:
            queued = parse(Queued, msg.data).data
        except Malformed:
            await msg.term()  # nothing that anyone queued
            return
        waited_s = self._now() - msg.metadata.timestamp.timestamp()
        try:
            verdict = await self._attempt(queued, msg.metadata.num_delivered, waited_s)
        except asyncio.CancelledError:
            with suppress(NATSError):
                await msg.nak()
            raise
        match verdict:
            case Delivered() | GivenUp():
                await msg.ack_sync(timeout=ACK_S)
            case Retry():
                logger.info(log.SET_RETRIED, stream=queued.stream_id, fault=verdict.fault, delay_s=verdict.delay_s)
                await msg.nak(delay=verdict.delay_s)


async def _bound(js: JetStreamContext, stream_id: str) -> JetStreamContext.PullSubscription:
    inbox = f"{subjects.worker_inbox('signals')}.".encode()
    return await js.pull_subscribe_bind(consumer=consumer_of(stream_id), stream=STREAM, inbox_prefix=inbox)
