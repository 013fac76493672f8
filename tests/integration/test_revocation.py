"""The revocation worker on a real server: one writer, a standby, enforcement points, and what each of them may not do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Self, TypeVar

import pytest
from nats.aio.client import Client
from weft.digest import b64u, canonical, sha256, target_digest, unb64u
from weft.feed import RepublishedFeed
from weft.revocation import RevocationView

from schemas.base import Wire
from schemas.commands import FAILED
from schemas.facts import Cause as PostureCause
from schemas.facts import Posture, Tool
from schemas.points import Claim, Failure, Use
from schemas.record import COMPLETED, REVOKED, UNCONTAINED, USED
from schemas.revocation import COMPLETE, GENESIS, ORDER, Ack, Complete, Order, Ordered, Target
from streams import keys, subjects
from streams.bus import Publisher, event, parse
from tests.support.fabric import FabricServer
from tests.support.workers import process, running
from workers.revocation import ledger
from workers.revocation.app import build, revocation_keys
from workers.revocation.causes import Cause, of_order
from workers.revocation.completion import Tracker
from workers.revocation.ports import Deposed, Fenced
from workers.revocation.signing import KeySigner
from workers.revocation.stream import NATSLedgerStream
from workers.revocation.writer import Writer

AGENT = "spiffe://88mph.com/agents/advisor"
INSTANCE = "i" + "a2" * 13
SIBLING = "i" + "b3" * 13
AGENT_NAME = f"{INSTANCE}.88mph~com.agents.advisor"
POINT = f"i{'c4' * 13}.88mph~com.tools.payments"
REPLICA = f"i{'d5' * 13}.88mph~com.tools.payments"
OTHER_POINT = f"i{'e6' * 13}.88mph~com.tools.fraud"
BUDGET_S = 3.0

AnswerT = TypeVar("AnswerT")


def posture(value: str = AGENT, *, revoke: bool = True) -> Posture:
    cause = PostureCause(id="c1", by="https://risk.example", level="quarantined", event_time=1, event="operator")
    return Posture(scope="agent", target=target_digest("agent", value), value=value, level="quarantined", causes=(cause,), revoke=revoke)


def tool(name: str = "payments", workload: str = "spiffe://88mph.com/tools/payments") -> Tool:
    return Tool(
        name=name,
        owner="payments@88mph.com",
        workload=workload,
        endpoint="http://127.0.0.1:1",
        resource=f"https://{name}.example",
        actions=("refund",),
        purposes=("process.refund",),
        single_use=True,
    )


async def stored(nc: Client, stream: str, filter_: str) -> list[dict[str, Any]]:
    """The events of a stream, in order."""
    found, seq = [], 1
    while True:
        query = json.dumps({"seq": seq, "next_by_subj": filter_}).encode()
        msg = await nc.request(f"$JS.API.DIRECT.GET.{stream}", query, timeout=2)
        if (msg.headers or {}).get("Status"):
            return found
        seq = int(msg.headers["Nats-Sequence"]) + 1
        found.append(json.loads(msg.data))


async def entries(nc: Client) -> list[dict[str, Any]]:
    """Every entry of REVOCATIONS: its payload, and its JWS."""
    found = [e["data"]["jws"] for e in await stored(nc, "REVOCATIONS", "weft.revocation.entry")]
    return [{"jws": jws, **json.loads(unb64u(jws.split(".")[1]))} for jws in found]


async def records(nc: Client, type_: str) -> list[dict[str, Any]]:
    """What RECORD holds of one type."""
    return [e["data"] for e in await stored(nc, "RECORD", "weft.record.>") if e["type"] == type_]


async def eventually(check: Callable[[], Awaitable[AnswerT]], within_s: float = 6.0) -> AnswerT:
    """The first answer that is true."""
    async with asyncio.timeout(within_s):
        while not (answer := await check()):  # noqa: ASYNC110 - what is stored is asked for, there is no event
            await asyncio.sleep(0.02)
        return answer


async def ask(nc: Client, subject: str, type_: str, data: Wire, timeout_s: float = 5.0) -> dict[str, Any]:
    """One request; the answer's envelope."""
    return json.loads((await nc.request(subject, event(type_, data, source="/test"), timeout=timeout_s)).data)


