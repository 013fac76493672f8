"""What every worker stands on: one connection, its views, its tasks, its health, and the order in which they start and stop.

    def build(settings: Settings) -> FastStream:
        runtime = Runtime("gateway", settings, facts=True, revocations=True)

        async def start() -> None:                      # connected, views loaded; nobody can reach us yet
            gateway = Gateway(runtime.facts, runtime.publisher, runtime.clock)
            subscribe(runtime, gateway)                 # nats-py subscriptions of hot subjects
            runtime.spawn(gateway.summarise(), name="summaries")

        return runtime.app(start=start, stop=None)

FastStream subscribers are declared on `runtime.broker` inside `build` and begin to consume after `start` returned.  The order is
connect, views, `start`, FastStream subscribers.  Stopping is the reverse: no new messages, requests in flight finish,
spawned tasks are cancelled, `stop`, views, and the connection drains.

A worker *ends* when its connection closes for good, a spawned task fails, or it calls `fail`; `WorkerApp.ended` tells its supervisor,
which builds it anew (design 8).  Nothing here decides anything; views that are not fresh are the caller's to refuse by.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from secrets import token_hex
from typing import Any

import structlog
from faststream import FastStream
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NATSError

from config.settings import Settings
from schemas.health import Health
from streams.bus import Publisher, client, fabric_broker
from streams.facts import FactsView
from workers.common import log
from workers.common.clock import Clock, SystemClock
from workers.common.health import Canary, answer_health
from workers.common.logsetup import where
from workers.common.revocations import Revocations
from workers.common.tasks import Tasks

GRACE_S = 5.0  # what a request in flight is given when its worker stops; the request deadline (design 5)
DRAIN_S = 5.0

Step = Callable[[], Awaitable[None]]
logger = structlog.get_logger()


class WorkerApp(FastStream):
    """A FastStream application that can tell its supervisor that it has ended."""

    def __init__(self, runtime: Runtime, **options: Any) -> None:
        super().__init__(runtime.broker, logger=None, **options)
        self.runtime = runtime
        self.ended = asyncio.Event()

    async def stop(self) -> None:
        """In the runtime's order.  FastStream's own raises, and leaves the rest running, where the connection is gone."""
        await self.runtime.stop()

    def end(self) -> None:
        """Tell the supervisor, and FastStream's own `run` where that is what runs us."""
        self.ended.set()
        self.exit()


