"""What the token endpoint put on RECORD: found, told and computed again like every other decision."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.compliance.test_txn_tokens import ask, call
from tests.support import acting
from tests.support.oauth import FRONT, RESEARCHER, TXN, TYPE, OAuthWorld, payload
from workers.audit.explain import explain, row
from workers.audit.index import Arrived, Index, Indexed
from workers.audit.minted import mark
from workers.audit.references import scope_of
from workers.audit.verify import verify
from workers.cli.explained import explanation

CC = {"grant_type": "client_credentials"}


@pytest.fixture
async def world() -> AsyncIterator[OAuthWorld]:
    made = OAuthWorld()
    yield made
    await made.recorder.close()


def indexed(world: OAuthWorld) -> list[Indexed]:
    events = [(subject, json.loads(body)) for subject, body in world.stream.messages]
    scoped = ((seq, subject, event) for seq, (subject, event) in enumerate(events, 1))
    return [Indexed(seq, e["type"], scope_of(e["type"], e["data"], "88mph.com"), subject, e) for seq, subject, e in scoped]


async def requests(world: OAuthWorld) -> None:
    """Granted and refused, with a tool and without."""
    await ask(world)
    await ask(world, scope="payments.all")
    await ask(world, scope=None)
    await call(world)
    await call(world, resource="https://payments.88mph.com")
    await world.post("/oauth/token", {**CC, **world.proven("console")})
    await world.post("/oauth/token", {**CC, **world.proven("console"), "scope": "ssf.delete"})


async def for_a_resource(world: OAuthWorld) -> None:
    """Marty's transaction, and an access token in it in which the researcher acts."""
    acting.begin(world)
    token = await acting.granted(world, None, None)
    access = {"requested_token_type": acting.ACCESS, "audience": None, "resource": "https://backend.88mph.com"}
    await acting.granted(world, acting.svid(world), subject_token=token, subject_token_type=TXN, **access)


async def test_every_decision_is_computed_again(world: OAuthWorld) -> None:
    """INVARIANT: from the record alone, each decision of the token endpoint comes out the same (promise 6).

    A decision that read something which is not on record, or two decisions of one request over different facts, would not.
    """
    await requests(world)
    found = verify(indexed(world), world.facts)
    assert found == {"checked": 6, "differ": []}  # the request without a scope was not decided


async def test_every_decision_about_an_actor_is_computed_again(world: OAuthWorld) -> None:
    """INVARIANT: who acts, and what either of client and actor holds, comes out the same from the record alone (promise 6).

    Broken by a decision that asks an actor token, or a view, for what the record does not hold.
    """
    acting.begin(world)
    world.put({"kind": "relation", "subject": "user:marty", "relation": "operates", "object": "toolgroup:search"})
    token = await acting.granted(world, acting.svid(world))
    await acting.exchange(world, acting.svid(world), subject_token=world.person(aud=acting.API, may_act={"sub": FRONT}))
    access = {"requested_token_type": acting.ACCESS, "audience": None, "resource": "https://backend.88mph.com"}
    await acting.granted(world, acting.svid(world), subject_token=token, subject_token_type=TXN, **access)
    await acting.granted(world, None, None, subject_token='{"sub":"marty"}', subject_token_type=f"{TYPE}unsigned_json")
    assert (await call(world, subject_token=token, subject_token_type=TXN)).status_code == 200
    assert verify(indexed(world), world.facts) == {"checked": 5, "differ": []}


@pytest.mark.parametrize(
    ("path", "value", "differs"),
    [
        (("claims", "act"), {"sub": FRONT}, "claims.act"),
        (("claims", "act"), None, "claims.act"),
        (("claims", "aud"), "https://other", "claims.aud"),
        (("claims", "client_id"), "other", "claims.client_id"),
        (("claims", "txn"), "other", "claims.txn"),
        (("claims", "req_chain"), [], "claims.req_chain"),
        (("input", "actor"), None, "exchange.act"),
        (("input", "requested"), "txn_token", "claims.typ"),
        (("decision", "act"), {"sub": FRONT}, "exchange.act"),
    ],
)
async def test_whoever_altered_an_actor_shows(world: OAuthWorld, path: tuple[str, str], value: Any, differs: str) -> None:
    await for_a_resource(world)
    event = indexed(world)[-1]
    assert verify([event], world.facts)["differ"] == []
    event.data[path[0]][path[1]] = value
    (found,) = verify([event], world.facts)["differ"]
    assert differs in found["differs"]