def assert_chained(found: list[dict[str, Any]]) -> None:
    assert [e["n"] for e in found] == list(range(1, len(found) + 1))
    assert [e["prev"] for e in found] == [GENESIS, *(sha256(e["jws"]) for e in found[:-1])]
    assert [e["epoch"] for e in found] == sorted(e["epoch"] for e in found)


class Guard:
    """A receiver as an enforcement point has it, that notes how old its view ever got."""

    def __init__(self, fabric: FabricServer, nc: Client) -> None:
        raw = fabric.keys["revocation"]
        self.view = RevocationView({raw.kid: unb64u(raw.jwk["x"])}.get)
        self._feed = RepublishedFeed(nc, "REVOCATIONS", subjects.REVOCATION.filter, subjects.PUSH_REVOCATION.filter, self._apply)
        self.oldest = 0.0

    def _apply(self, _: int, __: str, body: bytes) -> None:
        age = self.view.age(time.time())
        if age != float("inf"):
            self.oldest = max(self.oldest, age)
        self.view.apply(body)

    async def __aenter__(self) -> Self:
        await self._feed.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._feed.stop()


class Token:
    """A Transaction Token as the broker would sign it."""

    def __init__(self, fabric: FabricServer, **changes: Any) -> None:
        now = int(time.time())
        claims = {
            "iss": fabric.settings.issuer,
            "aud": fabric.settings.trust_domain,
            "iat": now,
            "exp": now + 60,
            "jti": "jti-1",
            "txn": "txn-1",
            "sub": AGENT,
            "scope": "process.refund",
            "purp": "process.refund",
            "req_wl": "apigateway.88mph.com",
            "rctx": {},
            "tctx": {"purposes": ["process.refund"], "tools": ["payments"], "actions": ["refund"], "authorization_details": [], "depth": 0},
            "call": {
                "tool": "payments",
                "workload": "spiffe://88mph.com/tools/payments",
                "resource": "https://payments.example",
                "actions": ["refund"],
                "bound": [],
                "single_use": True,
            },
            "act": {"sub": AGENT, "instance": INSTANCE},
            "act_chain": [],
            "agentic_ctx": {},
            "evidence": [],
            "cnf": {"jkt": "J" * 43},
            "rev": 0,
            "facts": 0,
            **changes,
        }
        self.text = sign_es256(fabric.keys["tokens"], claims, "txntoken+jwt")


def sign_es256(key: keys.SigningKey, claims: dict[str, Any], typ: str) -> str:
    from jwt.algorithms import ECAlgorithm

    text = f"{b64u(canonical({'alg': 'ES256', 'typ': typ, 'kid': key.kid}))}.{b64u(json.dumps(claims).encode())}"
    return f"{text}.{b64u(ECAlgorithm(ECAlgorithm.SHA256).sign(text.encode(), key.private))}"


# --- causes -----------------------------------------------------------------------------------------------------------------------


async def test_a_posture_becomes_an_entry_that_names_its_revision(fabric_server: FabricServer) -> None:
    """INVARIANT: the entry of a posture names that posture's revision, holds digests alone, and its reasons stand in RECORD.

    Broken by naming another revision (the point of "posture, then entry" is that one is traced to the other) or by writing the
    subject's name where every point can read it.
    """
    nc, audit = await fabric_server.worker("signals"), await fabric_server.worker("audit")
    async with running(build, fabric_server.settings):
        ack = await fabric_server.put_facts(posture(), posture("spiffe://88mph.com/agents/other", revoke=False))
        revision = ack.seq - 1
        (entry,) = await eventually(lambda: entries(nc))
        (record,) = await eventually(lambda: records(audit, REVOKED))
    assert entry["posture"] == revision
    assert entry["targets"] == [{"kind": "agent", "digest": target_digest("agent", AGENT)}]
    assert AGENT not in json.dumps(entry)
    assert (record["n"], record["targets"], record["posture_revision"]) == (1, [f"agent:{AGENT}"], revision)