class Runtime:
    """One worker's ground.  `nc`, `publisher` and the views exist from the moment `start` is called."""

    nc: Client
    publisher: Publisher

    def __init__(
        self,
        worker: str,
        settings: Settings,
        *,
        facts: bool = False,
        revocations: bool = False,
        canary: bool = False,
        answers_health: bool = True,
        clock: Clock | None = None,
    ) -> None:
        """`facts` and `revocations` ask for the views; `canary`: this worker's health shows that RECORD acknowledges."""
        self.worker = worker
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.copy_id = token_hex(6)
        self.log = logger.bind(worker=worker, copy=self.copy_id)
        self.broker: NatsBroker = fabric_broker(worker, settings, closed_cb=self._connection_closed, reconnected_cb=self._reconnected)
        self._wants = (facts, revocations)
        self._facts: FactsView | None = None
        self._revocations: Revocations | None = None
        self._wants_canary = canary
        self._canary: Canary | None = None
        self._answers_health = answers_health
        self._background = Tasks(self._background_failed)
        self._requests = Tasks(self._request_failed)
        self._plain: list[Subscription] = []
        self._app: WorkerApp | None = None
        self._stack = AsyncExitStack()
        self._stopping = False
        self._on_reconnected: list[Callable[[], None]] = []
        self.fit: Callable[[], bool] = lambda: True  # what else it takes to be ready
        self.detail: Callable[[], dict[str, Any]] = dict  # what the worker adds to its health

    # --- what a worker uses -------------------------------------------------------------------------------------------------

    @property
    def facts(self) -> FactsView:
        """The facts view.  Raises RuntimeError where `build` did not ask for it."""
        if self._facts is None:
            raise RuntimeError(f"{self.worker} has no facts view, or has not started")
        return self._facts

    @property
    def revocations(self) -> Revocations:
        """The revocation view and its feed.  Raises RuntimeError where `build` did not ask for it."""
        if self._revocations is None:
            raise RuntimeError(f"{self.worker} has no revocation view, or has not started")
        return self._revocations

    def views_fresh(self, now: float, budget_s: float = 3.0) -> bool:
        """Whether the views this worker asked for are within the budget.  A worker without any is always fresh."""
        if self._revocations is not None:
            return self._revocations.fresh(now, budget_s)
        return self._facts is None or self._facts.loaded

    async def wait_current(self) -> None:
        """Until the views this worker asked for are fresh for the first time; at once where it asked for none."""
        if self._revocations is not None:
            await self._revocations.current.wait()

    def spawn(self, coro: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run for the worker's life.  Its failure ends the worker."""
        return self._background.start(coro, name=name)

    def handle(self, coro: Coroutine[Any, Any, Any], *, name: str = "request") -> asyncio.Task[Any]:
        """Run one request, so that a slow one never blocks the next.  Its failure is logged; at stop it may finish within `GRACE_S`."""
        return self._requests.start(coro, name=name)

    def on_reconnected(self, callback: Callable[[], None]) -> None:
        """Called when the connection is back: what follows a stream may have missed something."""
        self._on_reconnected.append(callback)

    async def subscribe_plain(self, subject: str, queue: str, cb: Callable[[Msg], Awaitable[None]]) -> None:
        """A plain nats-py subscription, for a hot subject (docs/decisions/0005-hot-path.md).  It stops with the others."""
        self._plain.append(await self.nc.subscribe(subject, queue, cb=cb))

    @property
    def in_flight(self) -> int:
        """Requests running now."""
        return len(self._requests)

    async def health(self, *, canary: bool) -> Health:
        """How this copy is, as `weft.health.<worker>` answers it."""
        fresh = self.views_fresh(self.clock.now())
        recorded = await self._canary.sing() if canary and self._canary is not None else None
        return Health(
            worker=self.worker,
            copy_id=self.copy_id,
            ready=fresh and recorded is not False and self.fit(),
            facts=self._facts.revision if self._facts is not None else None,
            revocations=self._revocations.view.counter if self._revocations is not None else None,
            fresh=fresh,
            recorded=recorded,
            detail=self.detail(),
        )

    def fail(self, reason: str) -> None:
        """End this worker; its supervisor builds it anew."""
        if self._app is None or self._app.ended.is_set() or self._stopping:
            return
        self.log.error(log.WORKER_FAILED, reason=reason)
        self._app.end()

    def app(self, start: Step | None = None, stop: Step | None = None) -> WorkerApp:
        """The application.  `stop` runs while the connection still lives, after everything that uses the worker's parts has ended."""

        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            try:
                await self._start(start, stop)
                yield
            finally:
                await self.stop()

        if self._answers_health:
            answer_health(self)
        self._app = WorkerApp(self, lifespan=lifespan, after_startup=[self._reachable])
        return self._app

    async def _reachable(self) -> None:
        """Started means that the server knows every subject: a request sent from then on finds somebody.

        Twice, because nats-py writes the first PING ahead of what it still holds back.
        """
        await self.nc.flush()
        await self.nc.flush()

    # --- the order of things ------------------------------------------------------------------------------------------------

    async def _start(self, start: Step | None, stop: Step | None) -> None:
        stack = self._stack
        stack.push_async_callback(self._disconnect)
        await self.broker.connect()
        self.nc = client(self.broker)
        self.publisher = Publisher(self.nc)
        if self._wants_canary:
            self._canary = Canary(self.publisher, self.worker)
        async with asyncio.timeout(self.settings.load_deadline_s):
            await self._start_views(stack)
        stack.push_async_callback(self._background.close)  # for what `start` spawned before it failed
        if start is not None:
            await start()
        if stop is not None:
            stack.push_async_callback(stop)
        stack.push_async_callback(self._background.close)  # before `stop` closes what these tasks use
        stack.push_async_callback(self._requests.close, GRACE_S)
        stack.push_async_callback(self._stop_subscribers)
        self.log.info(log.WORKER_STARTED)

    async def _start_views(self, stack: AsyncExitStack) -> None:
        facts, revocations = self._wants
        if facts or revocations:  # the key that signs revocations is a fact
            self._facts = FactsView(self.nc, worker=self.worker, on_lost=lambda: self.fail("facts_lost"))
            stack.push_async_callback(self._facts.stop)
            await self._facts.start(self.settings.load_deadline_s)
        if revocations and self._facts is not None:
            self._revocations = Revocations(self.nc, self._facts, self.clock)
            stack.push_async_callback(self._revocations.stop)
            await self._revocations.start()

    async def _stop_subscribers(self) -> None:
        for subscription in self._plain:
            with suppress(NATSError):  # the connection has ended, and the subscription with it
                await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py leaves it unannotated
        for subscriber in self.broker.subscribers:
            with suppress(NATSError):
                await subscriber.stop()

    async def _disconnect(self) -> None:
        """Drains the connection; one that has no server to drain to is closed."""
        try:
            async with asyncio.timeout(DRAIN_S):
                await self.broker.stop()
        except (NATSError, TimeoutError, ExceptionGroup) as error:
            self.log.warning(log.CONNECTION_DROPPED, error=type(error).__name__)
            await self.nc.close()

    async def stop(self) -> None:
        """Everything that runs here, in the reverse order of starting.  Once is enough, again does nothing."""
        if self._stopping:
            return
        self._stopping = True
        await self._stack.aclose()
        self.log.info(log.WORKER_STOPPED)

    # --- what ends it ---------------------------------------------------------------------------------------------------------

    async def _reconnected(self) -> None:
        """What was missed is fetched now, not when the next message shows that something is missing."""
        if self._facts is not None:
            self._facts.check()
        if self._revocations is not None:
            self._revocations.feed.catch_up()
        for callback in self._on_reconnected:
            callback()

    async def _connection_closed(self) -> None:
        self.fail("connection_closed")

    def _background_failed(self, name: str, error: BaseException) -> None:
        self.log.error(log.TASK_FAILED, task=name, error=type(error).__name__, at=where(error))
        self.fail("task_failed")

    def _request_failed(self, name: str, error: BaseException) -> None:
        self.log.error(log.REQUEST_FAILED, task=name, error=type(error).__name__, at=where(error))
