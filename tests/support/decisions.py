"""Hypothesis strategies for whole worlds: facts of every kind over a small vocabulary, and requests about them."""

from typing import Any, TypeVar

from hypothesis import strategies as st
from weft.digest import target_digest

from schemas.decision import Caller, Decision, DecisionInput, Parent, UserRights
from schemas.token import PastActor
from tests.support.world import DEFAULT_POLICY

DIGEST = "A" * 43
DOMAIN = "spiffe://88mph.com"
AGENTS = (f"{DOMAIN}/agents/a", f"{DOMAIN}/agents/b", f"{DOMAIN}/agents/b/c")
PREFIXES = (DOMAIN, f"{DOMAIN}/agents", f"{DOMAIN}/agents/b")
TOOLS = ("pay-one", "pay-two", "search")
ACTIONS = ("read", "refund", "refuse")
PURPOSES = ("process.one", "process.two", "web")
USERS = ("marty", "doc")
INSTANCES = {agent: "i" + letter * 26 for agent, letter in zip(AGENTS, "abc", strict=True)}
NOW = 1_000
WIDE: dict[str, Any] = {"tools": ["*"], "purposes": ["*"], "actions": ["*"], "max_ttl_s": 300, "depth": 8}
POLICIES = (
    DEFAULT_POLICY,
    "permit (principal, action, resource);",
    DEFAULT_POLICY + 'forbid (principal, action == Weft::Action::"refuse", resource == Weft::Tool::"search");',
    'permit (principal == Weft::Agent::"spiffe://88mph.com/agents/a", action, resource);',
    "permit (principal, action, resource) when { context.nothing };",
    "not cedar",
)


T = TypeVar("T")


def usually(common: st.SearchStrategy[T], rare: st.SearchStrategy[T], times: int = 7) -> st.SearchStrategy[T]:
    """The common one, `times` out of `times + 1`: a world where everything is odd allows nothing and tests nothing."""
    return st.sampled_from([common] * times + [rare]).flatmap(lambda chosen: chosen)


def patterns(codes: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    """Everything, or a few exact codes and prefixes, or nothing."""
    one = st.sampled_from([*codes, *(code[:3] + "*" for code in codes)])
    return usually(usually(st.just(["*"]), st.lists(one, min_size=1, max_size=4, unique=True), 3), st.lists(one, max_size=1), 15)


def bounds() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "tools": patterns(TOOLS),
            "purposes": patterns(PURPOSES),
            "actions": patterns(ACTIONS),
            "max_ttl_s": st.integers(1, 300),
            "depth": st.integers(0, 8),
        }
    )


def namespaces() -> st.SearchStrategy[list[dict[str, Any]]]:
    domain = st.builds(_namespace, st.just(DOMAIN), usually(st.just(WIDE), bounds(), 2))
    below = st.builds(_namespace, st.sampled_from(PREFIXES[1:]), bounds())
    return usually(st.builds(lambda first, more: [first, *more], domain, st.lists(below, max_size=1)), st.lists(below, max_size=1), 15)


def _namespace(prefix: str, bound: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "namespace", "prefix": prefix, "owner": "o", "bounds": bound}


@st.composite
def agent(draw: st.DrawFn, spiffe_id: str) -> dict[str, Any]:
    charter = draw(bounds()) | {"delegates": draw(usually(st.just(list(AGENTS)), st.lists(st.sampled_from(AGENTS), max_size=1), 2))}
    return {
        "kind": "agent", "id": spiffe_id, "owner": "o", "realm": "first_party", "version": "1", "deployment": "d", "agent_type": "t",
        "charter": charter, "selectors": {}, "state": draw(st.sampled_from(["active"] * 15 + ["suspended"])),
    }  # fmt: skip


@st.composite
def tool(draw: st.DrawFn, name: str) -> dict[str, Any]:
    return {
        "kind": "tool", "name": name, "owner": "o", "workload": draw(st.sampled_from([f"{DOMAIN}/tools/{name}", *AGENTS])),
        "endpoint": "http://127.0.0.1", "resource": "https://r", "bind": [], "max_ttl_s": draw(st.integers(1, 300)),
        "actions": draw(usually(st.just(list(ACTIONS)), st.lists(st.sampled_from(ACTIONS), min_size=1, unique=True), 2)),
        "purposes": draw(usually(st.just(list(PURPOSES)), st.lists(st.sampled_from(PURPOSES), min_size=1, unique=True), 2)),
        "state": draw(st.sampled_from(["active"] * 15 + ["retired"])),
    }  # fmt: skip