async def test_an_order_is_answered_once_its_entry_is_committed(fabric_server: FabricServer) -> None:
    signals, audit = await fabric_server.worker("signals"), await fabric_server.worker("audit")
    order = Order(id="o1", targets=(("token", "jti-1"), ("key", "kid-1")), cause="operator", by="UDOC")
    async with running(build, fabric_server.settings):
        ordered = await eventually(lambda: ordered_by(signals, order))
        again = await ordered_by(signals, order)
        found = await entries(signals)
        (record,) = await eventually(lambda: records(audit, REVOKED))
    assert ordered.n == again.n == 1  # the same order makes no second entry
    assert [t["digest"] for t in found[0]["targets"]] == [target_digest("token", "jti-1"), target_digest("key", "kid-1")]
    assert len(found) == 1
    assert record["by"] == "UDOC"


async def ordered_by(nc: Client, order: Order) -> Ordered | None:
    from nats.errors import NoRespondersError
    from nats.errors import TimeoutError as Late

    try:
        return parse(Ordered, (await nc.request(subjects.ORDER.at(), event(ORDER, order, source="/test"), timeout=1)).data).data
    except (NoRespondersError, Late):
        return None


async def test_an_agent_ends_its_own_transaction_and_no_other(fabric_server: FabricServer) -> None:
    """INVARIANT: an agent can end the token that acts for its very instance, and no other.

    Broken by comparing the agent and not the instance, or by believing a token that does not verify: one instance could end its
    sibling's work.
    """
    agent, nc = await fabric_server.outer("agent", AGENT_NAME), await fabric_server.worker("signals")
    subject = subjects.COMPLETE.at(AGENT_NAME)
    async with running(build, fabric_server.settings):
        await eventually(lambda: has_writer(nc))
        done = await ask(agent, subject, COMPLETE, Complete(token=Token(fabric_server).text))
        for token, reason in (
            (Token(fabric_server, act={"sub": AGENT, "instance": SIBLING}).text, "not_authorized"),
            (Token(fabric_server, exp=int(time.time()) - 60, iat=int(time.time()) - 120).text, "parent_expired"),
            (Token(fabric_server).text[:-8] + "AAAAAAAA", "parent_invalid"),
            (Token(fabric_server, iss="https://elsewhere").text, "parent_invalid"),
        ):
            answer = await ask(agent, subject, COMPLETE, Complete(token=token))
            assert (answer["type"], answer["data"]["reason"]) == (FAILED, reason)
        found = await entries(nc)
    assert done["data"]["n"] == 1
    assert [e["targets"] for e in found] == [[{"kind": "token", "digest": target_digest("token", "jti-1")}]]


async def test_a_token_ends_once_however_often_it_is_ended(fabric_server: FabricServer) -> None:
    """INVARIANT: an agent causes one entry for each token it was given, and no more, however often it says that it is done.

    Broken by an entry for every time: each goes to every point, and is recorded with what became of it there, so that one agent with one
    token keeps all guards busy and fills RECORD.
    """
    agent, nc = await fabric_server.outer("agent", AGENT_NAME), await fabric_server.worker("signals")
    subject, said = subjects.COMPLETE.at(AGENT_NAME), Complete(token=Token(fabric_server).text)
    async with running(build, fabric_server.settings):
        await eventually(lambda: has_writer(nc))
        together = await asyncio.gather(*(ask(agent, subject, COMPLETE, said) for _ in range(20)))
        later = [await ask(agent, subject, COMPLETE, said) for _ in range(5)]
    assert {answer["data"].get("n") for answer in (*together, *later)} == {1}
    assert len(await entries(nc)) == 1


