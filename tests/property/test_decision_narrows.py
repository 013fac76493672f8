"""Promise 3, for any facts and any chain: what is granted lies within everything that bounds it.

The oracle reads the plain facts and knows nothing of the engine: its patterns, its graph walk and its postures are written again here.
"""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from weft.digest import target_digest

from schemas.decision import Decision, DecisionInput, Grant
from schemas.token import Ceiling
from tests.support import decisions as make
from tests.support.facts import table_of
from workers.common.decision import decide

World = list[dict[str, Any]]


def allowed(patterns: Any, code: str) -> bool:
    return any(code == p or (p.endswith("*") and code.startswith(p[:-1])) for p in patterns)


def latest(world: World, kind: str) -> World:
    """One per thing: a later relation or posture replaces the earlier one."""
    named = {"relation": ("subject", "relation", "object"), "posture": ("scope", "target"), "agent": ("id",), "tool": ("name",)}
    keys = named.get(kind, ("prefix",))
    return list({tuple(f[k] for k in keys): f for f in world if f["kind"] == kind}.values())


def live(world: World, subject: str, relation: str) -> World:
    edges = (e for e in latest(world, "relation") if e["subject"] == subject and e["relation"] == relation)
    return [e for e in edges if e["expires_at"] is None or e["expires_at"] > make.NOW]


def reach(world: World, start: str, relation: str) -> set[str]:
    found, todo = {start}, [start]
    while todo:
        for edge in live(world, todo.pop(), relation):
            if edge["object"] not in found:
                found.add(edge["object"])
                todo.append(edge["object"])
    return found


def operates(world: World, who: str, tool: str, action: str) -> bool:
    edges = [e for holder in reach(world, who, "member_of") for e in live(world, holder, "operates")]
    return any(f"tool:{tool}" in reach(world, e["object"], "contains") and allowed(e["actions"], action) for e in edges)


def delegates(world: World, user: str, agent: str, action: str, grant: Grant) -> bool:
    """The person's consent covers the action, the purpose and the token's whole life; there is one at most between two."""
    edges = [e for e in live(world, f"user:{user}", "delegates_to") if e["object"] == f"agent:{agent}"]
    return any(
        allowed(e["actions"], action)
        and allowed(e["purposes"], grant.purpose)
        and (e["expires_at"] is None or make.NOW + grant.ttl_s <= e["expires_at"])
        for e in edges
    )


def postures(world: World, agent: str, instance: str, user: str | None) -> World:
    prefixes = [p for p in (*make.PREFIXES, *make.AGENTS) if agent == p or agent.startswith(p + "/")]
    targets = {("agent", agent), ("instance", instance), ("user", user or ""), *(("namespace", p) for p in prefixes)}
    digests = {(scope, target_digest(scope, value)) for scope, value in targets}
    return [p for p in latest(world, "posture") if (p["scope"], p["target"]) in digests and p["level"] != "normal"]


def check_lies_within(world: World, asked: DecisionInput, decision: Decision) -> None:
    """Every bound, one after the other, of one granted call."""
    grant = decision.grant
    assert grant is not None
    exp = asked.now + grant.ttl_s
    agent = next(a for a in latest(world, "agent") if a["id"] == asked.caller.id)
    tool = next(t for t in latest(world, "tool") if t["name"] == asked.tool)
    spaces = [n for n in latest(world, "namespace") if asked.caller.id.startswith(n["prefix"] + "/") or asked.caller.id == n["prefix"]]
    human = asked.user.sub if asked.user else asked.parent.sub if asked.parent and "://" not in asked.parent.sub else None

    assert asked.views_fresh
    assert spaces
    assert agent["state"] == tool["state"] == "active"
    assert set(grant.actions) <= set(asked.actions) & set(tool["actions"])
    assert grant.purpose == asked.purpose
    assert asked.purpose in tool["purposes"]
    assert exp <= min(asked.caller.svid_exp, asked.now + tool["max_ttl_s"], asked.now + (asked.ttl_s or 60))
    found = postures(world, asked.caller.id, asked.caller.instance, human)
    assert all(p["level"] == "narrowed" for p in found)
    for bound in (agent["charter"], *(space["bounds"] for space in spaces), *({"tools": ["*"], **p} for p in found)):
        check_within(bound, asked, decision)
    if asked.parent is not None:
        parent = asked.parent
        check_within({**parent.ceiling.plain(), "max_ttl_s": parent.exp - asked.now}, asked, decision)
        assert grant.ceiling.depth <= parent.ceiling.depth - (parent.how == "child")
        assert grant.sub == parent.sub
    root = asked.parent.act_chain[0].sub if asked.parent and asked.parent.act_chain else asked.caller.id
    for action in grant.actions:
        if human is None:
            continue
        assert operates(world, f"user:{human}", asked.tool, action)
        assert delegates(world, human, root, action, grant)
        if asked.user is not None:
            assert delegates(world, human, asked.caller.id, action, grant)
            assert action in asked.user.scope or asked.purpose in asked.user.scope
            assert exp <= asked.user.exp


