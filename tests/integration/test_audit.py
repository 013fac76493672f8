"""Audit on a real server: RECORD and FACTS as the other workers write them, questions as operators ask them."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from faststream import FastStream
from nats.aio.client import Client
from weft.digest import call_digest
from weft.nkey import KeyPair

from config.settings import Settings
from schemas import record
from schemas.base import Wire
from schemas.commands import Change
from schemas.decision import Decision, DecisionInput
from schemas.facts import FactBody, Grant, Kind, Person
from schemas.record import Denied, Issued, Revoked, Used
from schemas.token import TokenClaims
from streams.bus import Publisher, event
from streams.facts import FactsView
from streams.facts_keys import key_of
from tests.support import world
from tests.support.fabric import FabricServer
from tests.support.facts import body
from workers.audit import verification
from workers.audit.app import build
from workers.audit.verify import verify
from workers.common import directget
from workers.common.decision import decide
from workers.common.directget import Stored
from workers.common.operator_client import OperatorClient, Refused
from workers.registry.app import build as build_registry

ROOT = "spiffe://88mph.com"
ADVISOR = f"{ROOT}/agents/advisor"
RESEARCHER = f"{ROOT}/agents/researcher"
WHAT_IF = {"what": "can", "agent": RESEARCHER, "tool": "search-agent", "actions": ("delegate",), "purpose": "web.search.execute"}


def person(pair: KeyPair, namespace: str = ROOT, role: str = "auditor") -> Person:
    return Person(nkey=pair.public, name="Doc", roles=(Grant.model_validate({"role": role, "namespace": namespace}),))


def put(plain: dict[str, Any]) -> Change:
    made = body(plain)
    return Change(kind=made.kind, key=key_of(made), body=made)


def audit(settings: Settings) -> AbstractAsyncContextManager[None]:
    return running(build(settings))


def registry(settings: Settings) -> AbstractAsyncContextManager[None]:
    return running(build_registry(settings))


@asynccontextmanager
async def running(app: FastStream) -> AsyncIterator[None]:
    """One copy of a worker."""
    async with app.lifespan_context():
        await app.start()
        try:
            yield
        finally:
            await app.stop()


class Fabric:
    """The fabric, and the two workers that the records come from."""

    def __init__(self, server: FabricServer, broker: Client, view: FactsView) -> None:
        self.server, self._broker, self._view = server, broker, view
        self.auditor = KeyPair("U")
        self._sequences: dict[str, int] = {}

    async def facts(self, *bodies: FactBody) -> None:
        ack = await self.server.put_facts(*bodies)
        assert await self._view.wait_for(ack.seq, 5)

    async def record(self, worker: str, type_: str, data: Wire | dict[str, Any], by: str | None = None) -> int:
        nc = self._broker if worker == "broker" else await self.server.worker(by or worker)
        raw = event(type_, data, source=f"/weft/{worker}") if isinstance(data, Wire) else json.dumps(data).encode()
        ack = await Publisher(nc).publish("RECORD", f"weft.record.{worker}.{type_.split('.')[3]}.x", raw, msg_id=f"test:{uuid4().hex}")
        return ack.seq

    async def issue(self, request: str = "refund", changes: dict[str, Any] | None = None) -> Issued:
        """As the broker does: decide over the facts as they are now, record."""
        asked = world.request(request, changes)
        decision = decide(asked, self._view.table)
        made = Issued(
            input=asked,
            gateway=decision,
            decision=decision,
            claims=claims_of(asked, decision),
            kid=self.server.keys["tokens"].kid,
            explanation=uuid4().hex,
            caller=f"{asked.caller.instance}.88mph~com.agents.advisor",
            intent="refund of order 84729",
        )
        self._sequences[made.explanation] = await self.record("broker", record.ISSUED, made)
        return made

    def sequence(self, made: Issued) -> int:
        """Where RECORD tells of it."""
        return self._sequences[made.explanation]

    async def refuse(self, changes: dict[str, Any]) -> Denied:
        asked = world.request("refund", changes)
        decision = decide(asked, self._view.table)
        assert decision.reason is not None
        caller = f"{asked.caller.instance}.88mph~com.agents.advisor"
        made = Denied(by="gateway", reason=decision.reason, input=asked, decision=decision, explanation=uuid4().hex, caller=caller)
        await self.record("gateway", record.DENIED, made)
        return made

    @asynccontextmanager
    async def asking(self, pair: KeyPair | None = None) -> AsyncIterator[OperatorClient]:
        pair = pair or self.auditor
        nc = await self.server.outer("operator", pair.public, pair)
        yield OperatorClient.over(nc, self.server.settings, pair.seed)


def claims_of(asked: DecisionInput, decision: Decision) -> TokenClaims:
    grant = decision.grant
    assert grant is not None, decision
    call = {
        "tool": asked.tool,
        "workload": grant.workload,
        "resource": grant.resource,
        "actions": grant.actions,
        "bound": grant.bound,
        "digest": call_digest(asked.call.plain(), grant.bound) if asked.call is not None else None,
        "single_use": grant.single_use,
    }
    act = {"sub": asked.caller.id, "instance": asked.caller.instance, "version": grant.version, "deployment": grant.deployment}
    parent = asked.parent
    plain = {
        "iss": "https://txn-svc.88mph.com",
        "aud": "88mph.com",
        "iat": asked.now,
        "exp": min([asked.now + grant.ttl_s, *([parent.exp] if parent else [])]),
        "jti": uuid4().hex,
        "txn": parent.txn if parent else uuid4().hex,
        "sub": grant.sub,
        "scope": grant.purpose,
        "purp": grant.purpose,
        "req_wl": "g",
        "rctx": {},
        "tctx": grant.ceiling,
        "call": call,
        "act": act,
        "act_chain": parent.act_chain if parent else (),
        "agentic_ctx": grant.agentic_ctx,
        "evidence": grant.evidence,
        "cnf": {"jkt": asked.caller.jkt},
        "rev": asked.revocations,
        "facts": decision.facts_revision,
    }
    return TokenClaims.model_validate(plain)


@pytest.fixture
async def fabric(fabric_server: FabricServer) -> AsyncIterator[Fabric]:
    nc = await fabric_server.worker("broker")
    view = FactsView(nc, worker="broker")
    await view.start()
    made = Fabric(fabric_server, nc, view)
    await made.facts(*(body(plain) for plain in world.bodies().values()), person(made.auditor))
    yield made
    await view.stop()


async def test_every_decision_can_be_computed_again(fabric: Fabric) -> None:
    """INVARIANT: every decision can be computed again from RECORD and FACTS alone, whatever has happened to the facts since.

    A verifier that read the facts as they are now would call old decisions wrong; one that compared the outcome alone would call
    altered ones right.
    """
    for request in ("refund", "search", "hop"):
        await fabric.issue(request)
    await fabric.refuse({"tool": "web-search"})
    suspended = body(world.merged(world.bodies()["advisor"], {"state": "suspended"}))
    await fabric.facts(suspended)
    await fabric.refuse({})
    await fabric.facts(body(world.bodies()["advisor"]))
    await fabric.issue()
    async with audit(fabric.server.settings), fabric.asking() as client:
        assert await client.verify() == {"checked": 6, "differ": []}


async def test_verifying_reads_facts_once_and_decides_off_the_loop(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: verification reads each message of FACTS once, however many pages it takes, and holds up no other question.

    Facts rebuilt for each page, decisions taken in the order of RECORD where copies of a worker lag behind each other, or deciding on
    the event loop would break it.
    """
    early = await fabric.issue()
    first = early.decision.facts_revision
    for n in range(3):
        await fabric.facts(body(world.merged(world.bodies()["advisor"], {"version": f"1.{n}"})))
        await fabric.issue()
        await fabric.record("broker", record.ISSUED, early)  # a copy that is behind: of the first revision again
    read: list[int] = []
    threads: list[int] = []

    async def many(*args: Any, **options: Any) -> list[Stored]:
        found = await directget.many(*args, **{**options, "count": 7})
        read.extend(stored.seq for stored in found)
        return found

    def deciding(*args: Any) -> dict[str, Any]:
        threads.append(threading.get_ident())
        return verify(*args)

    monkeypatch.setattr(verification, "many", many)
    monkeypatch.setattr(verification, "verify", deciding)
    checked, place = 0, (0, 0)
    async with audit(fabric.server.settings), fabric.asking() as client:
        while True:
            answer = await client.query(what="verify", revision=place[0], after=place[1], limit=1)
            checked += answer.rows[0]["checked"]
            assert answer.rows[0]["differ"] == []
            if answer.next is None or answer.revision is None:
                break
            assert (answer.revision, answer.next) > place
            place = answer.revision, answer.next
    assert checked == 7
    assert read == sorted(set(read))
    assert read[-1] > first
    assert threading.get_ident() not in threads


