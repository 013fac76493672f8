"""Whom a revocation would hit, and what rests on something bad: asked of audit on a real server, and ended by signals and revocation."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import AsyncIterator
from typing import Any

import pytest
from weft.digest import target_digest
from weft.nkey import KeyPair

from schemas import record
from schemas.commands import Revoke, Sweep, Swept
from schemas.facts import Grant, Person
from schemas.record import Admitted, Issued
from streams.facts import FactsView
from tests.integration.test_audit import ADVISOR, RESEARCHER, ROOT, Fabric, audit, running
from tests.support import world
from tests.support.fabric import FabricServer
from tests.support.facts import body
from workers.cli.exits import Stop
from workers.cli.responses import _what
from workers.cli.tainted import sweep
from workers.common.operator_client import Refused
from workers.revocation.app import build as build_revocation
from workers.signals.app import build as build_signals

SEARCH = f"{ROOT}/agents/search"


@pytest.fixture
async def fabric(fabric_server: FabricServer) -> AsyncIterator[Fabric]:
    nc = await fabric_server.worker("broker")
    view = FactsView(nc, worker="broker")
    await view.start()
    made = Fabric(fabric_server, nc, view)
    roles = tuple(Grant.model_validate({"role": role, "namespace": ROOT}) for role in ("auditor", "revoker"))
    doc = Person(nkey=made.auditor.public, name="Doc", roles=roles)
    await made.facts(*(body(plain) for plain in world.bodies().values()), doc)
    yield made
    await view.stop()


def at(now: int, **more: Any) -> dict[str, Any]:
    """A request of now, by an SVID that lives; at counter 0."""
    return {"now": now, "revocations": 0, "caller": {"svid_exp": now + 300}, **more}


async def chain(fabric: Fabric, now: int) -> tuple[Issued, Issued]:
    """The researcher's token, and what the search agent was given under it."""
    first = await fabric.issue("search", at(now))
    claims = first.claims
    past = {"sub": RESEARCHER, "instance": claims.act.instance, "jti": claims.jti, "tool": "search-agent", "iat": now}
    parent = {"jti": claims.jti, "txn": claims.txn, "iat": now, "exp": claims.exp, "act_chain": [past]}
    return first, await fabric.issue("hop", at(now, parent=parent))


async def refund(fabric: Fabric, now: int) -> Issued:
    user = {"exp": now + 600}
    evidence = [{"tool": "fraud-check", "seq": 7, "object": "A" * 43, "at": now}]
    return await fabric.issue("refund", at(now, user=user, evidence=evidence))


async def test_a_preview_names_what_would_end_and_ends_nothing(fabric: Fabric) -> None:
    """INVARIANT: a preview counts exactly the live tokens that an entry for this target would hit, and commits none.

    Broken by counting expired tokens, by leaving out what was delegated, or by counting what was revoked already.
    """
    now = int(time.time())
    await fabric.issue("search", at(now - 400))  # long expired
    first, child = await chain(fabric, now)
    mine = await refund(fabric, now)
    name = f"{mine.claims.act.instance}.88mph~com.agents.advisor"
    admitted = Admitted(name=name, kind="agent", id=ADVISOR, instance=mine.claims.act.instance, expires_at=now + 60)
    await fabric.record("admission", record.ADMITTED, admitted)
    expected = {
        ("token", first.claims.jti): {first.claims.jti, child.claims.jti},
        ("token", child.claims.jti): {child.claims.jti},
        ("transaction", first.claims.txn): {first.claims.jti, child.claims.jti},
        ("instance", first.claims.act.instance): {first.claims.jti, child.claims.jti},
        ("agent", SEARCH): {child.claims.jti},
        ("namespace", ROOT): {first.claims.jti, child.claims.jti, mine.claims.jti},
        ("user", "marty"): {mine.claims.jti},
        ("key", fabric.server.keys["tokens"].kid): {first.claims.jti, child.claims.jti, mine.claims.jti},
        ("agent", f"{ROOT}/agents/nobody"): set(),
    }
    settings = fabric.server.settings
    async with audit(settings), running(build_revocation(settings)), running(build_signals(settings)), fabric.asking() as client:
        for (target, value), jtis in expected.items():
            found, tokens = await client.tokens(what="reach", target=target, value=value)
            assert {token["jti"] for token in tokens} == jtis, target
            assert (found["tokens"], found["live"], found["truncated"]) == (len(jtis), len(jtis), False)
        found, tokens = await client.tokens(what="reach", target="agent", value=ADVISOR)
        assert (found["users"], found["connected"], found["agents"]) == (1, 1, [ADVISOR])
        assert "marty" not in str(tokens)
        assert (await client.query(what="status")).rows[0]["revocations"] == 0
        swept = Swept(kind="token", value=first.claims.jti, agent=RESEARCHER)
        answer = await client.sweep(Sweep(id="s1", targets=(swept,), reason="stolen"))
        await client.applied(answer.rows[0]["n"])
        assert (await client.tokens(what="reach", target="transaction", value=first.claims.txn))[1] == []
        assert len((await client.tokens(what="reach", target="namespace", value=ROOT))[1]) == 1


