"""The gateway's ports over the bus."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import nats.errors
from nats.aio.client import Client

from schemas import approvals
from schemas.approvals import Ask, Held, Show
from schemas.minting import MintRequest
from schemas.points import Failure
from schemas.reasons import DenyReason
from streams.bus import HEADERS, Malformed, event
from streams.facts_table import FactsTable
from streams.subjects import APPROVAL_ASK, APPROVAL_SHOW
from streams.subjects import MINT as MINT_SUBJECT
from workers.common import asking
from workers.common.minting import Answered, read_answers, request_json, requests_event
from workers.common.runtime import Runtime
from workers.gateway.answers import SOURCE
from workers.gateway.ports import BrokerUnavailable
from workers.gateway.stepping import NotAsked

FIRST_TRY_S = 1.5  # then another broker gets the same requests: one request has one answer, whoever gives it
TOGETHER = 16  # more would have the broker wait for the gateway, and the gateway for the broker
TOGETHER_BYTES = 65_536  # a quarter of the server's max_payload


@dataclass(slots=True)
class _Asking:
    """A request on its way, and who waits for its answer."""

    request: bytes = field(repr=False)
    until: float  # the loop's clock
    answer: asyncio.Future[Answered]


class BusBroker:
    """Whichever broker of the queue group answers.

    Requests that become ready in one turn of the loop share a message; nothing waits for company.
    """

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._ready: list[_Asking] = []
        self._ready_bytes = 0

    async def mint(self, mint: MintRequest, *, timeout_s: float, alone: bool) -> Answered:
        """See ports.Broker.  Asked at most twice, so that a slow broker is not made slower."""
        loop = asyncio.get_running_loop()
        asking = _Asking(request_json(mint), loop.time() + timeout_s, loop.create_future())
        if together := [asking] if alone else await self._company(asking):
            await self._settle(together)
        return await asking.answer

    async def _company(self, asking: _Asking) -> list[_Asking]:
        """The requests whose message this one is to send: the first of a turn sends what the turn brings, whoever fills it sends it now."""
        self._ready.append(asking)
        self._ready_bytes += len(asking.request)
        if len(self._ready) < TOGETHER and self._ready_bytes < TOGETHER_BYTES:
            if len(self._ready) > 1:
                return []
            await asyncio.sleep(0)
        ready, self._ready, self._ready_bytes = self._ready, [], 0
        return ready

    async def _settle(self, together: list[_Asking]) -> None:
        waiting = [asking.answer for asking in together]
        try:
            answers = await self._ask(together)
        except BaseException as error:  # the others must not wait for one that was cancelled, either
            for answer in waiting:
                if not answer.done():  # else given up
                    answer.set_exception(BrokerUnavailable(type(error).__name__))
                    answer.exception()  # perhaps nobody asks any more
            if not isinstance(error, nats.errors.Error | TimeoutError | Malformed):
                raise
            return
        for answer, answered in zip(waiting, answers, strict=True):
            if not answer.done():
                answer.set_result(answered)

    async def _ask(self, together: list[_Asking]) -> list[Answered]:
        body = requests_event([asking.request for asking in together], SOURCE)
        left = min(asking.until for asking in together) - asyncio.get_running_loop().time()
        try:
            raw = await self._request(body, min(FIRST_TRY_S, left))
        except TimeoutError:
            raw = await self._request(body, left - FIRST_TRY_S)
        answers = read_answers(raw)
        if len(answers) != len(together):
            raise Malformed("not an answer to each request")
        return answers

    async def _request(self, body: bytes, timeout_s: float) -> bytes:
        if timeout_s <= 0:
            raise TimeoutError
        try:
            return (await self._nc.request(MINT_SUBJECT.at(), body, timeout=timeout_s, headers=HEADERS)).data
        except nats.errors.TimeoutError:
            raise TimeoutError from None


class BusPeople:
    """People, by way of whichever registry answers."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def ask(self, ask: Ask, *, timeout_s: float) -> Held:
        """See stepping.People."""
        return await self._held(APPROVAL_ASK.at(), event(approvals.ASK, ask, source=SOURCE), timeout_s)

    async def show(self, show: Show, *, timeout_s: float) -> Held:
        """See stepping.People."""
        return await self._held(APPROVAL_SHOW.at(), event(approvals.SHOW, show, source=SOURCE), timeout_s)

    async def _held(self, subject: str, body: bytes, timeout_s: float) -> Held:
        try:
            answer = await asking.ask(self._nc, subject, body, approvals.HELD, Held, deadline_s=timeout_s)
        except asking.Unanswered:
            raise NotAsked(DenyReason.RECORD_UNAVAILABLE, "the registry did not answer") from None
        if isinstance(answer, Failure):
            raise NotAsked(answer.reason, answer.detail)
        return answer


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

    def challenged_at(self, challenge: str | None) -> int | None:
        """See ports.Views."""
        return self._runtime.revocations.challenges.made_at(challenge)

    def fresh(self, now: float) -> bool:
        """See ports.Views."""
        return self._runtime.views_fresh(now)
