"""The gateway's way of one call: what it refuses by itself, what it tells, what it records."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from schemas.authservers import Obtain
from schemas.invocation import GRANTED, REFUSED, Granted
from schemas.minting import MintAnswer
from schemas.reasons import AgentCode, DenyReason
from schemas.record import Denied
from streams.bus import parse
from tests.support.hotpath import HotPath, answered
from tests.support.identities import Signer
from tests.support.invocations import ADVISOR, AgentSide, envelope
from workers.common.minting import Answered
from workers.common.recorder import Recorder
from workers.gateway.ports import BrokerUnavailable

REQUESTED = "org.weft.invocation.requested.v1"
GRANT = Granted(request_id="r", txn="t", endpoint="http://127.0.0.1:1", token="a.b.c", expires_at=1, actions=("search",), explanation="e")


@pytest.fixture
def hot() -> HotPath:
    hot = HotPath()
    hot.broker.answer = MintAnswer(granted=GRANT)
    return hot


async def ask(hot: HotPath, agent: AgentSide, body: bytes | None = None, **changes: Any) -> dict[str, Any]:
    body = agent.body(hot.clock.at, **changes) if body is None else body
    return json.loads(await hot.gateway.invoke(agent.name, body, hot.clock.at))


def recorded(hot: HotPath) -> Denied:
    return parse(Denied, hot.stream.messages[-1][1]).data


async def test_what_the_broker_grants_is_passed_on(hot: HotPath) -> None:
    answer = await ask(hot, hot.agent())
    assert (answer["type"], answer["data"]["token"]) == (GRANTED, "a.b.c")
    assert hot.stream.messages == []  # one record per granted call, and it is the broker's


async def test_what_the_broker_refuses_is_told_and_not_recorded_twice(hot: HotPath) -> None:
    hot.broker.answer = MintAnswer(refused=DenyReason.STEP_UP_REQUIRED, needs="approval")
    data = (await ask(hot, hot.agent(), id="r-1"))["data"]
    assert (data["code"], data["needs"], data["request_id"]) == (AgentCode.STEP_UP, "approval", "r-1")
    assert [subject for subject, _ in hot.stream.messages if ".denied." in subject] == []


async def test_a_refusal_is_recorded_before_it_is_told(hot: HotPath) -> None:
    agent = hot.agent(id=ADVISOR)
    data = (await ask(hot, agent))["data"]
    denied = recorded(hot)
    assert (data["code"], denied.reason, denied.by) == (AgentCode.DENIED, DenyReason.OUT_OF_CHARTER, "gateway")
    assert data["explanation"] == denied.explanation
    assert denied.caller == agent.name
    assert [line.gate for line in denied.decision.lines][:2] == ["limits", "identity"]
    assert hot.broker.asked == []


async def test_unknown_and_forbidden_are_one_answer(hot: HotPath) -> None:
    answers = [(await ask(hot, hot.agent(), tool=tool))["data"] for tool in ("payments-processing", "no-such-tool")]
    assert answers[0].keys() == answers[1].keys()
    assert {answer["code"] for answer in answers} == {AgentCode.DENIED}


async def test_what_another_server_has_to_issue_travels_alone(hot: HotPath) -> None:
    """INVARIANT: an agent whose tool takes tokens of another authorization server keeps nobody else waiting for that server.

    Broken by a message that it shares: all its requests are answered at once, and a slow server would have the others refused.
    """
    await ask(hot, hot.agent())
    tool = hot.table.tool("web-search")
    assert tool is not None
    hot.put(tool.model_copy(update={"token_form": "external", "obtain": Obtain(server="other", by="client_credentials")}))
    await ask(hot, hot.agent())
    assert hot.broker.alone == [False, True]


async def test_a_broker_that_does_not_answer_is_a_typed_refusal(hot: HotPath) -> None:
    hot.broker.answer = BrokerUnavailable()
    assert (await ask(hot, hot.agent()))["data"]["code"] == AgentCode.UNAVAILABLE
    assert recorded(hot).reason is DenyReason.BROKER_UNAVAILABLE


async def test_stale_views_allow_nothing(hot: HotPath) -> None:
    hot.views.is_fresh = False
    assert (await ask(hot, hot.agent()))["data"]["code"] == AgentCode.UNAVAILABLE
    assert recorded(hot).reason is DenyReason.VIEW_STALE


async def test_an_unrecorded_refusal_says_no_more_than_that(hot: HotPath) -> None:
    hot.stream.full = True
    assert (await ask(hot, hot.agent(id=ADVISOR)))["data"]["code"] == AgentCode.UNAVAILABLE


async def test_a_refusal_waits_for_its_record_no_longer_than_the_agent_waits(hot: HotPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.gateway.enforce.ANSWER_S", 0.05)
    hot.stream.gate = asyncio.Event()
    hot.gateway._record = Recorder(hot.stream, deadline_s=10)
    async with asyncio.timeout(1):
        assert (await ask(hot, hot.agent(id=ADVISOR)))["data"]["code"] == AgentCode.UNAVAILABLE
    hot.stream.gate.set()
    await hot.gateway._record.close()


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": -1}, DenyReason.SVID_EXPIRED),
        ({"iat": 60}, DenyReason.SVID_INVALID),
        ({"aud": "weft:88mph.com:UABC"}, DenyReason.SVID_NOT_BOUND),
        ({"aud": "somebody-else"}, DenyReason.SVID_NOT_BOUND),
        ({"sub": "spiffe://other.example/agents/researcher"}, DenyReason.SVID_INVALID),
        ({"sub": ADVISOR}, DenyReason.CALLER_UNKNOWN),
        ({"weft_instance": "i" + "z2" * 13}, DenyReason.CALLER_UNKNOWN),
        ({"weft_instance": None}, DenyReason.CALLER_UNKNOWN),
    ],
)
async def test_the_svid_is_the_connections_or_nothing(hot: HotPath, claims: dict[str, Any], reason: DenyReason) -> None:
    """INVARIANT: an SVID that is not valid, or names another workload, instance or key than the attested connection, gets nothing.

    Broken by believing the request's own word of who asks.
    """
    agent = hot.agent()
    times = {name: int(hot.clock.at) + value for name, value in claims.items() if isinstance(value, int)}
    carried = {**agent.carried(hot.clock.at), "svid": agent.svid(hot.clock.at, **{**claims, **times})}
    assert (await ask(hot, agent, envelope(REQUESTED, carried)))["type"] == REFUSED
    assert recorded(hot).reason is reason
    assert hot.broker.asked == []


async def test_an_svid_by_an_unknown_key_or_with_another_key_than_the_requests(hot: HotPath) -> None:
    agent = hot.agent()
    forged = {**agent.carried(hot.clock.at), "svid": AgentSide(Signer(kid="dev1"), key=agent.key).svid(hot.clock.at)}
    await ask(hot, agent, envelope(REQUESTED, forged))
    assert recorded(hot).reason is DenyReason.SVID_INVALID
    copied = {**hot.agent().carried(hot.clock.at), "svid": agent.svid(hot.clock.at)}
    await ask(hot, agent, envelope(REQUESTED, copied))
    assert recorded(hot).reason is DenyReason.SIGNATURE_INVALID


async def test_a_key_that_is_retired_takes_its_svids_with_it(hot: HotPath) -> None:
    agent = hot.agent()
    assert (await ask(hot, agent))["type"] == GRANTED
    hot.put(hot.issuer.fact(assurance="development", state="compromised"))
    assert (await ask(hot, agent))["type"] == REFUSED
    assert recorded(hot).reason is DenyReason.SVID_INVALID


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b"null",
        b"{" * 70_000,
        envelope("org.weft.other.v1", {}),
        envelope(REQUESTED, None),
        envelope(REQUESTED, {"request": "a.b.c", "svid": "a.b.c", "more": 1}),
        envelope(REQUESTED, {"request": "a.b.c", "svid": "a.b.c"}),
        envelope(REQUESTED, {"request": "\ud800", "svid": "a.b.c"}),
    ],
)
async def test_any_bytes_end_in_a_typed_refusal(hot: HotPath, body: bytes) -> None:
    answer = await ask(hot, hot.agent(), body)
    assert answer["type"] == REFUSED
    assert recorded(hot).reason in (DenyReason.MALFORMED, DenyReason.TOO_LARGE, DenyReason.SVID_INVALID)


async def test_a_bug_is_a_refusal(hot: HotPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: an exception in the gateway is a recorded, typed refusal that says nothing of the input.

    Broken by letting it escape, or by recording its text.
    """

    def broken(*_: Any) -> None:
        raise RuntimeError("with the SECRET of the request")

    monkeypatch.setattr("workers.gateway.enforce.decide", broken)
    assert (await ask(hot, hot.agent()))["data"]["code"] == AgentCode.UNAVAILABLE
    assert (recorded(hot).reason, recorded(hot).detail) == (DenyReason.INTERNAL, "RuntimeError")
    assert not any(b"SECRET" in body for _, body in hot.stream.messages)