async def test_an_agent_that_ends_without_end_is_told_so(fabric_server: FabricServer) -> None:
    limits = fabric_server.settings.limits.model_copy(update={"rate_per_s": 0.01, "burst": 2})
    agent, nc = await fabric_server.outer("agent", AGENT_NAME), await fabric_server.worker("signals")
    async with running(build, fabric_server.settings.model_copy(update={"limits": limits})):
        await eventually(lambda: has_writer(nc))
        said = Complete(token=Token(fabric_server).text)
        answers = [await ask(agent, subjects.COMPLETE.at(AGENT_NAME), COMPLETE, said) for _ in range(3)]
    assert [answer["data"].get("reason") for answer in answers] == [None, None, "rate_limited"]


async def has_writer(nc: Client) -> bool:
    return bool(await stored(nc, "REVOCATIONS", "weft.revocation.beacon"))


# --- one writer -------------------------------------------------------------------------------------------------------------------


async def bare_writer(fabric: FabricServer) -> Writer:
    """A writer without a role around it."""
    from streams.facts_table import FactsTable
    from tests.support.fabric import key_fact
    from tests.support.facts import put

    nc = await fabric.worker("revocation")
    table = put(FactsTable(), key_fact(fabric.settings, "revocation", fabric.keys["revocation"]).plain())
    stream = NATSLedgerStream(nc, Publisher(nc), lambda: revocation_keys(table))
    key = fabric.keys["revocation"]

    class Wall:
        def now(self) -> float:
            return time.time()

    async def facts_head() -> int:
        return 0

    return Writer(
        ledger.recover(await stream.read()),
        stream=stream,
        signer=KeySigner(key.private, key.kid),  # type: ignore[arg-type]
        tracker=Tracker(lambda _: 3.0),
        clock=Wall(),
        facts_head=facts_head,
    )


async def test_a_late_publish_of_an_old_writer_is_rejected(fabric_server: FabricServer) -> None:
    """INVARIANT: after a takeover the stream takes neither an entry nor a beacon of the writer before.

    Broken by leaving the expected sequence off either of them: two histories would stand under one number.
    """
    old = await bare_writer(fabric_server)
    await old.take_over()
    new = await bare_writer(fabric_server)
    await new.take_over()
    assert new.head.epoch > old.head.epoch
    for wanted in ("entry", "beacon"):
        if wanted == "entry":
            waiting = asyncio.create_task(old.commit(of_order(Order(id="o", targets=(("token", "t"),), cause="c", by="b"))))
            with pytest.raises(Fenced):
                await old.run()
            with pytest.raises(Deposed):
                await waiting
        else:
            with pytest.raises(Fenced):
                await old.take_over()
    nc = await fabric_server.worker("signals")
    assert await entries(nc) == []
    assert len(await stored(nc, "REVOCATIONS", "weft.revocation.beacon")) == 2


async def test_a_killed_writer_is_replaced_within_the_budget_and_nothing_is_lost_or_doubled(fabric_server: FabricServer) -> None:
    """INVARIANT: a writer that dies under load is replaced before any point's view passes its budget; every cause has exactly one entry.

    Broken by a silence longer than the budget, by acknowledging a posture before its entry, or by taking what the dead writer left
    without asking which of it has an entry already.
    """
    point, nc = await fabric_server.outer("point", POINT), await fabric_server.worker("signals")
    committed: list[int] = []

    async def load() -> None:
        for i in range(60):
            committed.append((await fabric_server.put_facts(posture(f"spiffe://88mph.com/agents/a{i}"))).seq)
            await asyncio.sleep(0.05)

    async with process("revocation", fabric_server.settings) as writer:
        await eventually(lambda: has_writer(nc))
        async with running(build, fabric_server.settings) as standby, Guard(fabric_server, point) as guard:
            await eventually(lambda: current(guard))
            assert standby.runtime.detail()["role"] == "standby"
            loading = asyncio.create_task(load())
            await asyncio.sleep(1.0)
            writer.kill()
            await loading
            await eventually(lambda: enough(nc, 60), within_s=8.0)
            await asyncio.sleep(1.2)
            assert standby.runtime.detail()["role"] == "writer"
            found = await entries(nc)
    assert sorted(e["posture"] for e in found) == committed
    assert_chained(found)
    assert len({e["epoch"] for e in found}) == 2
    assert guard.view.poisoned is None
    assert guard.oldest < BUDGET_S