def check_within(bound: dict[str, Any], asked: DecisionInput, decision: Decision) -> None:
    """The call, and the ceiling of whatever follows, lie within one bound."""
    grant = decision.grant
    assert grant is not None
    assert allowed(bound["tools"], asked.tool)
    assert allowed(bound["purposes"], grant.purpose)
    assert all(allowed(bound["actions"], action) for action in grant.actions)
    assert grant.ttl_s <= bound["max_ttl_s"]
    assert grant.ceiling.depth <= bound.get("depth", 8)
    ceiling: Ceiling = grant.ceiling
    for name, patterns, codes in (
        ("tools", ceiling.tools, make.TOOLS),
        ("purposes", ceiling.purposes, make.PURPOSES),
        ("actions", ceiling.actions, make.ACTIONS),
    ):
        assert all(allowed(bound[name], code) for code in codes if allowed(patterns, code))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_a_grant_lies_within_everything_that_bounds_it(data: st.DataObject) -> None:
    """INVARIANT: granted lies within asked, charter, every namespace's bounds, posture, the parent's ceiling and the person's rights;
    a child outlives no parent (promise 3).

    It would break if any gate forgot to shrink the actions, the life or the ceiling, or took the wider of two patterns.
    """
    world = data.draw(make.worlds())
    table = table_of(world)
    parent, user = None, data.draw(make.users())
    for _ in range(4):
        asked = data.draw(make.requests(parent, user))
        decision = decide(asked, table)
        if not decision:
            continue
        check_lies_within(world, asked, decision)
        parent = make.parent_of(asked, decision, data.draw(st.sampled_from(["child", "sibling"])))
        user = data.draw(st.sampled_from([None, user]))


def chain_world() -> World:
    """Three agents that may hand steps to each other, all tools, one person: enough for deep chains to be allowed."""
    agent = {"kind": "agent", "owner": "o", "realm": "first_party", "version": "1", "deployment": "d", "agent_type": "t", "selectors": {}}
    tool = {"kind": "tool", "owner": "o", "endpoint": "http://t", "resource": "https://r", "bind": [], "max_ttl_s": 300}
    tool |= {"actions": list(make.ACTIONS), "purposes": list(make.PURPOSES), "state": "active"}
    return [
        {"kind": "namespace", "prefix": make.DOMAIN, "owner": "o", "bounds": make.WIDE},
        *({**agent, "id": a, "charter": {**make.WIDE, "delegates": list(make.AGENTS)}, "state": "active"} for a in make.AGENTS),
        *({**tool, "name": t, "workload": f"{make.DOMAIN}/tools/{t}"} for t in make.TOOLS),
        {"kind": "policy", "name": "p", "cedar": "permit (principal, action, resource);"},
    ]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_leaf_of_a_chain_holds_more_than_the_intersection_along_its_path(data: st.DataObject) -> None:
    """INVARIANT: along a chain every ceiling lies within the one before, and so does every call; each ends no later (promise 3).

    It would break if a child's ceiling were cut anew from its own charter, or if depth were not counted down.
    """
    world = chain_world()
    for fact in world:
        if fact["kind"] == "agent":
            fact["charter"] = {**fact["charter"], **data.draw(make.bounds()), "depth": 8, "purposes": ["*"]}
    table = table_of(world)
    asked = data.draw(make.requests())
    decision = decide(asked, table)
    hops = 0
    while decision and hops <= 8:
        parent = make.parent_of(asked, decision, "child")
        asked = data.draw(make.requests(parent))
        decision = decide(asked, table)
        if decision:
            check_lies_within(world, asked, decision)
            hops += 1
    assert hops <= 8


