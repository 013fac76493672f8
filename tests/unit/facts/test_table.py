"""The facts as a table: events in, typed answers out."""

import tracemalloc
from typing import Any

import pytest
from weft.digest import sha256, target_digest

from schemas.facts import Kind
from streams.facts_keys import MAX_FACT_BYTES, key_of, place_of, read_fact, subject_of
from streams.facts_relations import tokens
from streams.facts_table import FactChange, FactsTable
from streams.subjects import relation_key
from tests.support import world
from tests.support.facts import body, message, put, table_of, tombstone

ADVISOR = "spiffe://88mph.com/agents/advisor"
NKEY = "U" + "A" * 55
POINT = f"i{'c4' * 13}.88mph~com.tools.payments"
JWK = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}
OTHERS: list[dict[str, Any]] = [
    {"kind": "person", "nkey": NKEY, "name": "Doc", "roles": [{"role": "revoker", "namespace": "spiffe://88mph.com"}]},
    {
        "kind": "transmitter", "iss": "https://risk", "aud": "weft", "jwks": {"keys": []}, "trust": {"*": "high"},
        "ceiling": {"namespaces": ["spiffe://88mph.com"], "strongest": "quarantine"},
    },
    {"kind": "issuer", "iss": "https://op", "jwks": {"keys": []}, "aud": "weft"},
    {"kind": "key", "purpose": "tokens", "kid": "k1", "jwk": JWK, "trust_domain": "88mph.com"},
    {"kind": "key", "purpose": "tokens", "kid": "k0", "jwk": JWK, "trust_domain": "88mph.com", "state": "compromised"},
    {"kind": "key", "purpose": "svid", "kid": "k2", "jwk": JWK, "trust_domain": "88mph.com"},
    {
        "kind": "client", "client_id": "console", "owner": "ops", "auth_method": "private_key_jwt", "jwks": {"keys": [JWK]},
        "grant_types": ["client_credentials"], "scopes": ["ssf.*"],
    },
    {
        "kind": "stream", "stream_id": "s1", "client_id": "console", "aud": "console", "delivery": {"method": "urn:ietf:rfc:8936"},
        "removed": [{"format": "email", "email": "ann@example.com"}], "created_at": 1_800_000_000,
    },
    {
        "kind": "authserver", "name": "login", "owner": "ops", "issuer": "https://login.88mph.com", "client_id": "weft",
        "grants": ["client_credentials"], "resources": ["https://crm.88mph.com"],
    },
    {
        "kind": "credential", "name": "weather-key", "hosts": ["api.weather.example"], "current": 1,
        "versions": [{"version": 1, "digest": "A" * 43, "at": 1}],
    },
    {"kind": "response", "name": "default", "rules": []},
    {"kind": "posture", "scope": "user", "target": target_digest("user", "marty"), "level": "narrowed", "causes": []},
    {"kind": "detection", "name": "comes-back", "when": {"of": "cycle"}},
    {"kind": "subscription", "name": "corp", "iss": "https://risk", "events": ["https://e"], "authorization": {"method": "static"}},
    {"kind": "point", "name": POINT, "workload": "spiffe://88mph.com/tools/payments", "n": 3, "why": "not_applied", "since": 1},
    {
        "kind": "approval", "agent": ADVISOR, "slot": 0, "id": "a1", "digest": "D" * 43, "instance": "i" + "a2" * 13, "tool": "pay",
        "actions": ["refund"], "purpose": "process.refund", "call": {"method": "POST", "path": "P" * 43, "body": "B" * 43},
        "explanation": "e1", "asked_at": 1, "expires_at": 2,
    },
    {
        "kind": "pending", "iss": "https://risk", "slot": 0, "id": "p1", "jti": "j1", "event": "https://e", "confidence": "high",
        "rule": "high", "policy": "default", "response": "quarantine", "scope": "agent", "value": ADVISOR, "place": ADVISOR,
        "why": "beyond", "asked_at": 1, "expires_at": 2,
    },
]  # fmt: skip