async def test_what_rests_on_something_bad_is_found_and_what_lives_of_it_ends(fabric: Fabric) -> None:
    """INVARIANT: tainted is what bears the mark since that time and what descends from it; one command leaves nothing of it alive.

    Broken by taking the agents' facts as they are now instead of as they were when it was decided, by forgetting evidence of a bad
    tool, or by revoking what came before the time.
    """
    now = int(time.time())
    early = await fabric.issue("search", at(now - 200))
    advisor = world.bodies()["advisor"] | {"provenance": {"model_digest": "sha256:bad"}}
    await fabric.facts(body(advisor))
    bad = await refund(fabric, now)
    await fabric.facts(body(advisor | {"provenance": {"model_digest": "sha256:good"}}))
    good = await refund(fabric, now)
    first, child = await chain(fabric, now)
    everything = {bad.claims.jti, good.claims.jti, first.claims.jti, child.claims.jti}
    version = f"{RESEARCHER}@{first.claims.act.version}"
    expected: dict[tuple[str, str, int], tuple[set[str], int]] = {
        ("model_digest", "sha256:bad", 0): ({bad.claims.jti}, 0),
        ("model_digest", "sha256:other", 0): (set(), 0),
        ("tool", "fraud-check", 0): ({bad.claims.jti, good.claims.jti}, 0),  # by its evidence
        ("agent_version", version, 0): ({early.claims.jti, first.claims.jti, child.claims.jti}, 1),
        ("agent_version", version, now - 60): ({first.claims.jti, child.claims.jti}, 1),
        ("key", fabric.server.keys["tokens"].kid, now - 60): (everything, 0),
        ("key", first.claims.cnf.jkt, now - 60): (everything, 0),
    }
    settings = fabric.server.settings
    async with audit(settings), running(build_revocation(settings)), running(build_signals(settings)), fabric.asking() as client:
        for (taint, value, since), (jtis, descendants) in expected.items():
            found, tokens = await client.tokens(what="tainted", taint=taint, value=value, since=since)
            assert {token["jti"] for token in tokens if token["how"] != "later"} == jtis, (taint, value)
            assert (found["tokens"], found["descendants"]) == (len(jtis), descendants)
        question = {"what": "tainted", "taint": "tool", "value": "fraud-check", "since": now - 60}
        assert len(await sweep(client, question, "the fraud check was wrong")) == 1
        found, left = await client.tokens(**question, live=True)
        assert (found["tokens"], found["live"], left) == (2, 0, [])
        lives = await client.tokens(what="reach", target="namespace", value=ROOT)
        assert {token["jti"] for token in lives[1]} == {first.claims.jti, child.claims.jti}