TAMPERINGS: dict[str, tuple[tuple[str, ...], Any]] = {
    "what was asked": (("input", "actions"), ["payout"]),
    "the outcome": (("decision", "outcome"), "deny"),
    "a line of the explanation": (("decision", "lines", "0", "note"), "nothing to see"),
    "what was granted": (("decision", "grant", "ttl_s"), 299),
    "actions of the token": (("claims", "call", "actions"), ["refund", "payout"]),
    "the tool of the token": (("claims", "call", "tool"), "web-search"),
    "the digest of the token": (("claims", "call", "digest"), "B" * 43),
    "life of the token": (("claims", "exp"), 4_000_000_000),
    "who acts": (("claims", "act", "sub"), f"{ROOT}/agents/search"),
    "which instance acts": (("claims", "act", "instance"), "i" + "z" * 26),
    "for whom": (("claims", "sub"), "biff"),
    "the key of the token": (("claims", "cnf", "jkt"), "B" * 43),
    "the key that signed": (("kid",), "k1"),
    "the counters": (("claims", "rev"), 0),
    "the facts it was minted at": (("claims", "facts"), 1),
    "its form": (("claims", "act"), "nobody"),
}


@pytest.mark.parametrize("what", TAMPERINGS)
async def test_a_tampered_record_is_found(fabric: Fabric, what: str) -> None:
    """INVARIANT: a decision or a token's claims on record that differ from what the facts allowed are reported, each of them by name.

    A member that no check reads could be rewritten, and the record would still verify.
    """
    await fabric.issue()
    forged = await fabric.issue("refund", {"revocations": 7})
    raw = {"specversion": "1.0", "id": "f", "source": "/weft/broker", "type": record.ISSUED, "time": "2026-01-01T00:00:00Z"}
    data = forged.plain()
    path, value = TAMPERINGS[what]
    inner: Any = data
    for step in path[:-1]:
        inner = inner[int(step)] if step.isdigit() else inner[step]
    assert inner[path[-1]] != value
    inner[path[-1]] = value
    seq = await fabric.record("broker", record.ISSUED, {**raw, "data": data})
    async with audit(fabric.server.settings), fabric.asking() as client:
        verdict = await client.verify()
    assert verdict["checked"] == 3
    assert [row["seq"] for row in verdict["differ"]] == [seq]


