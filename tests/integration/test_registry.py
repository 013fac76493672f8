"""The registry on a real server: commands in, facts and records out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from weft.digest import sha256
from weft.nkey import KeyPair
from weft.spiffeid import SpiffeID

from config.settings import Settings
from schemas import keys, points
from schemas.commands import Applied, Apply, Change
from schemas.facts import Agent, Fact, FactBody, Grant, Kind, Namespace, Person, Relation, Tool
from schemas.points import Attach, Attached, Failure
from streams import subjects
from streams.bus import Message, PubAck, Publisher, PublishFailed, event, parse
from streams.facts import FactsTable, FactsView
from streams.facts_keys import key_of, subject_of
from streams.server import Server
from tests.support.fabric import FabricServer
from workers.common import directget
from workers.common.operator_client import OperatorClient, Refused, Unreachable
from workers.registry.app import build
from workers.registry.registry import Batches, Registry
from workers.registry.rules import Fabric

ROOT = "spiffe://88mph.com"
INSTANCE = "k" + "a" * 26


@pytest.fixture
async def boss(fabric_server: FabricServer) -> KeyPair:
    """A registrar of the whole trust domain."""
    pair = KeyPair("U")
    await fabric_server.put_facts(person(pair), Namespace(prefix=f"{ROOT}/agents", owner="x"))
    return pair


def person(pair: KeyPair, namespace: str = ROOT, role: str = "registrar") -> Person:
    return Person(nkey=pair.public, name="Doc", roles=(Grant(role=role, namespace=namespace),))


@asynccontextmanager
async def registry(settings: Settings) -> AsyncIterator[None]:
    """One running copy."""
    app = build(settings)
    async with app.lifespan_context():
        await app.start()
        try:
            yield
        finally:
            await app.stop()


@asynccontextmanager
async def operator(fabric: FabricServer, pair: KeyPair) -> AsyncIterator[OperatorClient]:
    nc = await fabric.outer("operator", pair.public, pair)
    yield OperatorClient.over(nc, fabric.settings, pair.seed)


def put(*bodies: FactBody, expected: int | None = None) -> list[Change]:
    return [Change(kind=body.kind, key=key_of(body), body=body, expected=expected) for body in bodies]


def agent(name: str, **changes: Any) -> Agent:
    plain = {
        "kind": "agent",
        "id": f"{ROOT}/agents/{name}",
        "owner": "o",
        "realm": "first_party",
        "version": "1",
        "deployment": "d",
        "agent_type": "t",
        "charter": {"purposes": ["p"], "tools": ["*"], "actions": ["read"]},
        "selectors": {},
        **changes,
    }
    return Agent.model_validate_json(json.dumps(plain))


def tool(name: str, **changes: Any) -> Tool:
    plain = {
        "kind": "tool",
        "name": name,
        "owner": "o",
        "workload": f"{ROOT}/tools/{name}",
        "endpoint": "http://127.0.0.1:1",
        "resource": f"https://{name}.88mph.com",
        "actions": ["read"],
        "purposes": ["p"],
        **changes,
    }
    return Tool.model_validate_json(json.dumps(plain))


async def fact(nc: Client, kind: Kind, key: str) -> tuple[int, Fact] | None:
    held = await directget.last(nc, "FACTS", subject_of(kind, key))
    return None if held is None else (held.seq, parse(Fact, held.body).data)


async def test_a_set_is_one_atomic_batch_and_on_record(fabric_server: FabricServer, boss: KeyPair) -> None:
    """Verifies that facts, their author and the record of the command are there, and that a refused member leaves nothing."""
    async with registry(fabric_server.settings), operator(fabric_server, boss) as client:
        planned = await client.apply(put(agent("a"), tool("t")), plan_only=True)
        assert [line.action for line in planned.plan] == ["create", "create"]
        assert planned.revision is None
        done = await client.apply(put(agent("a"), tool("t")), reason="first")
        nc = await fabric_server.worker("audit")
        held = await fact(nc, Kind.AGENT, "88mph~com.agents.a")
        assert held is not None
        assert (held[1].by, held[1].reason) == (boss.public, "first")
        assert held[0] <= (done.revision or 0)
        again = await client.apply(put(agent("a"), tool("t", staleness_s=30)))
        assert [(line.action, line.fields) for line in again.plan] == [("unchanged", ()), ("change", ("staleness_s",))]
        with pytest.raises(Refused) as refused:
            await client.apply(put(agent("b"), tool("u", object_fields={"order": "order"})))
        assert refused.value.reason == "invalid_change"
        assert "tool/u: object_fields.order" in refused.value.detail
        assert await fact(nc, Kind.AGENT, "88mph~com.agents.b") is None
        record = await directget.last(nc, "RECORD", subjects.RECORD.at("registry", "applied", boss.public))
        assert record is not None
        said = json.loads(record.body)["data"]
        assert (said["person"], said["refused"]) == (boss.public, "invalid_change")
        assert said["changes"] == ["agent/88mph~com.agents.b", "tool/u"]


async def test_only_a_registrar_of_the_place_writes_there(fabric_server: FabricServer, boss: KeyPair) -> None:
    """Verifies deny by default: nobody, somebody elsewhere, another role; and that the person is the attested one."""
    elsewhere, revoker, nobody = KeyPair("U"), KeyPair("U"), KeyPair("U")
    await fabric_server.put_facts(person(elsewhere, f"{ROOT}/agents/other"), person(revoker, role="revoker"))
    async with registry(fabric_server.settings):
        for pair in (elsewhere, revoker, nobody):
            async with operator(fabric_server, pair) as client:
                with pytest.raises(Refused, match="not_authorized"):
                    await client.apply(put(agent("a")))
        async with operator(fabric_server, elsewhere) as client:
            assert (await client.apply(put(agent("other/a")))).revision
            with pytest.raises(Refused, match="not_authorized"):
                await client.apply(put(agent("other/b"), agent("a")))
        nc = await fabric_server.outer("operator", nobody.public, nobody)
        with pytest.raises(Unreachable):  # the server does not let one person speak on another's subject
            await OperatorClient.over(nc, fabric_server.settings, boss.seed).query(what="status")


async def test_writers_at_the_same_time(fabric_server: FabricServer, boss: KeyPair) -> None:
    """Verifies over two copies that one of several authors with one expectation wins; the others hear CONFLICT and the revision."""
    async with registry(fabric_server.settings), registry(fabric_server.settings), operator(fabric_server, boss) as client:
        first = await client.apply(put(agent("a"), expected=0))
        at = (await fact(await fabric_server.worker("audit"), Kind.AGENT, "88mph~com.agents.a") or (0,))[0]
        assert first.revision == at

        async def change(version: int) -> str:
            try:
                await client.apply(put(agent("a", version=str(version)), expected=at))
            except Refused as refused:
                return f"{refused.reason} {refused.context['revision'] > at}"
            return "done"

        outcomes = await asyncio.gather(*(change(version) for version in range(2, 8)))
        assert sorted(outcomes) == ["conflict True"] * 5 + ["done"]


async def test_writers_who_name_no_revision_all_succeed(fabric_server: FabricServer, boss: KeyPair) -> None:
    """Verifies that a batch that lost is planned again: ten agents under a namespace that changes meanwhile, two copies."""
    async with registry(fabric_server.settings), registry(fabric_server.settings), operator(fabric_server, boss) as client:
        space = Namespace(prefix=f"{ROOT}/agents", owner="somebody else")
        done = await asyncio.gather(*(client.apply(put(agent(f"a{n}"))) for n in range(10)), client.apply(put(space)))
        assert len({applied.revision for applied in done}) == 11


class StaleFacts:
    """A view that stands still until it is told that there is more: what a copy sees that is a moment behind."""

    def __init__(self, view: FactsView, nc: Client) -> None:
        self._view, self._nc = view, nc

    @property
    def table(self) -> FactsTable:
        return self._view.table

    async def wait_for(self, revision: int, timeout_s: float) -> bool:
        self._view = await still_view(self._nc)
        return self._view.revision >= revision


async def still_view(nc: Client) -> FactsView:
    view = FactsView(nc, worker="registry")
    await view.start()
    await view.stop()
    return view


async def registry_behind(fabric: FabricServer, batches: Batches | None = None) -> Registry:
    nc = await fabric.worker("registry")
    facts = StaleFacts(await still_view(nc), nc)
    return Registry(facts, batches or Publisher(nc), partial(directget.last, nc, "FACTS"), Fabric("88mph.com", frozenset(), "development"))


async def test_an_agent_is_never_written_under_a_namespace_that_is_gone(fabric_server: FabricServer, boss: KeyPair) -> None:
    """INVARIANT: a change that relies on a namespace is committed only while the namespace is what it was when the change was checked.

    Without the guard over `weft.fact.namespace.>` a copy whose view does not show the deletion yet would commit the agent.
    """
    behind = await registry_behind(fabric_server)
    async with registry(fabric_server.settings), operator(fabric_server, boss) as client:
        await client.apply([Change(kind=Kind.NAMESPACE, key="88mph~com.agents")])
        outcome = await behind.apply(boss.public, Apply(changes=tuple(put(agent("a")))))
    assert isinstance(outcome, Failure)
    assert outcome.reason == "namespace_unknown"
    assert await fact(await fabric_server.worker("audit"), Kind.AGENT, "88mph~com.agents.a") is None


async def test_a_change_checked_against_an_older_fact_is_planned_again(fabric_server: FabricServer, boss: KeyPair) -> None:
    """Verifies that a copy that is behind loses to the expectation on the fact itself, and then plans over what it had not seen."""
    await fabric_server.put_facts(tool("t"))
    behind = await registry_behind(fabric_server)
    async with registry(fabric_server.settings), operator(fabric_server, boss) as client:
        done = await client.apply(put(tool("t", owner="somebody")))
        held = (await fact(await fabric_server.worker("audit"), Kind.TOOL, "t") or (0,))[0]
        assert held == done.revision
        outcome = await behind.apply(boss.public, Apply(changes=tuple(put(tool("t", owner="else"), expected=held - 1))))
        assert isinstance(outcome, Failure)
        again = await behind.apply(boss.public, Apply(changes=tuple(put(tool("t", owner="else")))))
    assert isinstance(again, Applied)
    assert [line.fields for line in again.plan] == [("owner",)]


class LosesAcknowledgements:
    """Commits, and says that it does not know: what a connection that breaks between the two looks like."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def publish_batch(self, stream: str, messages: Sequence[Message], *, deadline_s: float) -> PubAck:
        await self._publisher.publish_batch(stream, messages, deadline_s=deadline_s)
        raise PublishFailed("no acknowledgement")


