"""The broker's answers: always one, always typed, recorded before it is told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from schemas.invocation import Granted
from schemas.minting import MintAnswer, MintAnswers, MintRequest
from schemas.reasons import DenyReason
from schemas.record import Denied
from streams.bus import parse
from tests.support.hotpath import HotPath
from tests.support.invocations import ADVISOR
from workers.broker.handlers import Handlers
from workers.broker.mint import Mint
from workers.common.minting import request_json, requests_event
from workers.common.requests import RequestRefused


@pytest.fixture
def hot() -> HotPath:
    return HotPath()


def runtime(hot: HotPath) -> Any:
    return SimpleNamespace(clock=hot.clock, log=structlog.get_logger())


def handlers(hot: HotPath) -> Handlers:
    return Handlers(runtime(hot), hot.mint, hot.recorder)


async def answer(hot: HotPath, mint: MintRequest, **changes: Any) -> MintAnswer:
    body = requests_event([request_json(mint.model_copy(update=changes))], "/test")
    (answer,) = parse(MintAnswers, await handlers(hot).answer(body)).data.answers
    return answer


def recorded(hot: HotPath) -> tuple[str, Denied]:
    subject, body = hot.stream.messages[-1]
    return subject, parse(Denied, body).data


async def test_a_grant(hot: HotPath) -> None:
    assert (await answer(hot, await hot.allowed(hot.agent()))).granted is not None


async def test_a_refusal_is_recorded_with_what_was_decided(hot: HotPath) -> None:
    honest = await hot.allowed(hot.agent())
    hot.views.is_fresh = False
    assert (await answer(hot, honest)).refused is DenyReason.VIEW_STALE
    subject, denied = recorded(hot)
    assert subject == "weft.record.broker.denied.88mph~com.agents.researcher"
    assert (denied.by, denied.reason, denied.explanation) == ("broker", DenyReason.VIEW_STALE, honest.explanation)
    assert denied.input is not None
    assert denied.decision is not None


async def test_a_name_that_nobody_can_have_is_recorded_as_unknown(hot: HotPath) -> None:
    assert (await answer(hot, await hot.allowed(hot.agent()), caller="> * ..")).refused is DenyReason.CALLER_UNKNOWN
    assert recorded(hot)[0] == "weft.record.broker.denied.unknown"


async def test_after_its_deadline_nothing_is_minted(hot: HotPath) -> None:
    """INVARIANT: a request whose deadline has passed is refused, and a record that does not come in time releases nothing.

    Broken by trusting the deadline to whoever waits for the answer.
    """
    honest = await hot.allowed(hot.agent())
    assert (await answer(hot, honest, deadline=hot.clock.at - 1)).refused is DenyReason.DEADLINE_EXCEEDED
    hot.stream.gate = asyncio.Event()
    answered = await answer(hot, honest, deadline=hot.clock.at + 0.05)
    assert (answered.granted, answered.refused) == (None, DenyReason.RECORD_UNAVAILABLE)


async def test_a_refusal_that_cannot_be_recorded_says_no_more(hot: HotPath) -> None:
    honest = await hot.allowed(hot.agent())
    hot.stream.full = True
    assert (await answer(hot, honest)).refused is DenyReason.RECORD_UNAVAILABLE
    assert (await answer(hot, honest, caller=hot.agent(id=ADVISOR).name)).refused is DenyReason.RECORD_UNAVAILABLE


async def test_a_bug_is_a_refusal_and_says_nothing_of_the_input(
    hot: HotPath, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("with the SECRET of the request")

    monkeypatch.setattr("workers.broker.mint.decide", broken)
    assert (await answer(hot, await hot.allowed(hot.agent()))).refused is DenyReason.INTERNAL
    assert recorded(hot)[1].detail == "RuntimeError"
    assert "SECRET" not in capsys.readouterr().out


class Faulty:
    """A mint that has a bug for some callers' requests: one that no refusal can be made of, or that ends the task."""

    def __init__(self, mint: Mint, faults: dict[str, BaseException]) -> None:
        self._mint = mint
        self._faults = faults

    async def grant(self, mint: MintRequest) -> Granted:
        if mint.explanation in self._faults:
            raise self._faults[mint.explanation]
        return await self._mint.grant(mint)


@pytest.mark.parametrize("fault", [RequestRefused("no reason", "SECRET"), asyncio.CancelledError("SECRET")])
async def test_one_members_bug_leaves_nobody_unanswered(hot: HotPath, capsys: pytest.CaptureFixture[str], fault: BaseException) -> None:
    """INVARIANT: of requests that came together, one that meets a bug is refused `internal` and the others are answered as they are.

    Broken by waiting for all of them with a gather that one exception ends: a single poisoned request would silence its neighbours.
    """
    good, bad, late = [await hot.allowed(hot.agent()) for _ in range(3)]
    bad = bad.model_copy(update={"explanation": "poisoned"})
    late = late.model_copy(update={"deadline": hot.clock.at - 1})
    body = requests_event([request_json(mint) for mint in (good, bad, late)], "/test")
    faulty = Handlers(runtime(hot), Faulty(hot.mint, {"poisoned": fault}), hot.recorder)  # type: ignore[arg-type]
    (answered,) = await asyncio.gather(faulty.answer(body), return_exceptions=True)
    assert isinstance(answered, bytes), "nobody was answered"
    granted, refused, expired = parse(MintAnswers, answered).data.answers
    assert granted.granted is not None
    assert (refused.granted, refused.refused) == (None, DenyReason.INTERNAL)
    assert expired.refused is DenyReason.DEADLINE_EXCEEDED
    assert "SECRET" not in capsys.readouterr().out


async def test_a_bug_in_the_only_member_is_answered_too(hot: HotPath) -> None:
    faulty = Handlers(runtime(hot), Faulty(hot.mint, {"poisoned": RequestRefused("no reason", "x")}), hot.recorder)  # type: ignore[arg-type]
    mint = (await hot.allowed(hot.agent())).model_copy(update={"explanation": "poisoned"})
    answered = parse(MintAnswers, await faulty.answer(requests_event([request_json(mint)], "/test"))).data.answers
    assert answered == (MintAnswer(refused=DenyReason.INTERNAL),)


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[]", b"{" * 9000])
async def test_what_is_no_request_is_malformed(hot: HotPath, body: bytes) -> None:
    assert parse(MintAnswers, await handlers(hot).answer(body)).data.answers == (MintAnswer(refused=DenyReason.MALFORMED),)


async def test_the_signers_repr_holds_no_key(hot: HotPath) -> None:
    assert repr(hot.signer) == "TokenSigner(tokens-1)"
