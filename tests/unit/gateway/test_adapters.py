"""How a gateway asks brokers: together what is ready together, twice at most, and nobody waits for what takes time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import nats.errors
import pytest

from schemas.minting import MintAnswer, MintRequest
from schemas.reasons import DenyReason
from tests.support.hotpath import HotPath
from workers.common.minting import answers_event, read_requests
from workers.gateway import adapters
from workers.gateway.adapters import TOGETHER, BusBroker
from workers.gateway.ports import BrokerUnavailable

REFUSED = MintAnswer(refused=DenyReason.OUT_OF_CHARTER)


class Bus:
    """The part of a client that is used; `answer` says what comes back for the requests of a message."""

    def __init__(self, answer: Callable[[list[Any]], Any] | None = None) -> None:
        self.messages: list[list[Any]] = []
        self.timeouts: list[float] = []
        self._answer = answer or (lambda requests: [REFUSED] * len(requests))

    async def request(self, _subject: str, body: bytes, *, timeout: float, headers: Any) -> Any:  # noqa: ASYNC109 - nats-py's
        self.messages.append(read_requests(body))
        self.timeouts.append(timeout)
        answers = self._answer(self.messages[-1])
        if asyncio.iscoroutine(answers):
            answers = await answers
        if isinstance(answers, Exception):
            raise answers
        return SimpleNamespace(data=answers if isinstance(answers, bytes) else answers_event(answers, "/test"))


@pytest.fixture
async def mint() -> MintRequest:
    hot = HotPath()
    return await hot.allowed(hot.agent())


def asking(bus: Bus, mint: MintRequest, times: int, **options: Any) -> list[Any]:
    broker = BusBroker(bus)  # type: ignore[arg-type]
    return [asyncio.ensure_future(broker.mint(mint, **{"timeout_s": 4.0, "alone": False, **options})) for _ in range(times)]


async def test_what_is_ready_together_travels_together_and_no_more_than_fits(mint: MintRequest) -> None:
    bus = Bus()
    answers = await asyncio.gather(*asking(bus, mint, TOGETHER + 3))
    assert [len(message) for message in bus.messages] == [TOGETHER, 3]
    assert {answer.refused for answer in answers} == {DenyReason.OUT_OF_CHARTER}


async def test_a_message_stays_below_the_servers_limit(mint: MintRequest) -> None:
    large = mint.model_copy(update={"request": mint.request.model_copy(update={"svid": "a.b." + "c" * 40_000})})
    bus = Bus()
    await asyncio.gather(*asking(bus, large, 5))
    assert [len(message) for message in bus.messages] == [2, 2, 1]


async def test_each_gets_its_own_answer(mint: MintRequest) -> None:
    bus = Bus(lambda requests: [MintAnswer(refused=DenyReason.INTERNAL, needs=one.explanation) for one in requests])
    broker = BusBroker(bus)  # type: ignore[arg-type]
    mints = [mint.model_copy(update={"explanation": f"e{n}"}) for n in range(5)]
    answers = await asyncio.gather(*(broker.mint(one, timeout_s=4.0, alone=False) for one in mints))
    assert [answer.needs for answer in answers] == ["e0", "e1", "e2", "e3", "e4"]


async def test_nobody_waits_for_what_takes_time(mint: MintRequest) -> None:
    """INVARIANT: a request whose evidence has to be read keeps nobody else waiting.

    Broken by putting it into one message with others.
    """
    slow = asyncio.Event()

    async def answer(requests: list[MintRequest]) -> list[MintAnswer]:
        if requests[0].explanation == "slow":
            await slow.wait()
        return [REFUSED] * len(requests)

    bus = Bus(answer)
    broker = BusBroker(bus)  # type: ignore[arg-type]
    waiting = asyncio.ensure_future(broker.mint(mint.model_copy(update={"explanation": "slow"}), timeout_s=4.0, alone=True))
    await asyncio.gather(*(broker.mint(mint, timeout_s=4.0, alone=False) for _ in range(3)))
    assert not waiting.done()
    slow.set()
    assert (await waiting).refused is DenyReason.OUT_OF_CHARTER


async def test_a_silent_broker_is_asked_once_more_and_then_given_up(mint: MintRequest) -> None:
    bus = Bus(lambda _: nats.errors.TimeoutError())
    with pytest.raises(BrokerUnavailable):
        await asyncio.gather(*asking(bus, mint, 2))
    assert bus.timeouts[0] == adapters.FIRST_TRY_S
    assert len(bus.timeouts) == 2


@pytest.mark.parametrize("answers", [[REFUSED], [REFUSED] * 3, b"", b"garbage", nats.errors.NoRespondersError()])
async def test_an_answer_that_is_none_is_an_unavailable_broker_for_all_of_them(mint: MintRequest, answers: Any) -> None:
    """INVARIANT: no answer is given to another's request: a message with too few or too many answers answers nobody.

    Broken by pairing as far as they go.
    """
    asked = asking(Bus(lambda _: answers), mint, 2)
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BrokerUnavailable] * 2


async def test_a_call_that_is_given_up_takes_nobody_with_it(mint: MintRequest) -> None:
    """INVARIANT: who sends a message for others too, and is cancelled, leaves them an answer at once (promise 7).

    Broken by futures that only the sender's task settles.
    """
    silent = asyncio.Event()
    first, *others = asking(Bus(lambda _: _after(silent)), mint, 3)
    await asyncio.sleep(0.01)
    first.cancel()
    outcomes = await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 1)
    assert [type(outcome) for outcome in outcomes] == [BrokerUnavailable] * 2


async def _after(event: asyncio.Event) -> list[MintAnswer]:
    await event.wait()
    return []