async def test_a_batch_whose_acknowledgement_is_lost_is_found(fabric_server: FabricServer, boss: KeyPair) -> None:
    """Verifies that a set that was stored is reported as stored, at its revision, and is there once."""
    behind = await registry_behind(fabric_server, LosesAcknowledgements(Publisher(await fabric_server.worker("registry"))))
    outcome = await behind.apply(boss.public, Apply(changes=tuple(put(tool("x"), tool("y")))))
    assert isinstance(outcome, Applied)
    held = await fact(await fabric_server.worker("audit"), Kind.TOOL, "y")
    assert held is not None
    assert held[0] == outcome.revision


async def test_a_thousand_changes_are_one_batch(fabric_server: FabricServer, boss: KeyPair) -> None:
    """Verifies the bounds: 1,000 in one, 1,001 only in ordered batches, and what is too large for a message too."""
    edges = put(*(Relation(subject=f"user:u{n}", relation="member_of", object="team:t") for n in range(1001)))
    async with registry(fabric_server.settings), operator(fabric_server, boss) as client:
        before = (await client.apply(put(tool("first")))).revision or 0
        done = await client.apply(edges[:1000])
        assert done.revision == before + 1000
        with pytest.raises(Refused, match="too_large"):
            await client.apply(edges)
        split = await client.apply(edges, split=True)
        assert [line.action for line in split.plan].count("create") == 1
        with pytest.raises(Refused, match="too_large"):
            await client.apply(put(*(agent(f"a{n}", business={"note": "x" * 1000}) for n in range(300))))
        many = await client.apply(put(*(agent(f"a{n}", business={"note": "x" * 1000}) for n in range(300))), split=True)
        assert len(many.plan) == 300