# --- the index --------------------------------------------------------------------------------------------------------------------


async def questions(client: OperatorClient, issued: Issued, refused: Denied) -> list[Any]:
    """What must not depend on when the index was made."""
    return [
        [row async for row in client.replay()],
        (await client.explain(issued.claims.txn)).rows,
        (await client.explain(refused.explanation)).rows,
        await client.verify(),
    ]


async def test_an_index_that_was_deleted_answers_as_before(fabric: Fabric) -> None:
    """Verifies that the index is a cache: deleted or kept, the answers are the same."""
    issued, refused = await fabric.issue(), await fabric.refuse({"tool": "web-search"})
    async with audit(fabric.server.settings), fabric.asking() as client:
        first = await questions(client, issued, refused)
    later = await fabric.issue()  # while nobody indexes
    async with audit(fabric.server.settings), fabric.asking() as client:
        kept = await questions(client, issued, refused)
    shutil.rmtree(fabric.server.settings.state / "audit")
    async with audit(fabric.server.settings), fabric.asking() as client:
        rebuilt = await questions(client, issued, refused)
        assert (await client.explain(later.claims.txn)).rows
    assert rebuilt == kept
    assert kept[1:3] == first[1:3]
    assert len(kept[0]) == len(first[0]) + 1


async def test_two_copies_hold_all_of_it(fabric: Fabric) -> None:
    """Verifies that every copy answers from everything: twenty questions over two copies on one file, with events in between."""
    async with audit(fabric.server.settings), audit(fabric.server.settings), fabric.asking() as client:
        for _ in range(10):
            issued = await fabric.issue()
            for _ in range(2):
                assert (await client.explain(issued.claims.txn)).rows