async def test_a_slow_call_does_not_hold_up_another(hot: HotPath) -> None:
    """INVARIANT: no call waits for another.

    Broken by serving calls one after the other, or by a lock around the broker.
    """
    slow = asyncio.Event()

    class SlowForOne:
        async def mint(self, mint: Any, **_: Any) -> Answered:
            if mint.request.intent == "slow":
                await slow.wait()
            return answered(MintAnswer(granted=GRANT))

    hot.gateway._broker = SlowForOne()
    waiting = asyncio.create_task(ask(hot, hot.agent(), intent_text="slow"))
    await asyncio.sleep(0)
    assert (await ask(hot, hot.agent()))["type"] == GRANTED
    assert not waiting.done()
    slow.set()
    assert (await waiting)["type"] == GRANTED


async def test_tools_lists_what_the_caller_may_call_and_nothing_when_stale(hot: HotPath) -> None:
    agent = hot.agent()
    listed = json.loads(hot.gateway.tools(agent.name, hot.clock.at))["data"]
    assert [tool["name"] for tool in listed["tools"]] == ["search-agent", "web-search"]
    hot.views.is_fresh = False
    assert json.loads(hot.gateway.tools(agent.name, hot.clock.at))["data"]["tools"] == []


async def test_the_trace_goes_all_the_way(hot: HotPath) -> None:
    agent, trace = hot.agent(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    event = {**json.loads(agent.body(hot.clock.at)), "traceparent": trace}
    assert (await ask(hot, agent, json.dumps(event).encode()))["traceparent"] == trace