@st.composite
def relations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A fabric where everyone may everything, with some edges gone, some limited or expired, and some more."""
    users, teams, groups = [f"user:{u}" for u in USERS], ["team:x", "team:y"], ["toolgroup:g", "toolgroup:h"]
    tools, agents = [f"tool:{t}" for t in TOOLS], [f"agent:{a}" for a in AGENTS]
    shapes = [
        (users + agents + teams, "member_of", teams),
        (users + agents + teams, "operates", groups + tools),
        (groups, "contains", groups + tools),
        (users, "delegates_to", agents),
        (agents, "may_delegate_to", agents),
    ]
    whole = [(who, "member_of", "team:x") for who in users + agents] + [("team:x", "operates", "toolgroup:g")]
    whole += [("toolgroup:g", "contains", tool) for tool in tools] + [(user, "delegates_to", agent) for user in users for agent in agents]
    kept = draw(usually(st.just(whole), st.lists(st.sampled_from(whole), unique=True), 2))
    more = st.sampled_from(shapes).flatmap(lambda s: st.tuples(st.sampled_from(s[0]), st.just(s[1]), st.sampled_from(s[2])))
    return [draw(_relation(edge)) for edge in [*kept, *draw(st.lists(more, max_size=6))]]


def _relation(edge: tuple[str, str, str]) -> st.SearchStrategy[dict[str, Any]]:
    subject, relation, obj = edge
    expiry = usually(st.none(), st.sampled_from([NOW, NOW + 1]), 15)
    return st.builds(
        lambda actions, purposes, expires_at: {
            "kind": "relation", "subject": subject, "relation": relation, "object": obj, "actions": actions, "expires_at": expires_at,
            "purposes": purposes if relation == "delegates_to" else ["*"],
        },
        usually(st.just(["*"]), patterns(ACTIONS), 7),
        usually(st.just(["*"]), patterns(PURPOSES), 7),
        expiry,
    )  # fmt: skip


@st.composite
def posture(draw: st.DrawFn) -> dict[str, Any]:
    targets = [("agent", a) for a in AGENTS] + [("instance", i) for i in INSTANCES.values()]
    scope, value = draw(st.sampled_from(targets + [("namespace", p) for p in PREFIXES] + [("user", u) for u in USERS]))
    return {
        "kind": "posture", "scope": scope, "target": target_digest(scope, value), "causes": [],
        "level": draw(st.sampled_from(["normal", "narrowed", "narrowed", "step_up", "quarantined"])),
        "actions": draw(patterns(ACTIONS)), "purposes": draw(patterns(PURPOSES)), "max_ttl_s": draw(st.integers(1, 300)),
    }  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Facts of a whole fabric; what a decision needs is there more often than not."""
    texts = usually(st.sampled_from([[POLICIES[0]], [POLICIES[1]]]), st.lists(st.sampled_from(POLICIES), max_size=2))
    return [
        *draw(namespaces()),
        *(draw(agent(spiffe_id)) for spiffe_id in AGENTS),
        *(draw(tool(name)) for name in TOOLS),
        *draw(relations()),
        *draw(usually(st.just([]), st.lists(posture(), max_size=2), 2)),
        *({"kind": "policy", "name": f"p{n}", "cedar": text} for n, text in enumerate(draw(texts))),
    ]


def callers() -> st.SearchStrategy[Caller]:
    return st.builds(
        lambda spiffe_id, exp: Caller(
            id=spiffe_id, instance=INSTANCES[spiffe_id], attested=True, assurance="production", jkt=DIGEST, svid_exp=NOW + exp
        ),
        st.sampled_from(AGENTS),
        usually(st.just(3600), st.sampled_from([0, 1, 200])),
    )


def users() -> st.SearchStrategy[UserRights | None]:
    user = st.builds(
        lambda sub, scope, exp: UserRights(sub=sub, iss="i", scope=tuple(scope), client_id="c", exp=NOW + exp, digest=DIGEST),
        st.sampled_from(USERS),
        st.lists(st.sampled_from([*ACTIONS, *PURPOSES, "*"]), min_size=1, max_size=4),
        usually(st.just(3600), st.sampled_from([0, 2])),
    )
    return st.none() | user


@st.composite
def requests(draw: st.DrawFn, parent: Parent | None = None, user: UserRights | None = None) -> DecisionInput:
    return DecisionInput(
        request_id="r",
        request_digest=DIGEST,
        tool=draw(st.sampled_from(TOOLS)),
        actions=tuple(draw(st.lists(st.sampled_from([*ACTIONS, *ACTIONS, *ACTIONS, "*", "ref*"]), min_size=1, max_size=3))),
        purpose=draw(usually(st.sampled_from(PURPOSES), st.just("*"), 15)),
        ttl_s=draw(st.none() | st.integers(1, 300)),
        caller=draw(callers()),
        user=user,
        parent=parent,
        now=NOW,
        views_fresh=draw(st.sampled_from([True] * 15 + [False])),
        revocations=0,
    )


def parent_of(asked: DecisionInput, decision: Decision, how: str) -> Parent:
    """The token that this decision would mint, as the next hop presents it."""
    grant = decision.grant
    assert grant is not None
    chain = asked.parent.act_chain if asked.parent is not None else ()
    actor = PastActor(sub=asked.caller.id, instance=asked.caller.instance, jti="j", tool=asked.tool, iat=asked.now)
    return Parent(
        how="child" if how == "child" else "sibling",
        jti="j",
        txn="t",
        sub=grant.sub,
        iat=asked.now,
        exp=asked.now + grant.ttl_s,
        ceiling=grant.ceiling,
        act_chain=(*chain, actor) if how == "child" else chain,
        digest=DIGEST,
    )