def everything() -> list[dict[str, Any]]:
    return [*world.bodies().values(), *OTHERS]


def test_every_kind_is_found_under_its_own_name() -> None:
    table = table_of(everything())
    assert {kind for kind in Kind if next(table.list(kind), None)} == set(Kind)
    assert table.agent(ADVISOR) is not None
    assert table.tool("payments-processing") is not None
    assert table.person(NKEY) is not None
    assert table.transmitter("https://risk") is not None
    assert table.issuer("https://op") is not None
    assert table.client("console") is not None
    assert table.credential("weather-key") == table.credentials()[0]
    assert table.stream("s1") == table.streams()[0]
    assert [key.kid for key in table.keys("tokens")] == ["k0", "k1"]
    assert len(table.keys()) == 3
    assert [policy.name for policy in table.policies()] == ["default"]
    assert [policy.name for policy in table.responses()] == ["default"]
    assert table.subscription("corp") in table.subscriptions()
    assert [detection.name for detection in table.detections()] == ["comes-back"]
    assert len(table.tools()) == 4
    assert len(table.agents()) == 3
    assert len(table.transmitters()) == len(table.issuers()) == len(table.clients()) == 1


@pytest.mark.parametrize("plain", everything(), ids=lambda plain: plain["kind"])
def test_a_fact_comes_back_as_it_went_in(plain: dict[str, Any]) -> None:
    made = body(plain)
    table = table_of([plain])
    held = table.get(made.kind, key_of(made))
    assert held is not None
    seq, fact = held
    assert (seq, fact.body, fact.by) == (1, made, "bootstrap")
    assert [entry.fact for entry in table.list(made.kind)] == [fact]
    assert place_of(subject_of(made.kind, key_of(made))) == (made.kind, key_of(made))


@pytest.mark.parametrize("plain", everything(), ids=lambda plain: plain["kind"])
def test_a_deleted_fact_keeps_its_revision_and_nothing_else(plain: dict[str, Any]) -> None:
    made = body(plain)
    key = key_of(made)
    table = put(table_of([plain]), plain, deleted=True)
    held = table.get(made.kind, key)
    assert held is not None
    assert (held[0], held[1].body) == (2, None)
    assert table.revision_of(made.kind, key) == 2
    assert table.unreadable(made.kind) == ()
    put(table, plain)
    assert table.revision_of(made.kind, key) == 3


def test_apply_tells_what_changed_and_ignores_the_past() -> None:
    table = FactsTable()
    subject, raw = message(world.bodies()["payments"])
    assert table.apply(7, subject, raw) == FactChange(7, Kind.TOOL, "payments-processing")
    assert (table.revision, table.version(Kind.TOOL), table.version(Kind.AGENT)) == (7, 7, 0)
    assert table.apply(7, *tombstone(Kind.TOOL, "payments-processing")) is None
    assert table.apply(3, *tombstone(Kind.TOOL, "payments-processing")) is None
    assert table.tool("payments-processing") is not None


@pytest.mark.parametrize("subject", ["weft.fact", "weft.fact.tool", "weft.fact.tool.", "weft.fact.dragon.x", "weft.other.tool.x", ""])
def test_an_unknown_subject_moves_the_revision_and_nothing_else(subject: str) -> None:
    table = FactsTable()
    assert table.apply(1, subject, b"{}") is None
    assert table.revision == 1