async def test_who_acts_is_told_and_found(world: OAuthWorld, tmp_path: Path) -> None:
    """Verifies that a token is found by its actor, by who acted before and by the actor token, and that its story names them."""
    acting.begin(world)
    actor, old = await acting.own_token(world), "spiffe://88mph.com/old/app"
    before = world.person(aud=acting.API, act={"sub": old})
    made = payload(await acting.granted(world, actor, acting.ACCESS, subject_token=before))
    index = await Index.open(tmp_path / "index.db", "88mph.com")
    await index.add([Arrived(seq, subject, body) for seq, (subject, body) in enumerate(world.stream.messages, 1)])
    for kind, value in (("agent", RESEARCHER), ("agent", FRONT), ("agent", old), ("token", payload(actor)["jti"])):
        found = {token.jti: token.path for token in await index.marked(mark(kind, value), limit=10)}
        assert found[made["jti"]] == f"{FRONT} > {old} > {RESEARCHER}", value
    ends = {token.jti: token.agent for token in await index.marked(mark("user", "marty"), limit=10)}
    assert ends[made["jti"]] == RESEARCHER, "a consent that is withdrawn ends what of the person's this agent acts in"
    events = await explain(index, made["txn"], lambda _: True, 0, 10)
    told = explanation([row(event, event.event) for event in events])
    assert f"{RESEARCHER} (access_token)" in told
    assert f"{old} -> {RESEARCHER}" in told
    await index.close()


@pytest.mark.parametrize(
    ("path", "value", "differs"),
    [
        (("decision", "ttl_s"), 61, "exchange.ttl_s"),
        (("input", "scope"), ["payments.all"], "exchange.outcome"),
        (("claims", "sub"), "doc", "claims.sub"),
        (("claims", "scope"), "payments.all", "claims.scope"),
        (("claims", "exp"), 1_800_000_061, "claims.exp"),
        (("claims", "rev"), 99, "claims.rev"),
    ],
)
async def test_whoever_altered_one_shows(world: OAuthWorld, path: tuple[str, str], value: Any, differs: str) -> None:
    await ask(world)
    (event,) = indexed(world)
    event.data[path[0]][path[1]] = value
    (found,) = verify([event], world.facts)["differ"]
    assert differs in found["differs"]


async def test_explained_by_the_id_that_the_answer_carries(world: OAuthWorld, tmp_path: Path) -> None:
    granted, refused = await ask(world), await ask(world, scope="payments.all")
    index = await Index.open(tmp_path / "index.db", "88mph.com")
    await index.add([Arrived(seq, subject, body) for seq, (subject, body) in enumerate(world.stream.messages, 1)])

    async def told(identifier: str) -> str:
        events = await explain(index, identifier, lambda _: True, 0, 10)
        return explanation([row(event, event.event) for event in events])

    by_id = await told(granted.headers["weft-explanation"])
    assert by_id == await told(payload(granted.json()["access_token"])["txn"])
    assert FRONT in by_id
    assert "web.search.execute" in by_id
    why = await told(refused.headers["weft-explanation"])
    assert "out_of_ceiling" in why
    assert "FAIL" in why
    await index.close()


async def test_an_event_belongs_to_the_namespace_of_its_workload(world: OAuthWorld) -> None:
    await requests(world)
    scopes = [event.scope for event in indexed(world)]
    assert scopes[0] == FRONT
    assert scopes[-1] == "spiffe://88mph.com"


async def test_a_preview_of_a_revocation_finds_what_the_token_endpoint_issued(world: OAuthWorld, tmp_path: Path) -> None:
    """Verifies that tokens without a tool are found by everything that could end them: jti, transaction, key, person, workload."""
    root = payload((await ask(world)).json()["access_token"])
    access = payload((await world.post("/oauth/token", {**CC, **world.proven("console")})).json()["access_token"])
    index = await Index.open(tmp_path / "index.db", "88mph.com")
    await index.add([Arrived(seq, subject, body) for seq, (subject, body) in enumerate(world.stream.messages, 1)])
    named = [("token", root["jti"]), ("transaction", root["txn"]), ("user", "marty"), ("agent", FRONT), ("namespace", "spiffe://88mph.com")]
    for kind, value in named:
        assert root["jti"] in [token.jti for token in await index.marked(mark(kind, value), limit=10)], kind
    (found,) = await index.marked(mark("token", access["jti"]), limit=10)
    assert found.agent == "spiffe://88mph.com", "whoever is auditor of the trust domain sees it"
    assert len(await index.marked(mark("key", "tokens-1"), limit=10)) == 2
    await index.close()
