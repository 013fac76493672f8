"""The receiver, put together: a task for each subscription, begun and ended as the facts say."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import structlog

from schemas.facts import Kind, Subscription
from streams.facts_table import FactChange, FactsTable
from workers.common import log
from workers.common.clock import Clock
from workers.signals.receiver.keeper import Keeper
from workers.signals.receiver.poller import Poller
from workers.signals.receiver.remote import RemoteFailed
from workers.signals.receiver.tokens import NotAuthorized

RECONCILE_S = 60.0
PAUSES_S = (1.0, 2.0, 5.0, 15.0, 60.0)
TOGETHER_S = 1.0  # copies that start together do not look for the stream together
logger = structlog.get_logger()


class Receiver:
    """`run` belongs to the worker's tasks."""

    def __init__(self, facts: FactsTable, keeper: Keeper, poller: Poller, clock: Clock) -> None:
        self._facts = facts
        self._keeper = keeper
        self._poller = poller
        self._clock = clock
        self._changed: asyncio.Queue[str] = asyncio.Queue()
        self._tasks: dict[str, tuple[Subscription, asyncio.Task[None]]] = {}
        self._streams: dict[str, tuple[str, str]] = {}  # subscription to issuer and stream id
        self._states: dict[str, str] = {}

    def changed(self, change: FactChange) -> None:
        """A fact changed."""
        if change.kind is Kind.SUBSCRIPTION:
            self._changed.put_nowait(change.key)

    def streams_of(self, iss: str) -> frozenset[str]:
        """The ids of our streams at that transmitter; none until this copy knows all of them."""
        wanted = {one.name for one in self._facts.subscriptions() if one.iss == iss and one.state == "active"}
        if not wanted <= self._streams.keys():
            return frozenset()
        return frozenset(stream_id for of, stream_id in self._streams.values() if of == iss)

    def detail(self) -> dict[str, Any]:
        """For the worker's health: `held`, `suspended`, or what is wrong."""
        return {"subscriptions": dict(self._states)} if self._states else {}

    async def run(self) -> None:
        """Until cancelled."""
        for subscription in self._facts.subscriptions():
            self._changed.put_nowait(subscription.name)
        try:
            while True:
                await self._restart(await self._changed.get())
        finally:
            for name in list(self._tasks):
                await self._end(name)

    async def _restart(self, name: str) -> None:
        before = await self._end(name)
        wanted = self._facts.subscription(name)
        if wanted is None:
            self._states.pop(name, None)
            if before is not None:
                await self._once(before, self._keeper.drop(before), "dropped")
        elif wanted.state == "active":
            self._tasks[name] = (wanted, asyncio.create_task(self._keep(wanted), name=f"subscription {name}"))
        else:
            await self._once(wanted, self._keeper.pause(wanted), "suspended")

    async def _end(self, name: str) -> Subscription | None:
        held = self._tasks.pop(name, None)
        self._streams.pop(name, None)
        if held is None:
            return None
        held[1].cancel()
        with suppress(asyncio.CancelledError):
            await held[1]
        return held[0]

    async def _once(self, of: Subscription, act: Any, state: str) -> None:
        """Best effort: the transmitter may be away for ever."""
        try:
            await act
        except (RemoteFailed, NotAuthorized) as error:
            self._failed(of, str(error))
        except Exception as error:  # noqa: BLE001 - as in `_keep`
            self._failed(of, f"a bug of ours: {type(error).__name__}")
        else:
            if state != "dropped":
                self._states[of.name] = state

    async def _keep(self, wanted: Subscription) -> None:
        failures = 0
        await asyncio.sleep(random.uniform(0, TOGETHER_S))  # noqa: S311 - spread, not secrecy
        while True:
            try:
                stream = await self._keeper.hold(wanted)
                self._streams[wanted.name] = (wanted.iss, stream.stream_id)
                await self._keeper.begin(wanted, stream)
                self._states[wanted.name] = "held"
                failures = 0
                if wanted.delivery == "poll":
                    await self._poller.run(wanted, stream, RECONCILE_S)
                else:
                    await asyncio.sleep(RECONCILE_S)
            except (RemoteFailed, NotAuthorized) as error:
                self._failed(wanted, str(error))
                least_s = error.retry_after_s if isinstance(error, RemoteFailed) else 0.0
            except Exception as error:  # noqa: BLE001 - what one transmitter answers ends neither its own stream for good nor any other
                self._failed(wanted, f"a bug of ours: {type(error).__name__}")
                least_s = 0.0
            else:
                continue
            await asyncio.sleep(max(PAUSES_S[min(failures, len(PAUSES_S) - 1)], least_s))
            failures += 1

    def _failed(self, of: Subscription, detail: str) -> None:
        self._states[of.name] = detail
        logger.warning(log.SUBSCRIPTION_FAILED, subscription=of.name, detail=detail)
