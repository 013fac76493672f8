"""The gateway's ports over the bus."""

from __future__ import annotations

import nats.errors
from nats.aio.client import Client

from schemas.minting import MINT, MINTED, MintAnswer, MintRequest
from streams.bus import HEADERS, Malformed, event, parse
from streams.facts_table import FactsTable
from streams.subjects import MINT as MINT_SUBJECT
from workers.common.runtime import Runtime
from workers.gateway.answers import SOURCE
from workers.gateway.ports import BrokerUnavailable

FIRST_TRY_S = 1.5  # then another broker gets the same request: one request has one answer, whoever gives it


class BusBroker:
    """Whichever broker of the queue group answers."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def mint(self, mint: MintRequest, *, timeout_s: float, traceparent: str | None) -> MintAnswer:
        """See ports.Broker.  Asked at most twice, so that a slow broker is not made slower."""
        body = event(MINT, mint, source=SOURCE, traceparent=traceparent)
        try:
            try:
                return await self._ask(body, min(FIRST_TRY_S, timeout_s))
            except TimeoutError:
                return await self._ask(body, timeout_s - FIRST_TRY_S)
        except (nats.errors.Error, TimeoutError, Malformed) as error:
            raise BrokerUnavailable(type(error).__name__) from None

    async def _ask(self, body: bytes, timeout_s: float) -> MintAnswer:
        if timeout_s <= 0:
            raise TimeoutError
        try:
            answer = parse(MintAnswer, (await self._nc.request(MINT_SUBJECT.at(), body, timeout=timeout_s, headers=HEADERS)).data)
        except nats.errors.TimeoutError:
            raise TimeoutError from None
        if answer.type != MINTED:
            raise Malformed("not the answer of a broker")
        return answer.data


class WorkerViews:
    """The runtime's views."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def facts(self) -> FactsTable:
        """See ports.Views."""
        return self._runtime.facts.table

    @property
    def revocations(self) -> int:
        """See ports.Views."""
        return self._runtime.revocations.view.counter

    def fresh(self, now: float) -> bool:
        """See ports.Views."""
        return self._runtime.views_fresh(now)