def person_world(data: st.DataObject) -> World:
    """The same, with charters and consents of any width, and a person who operates everything."""
    world = chain_world()
    for fact in world:
        if fact["kind"] == "agent":
            fact["charter"] = {**fact["charter"], **data.draw(make.bounds()), "depth": 8, "tools": ["*"]}
    edge = {"kind": "relation", "expires_at": None, "actions": ["*"], "purposes": ["*"]}
    for tool in make.TOOLS:
        world.append({**edge, "subject": "user:marty", "relation": "operates", "object": f"tool:{tool}"})
    for agent in make.AGENTS:
        given = {"actions": data.draw(make.patterns(make.ACTIONS)), "purposes": data.draw(make.patterns(make.PURPOSES))}
        ends = data.draw(st.sampled_from([None, make.NOW + 7, make.NOW + 40]))
        to = {"subject": "user:marty", "relation": "delegates_to", "object": f"agent:{agent}"}
        world.append({**edge, **to, **given, "expires_at": ends})
    return world


def check_leaf(world: World, path: list[tuple[DecisionInput, Decision]]) -> None:
    """The last call of a path lies within the charter, and the consent where one was needed, of every agent on it; and ends first."""
    leaf, decision = path[-1]
    assert decision.grant is not None
    for position, (asked, above) in enumerate(path):
        charter = next(a for a in latest(world, "agent") if a["id"] == asked.caller.id)["charter"]
        assert allowed(charter["tools"], leaf.tool)
        assert allowed(charter["purposes"], leaf.purpose)
        assert all(allowed(charter["actions"], action) for action in decision.grant.actions)
        assert above.grant is not None
        assert decision.grant.ttl_s <= min(above.grant.ttl_s, charter["max_ttl_s"])
        if decision.grant.sub == "marty" and (position == 0 or asked.user is not None):
            assert all(delegates(world, "marty", asked.caller.id, action, decision.grant) for action in decision.grant.actions)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_no_leaf_of_any_tree_holds_more_than_the_intersection_along_its_path(data: st.DataObject) -> None:
    """INVARIANT: in any tree of delegations, whoever branches where, each call lies within what every agent, consent and token on the way
    to it allows, in width and in time (promise 3).

    It would break if a branch were measured by its parent alone, or a callee by its own rights.
    """
    world = person_world(data)
    table = table_of(world)
    rights = make.UserRights(sub="marty", iss="i", scope=(*make.ACTIONS, *make.PURPOSES), client_id="c", exp=9999, digest=make.DIGEST)
    nodes: list[list[tuple[DecisionInput, Decision]]] = []
    for _ in range(8):
        above = data.draw(st.sampled_from(nodes)) if nodes else []
        how = data.draw(st.sampled_from(["child", "child", "sibling"]))
        user = rights if not above else data.draw(st.sampled_from([None, rights]))
        asked = data.draw(make.requests(make.parent_of(*above[-1], how) if above else None, user))
        decision = decide(asked, table)
        if decision:
            nodes.append([*above, (asked, decision)])
            check_leaf(world, nodes[-1])
            check_lies_within(world, asked, decision)


def test_the_depth_of_a_ceiling_ends_a_chain() -> None:
    table = table_of(chain_world())
    caller = make.Caller(
        id=make.AGENTS[0], instance=make.INSTANCES[make.AGENTS[0]], attested=True, assurance="production", jkt=make.DIGEST, svid_exp=9999
    )
    asked = DecisionInput(
        request_id="r", request_digest=make.DIGEST, tool="search", actions=("read",), purpose="web", caller=caller, now=make.NOW,
        views_fresh=True, revocations=0,
    )  # fmt: skip
    decision = decide(asked, table)
    hops = 0
    while decision:
        asked = asked.model_copy(update={"parent": make.parent_of(asked, decision, "child")})
        decision = decide(asked, table)
        hops += bool(decision)
    assert hops == 8
    assert decision.reason == "chain_too_deep"
