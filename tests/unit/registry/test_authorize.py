"""Who may write what: a person, a fact, and where the role must be held."""

from __future__ import annotations

from typing import Any

import pytest
from weft.nkey import KeyPair

from schemas.commands import Change
from schemas.facts import Person
from streams.facts_keys import key_of
from tests.support.facts import body, table_of
from workers.registry.authorize import missing_role
from workers.registry.prospect import Prospect

ROOT = "spiffe://88mph.com"
AGENTS, TOOLS = f"{ROOT}/agents", f"{ROOT}/tools"
NKEY = KeyPair("U").public
TOOL = {
    "kind": "tool",
    "name": "t",
    "owner": "o",
    "workload": f"{TOOLS}/t",
    "endpoint": "http://h",
    "resource": "https://h",
    "actions": ["a"],
    "purposes": ["p"],
}
AGENT = {
    "kind": "agent",
    "id": f"{AGENTS}/x/a",
    "owner": "o",
    "realm": "first_party",
    "version": "1",
    "deployment": "d",
    "agent_type": "t",
    "selectors": {},
    "charter": {"purposes": ["p"], "tools": ["t"], "actions": ["a"]},
}


def relation(subject: str, kind: str, obj: str) -> dict[str, Any]:
    return {"kind": "relation", "subject": subject, "relation": kind, "object": obj}


def person(*namespaces: str, role: str = "registrar", state: str = "active") -> Person:
    roles = [{"role": role, "namespace": namespace} for namespace in namespaces]
    made = body({"kind": "person", "nkey": NKEY, "name": "n", "roles": roles, "state": state})
    assert isinstance(made, Person)
    return made


def may(who: Person | None, plain: dict[str, Any], *, delete: bool = False, held: tuple[dict[str, Any], ...] = ()) -> bool:
    made = body(plain)
    change = Change(kind=made.kind, key=key_of(made), body=None if delete else made)
    return missing_role(who, [change], Prospect(table_of(held), [change]), "88mph.com") is None


@pytest.mark.parametrize(
    ("plain", "places"),
    [
        (AGENT, (f"{AGENTS}/x/a",)),
        (TOOL, (f"{TOOLS}/t",)),
        ({"kind": "namespace", "prefix": AGENTS, "owner": "o"}, (AGENTS,)),
        (relation(f"agent:{AGENTS}/a", "may_delegate_to", f"agent:{AGENTS}/b"), (f"{AGENTS}/a", f"{AGENTS}/b")),
        (relation("user:u", "delegates_to", f"agent:{AGENTS}/a"), (ROOT, f"{AGENTS}/a")),
        (relation("toolgroup:g", "contains", "tool:t"), (ROOT, f"{TOOLS}/t")),
        (relation("user:u", "member_of", "team:t"), (ROOT,)),
        ({"kind": "policy", "name": "p", "cedar": "x"}, (ROOT,)),
        ({"kind": "response", "name": "p", "rules": []}, (ROOT,)),
        ({"kind": "person", "nkey": NKEY, "name": "n", "roles": []}, (ROOT,)),
        ({"kind": "issuer", "iss": "i", "aud": "a", "jwks": {}}, (ROOT,)),
        ({"kind": "key", "purpose": "tokens", "kid": "k", "jwk": {}, "trust_domain": "88mph.com"}, (ROOT,)),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_every_place_a_fact_touches_needs_the_role(plain: dict[str, Any], places: tuple[str, ...]) -> None:
    """INVARIANT: nobody writes a fact without the role registrar over every place that it touches.

    A fact placed by one of its ends alone would let an agent's registrar write `user delegates_to agent`: a person's rights, taken.
    """
    for delete in (False, True):
        held = (TOOL, plain) if delete else (TOOL,)
        assert may(person(*places), plain, delete=delete, held=held)
        assert may(person(ROOT), plain, delete=delete, held=held)
        for missing in places:
            others = tuple(place for place in places if place != missing and place != ROOT)
            assert not may(person(*others), plain, delete=delete, held=held)
        for who in (
            None,
            person(),
            person(*places, role="auditor"),
            person(*places, state="suspended"),
            person(f"{ROOT}.evil", f"{ROOT}/agent"),
        ):
            assert not may(who, plain, delete=delete, held=held)


def test_a_fact_that_moves_touches_both_places() -> None:
    """Verifies that a tool cannot be taken over by giving it a workload of one's own."""
    taken = {**TOOL, "workload": f"{AGENTS}/mine"}
    assert not may(person(AGENTS), taken, held=(TOOL,))
    assert not may(person(TOOLS), taken, held=(TOOL,))
    assert may(person(AGENTS, TOOLS), taken, held=(TOOL,))


def test_what_nobody_knows_belongs_to_the_trust_domain() -> None:
    assert not may(person(AGENTS), AGENT, delete=True)
    assert may(person(ROOT), AGENT, delete=True)


def test_whose_people_are_whose_takes_the_whole_trust_domain() -> None:
    provider = {"kind": "issuer", "iss": "https://i", "aud": "a", "jwks": {"keys": []}, "same_people_as": "https://j"}
    made = body(provider)
    for place, missing in ((AGENTS, True), (ROOT, False)):
        person = Person.model_validate({"nkey": NKEY, "name": "n", "roles": [{"role": "registrar", "namespace": place}]}, strict=False)
        change = Change(kind=made.kind, key=key_of(made), body=made)
        assert (missing_role(person, [change], Prospect(table_of([]), [change]), "88mph.com") is not None) is missing