async def current(guard: Guard) -> bool:
    return guard.view.age(time.time()) < BUDGET_S


async def enough(nc: Client, count: int) -> list[dict[str, Any]]:
    found = await entries(nc)
    return found if len(found) >= count else []


async def test_a_takeover_forgets_neither_who_waits_nor_what_is_open(fabric_server: FabricServer) -> None:
    """INVARIANT: an entry that was open when its writer died is completed by the next one, and who asks meanwhile is answered.

    Broken by tracking acknowledgements in the writer alone, or by refusing what comes while nobody writes.
    """
    await fabric_server.put_facts(tool())
    point, agent = await fabric_server.outer("point", POINT), await fabric_server.outer("agent", AGENT_NAME)
    audit = await fabric_server.worker("audit")

    async def acknowledge(n: int, epoch: int) -> None:
        await point.publish(subjects.ACK.at(POINT), event("org.weft.point.acked.v1", Ack(n=n, epoch=epoch, at=0.0), source="/test"))
        await point.flush()

    async with process("revocation", fabric_server.settings) as writer:
        await eventually(lambda: has_writer(audit))
        async with running(build, fabric_server.settings) as standby:
            await acknowledge(0, 0)
            await eventually(lambda: counted(standby, 1))
            await fabric_server.put_facts(posture())
            (entry,) = await eventually(lambda: entries(audit))
            writer.kill()
            await writer.wait()
            asked = time.monotonic()
            done = await ask(agent, subjects.COMPLETE.at(AGENT_NAME), COMPLETE, Complete(token=Token(fabric_server).text))
            assert time.monotonic() - asked < 4.5
            await acknowledge(2, (await entries(audit))[-1]["epoch"])
            completed = await eventually(lambda: completed_of(audit, 2), within_s=8.0)
    assert done["data"]["n"] == 2
    assert [c["n"] for c in completed] == [1, 2]
    assert completed[0]["points"][0]["state"] == "confirmed"
    assert entry["n"] == 1


async def completed_of(nc: Client, count: int) -> list[dict[str, Any]]:
    found = await records(nc, COMPLETED)
    return sorted(found, key=lambda c: c["n"]) if len(found) >= count else []


async def test_what_a_dead_writer_had_in_its_hands_is_taken_up_at_once_and_not_twice(fabric_server: FabricServer) -> None:
    """INVARIANT: of postures handed to a writer that died, those without an entry get one within the budget, those with one no second.

    Broken by waiting until the consumer delivers them again (5 s), or by not asking the entries themselves.
    """
    dead, nc, audit = [await fabric_server.worker(name) for name in ("revocation", "signals", "audit")]
    done, left = [(await fabric_server.put_facts(posture(f"spiffe://88mph.com/agents/{name}"))).seq for name in ("done", "left")]
    pull = await dead.jetstream().pull_subscribe_bind("revocation", "FACTS", inbox_prefix=b"_INBOX_revocation.")
    assert [m.metadata.sequence.stream for m in await pull.fetch(2, timeout=2)] == [done, left]
    old = await bare_writer(fabric_server)
    await old.take_over()
    target = Target(kind="agent", digest=target_digest("agent", "spiffe://88mph.com/agents/done"))
    cause = Cause(key="an id the server has forgotten", targets=(target,), names=("agent:done",), reason="r", by="b", posture=done)
    writing = asyncio.create_task(old.run())
    await old.commit(cause)
    writing.cancel()
    await dead.close()
    async with running(build, fabric_server.settings):
        found = await eventually(lambda: enough(nc, 2), within_s=BUDGET_S + 0.5)  # and half a second to start
        await asyncio.sleep(0.2)
        assert [e["posture"] for e in await entries(nc)] == [e["posture"] for e in found] == [done, left]
        await eventually(lambda: all_acknowledged(audit), within_s=8.0)
        assert len(await entries(nc)) == 2


