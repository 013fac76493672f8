"""Promise 3 at the token endpoint: in any tree of exchanges, with any actors, nothing grows and nobody is forgotten.

The oracle reads the plain facts and knows nothing of the gates: its patterns and its limits are written again here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.actors import ActorClaim
from schemas.clients import TOKEN_EXCHANGE
from schemas.exchange import Acting, ExchangeDecision, ExchangeInput, Subject
from schemas.token import Requested
from tests.support import decisions as make
from tests.support.facts import table_of
from tests.support.identities import Signer
from tests.support.oauth import client
from workers.common.decision.exchange import decide_exchange

World = list[dict[str, Any]]
KEY, ISSUER, RESOURCE = Signer(), "https://as.88mph.com", "https://b.88mph.com"
SERVICE = f"{make.DOMAIN}/services/s"
WORKLOADS = (*make.AGENTS, SERVICE)
CLIENTS = {"a": make.AGENTS[0], "b": make.AGENTS[1], "s": SERVICE, "plain": None}
PATTERNS = [*make.AGENTS, f"{make.DOMAIN}/agents/*", f"{make.DOMAIN}/agents/b/*"]
LIMITS = {"resources": [RESOURCE], "replacements": 8, "txn_ttl_s": 300}
SCOPES = st.lists(st.sampled_from(make.PURPOSES), min_size=1, max_size=3, unique=True).map(tuple)


class Node(NamedTuple):
    """One exchange that was allowed; `path` are those above it, the root first."""

    asked: ExchangeInput
    decision: ExchangeDecision
    exp: int
    path: tuple[Any, ...]


def allowed(patterns: Any, code: str) -> bool:
    return any(code == p or (p.endswith("*") and code.startswith(p[:-1])) for p in patterns)


def below(patterns: Any, workload: str) -> bool:
    """By whole segments."""
    return any(workload == p or (p.endswith("/*") and workload.startswith(p[:-1])) for p in patterns)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    charter = {"tools": ["*"], "actions": ["*"], "depth": 8, "delegates": []}
    agent = {"kind": "agent", "owner": "o", "realm": "first_party", "version": "1", "deployment": "d", "agent_type": "t", "selectors": {}}
    facts: World = [
        {"kind": "namespace", "prefix": make.DOMAIN, "owner": "o", "bounds": {**make.WIDE, "max_ttl_s": draw(st.integers(60, 300))}}
    ]
    facts += [
        {
            "kind": "namespace",
            "prefix": f"{make.DOMAIN}/agents/b",
            "owner": "o",
            "bounds": {**make.WIDE, "purposes": draw(make.patterns(make.PURPOSES))},
        }
    ]
    for spiffe_id in make.AGENTS:
        limits = {"purposes": draw(make.patterns(make.PURPOSES)), "max_ttl_s": draw(st.integers(20, 300))}
        state = draw(st.sampled_from(["active"] * 9 + ["suspended"]))
        facts.append({**agent, "id": spiffe_id, "charter": {**charter, **limits}, "state": state})
        edge = {"purposes": draw(make.patterns(make.PURPOSES)), "expires_at": draw(st.sampled_from([None, None, make.NOW + 70]))}
        if draw(st.sampled_from([True] * 9 + [False])):
            facts.append({"kind": "relation", "subject": "user:marty", "relation": "delegates_to", "object": f"agent:{spiffe_id}", **edge})
    facts.append({"kind": "relation", "subject": "user:marty", "relation": "member_of", "object": "team:t"})
    for name, spiffe_id in CLIENTS.items():
        ceilings = {kind: draw(make.patterns(make.PURPOSES)) or ["other"] for kind in ("access_token", "txn_token")}
        more = {
            "actors": draw(st.lists(st.sampled_from(PATTERNS), max_size=2)),
            "resources": [RESOURCE],
            "replacements": 8,
            "txn_ttl_s": 300,
        }
        facts.append(client(name, KEY, spiffe_id=spiffe_id, ceilings=ceilings, **more))
    return facts


@st.composite
def exchanges(draw: st.DrawFn, above: Node | None) -> ExchangeInput:
    name = draw(st.sampled_from(sorted(CLIENTS)))
    requested = draw(st.sampled_from(["txn_token", "access_token"]))
    return ExchangeInput.model_validate(
        {
            "request_id": "r",
            "request_digest": make.DIGEST,
            "grant": TOKEN_EXCHANGE,
            "client_id": name,
            "auth_method": "private_key_jwt",
            "workload": CLIENTS[name],
            "subject": _subject(above, draw(SCOPES)),
            "actor": draw(st.none() | st.builds(_actor, st.sampled_from(WORKLOADS), st.integers(30, 400))),
            "requested": requested,
            "issuer": ISSUER,
            "scope": draw(SCOPES) if above is None else tuple(draw(st.lists(st.sampled_from(above.asked.scope), min_size=1, unique=True))),
            "resources": (RESOURCE,) if requested == "access_token" else (),
            "now": make.NOW,
            "views_fresh": True,
            "revocations": 1,
        },
        strict=False,
    )


def _actor(workload: str, life: int) -> Acting:
    instance = make.INSTANCES.get(workload)
    return Acting(type="jwt", workload=workload, instance=instance, exp=make.NOW + life, digest=make.DIGEST)


def _subject(above: Node | None, scope: tuple[str, ...]) -> Subject:
    if above is None:
        return Subject(type="access_token", sub="marty", iss="https://op", scope=scope, exp=make.NOW + 250, digest=make.DIGEST)
    asked, subject = above.asked, above.asked.subject
    assert subject is not None
    chain = (*subject.chain, Requested(wl=asked.workload or asked.client_id, jti="j", iat=make.NOW))
    return Subject(
        type=asked.requested,
        sub="marty",
        iss=ISSUER,
        scope=asked.scope,
        exp=above.exp,
        txn="t",
        chain=chain,
        act=above.decision.act,
        digest=make.DIGEST,
    )


def line(act: ActorClaim | None) -> list[str]:
    """The first who acted first."""
    return [] if act is None else [*line(act.act), act.sub]


def check(world: World, node: Node) -> None:
    """Every bound of every step on the way to it."""
    agents = {fact["id"]: fact for fact in world if fact["kind"] == "agent"}
    clients = {fact["client_id"]: fact for fact in world if fact["kind"] == "client"}
    consents = {fact["object"].removeprefix("agent:"): fact for fact in world if fact.get("relation") == "delegates_to"}
    spaces = [fact for fact in world if fact["kind"] == "namespace"]
    acted: list[str] = []
    for step in (*node.path, node):
        asked, who = step.asked, clients[step.asked.client_id]
        actor = asked.workload or asked.client_id if asked.actor is None else asked.actor.workload
        assert actor is not None
        assert actor in (asked.workload, asked.client_id) or below(who["actors"], actor)
        acted += [actor] if acted[-1:] != [actor] else []
        assert node.exp <= step.exp
        assert asked.actor is None or node.exp <= asked.actor.exp
        for code in node.asked.scope:
            assert code in (asked.subject.scope if asked.subject is not None else ())
            assert allowed(who["ceilings"][asked.subject.type if asked.subject is not None else ""], code)
            for party in {asked.workload, actor} & agents.keys():
                assert agents[party]["state"] == "active"
                assert allowed(agents[party]["charter"]["purposes"], code)
                assert allowed(consents[party]["purposes"], code)
                assert node.exp <= make.NOW + agents[party]["charter"]["max_ttl_s"]
                assert node.exp <= (consents[party]["expires_at"] or node.exp)
                above = (space["bounds"] for space in spaces if f"{party}/".startswith(space["prefix"] + "/"))
                assert all(allowed(bounds["purposes"], code) for bounds in above)
    named = line(node.decision.act)
    assert [name for at, name in enumerate(named) if named[at - 1 : at] != [name]] == acted, "nobody is left out, and the latest acts"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_no_leaf_of_any_tree_of_exchanges_holds_more_than_the_intersection_along_its_path(data: st.DataObject) -> None:
    """INVARIANT: whoever exchanges for whom, bringing whom, every token lies within what each client, actor, consent and token on the way
    to it allows, in width and in time, and names everyone who acted (promise 3).

    It would break if an actor's limits replaced the client's, or a kind of token forgot what the one before could not.
    """
    world = data.draw(worlds())
    table = table_of(world)
    nodes: list[Node] = []
    for _ in range(8):
        above = data.draw(st.sampled_from(nodes)) if nodes and data.draw(st.integers(0, 4)) else None
        asked = data.draw(exchanges(above))
        decision = decide_exchange(asked, table)
        if decision:
            nodes.append(Node(asked, decision, make.NOW + decision.ttl_s, () if above is None else (*above.path, above)))
            check(world, nodes[-1])


def test_the_trees_are_no_stumps() -> None:
    """Or the property above would say nothing: with wide facts, three exchanges with three actors follow each other."""
    edge = {"kind": "relation", "subject": "user:marty", "relation": "delegates_to", "purposes": ["*"], "expires_at": None}
    edges = [{**edge, "object": f"agent:{agent}"} for agent in make.AGENTS]
    agent = {"kind": "agent", "owner": "o", "realm": "first_party", "version": "1", "deployment": "d", "agent_type": "t", "selectors": {}}
    ceilings = {"access_token": ["*"], "txn_token": ["*"]}
    facts = [
        {"kind": "namespace", "prefix": make.DOMAIN, "owner": "o", "bounds": make.WIDE},
        *({**agent, "id": each, "charter": make.WIDE, "state": "active"} for each in make.AGENTS),
        *edges,
        client("s", KEY, spiffe_id=SERVICE, ceilings=ceilings, actors=PATTERNS, resources=[RESOURCE], replacements=8),
    ]
    table, above = table_of(facts), None
    for requested, workload in (("txn_token", make.AGENTS[0]), ("access_token", make.AGENTS[1]), ("txn_token", make.AGENTS[2])):
        asked = ExchangeInput.model_validate(
            {
                "request_id": "r",
                "request_digest": make.DIGEST,
                "grant": TOKEN_EXCHANGE,
                "client_id": "s",
                "auth_method": "private_key_jwt",
                "workload": SERVICE,
                "subject": _subject(above, make.PURPOSES),
                "actor": _actor(workload, 300),
                "requested": requested,
                "issuer": ISSUER,
                "scope": make.PURPOSES,
                "resources": (RESOURCE,) if requested == "access_token" else (),
                "now": make.NOW,
                "views_fresh": True,
                "revocations": 1,
            },
            strict=False,
        )
        decision = decide_exchange(asked, table)
        assert decision, decision.lines
        above = Node(asked, decision, make.NOW + decision.ttl_s, () if above is None else (*above.path, above))
        check(facts, above)
    assert above is not None
    assert line(above.decision.act) == list(make.AGENTS)
