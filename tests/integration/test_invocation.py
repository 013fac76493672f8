"""An invocation on a real server: gateway, broker and revocation as workers, agents that speak the bare contract."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.js.api import StreamConfig

from schemas.invocation import Granted, Refused, ToolList
from schemas.minting import MINT, MINTED, MintAnswer, MintAnswers, MintRequest, MintRequests
from schemas.reasons import AgentCode, DenyReason
from streams import subjects
from streams.bus import HEADERS, event, parse
from tests.support import fabric
from tests.support.fabric import FabricServer
from tests.support.hotpath import HotPath
from tests.support.invocations import ADVISOR, envelope
from tests.support.invoking import Invoking, process

FABRIC = ("revocation", "broker", "gateway")
GARBAGE = [b"", b"\xff\xfe", b"{}", b"null", b"[" * 1000, b'{"specversion":"1.0"}', b"x" * 65_000, envelope("org.weft.other.v1", {})]


@pytest.fixture
async def invoking(fabric_server: FabricServer) -> Invoking:
    made = Invoking(fabric_server)
    await made.write_world()
    return made


async def ask_broker(nc: Any, mint: MintRequest) -> MintAnswer:
    body = event(MINT, MintRequests(requests=(mint,)), source="/test")
    answer = await nc.request(subjects.MINT.at(), body, timeout=6, headers=HEADERS)
    (minted,) = parse(MintAnswers, answer.data).data.answers
    return minted


async def test_an_agent_is_granted_one_call_and_told_its_tools(invoking: Invoking) -> None:
    agent = invoking.agent()
    nc = await invoking.connect(agent)
    async with invoking.workers(*FABRIC):
        granted = await invoking.invoke(nc, agent)
        assert isinstance(granted, Granted)
        assert granted.endpoint == "http://127.0.0.1:9004"
        asked = envelope("org.weft.tools.asked.v1", {})
        listed = parse(ToolList, (await nc.request(subjects.TOOLS.at(agent.name), asked, timeout=2)).data).data
        assert [tool.name for tool in listed.tools] == ["search-agent", "web-search"]
    ((subject, issued),) = [kept for kept in await invoking.record() if kept[1]["type"].endswith("issued.v1")]
    assert subject == "weft.record.broker.issued.88mph~com.agents.researcher"
    assert issued["data"]["explanation"] == granted.explanation


async def test_with_the_gateways_own_credential_nothing_is_had_that_the_agent_did_not_sign(invoking: Invoking) -> None:
    """INVARIANT: a forged Allow, an old request, a swapped tool or person gets nothing from the broker (promise 8).

    Broken by a broker that believes whoever holds the gateway's credential.
    """
    agent, hot = invoking.agent(), HotPath()
    hot.issuer, hot.clock.at = invoking.issuer, time.time()
    hot.put(hot.issuer.fact(assurance="development"))
    honest = await hot.allowed(agent)
    honest = honest.model_copy(update={"decision": honest.decision.model_copy(update={"facts_revision": 1})})
    head, _, signature = honest.request.request.split(".")
    payment = agent.sign(agent.payload(hot.clock.at, tool="payments-processing")).split(".")[1]
    swapped = {"request": f"{head}.{payment}.{signature}"}
    lies = {
        DenyReason.OUT_OF_BOUNDS: {"request": agent.sign(agent.payload(hot.clock.at, tool="payments-processing", purpose="pay"))},
        DenyReason.REQUEST_STALE: {"request": agent.sign(agent.payload(hot.clock.at - 60))},
        DenyReason.SIGNATURE_INVALID: swapped,
        DenyReason.USER_TOKEN_INVALID: {"user_token": "a.b.c"},
    }
    nc = await invoking.server.worker("gateway")
    async with invoking.workers("revocation", "broker"):
        honest = honest.model_copy(update={"received_at": int(time.time()), "deadline": time.time() + 4})
        for reason, lie in lies.items():
            answer = await ask_broker(nc, honest.model_copy(update={"request": honest.request.model_copy(update=lie)}))
            assert (answer.granted, answer.refused) == (None, reason)
        assert (await ask_broker(nc, honest)).granted is not None
        with pytest.raises((nats.errors.TimeoutError, nats.errors.NoRespondersError)):
            await (await invoking.connect(agent)).request(
                subjects.MINT.at(), event(MINT, MintRequests(requests=(honest,)), source="/test"), timeout=0.3
            )


# --- somebody is slow, or gone --------------------------------------------------------------------------------------------------


async def test_without_a_broker_the_refusal_is_typed_and_at_once(invoking: Invoking) -> None:
    agent = invoking.agent()
    nc = await invoking.connect(agent)
    async with invoking.workers("revocation", "gateway"):
        started = time.monotonic()
        refused = await invoking.invoke(nc, agent)
    assert isinstance(refused, Refused)
    assert (refused.code, await invoking.reason(refused.explanation)) == (AgentCode.UNAVAILABLE, "broker_unavailable")
    assert time.monotonic() - started < 2


async def test_with_a_broker_that_is_silent_the_refusal_comes_within_the_deadline(invoking: Invoking) -> None:
    """INVARIANT: a broker that does not answer ends in a typed refusal while the agent still waits (promise 7).

    Broken by a wait without a deadline, or with one beyond the agent's 5 s.
    """
    agent, asked = invoking.agent(), []
    nc, silent = await invoking.connect(agent), await invoking.server.worker("broker")

    async def keep(msg: Any) -> None:
        asked.append(msg)

    await silent.subscribe(subjects.MINT.filter, "broker", cb=keep)
    async with invoking.workers("revocation", "gateway"):
        refused = await invoking.send(nc, agent, agent.body(time.time()), timeout_s=5)
    assert isinstance(refused, Refused)
    assert await invoking.reason(refused.explanation) == "broker_unavailable"
    assert len(asked) == 2  # no storm upon who is slow already


async def test_a_gateway_killed_in_mid_call_costs_a_retry_and_never_a_second_token(invoking: Invoking) -> None:
    """INVARIANT: a request sent again after its gateway died is answered once: one record, one token (design 5, Request).

    Broken by an answer per message instead of per request, or by an id that only one process remembers.
    """
    agent = invoking.agent()
    nc, silent = await invoking.connect(agent), await invoking.server.worker("broker")
    held: asyncio.Queue[Any] = asyncio.Queue()
    subscription = await silent.subscribe(subjects.MINT.filter, "broker", cb=held.put)
    await silent.flush()
    body = agent.body(time.time())
    async with invoking.workers("revocation"):
        async with process("gateway", invoking.server.settings) as gateway:
            asking = asyncio.create_task(invoking.send(nc, agent, body, timeout_s=3))
            async with asyncio.timeout(3):
                asked = await held.get()
            gateway.send_signal(signal.SIGKILL)
            await gateway.wait()
        await subscription.unsubscribe()
        await silent.flush()
        async with invoking.workers("broker"), invoking.workers("broker"):
            late = {"received_at": int(time.time()), "deadline": time.time() + 4}  # as if it had been asked only now
            mint = parse(MintRequests, asked.data).data.requests[0].model_copy(update=late)
            lost = await ask_broker(await invoking.server.worker("gateway"), mint)
            async with invoking.workers("gateway"):
                again = await invoking.send(nc, agent, body)
        await asyncio.gather(asking, return_exceptions=True)
    assert isinstance(again, Granted)
    assert lost.granted is not None
    assert again.token == lost.granted.token
    assert [e["type"] for _, e in await invoking.record()].count("org.weft.record.issued.v1") == 1


# --- messages of every wrong kind -----------------------------------------------------------------------------------------------


async def test_garbage_on_every_subject_is_refused_and_stops_nobody(invoking: Invoking) -> None:
    """INVARIANT: whatever bytes arrive, the answer is a typed refusal and the next good request is served (promise 7).

    Broken by an exception that ends a subscription, or by silence.
    """
    agent = invoking.agent()
    nc, insider = await invoking.connect(agent), await invoking.server.worker("gateway")
    async with invoking.workers(*FABRIC):
        good = agent.body(time.time())
        for body in (*GARBAGE, good[: len(good) // 2], good.replace(b"specversion", b"\x00\xff")):
            refused = await invoking.send(nc, agent, body, timeout_s=2)
            assert isinstance(refused, Refused)
            tools = await nc.request(subjects.TOOLS.at(agent.name), body, timeout=2)
            assert json.loads(tools.data)["type"].endswith("refused.v1")
            minted = parse(MintAnswers, (await insider.request(subjects.MINT.at(), body, timeout=2)).data)
            assert (minted.type, minted.data.answers) == (MINTED, (MintAnswer(refused=DenyReason.MALFORMED),))
        assert isinstance(await invoking.invoke(nc, agent), Granted)


async def test_nothing_secret_is_in_record_or_log(invoking: Invoking, capfd: pytest.CaptureFixture[str]) -> None:
    """INVARIANT: no token, SVID or signature of anyone stands in RECORD or in a log line, granted or refused.

    Broken by recording a request as it came, or by logging an exception's text.
    """
    agent, advisor = invoking.agent(), invoking.agent(id=ADVISOR, instance="i" + "d4" * 13)
    now, secrets = time.time(), []
    async with invoking.workers(*FABRIC):
        nc, theirs = await invoking.connect(agent), await invoking.connect(advisor)
        parent = await invoking.invoke(nc, agent, tool="search-agent", actions=["delegate"])
        assert isinstance(parent, Granted)
        user = invoking.issuer.sign({"sub": "marty"}, typ="at+jwt")
        for who, whose, carried in (
            (nc, agent, agent.carried(now, parent=parent.token)),
            (theirs, advisor, advisor.carried(now, parent=parent.token)),
            (theirs, advisor, advisor.carried(now, user=user)),
            (nc, agent, {**agent.carried(now), "svid": advisor.svid(now)}),
            (nc, agent, {**agent.carried(now), "more": parent.token}),
        ):
            answer = await invoking.send(who, whose, envelope("org.weft.invocation.requested.v1", carried))
            secrets += [text for name, text in carried.items() if name != "intent"]
            secrets += [answer.token] if isinstance(answer, Granted) else []
    kept = json.dumps(await invoking.record()) + "".join(capfd.readouterr())
    assert parent.txn in kept
    for secret in (parent.token, user, *secrets):
        for part in secret.split(".")[1:]:
            assert part not in kept


# --- too much -------------------------------------------------------------------------------------------------------------------


async def test_the_flood_of_one_agent_is_not_anothers(tmp_path: Path) -> None:
    """INVARIANT: one agent floods in every way there is; another's calls succeed, and the flood is told in one record a second.

    Broken by limits that are shared, that come after work is done, or that leave a line for every refusal.
    """
    server = await fabric.start(tmp_path / "state", limits={"rate_per_s": 50, "burst": 50, "in_flight": 8})
    invoking = Invoking(server)
    await invoking.write_world()
    flooder, other = invoking.agent(id=ADVISOR, instance="i" + "d4" * 13), invoking.agent()
    stop = asyncio.Event()
    orders: list[Any] = []

    async def flood(nc: Any) -> None:
        bodies = [*GARBAGE, flooder.body(time.time())]
        while not stop.is_set():
            for body in bodies:
                await nc.publish(subjects.INVOKE.at(flooder.name), body, reply=f"{subjects.inbox_of(flooder.name)}.x")
                await nc.publish(subjects.TOOLS.at(flooder.name), body, reply=f"{subjects.inbox_of(flooder.name)}.x")
            await nc.flush()

    async def on_order(msg: Any) -> None:
        orders.append(json.loads(msg.data)["data"])

    try:
        await (await server.worker("admission")).subscribe(subjects.CUT.filter, cb=on_order)
        async with invoking.workers(*FABRIC):
            flooding = asyncio.create_task(flood(await invoking.connect(flooder)))
            nc = await invoking.connect(other)
            answers = []
            started = time.monotonic()
            while time.monotonic() - started < 6.5:
                answers.append(await invoking.invoke(nc, other))
                await asyncio.sleep(0.03)
            stop.set()
            await flooding
        assert all(isinstance(answer, Granted) for answer in answers)
        assert [order["name"] for order in orders] == [flooder.name]
        limited = [e["data"] for _, e in await invoking.record() if e["type"].endswith("limited.v1")]
        assert {line["caller"] for line in limited} == {flooder.name}
        assert len(limited) <= 8
        assert sum(line["count"] for line in limited) > 1000
    finally:
        await server.close()


async def test_a_full_record_refuses_and_recovers_when_there_is_room(tmp_path: Path) -> None:
    """INVARIANT: with RECORD full nothing is granted, and the refusal is typed; with room again calls are granted (promise 4).

    Broken by releasing without a record, by hanging, or by a recorder that stays broken.
    """
    server = await fabric.start(tmp_path / "state", record_max_bytes=1_048_576)
    invoking = Invoking(server)
    await invoking.write_world()
    agent = invoking.agent()
    try:
        async with invoking.workers(*FABRIC):
            nc = await invoking.connect(agent)
            assert isinstance(await invoking.invoke(nc, agent), Granted)
            await fill(await server.worker("broker"))
            refused = await invoking.invoke(nc, agent)
            assert isinstance(refused, Refused)
            assert refused.code is AgentCode.UNAVAILABLE
            denied = await invoking.invoke(nc, agent, tool="payments-processing")
            assert isinstance(denied, Refused)
            assert denied.code is AgentCode.UNAVAILABLE
            await make_room(server)
            assert isinstance(await invoking.invoke(nc, agent), Granted)
    finally:
        await server.close()


async def fill(nc: Any) -> None:
    for size in (200_000, 2_000, 100):
        while "error" not in json.loads((await nc.request("weft.record.broker.fill.x", b"x" * size, timeout=2)).data):
            pass


async def make_room(server: FabricServer) -> None:
    nc = await server.worker("topology")
    js = nc.jetstream()
    config: StreamConfig = (await js.stream_info("RECORD")).config
    config.max_bytes = 8_388_608
    await js.update_stream(config)


@pytest.fixture
async def two_of_each(invoking: Invoking) -> AsyncIterator[Invoking]:
    async with invoking.workers(*FABRIC), invoking.workers("broker", "gateway"):
        yield invoking


async def test_two_of_every_worker_answer_a_request_once(two_of_each: Invoking) -> None:
    agent = two_of_each.agent()
    nc = await two_of_each.connect(agent)
    bodies = [agent.body(time.time()) for _ in range(20)]
    answers = await asyncio.gather(*(two_of_each.send(nc, agent, body) for body in bodies * 3))
    assert all(isinstance(answer, Granted) for answer in answers)
    assert len({answer.token for answer in answers}) == 20
    assert [e["type"] for _, e in await two_of_each.record()].count("org.weft.record.issued.v1") == 20