async def test_a_guard_is_told_of_its_own_tools_and_of_their_changes(fabric_server: FabricServer, boss: KeyPair) -> None:
    """Verifies that a workload sees its active tools alone, the public keys of two purposes, and a push when something changes."""
    workload = SpiffeID.parse(f"{ROOT}/tools/mine")
    name = subjects.connection_name(INSTANCE, workload)
    point = await fabric_server.outer("point", name)
    async with registry(fabric_server.settings), operator(fabric_server, boss) as client:
        await client.apply(put(tool("mine"), tool("theirs"), tool("resting", workload=str(workload), state="suspended")))

        async def attach() -> Attached:
            body = event(points.ATTACH, Attach(tools=("mine", "theirs", "resting", "none")), source="/test")
            return parse(Attached, (await point.request(subjects.ATTACH.at(name), body, timeout=5)).data).data

        answer = await attach()
        assert [each.name for each in answer.tools] == ["mine"]
        assert {key.purpose for key in answer.keys} == {"tokens", "revocation"}
        assert (answer.trust_domain, answer.issuer) == ("88mph.com", fabric_server.settings.issuer)

        pushed: asyncio.Queue[str] = asyncio.Queue()
        await point.subscribe(subjects.PUSH_TOOL.filter, cb=_into(pushed))
        await point.flush()
        await client.apply(put(tool("mine", staleness_s=30)))
        assert await asyncio.wait_for(pushed.get(), 5) == subjects.PUSH_TOOL.at(sha256("mine"))
        assert (await attach()).tools[0].staleness_s == 30