async def all_acknowledged(nc: Client) -> bool:
    """Each posture's reasons are on RECORD, the last thing before its message is acknowledged."""
    return len(await records(nc, REVOKED)) == 2


async def test_a_writer_survives_the_death_of_its_server(fabric_server: FabricServer) -> None:
    nc = await fabric_server.worker("signals", allow_reconnect=True, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    async with running(build, fabric_server.settings):
        await eventually(lambda: has_writer(nc))
        await fabric_server.put_facts(posture("spiffe://88mph.com/agents/a"))
        await eventually(lambda: enough(nc, 1))
        await fabric_server.server.kill()
        await fabric_server.server.start()
        await fabric_server.put_facts(posture("spiffe://88mph.com/agents/b"))
        found = await eventually(lambda: enough(nc, 2), within_s=15.0)
    assert_chained(found)


# --- enforcement points -------------------------------------------------------------------------------------------------------------


async def test_two_replicas_claim_one_token_and_one_is_first(fabric_server: FabricServer) -> None:
    """INVARIANT: of all who claim one token, one is told it is the first, whichever copy of the worker answers.

    Broken by deciding in memory: two copies would each have a first.
    """
    await fabric_server.put_facts(tool())
    points = {name: await fabric_server.outer("point", name) for name in (POINT, REPLICA)}
    exp = int(time.time()) + 60
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(running(build, fabric_server.settings))
        for round_ in range(10):
            claim = Claim(tool="payments", jti=f"jti-{round_}", exp=exp)
            answers = await asyncio.gather(
                *(ask(nc, subjects.CLAIM.at(name), "org.weft.point.claimed.v1", claim) for name, nc in points.items() for _ in range(3))
            )
            assert sorted(a["data"]["first"] for a in answers) == [False] * 5 + [True]


async def test_a_repeated_attempt_is_answered_as_before_and_only_to_its_own_point(fabric_server: FabricServer) -> None:
    await fabric_server.put_facts(tool())
    points = {name: await fabric_server.outer("point", name) for name in (POINT, REPLICA)}
    claim = Claim(tool="payments", jti="jti-1", exp=int(time.time()) + 60, id="attempt-1")
    async with running(build, fabric_server.settings):
        asked = [(POINT, True), (POINT, True), (REPLICA, False), (POINT, True)]
        for name, first in asked:
            answer = await ask(points[name], subjects.CLAIM.at(name), "org.weft.point.claimed.v1", claim)
            assert answer["data"]["first"] is first


@pytest.mark.parametrize("offset", [-60, 100_000])
async def test_a_claim_for_no_live_token_is_refused(fabric_server: FabricServer, offset: int) -> None:
    await fabric_server.put_facts(tool())
    point = await fabric_server.outer("point", POINT)
    claim = Claim(tool="payments", jti="j", exp=int(time.time()) + offset)
    async with running(build, fabric_server.settings):
        answer = await ask(point, subjects.CLAIM.at(POINT), "org.weft.point.claimed.v1", claim)
    assert answer["type"] == FAILED


def use(**changes: Any) -> Use:
    values: dict[str, Any] = {
        "tool": "payments",
        "jti": "jti-1",
        "txn": "txn-1",
        "sub": AGENT,
        "agent": AGENT,
        "instance": INSTANCE,
        "actions": ("refund",),
        "accepted": True,
        "outcome": "positive",
        "at": int(time.time()),
        **changes,
    }
    return Use(**values)


async def test_a_use_is_on_record_under_the_attested_name_before_it_is_answered(fabric_server: FabricServer) -> None:
    """INVARIANT: a point's report counts for the tools it serves alone, under the name the server attests, once.

    Broken by taking the tool's name on trust: the guard of one tool could report the success of another's step.
    """
    await fabric_server.put_facts(tool(), tool("fraud", "spiffe://88mph.com/tools/fraud"))
    point, audit = await fabric_server.outer("point", POINT), await fabric_server.worker("audit")
    said = event("org.weft.point.used.v1", use(), source="/test", id="report-1")
    async with running(build, fabric_server.settings):
        first = json.loads((await point.request(subjects.USE.at(POINT), said, timeout=5)).data)
        again = json.loads((await point.request(subjects.USE.at(POINT), said, timeout=5)).data)
        foreign = await ask(point, subjects.USE.at(POINT), "org.weft.point.used.v1", use(tool="fraud"))
        unknown = await ask(point, subjects.USE.at(POINT), "org.weft.point.used.v1", use(tool="nothing"))
        (recorded,) = await records(audit, USED)
    assert first["data"]["seq"] == again["data"]["seq"]
    assert recorded["point"] == POINT
    assert {foreign["data"]["reason"], unknown["data"]["reason"]} == {"not_authorized"}


async def test_an_entry_is_complete_when_every_live_point_has_answered(fabric_server: FabricServer) -> None:
    """INVARIANT: the completion record names each live point and how it ended; a point cannot speak for another or ahead of time.

    Broken by believing the body for who speaks, or by closing the entry before the last point has answered.
    """
    await fabric_server.put_facts(tool())
    points = {name: await fabric_server.outer("point", name) for name in (POINT, REPLICA)}
    audit = await fabric_server.worker("audit")

    async def acknowledge(name: str, n: int, epoch: int) -> None:
        await points[name].publish(subjects.ACK.at(name), event("org.weft.point.acked.v1", Ack(n=n, epoch=epoch, at=0.0), source="/test"))
        await points[name].flush()

    async with running(build, fabric_server.settings) as copy:
        await eventually(lambda: has_writer(audit))
        for name in points:
            await acknowledge(name, 0, 0)
        await acknowledge(POINT, 10**6, 10**6)  # a liar, not believed
        await eventually(lambda: counted(copy, 2))
        await fabric_server.put_facts(posture())
        (entry,) = await eventually(lambda: entries(audit))
        await acknowledge(POINT, 1, entry["epoch"])
        assert await records(audit, COMPLETED) == []
        await acknowledge(REPLICA, 1, entry["epoch"])
        (completed,) = await eventually(lambda: records(audit, COMPLETED))
    assert completed["contained"]
    assert {(p["point"], p["state"]) for p in completed["points"]} == {(POINT, "confirmed"), (REPLICA, "confirmed")}
    assert 0 <= completed["p50_ms"] <= completed["last_ms"] < 5000


async def counted(copy: Any, points: int) -> bool:
    return bool(copy.runtime.detail()["points"] == points)


async def test_a_point_that_says_nothing_more_ends_as_expired(fabric_server: FabricServer) -> None:
    await fabric_server.put_facts(tool())
    point, audit = await fabric_server.outer("point", POINT), await fabric_server.worker("audit")
    async with running(build, fabric_server.settings) as copy:
        await eventually(lambda: has_writer(audit))
        await point.publish(subjects.ACK.at(POINT), event("org.weft.point.acked.v1", Ack(n=0, epoch=0, at=0.0), source="/test"))
        await eventually(lambda: counted(copy, 1))
        await fabric_server.put_facts(posture())
        (completed,) = await eventually(lambda: records(audit, COMPLETED), within_s=10.0)
    assert completed["contained"]
    assert [p["state"] for p in completed["points"]] == ["expired"]


async def test_a_point_that_speaks_and_does_not_apply_is_an_alarm_and_a_fact_until_it_answers(fabric_server: FabricServer) -> None:
    """INVARIANT: a point that is uncontained is named on RECORD and on FACTS until it has applied what it missed, whoever writes by then.

    Broken by an alarm that nobody raises, by a fact that a restarted writer forgets, or one that any later word clears.
    """
    await fabric_server.put_facts(tool())
    point, audit = await fabric_server.outer("point", POINT), await fabric_server.worker("audit")

    async def say(n: int) -> None:
        epoch = (await entries(audit) or [{"epoch": 0}])[-1]["epoch"]
        await point.publish(subjects.ACK.at(POINT), event("org.weft.point.acked.v1", Ack(n=n, epoch=epoch, at=0.0), source="/test"))
        await point.flush()

    async def alarms(count: int) -> list[dict[str, Any]]:
        found = await records(audit, UNCONTAINED)
        return found if len(found) == count else []

    async def keep_saying(n: int, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(15.0):
            while not (found := await alarms(count)):
                await say(n)
                await asyncio.sleep(0.3)
        return found

    async with running(build, fabric_server.settings) as copy:
        await eventually(lambda: has_writer(audit))
        await say(0)
        await eventually(lambda: counted(copy, 1))
        await fabric_server.put_facts(posture())
        (alarm,) = await keep_saying(0, 1)
        assert (alarm["point"], alarm["n"], alarm["why"], alarm["tools"]) == (POINT, 1, "not_applied", ["payments"])
        assert copy.runtime.detail()["uncontained"] == [POINT]
    async with running(build, fabric_server.settings) as again:  # what it knows is what FACTS says
        assert again.runtime.facts.table.uncontained_of("spiffe://88mph.com/tools/payments") == (POINT,)
        await eventually(lambda: is_writer(again))
        _, ended = await keep_saying(1, 2)
        assert (ended["point"], ended["ended"]) == (POINT, "answered")
        await eventually(lambda: nobody_is_late(again))


async def is_writer(copy: Any) -> bool:
    return bool(copy.runtime.detail()["role"] == "writer")


async def nobody_is_late(copy: Any) -> bool:
    return copy.runtime.detail()["uncontained"] == []


GARBAGE = (
    b"",
    b"\x00\xff",
    b"{",
    b"[]",
    b"null",
    b'{"specversion":"1.0"}',
    b"x" * 60_000,
    event("org.weft.point.acked.v1", Ack(n=1, epoch=1, at=0.0), source="/x"),
)


async def test_garbage_on_every_subject_is_refused_with_a_type(fabric_server: FabricServer) -> None:
    """INVARIANT: whatever bytes arrive, the caller hears a typed refusal in time and the worker goes on.

    Broken by an exception in a handler, which FastStream answers with silence.
    """
    await fabric_server.put_facts(tool())
    point, agent = await fabric_server.outer("point", POINT), await fabric_server.outer("agent", AGENT_NAME)
    signals = await fabric_server.worker("signals")
    async with running(build, fabric_server.settings):
        await eventually(lambda: has_writer(signals))
        await asyncio.sleep(0.1)
        for nc, subject in (
            (point, subjects.CLAIM.at(POINT)),
            (point, subjects.USE.at(POINT)),
            (agent, subjects.COMPLETE.at(AGENT_NAME)),
            (signals, subjects.ORDER.at()),
        ):
            for body in GARBAGE:
                answer = parse(Failure, (await nc.request(subject, body, timeout=2)).data)
                assert (answer.type, answer.data.reason) == (FAILED, "malformed"), (subject, body[:20])
        for body in GARBAGE[:-1]:
            await point.publish(subjects.ACK.at(POINT), body)
        await fabric_server.put_facts(posture())
        assert await eventually(lambda: entries(signals))