async def test_a_sweep_takes_the_role_over_each_of_its_targets(fabric: Fabric) -> None:
    """INVARIANT: one target beyond the person's namespaces, and nothing of a sweep is revoked; whose a token is, RECORD tells.

    Broken by believing the command: a revoker of one agent would end every token of the fabric by calling it that agent's.
    """
    clerk = KeyPair("U")
    roles = tuple(Grant.model_validate({"role": role, "namespace": ADVISOR}) for role in ("auditor", "revoker"))
    await fabric.facts(Person(nkey=clerk.public, name="clerk", roles=roles))
    now = int(time.time())
    mine, (theirs, _) = await refund(fabric, now), await chain(fabric, now)
    settings = fabric.server.settings
    targets = (
        Swept(kind="token", value=mine.claims.jti, record=fabric.sequence(mine)),
        Swept(kind="token", value=theirs.claims.jti, record=fabric.sequence(theirs)),
    )
    lies = (
        Swept(kind="token", value=theirs.claims.jti, agent=ADVISOR),  # the word of who commands
        Swept(kind="token", value=theirs.claims.jti, record=fabric.sequence(mine)),  # another token's record
        Swept(kind="token", value=theirs.claims.jti, agent=ADVISOR, record=fabric.sequence(theirs)),
        Swept(kind="token", value=theirs.claims.jti, record=1_000_000),
        Swept(kind="transaction", value=theirs.claims.txn, record=fabric.sequence(mine)),
    )
    async with audit(settings), running(build_revocation(settings)), running(build_signals(settings)), fabric.asking(clerk) as client:
        for lie in lies:
            with pytest.raises(Refused, match=r"not_authorized|not_found"):
                await client.sweep(Sweep(id="lie", targets=(lie,), reason="r"))
        assert [token["jti"] for token in (await client.tokens(what="reach", target="namespace", value=ROOT))[1]] == [mine.claims.jti]
        with pytest.raises(Refused, match="not_authorized"):
            await client.sweep(Sweep(id="s1", targets=targets, reason="r"))
        with pytest.raises(Refused, match="not_authorized"):
            await client.sweep(Sweep(id="s2", targets=(Swept(kind="key", value="k1"),), reason="r"))
        assert (await client.sweep(Sweep(id="s3", targets=targets[:1], reason="r"))).rows[0]["n"] == 1


async def test_whatever_an_operator_has_leads_to_the_token(fabric: Fabric) -> None:
    """Verifies that jti, txn, explanation id, instance and digest each lead to it and to whose it is, and that a clerk may then act."""
    clerk = KeyPair("U")
    roles = tuple(Grant.model_validate({"role": role, "namespace": ADVISOR}) for role in ("auditor", "revoker"))
    await fabric.facts(Person(nkey=clerk.public, name="clerk", roles=roles))
    now = int(time.time())
    mine, (theirs, child) = await refund(fabric, now), await chain(fabric, now)
    claims, settings = mine.claims, fabric.server.settings
    held = (claims.jti, claims.txn, mine.explanation, claims.act.instance, target_digest("token", claims.jti))
    async with audit(settings), running(build_revocation(settings)), running(build_signals(settings)), fabric.asking(clerk) as client:
        for name in held:
            _, tokens = await client.tokens(what="find", value=name)
            assert [(token["jti"], token["agent"], token["seq"]) for token in tokens] == [(claims.jti, ADVISOR, fabric.sequence(mine))]
        for name in ("nobody", theirs.claims.jti, "%", " "):
            assert (await client.tokens(what="find", value=name))[1] == []
        what = Namespace(kind="transaction", value=mine.explanation, agent=None)
        value, agent, record_seq = await _what(client, what)
        assert (value, agent) == (claims.txn, ADVISOR)
        order = Revoke(id="r1", kind="transaction", value=value, agent=agent, record=record_seq, reason="seen elsewhere")
        answer = await client.revoke(order)
        await client.applied(answer.rows[0]["n"])
        assert (await client.tokens(what="find", value=claims.jti))[1][0]["live"] is False
    async with audit(settings), fabric.asking() as client:
        with pytest.raises(Stop, match="2 tokens"):
            await _what(client, Namespace(kind="token", value=theirs.claims.txn, agent=None))
        with pytest.raises(Stop, match="no token nobody"):
            await _what(client, Namespace(kind="token", value="nobody", agent=None))
        assert (await _what(client, Namespace(kind="token", value=child.claims.jti, agent=None)))[:2] == (child.claims.jti, SEARCH)