GARBAGE = [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"{}" * 10, b"[" * 100_000, b" " * (MAX_FACT_BYTES + 1)]


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("raw", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_unreadable_and_never_raises(kind: Kind, raw: bytes) -> None:
    """INVARIANT: a message that cannot be believed replaces what was there and counts as its strictest reading (promise 7).

    It would break if `apply` raised, which would stop the view, or if the old state lived on under a newer revision.
    """
    plain = next(p for p in everything() if p["kind"] == kind.value)
    key = key_of(body(plain))
    table = table_of([plain])
    table.apply(2, f"weft.fact.{kind.value}.{key}", raw)
    assert table.get(kind, key) is None
    assert table.unreadable(kind) == (key,)
    assert table.revision_of(kind, key) == 2
    assert list(table.list(kind)) == []


def test_a_point_that_cannot_be_read_is_not_contained() -> None:
    table = FactsTable()
    assert table.uncontained() == ()
    table.apply(1, f"weft.fact.point.{POINT}", b"?")
    assert table.uncontained_of("spiffe://88mph.com/tools/payments") == table.uncontained() == (POINT,)
    assert table.uncontained_of("spiffe://88mph.com/tools") == ()
    table.apply(2, *tombstone(Kind.POINT, POINT))
    assert table.uncontained() == ()


def test_unreadable_is_strict_where_absent_would_be_mild() -> None:
    target = target_digest("instance", "iaaaaaaaaaaaaaaaaaaaaaaaaaa")
    table = FactsTable()
    table.apply(1, f"weft.fact.posture.instance.{target}", b"?")
    table.apply(2, "weft.fact.namespace.88mph~com.agents", b"?")
    table.apply(3, "weft.fact.agent.88mph~com.agents.advisor", b"?")
    assert [p.level for p in table.postures_for("iaaaaaaaaaaaaaaaaaaaaaaaaaa", ADVISOR, None)] == ["quarantined"]
    (space,) = table.namespaces_above(ADVISOR)
    assert (space.bounds.tools, space.bounds.actions, space.bounds.purposes) == ((), (), ())
    assert table.agent(ADVISOR) is None
    assert table.knows_agent(ADVISOR)
    assert not table.knows_agent("spiffe://88mph.com/agents/other")


def test_a_body_under_a_foreign_key_is_not_believed() -> None:
    tool = world.bodies()["payments"]
    _, raw = message(tool)
    assert read_fact(Kind.TOOL, "payments-processing", raw) is not None
    assert read_fact(Kind.TOOL, "fraud-check", raw) is None
    assert read_fact(Kind.AGENT, "payments-processing", raw) is None
    assert read_fact(Kind.TOOL, "payments-processing", raw.replace(b'"name":"payments-processing"', b'"name":"other-tool"')) is None
    assert read_fact(Kind.TOOL, "payments-processing", raw.replace(b"org.weft.fact.v1", b"org.weft.other.v1")) is None


@pytest.mark.parametrize("key", ["a b", "*", ">", "a..b", ".a", ""])
def test_a_key_cannot_widen_its_subject(key: str) -> None:
    with pytest.raises(ValueError, match="token"):
        subject_of(Kind.TOOL, key)


def test_namespaces_above_are_registered_prefixes_of_whole_segments() -> None:
    prefixes = ["spiffe://88mph.com", "spiffe://88mph.com/agents", "spiffe://88mph.com/agents/adv", ADVISOR, "spiffe://88mph.org"]
    table = table_of({"kind": "namespace", "prefix": prefix, "owner": "o"} for prefix in reversed(prefixes))
    assert [space.prefix for space in table.namespaces_above(ADVISOR)] == [prefixes[0], prefixes[1], ADVISOR]
    assert table.namespaces_above("not an id") == ()
    put(table, {"kind": "namespace", "prefix": prefixes[1], "owner": "o"}, deleted=True)
    assert [space.prefix for space in table.namespaces_above(ADVISOR)] == [prefixes[0], ADVISOR]


TARGETS = [
    ("instance", "iaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ("agent", ADVISOR),
    ("namespace", ADVISOR),
    ("namespace", "spiffe://88mph.com"),
    ("user", "marty"),
]


@pytest.mark.parametrize(("scope", "value"), TARGETS)
def test_postures_are_found_by_digest(scope: str, value: str) -> None:
    posture = {"kind": "posture", "scope": scope, "target": target_digest(scope, value), "level": "quarantined", "causes": []}  # type: ignore[arg-type]
    table = table_of([posture])
    assert len(table.postures_for("iaaaaaaaaaaaaaaaaaaaaaaaaaa", ADVISOR, "marty")) == 1
    assert table.postures_for("ibbbbbbbbbbbbbbbbbbbbbbbbbb", "spiffe://88mph.org/agents/advisor", "doc") == ()
    assert FactsTable().postures_for("iaaaaaaaaaaaaaaaaaaaaaaaaaa", ADVISOR, "marty") == ()


def relation(subject: str, relation: str, obj: str, **more: Any) -> dict[str, Any]:
    return {"kind": "relation", "subject": subject, "relation": relation, "object": obj, **more}


def test_relations_are_indexed_at_both_ends() -> None:
    edges = [relation(f"user:u{n}", "member_of", "team:t") for n in range(5)] + [relation("user:u0", "delegates_to", "agent:a")]
    table = table_of(edges)
    assert [edge.object for edge in table.relations_from("user:u0")] == ["team:t", "agent:a"]
    assert [edge.object for edge in table.relations_from("user:u0", "delegates_to")] == ["agent:a"]
    assert [edge.subject for edge in table.relations_to("team:t")] == [f"user:u{n}" for n in range(5)]
    assert table.relations_to("team:t", "operates") == ()
    assert table.count_at(tokens("", "member_of", "team:t")[1]) == 5
    key, edge = table.relation("user:u3", "member_of", "team:t")
    assert (key, edge and edge.seq) == (relation_key("user:u3", "member_of", "team:t"), 4)
    for edge_plain in edges:
        put(table, edge_plain, deleted=True)
    assert table.relation_count() == 0
    assert table.relations_to("team:t") == table.relations_from("user:u0") == ()
    assert len(list(table.list(Kind.RELATION))) == 6


def test_people_are_named_by_what_starts_at_them() -> None:
    made = [
        {"kind": "relation", "subject": subject, "relation": "member_of", "object": "team:a"}
        for subject in ("user:marty", "user:partner::carl", "team:user:x")
    ]
    table = table_of(made)
    assert sorted(name for _, name in table.people_related()) == ["marty", "partner::carl"]
    assert all(table.get(Kind.RELATION, key) is not None for key, _ in table.people_related())
    put(table, made[0], deleted=True)
    assert [name for _, name in table.people_related()] == ["partner::carl"]


def test_a_relation_is_replaced_not_added() -> None:
    table = table_of([relation("user:u", "operates", "tool:t"), relation("user:u", "operates", "tool:t", actions=["read"], expires_at=9)])
    (edge,) = table.relations_from("user:u")
    assert (edge.seq, edge.actions, edge.expires_at) == (2, ("read",), 9)
    assert edge.live(8)
    assert not edge.live(9)


def test_the_cache_of_models_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.facts_store.MAX_DECODED", 4)
    table = table_of({**world.bodies()["payments"], "name": f"tool-{n}"} for n in range(12))
    assert len(table.tools()) == 12
    assert len(table._decoded) == 4
    assert table.tool("tool-0") is not None


def test_a_relation_takes_half_a_kilobyte() -> None:
    """The target is 1.1 million in well under a gigabyte."""
    table = FactsTable()
    _, raw = message(relation("user:u0000000", "member_of", "team:t0000"))
    old = relation_key("user:u0000000", "member_of", "team:t0000")
    tracemalloc.start()
    for n in range(20_000):
        user, team = f"user:u{n:07}", f"team:t{n % 1000:04}"
        key = relation_key(user, "member_of", team)
        text = raw.decode().replace(old, key).replace("user:u0000000", user).replace("team:t0000", team)
        table.apply(n + 1, f"weft.fact.relation.{key}", text.encode())
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table.relation_count() == 20_000
    assert used / 20_000 < 650, f"{used / 20_000:.0f} bytes each"


def test_ids_are_digests_where_names_would_not_do() -> None:
    assert key_of(body(OTHERS[1])) == sha256("https://risk")
    assert key_of(body(OTHERS[2])) == sha256("https://op")