def _into(queue: asyncio.Queue[str]) -> Callable[[Msg], Awaitable[None]]:
    async def on_message(msg: Msg) -> None:
        queue.put_nowait(msg.subject)

    return on_message


async def test_the_edge_gets_the_keys_of_tokens_alone(fabric_server: FabricServer) -> None:
    """Verifies that the JWKS holds the public token key and nothing else."""
    edge = await fabric_server.worker("edge")
    async with registry(fabric_server.settings):
        answer = await edge.request(subjects.EDGE_KEYS.at(), event(keys.ASKED, keys.KeysAsked(), source="/test"), timeout=5)
    found = parse(keys.JWKSet, answer.data).data.keys
    assert [key["kid"] for key in found] == [fabric_server.keys["tokens"].kid]
    assert "d" not in found[0]


async def test_garbage_gets_a_typed_refusal(fabric_server: FabricServer, boss: KeyPair) -> None:
    """Verifies that whatever comes on the subject is answered, and nothing is written."""
    nc = await fabric_server.outer("operator", boss.public, boss)
    async with registry(fabric_server.settings):
        for body in (b"", b"{", b"[]", b"\xff" * 100, event("org.weft.x.v1", Attach(tools=()), source="/t")):
            answer = json.loads((await nc.request(subjects.APPLY.at(boss.public), body, timeout=5)).data)
            assert answer["data"]["reason"] == "malformed"


async def test_a_server_that_is_killed_loses_no_acknowledged_change(fabric_server: FabricServer, boss: KeyPair) -> None:
    """Verifies over kill -9 in mid-load that every set is there whole or not at all, and that what was acknowledged is there."""
    server: Server = fabric_server.server
    acknowledged: list[int] = []
    started = asyncio.Event()
    async with registry(fabric_server.settings):
        nc = await fabric_server.outer("operator", boss.public, boss)
        client = OperatorClient.over(nc, fabric_server.settings, boss.seed)

        async def write() -> None:
            for n in range(1000):
                try:
                    await client.apply(put(tool(f"x{n}"), tool(f"y{n}")))
                except (Unreachable, Refused):
                    return
                acknowledged.append(n)
                started.set()

        writing = asyncio.create_task(write())
        await asyncio.wait_for(started.wait(), 10)
        await asyncio.sleep(0.1)
        await server.kill()
        await asyncio.wait_for(writing, 30)
        await server.start()
        fabric_server._callout = None  # its connection is gone
        await _until_served(fabric_server, boss)
        reader = await fabric_server.worker("audit")
        for n in range(len(acknowledged) + 1):
            pair = [await fact(reader, Kind.TOOL, f"{side}{n}") for side in "xy"]
            assert (pair[0] is None) == (pair[1] is None)
            assert n >= len(acknowledged) or pair[0] is not None


async def _until_served(fabric: FabricServer, pair: KeyPair) -> None:
    """The registry reconnects by itself."""
    async with asyncio.timeout(20), operator(fabric, pair) as client:
        while True:
            try:
                await client.apply(put(tool("afterwards")))
            except (Unreachable, Refused):
                await asyncio.sleep(0.1)
            else:
                return


async def test_a_guard_attaches_at_its_own_pace(fabric_server: FabricServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: one guard keeps the registry from nobody, and another's questions are not counted with its own.

    Broken by answering whoever asks as often as they like: each answer may be 150 KB, wherever in its account the guard has it sent.
    """
    monkeypatch.setattr("workers.registry.app.ATTACH_PACE", (0.01, 2.0))
    names = [f"i{letter * 26}.88mph~com.tools.payments" for letter in "ab"]
    first, second = [await fabric_server.outer("point", name) for name in names]
    body = event(points.ATTACH, Attach(tools=(), every=True), source="/test")
    async with registry(fabric_server.settings):
        answers = [await first.request(subjects.ATTACH.at(names[0]), body, timeout=5) for _ in range(3)]
        other = await second.request(subjects.ATTACH.at(names[1]), body, timeout=5)
    reasons = [json.loads(answer.data)["data"].get("reason") for answer in (*answers, other)]
    assert reasons == [None, None, "rate_limited", None]
