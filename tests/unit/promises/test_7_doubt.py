"""Promise 7: silence, doubt and bugs deny, at the tool and at the gateway."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import weft.guard
from weft.enforcement import Asked
from weft.errors import GuardReason, Refused
from weft.guard import Guard
from weft.records import parse_attachment
from weft.revocation import RevocationView
from weft.token import TokenVerifier

from schemas.invocation import GRANTED, REFUSED
from schemas.minting import MintAnswer
from tests.support.hotpath import HotPath
from tests.support.signed import BODY, ISSUER, NOW, PAYMENTS, TokenKey, Writer, claims

KEY = TokenKey()
RECORD = {
    "name": "payments-processing",
    "workload": PAYMENTS,
    "resource": "https://payments.flux.88mph.com",
    "actions": ["refund"],
    "object_fields": {"order": "/order", "amount": "/amount"},
}
ASKED = Asked("payments-processing", ("refund",), "POST", "/refunds", BODY)


def guard() -> Guard:
    """A guard as it is once attached, with a current view, and nobody to talk to."""
    writer = Writer()
    view = RevocationView({writer.kid: writer.public}.get)
    view.apply_beacon(writer.beacon(NOW))
    made = Guard(SimpleNamespace(), ["payments-processing"], clock=lambda: NOW)  # type: ignore[arg-type]
    made._attachment = parse_attachment({"tools": [RECORD], "keys": [], "trust_domain": "88mph.com", "issuer": ISSUER})
    made._verifier = TokenVerifier({KEY.kid: KEY.public}, issuer=ISSUER, audiences=["88mph.com"])
    made._follower = SimpleNamespace(view=view)  # type: ignore[assignment]
    return made


async def reason(made: Guard, **changes: Any) -> GuardReason:
    with pytest.raises(Refused) as refused:
        await made.check(KEY.sign(claims(**changes)), ASKED)
    return refused.value.reason


async def test_without_any_doubt_it_accepts() -> None:
    assert (await guard().check(KEY.sign(claims()), ASKED)).tool == "payments-processing"


@pytest.mark.parametrize("step", ["check_call", "check_view"])
async def test_a_bug_in_a_guard_refuses(monkeypatch: pytest.MonkeyPatch, step: str, caplog: pytest.LogCaptureFixture) -> None:
    """INVARIANT: an exception while a guard checks is a typed refusal, and its text is nowhere (promise 7).

    Serving the call because "the token did verify", or logging the exception, would break it.
    """

    def broken(*_: Any) -> None:
        raise RuntimeError("with a SECRET of the call")

    monkeypatch.setattr(weft.guard, step, broken)
    assert await reason(guard()) is GuardReason.INTERNAL
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("missing", ["_attachment", "_verifier", "_follower"])
async def test_a_guard_that_lacks_something_refuses(missing: str) -> None:
    """INVARIANT: before it is attached, and after it was stopped, a guard refuses everything (promise 7).

    Taking an absent view for one without revocations would break it.
    """
    made = guard()
    setattr(made, missing, None)
    assert await reason(made) in (GuardReason.VIEW_STALE, GuardReason.WRONG_TOOL)


async def test_a_gateway_whose_views_are_old_grants_nothing() -> None:
    """INVARIANT: a gateway whose facts or revocations are older than their budget asks no broker, and tells of no tool (promise 7).

    Going by the last known facts would break it: who was quarantined since would be served.
    """
    hot = HotPath()
    agent = hot.agent()
    hot.broker.answer = MintAnswer(granted=await hot.mint.grant(await hot.allowed(agent)))
    for fresh, answer, asked in ((True, GRANTED, 1), (False, REFUSED, 0)):
        hot.broker.asked.clear()
        hot.views.is_fresh = fresh
        assert json.loads(await hot.gateway.invoke(agent.name, agent.body(hot.clock.at), hot.clock.at))["type"] == answer
        assert len(hot.broker.asked) == asked
        assert bool(json.loads(hot.gateway.tools(agent.name, hot.clock.at))["data"]["tools"]) is fresh