async def test_a_follower_hears_an_event_when_it_happens(fabric: Fabric) -> None:
    """Verifies that whoever follows hears well before the end of the wait that was asked for."""
    async with audit(fabric.server.settings), fabric.asking() as client:
        after = await client.head()
        loop = asyncio.get_running_loop()

        async def first() -> tuple[float, str]:
            async for row in client.replay(after=after, follow_s=10, types=(record.ISSUED,)):
                return loop.time(), row["event"]["data"]["claims"]["jti"]
            raise AssertionError("nothing came")

        waiting = asyncio.create_task(first())
        await asyncio.sleep(0.3)
        at = loop.time()
        issued = await fabric.issue()
        heard, jti = await waiting
    assert jti == issued.claims.jti
    assert heard - at < 1


# --- explanations -----------------------------------------------------------------------------------------------------------------


async def test_explain_tells_the_whole_story_of_a_transaction(fabric: Fabric) -> None:
    """Verifies who asked, each gate, what was issued, used, and which entries hit it; an entry it was minted after does not count."""
    issued = await fabric.issue()
    claims = issued.claims
    used = Used(
        point="k" + "a" * 26 + ".88mph~com.tools.payments", tool="payments-processing", jti=claims.jti, txn=claims.txn, sub=claims.sub,
        agent=claims.act.sub, instance=claims.act.instance, actions=claims.call.actions, accepted=True, outcome="positive", at=1001,
    )  # fmt: skip
    await fabric.record("point", record.USED, used, by="revocation")
    for n, target in ((3, "agent"), (4, "instance"), (5, "agent"), (6, "transaction")):
        value = {"agent": ADVISOR, "instance": claims.act.instance, "transaction": "another"}[target]
        await fabric.record("revocation", record.REVOKED, Revoked(n=n, targets=(f"{target}:{value}",), cause="c", by="doc"))
    async with audit(fabric.server.settings), fabric.asking() as client:
        rows = (await client.explain(claims.txn)).rows
        assert (await client.explain(issued.explanation)).rows == rows
        assert (await client.explain("nobody")).rows == ()
    assert [row["what"] for row in rows] == ["issued", "used", "revoked", "revoked"]
    assert [row["event"]["data"]["n"] for row in rows[2:]] == [4, 5]
    assert [line["gate"] for line in rows[0]["decision"]["lines"]][:2] == ["registered", "views"]
    assert rows[0]["decision"]["facts_revision"] == issued.decision.facts_revision
    assert rows[0]["decision"]["policy_digest"]
    assert rows[0]["event"]["data"]["intent"] == "refund of order 84729"


async def test_a_refusal_is_explained_by_its_id(fabric: Fabric) -> None:
    refused = await fabric.refuse({"tool": "web-search"})
    async with audit(fabric.server.settings), fabric.asking() as client:
        (row,) = (await client.explain(refused.explanation)).rows
    assert row["reason"] == refused.reason


# --- who may see what ---------------------------------------------------------------------------------------------------------------


async def test_an_auditor_sees_below_his_namespace_and_nothing_else(fabric: Fabric) -> None:
    """INVARIANT: an auditor sees events and facts of his namespaces alone, and persons by name only with the trust domain's role.

    A filter on one question and not on the other, or rows that quote another agent's entry, would tell one team about another.
    """
    mine, theirs = await fabric.issue(), await fabric.issue("search")
    await fabric.refuse({"tool": "web-search"})
    both = (f"agent:{ADVISOR}", f"agent:{ROOT}/agents/researcher", "user:marty")
    await fabric.record("revocation", record.REVOKED, Revoked(n=9, targets=both, cause="why", by="doc"))
    narrow, above = KeyPair("U"), KeyPair("U")
    await fabric.facts(person(narrow, ADVISOR), person(above, f"{ROOT}/agents"))
    async with audit(fabric.server.settings):
        async with fabric.asking(narrow) as client:
            rows = [row async for row in client.replay()]
            assert [row["event"]["type"] for row in rows] == [record.ISSUED, record.DENIED]
            assert (await client.explain(theirs.claims.txn)).rows == ()
            shown = json.dumps([rows, (await client.explain(mine.claims.txn)).rows])
            assert "marty" not in shown
            assert "researcher" not in shown
            assert "refund of order 84729" not in shown
            assert (await client.query(what="get", kind=Kind.AGENT, key="88mph~com.agents.advisor")).rows
            assert not (await client.query(what="get", kind=Kind.AGENT, key="88mph~com.agents.researcher")).rows
            assert [row["key"] for row in await client.all(what="list", kind=Kind.AGENT)] == ["88mph~com.agents.advisor"]
            for kind in (Kind.PERSON, Kind.RELATION, Kind.TOOL, Kind.KEY, Kind.POLICY):
                assert await client.all(what="list", kind=kind) == []
            assert not (await client.query(what="history", kind=Kind.AGENT, key="88mph~com.agents.researcher")).rows
            for question in (
                {"what": "verify"},
                {"what": "can", "agent": f"{ROOT}/agents/researcher", "tool": "t", "actions": ("a",), "purpose": "p"},
            ):
                with pytest.raises(Refused, match="not_authorized"):
                    await client.query(**question)
        async with fabric.asking(above) as client:
            assert len([row async for row in client.replay()]) == 3
        async with fabric.asking() as client:
            everything = json.dumps([row async for row in client.replay()])
            assert "marty" in everything


@pytest.mark.parametrize("role", ["registrar", "revoker", "approver"])
async def test_no_other_role_may_ask(fabric: Fabric, role: str) -> None:
    """Verifies deny by default: another role, a suspended auditor, nobody."""
    other, resting, nobody = KeyPair("U"), KeyPair("U"), KeyPair("U")
    await fabric.facts(person(other, role=role), person(resting).model_copy(update={"state": "suspended"}))
    async with audit(fabric.server.settings):
        for pair in (other, resting, nobody):
            async with fabric.asking(pair) as client:
                with pytest.raises(Refused, match="not_authorized"):
                    await client.query(what="replay")


# --- facts ------------------------------------------------------------------------------------------------------------------------


async def test_history_shows_every_revision_once(fabric: Fabric) -> None:
    """Verifies who changed what and when, that a deletion shows, and that a fact written twice for its guard is one revision."""
    registrar = KeyPair("U")
    await fabric.facts(person(registrar, role="registrar"))
    advisor = world.bodies()["advisor"]
    async with (
        registry(fabric.server.settings),
        audit(fabric.server.settings),
        fabric.asking(registrar) as writer,
        fabric.asking() as client,
    ):
        await writer.apply([put(world.merged(advisor, {"version": "2"}))], reason="newer")
        await writer.apply([put(world.merged(advisor, {"version": "2", "charter": {"depth": 1}}))])
        rows = await client.all(what="history", kind=Kind.AGENT, key="88mph~com.agents.advisor")
    assert [(row["action"], row["fields"]) for row in rows] == [
        ("create", sorted(body(advisor).plain())),
        ("change", ["version"]),
        ("change", ["charter"]),
    ]
    assert (rows[1]["by"], rows[1]["reason"]) == (registrar.public, "newer")


async def test_can_is_the_decision_over_the_facts_of_now(fabric: Fabric) -> None:
    """Verifies gate by gate, and that a changed fact changes the answer."""
    async with audit(fabric.server.settings), fabric.asking() as client:
        (decision,) = (await client.query(**WHAT_IF)).rows
        assert decision["outcome"] == "allow", decision
        await fabric.facts(body(world.merged(world.bodies()["researcher"], {"state": "suspended"})))
        async with asyncio.timeout(5):
            while decision["outcome"] == "allow":
                (decision,) = (await client.query(**WHAT_IF)).rows
        assert decision["reason"] == "agent_inactive"


@pytest.mark.parametrize("what", ["get", "list", "history", "can", "explain"])
async def test_a_question_without_its_arguments_is_refused(fabric: Fabric, what: str) -> None:
    async with audit(fabric.server.settings), fabric.asking() as client:
        with pytest.raises(Refused, match="malformed"):
            await client.query(what=what)
