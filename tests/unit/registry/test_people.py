"""The registry keeps people apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from schemas.commands import Change
from schemas.facts import Client, FactBody, Person, Relation
from streams.facts_keys import key_of
from tests.support.facts import table_of, tombstone
from tests.support.identities import Signer
from tests.support.people import LOGIN, MOVED, PARTNER, provider, speaker
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric
from workers.registry.rules_people import warnings
from workers.registry.validate import validate

FABRIC = Fabric("88mph.com", frozenset(), "development")
EDR = "https://edr.example"
ROOT = {"kind": "namespace", "prefix": "spiffe://88mph.com", "owner": "ops"}
AGENT = "agent:spiffe://88mph.com/agents/advisor"
NKEY = "UAAF4BZ3YVXDP6LVNV4RSFPTDDW7P5CKF5RZM5BEGYDZ6CHL6AOGOBN3"


def put(body: FactBody) -> Change:
    return Change(kind=body.kind, key=key_of(body), body=body)


def gone(body: FactBody) -> Change:
    return Change(kind=body.kind, key=key_of(body))


def knows(name: str) -> Relation:
    return Relation(subject=f"user:{name}", relation="member_of", object="team:support")


def prospect_of(before: Sequence[FactBody], changes: Sequence[Change], deleted: Sequence[FactBody] = ()) -> Prospect:
    table = table_of([ROOT, *(body.plain() for body in (*before, *deleted))])
    for body in deleted:
        table.apply(table.revision + 1, *tombstone(body.kind, key_of(body)))
    return Prospect(table, changes)


def problems(before: Sequence[FactBody], *changes: Change, deleted: Sequence[FactBody] = ()) -> str:
    return "; ".join(problem.text for problem in validate(prospect_of(before, changes, deleted), changes, FABRIC))


BARE, B = provider(), provider(PARTNER, "partner")


@pytest.mark.parametrize("namespace", ["", "corp"])
def test_no_second_provider_with_the_namespace_of_another(namespace: str) -> None:
    """INVARIANT: no two providers name people alike, unless the facts say that they are the same people.

    Broken by looking at the changed fact alone: the second provider's marty would be the first one's.
    """
    first = provider(LOGIN, namespace)
    text = problems([first], put(provider(PARTNER, namespace)))
    assert LOGIN in text
    assert "same_people_as" in text
    assert "share" in problems([], put(first), put(provider(PARTNER, namespace)))
    assert "share" in problems([first, provider(PARTNER, "other")], put(provider(PARTNER, namespace)))
    assert problems([first], put(provider(PARTNER, "other"))) == ""


def test_the_same_people_are_said_to_be_the_same() -> None:
    moved = provider(MOVED, "", LOGIN)
    assert problems([BARE], put(moved)) == ""
    assert problems([BARE, moved], gone(BARE)) == ""
    assert problems([], put(provider(LOGIN, "", LOGIN))) == ""
    assert "has the namespace ''" in problems([BARE], put(provider(MOVED, "new", LOGIN)))
    assert "name that one" in problems([BARE, moved], put(provider("https://third.example", "", MOVED)))
    assert "share" in problems([BARE, moved], put(provider(LOGIN, "", "https://third.example")))
    assert "share" in problems([BARE, moved], put(provider(MOVED)))


@pytest.mark.parametrize("name", ["marty", "partner::marty"])
def test_nobody_inherits_the_people_of_a_provider_that_is_gone(name: str) -> None:
    """INVARIANT: what was written down for one provider's person is not the next one's.

    Broken by freeing a namespace with the provider that had it: its people's rights would wait for whoever comes.
    """
    namespace = "partner" if "::" in name else ""
    old, new = provider(LOGIN, namespace), provider(MOVED, namespace)
    assert "already has people (relation/" in problems([knows(name)], put(new), deleted=[old])
    assert problems([], put(new), deleted=[old]) == ""
    assert problems([knows(name)], put(new), gone(knows(name)), deleted=[old]) == ""
    assert problems([knows(name)], put(provider(MOVED, namespace, LOGIN)), deleted=[old]) == ""
    assert problems([knows(name)], put(provider(LOGIN, namespace, LOGIN)), deleted=[old]) == "", "it is back, and says that it is"
    operator = Person(nkey=NKEY, name="m", user=name, roles=())
    assert "already has people (person/" in problems([operator], put(new), deleted=[old])


def test_the_first_provider_has_the_people_that_were_written_down_before_it() -> None:
    assert problems([knows("marty")], put(BARE)) == ""
    assert problems([knows("marty"), BARE], put(BARE.model_copy(update={"aud": "https://other"}))) == ""
    assert "already has people" in problems([knows("marty"), provider(LOGIN, "corp")], put(provider(PARTNER)))


def test_a_name_has_a_provider() -> None:
    assert "no provider has the namespace partner" in problems([BARE], put(knows("partner::marty")))
    assert problems([BARE, B], put(knows("partner::marty"))) == ""
    assert problems([BARE], put(B), put(knows("partner::marty"))) == ""
    assert "no provider" in problems([BARE, B], gone(B), put(knows("partner::marty")))
    consent = Relation(subject="user:partner::marty", relation="delegates_to", object=AGENT)
    assert "no provider" in problems([BARE], put(consent))
    assert "no provider" in problems([BARE], put(Person(nkey=NKEY, name="m", user="partner::m", roles=())))


def test_nobody_is_called_what_a_workload_or_a_client_is() -> None:
    """INVARIANT: `sub` is unique within the trust domain among people, workloads and clients together.

    Broken by asking it of new clients alone: a person who is written down later would be somebody's client.
    """
    assert "names a workload" in problems([BARE], put(knows("spiffe://88mph.com/agents/advisor")))
    assert "names a workload" in problems([BARE], put(Person(nkey=NKEY, name="m", user="SPIFFE://88mph.com/x", roles=())))
    assert "OAuth client" in problems([BARE, client("front")], put(knows("front")))
    assert "person's name" in problems([BARE, knows("front")], put(client("front")))
    assert problems([BARE, client("front")], put(knows("frontier"))) == ""


def test_whoever_could_speak_of_people_says_of_whose() -> None:
    """INVARIANT: where providers name different people, no transmitter speaks of any that its fact does not name.

    Broken by asking it of new transmitters alone: a second provider's people would be the old one's to revoke.
    """
    edr = speaker(EDR)
    assert problems([BARE], put(edr)) == ""
    assert EDR in problems([BARE, edr], put(B))
    assert EDR in problems([BARE, B], put(edr))
    assert problems([BARE, edr], put(B), put(speaker(EDR, (LOGIN,)))) == ""
    assert problems([BARE, B], put(speaker(EDR, ()))) == ""
    assert problems([BARE, edr], put(provider(MOVED, "", LOGIN))) == ""
    for quiet in (
        speaker(PARTNER),
        speaker(EDR, namespaces=("spiffe://88mph.com/agents",)),
        speaker(EDR, state="suspended"),
        speaker("weft:points"),
    ):
        assert problems([BARE, quiet], put(B)) == ""


def test_people_are_of_providers_that_we_know() -> None:
    assert "people[0] is no provider" in problems([BARE], put(speaker(EDR, (PARTNER,))))
    assert problems([BARE], put(B), put(speaker(EDR, (PARTNER,)))) == ""


def client(client_id: str = "front", **changes: Any) -> Client:
    made = {
        "client_id": client_id,
        "owner": "o",
        "auth_method": "private_key_jwt",
        "jwks": {"keys": [Signer().jwk]},
        "protects": ("https://a",),
    }
    return Client.model_validate({**made, **changes})


def test_whose_people_a_clients_own_word_names() -> None:
    exchange = {"grant_types": ("urn:ietf:params:oauth:grant-type:token-exchange",), "ceilings": {"unsigned_json": ("a",)}}
    assert problems([BARE, B], put(client(people=PARTNER, **exchange))) == ""
    assert "people names no provider" in problems([BARE], put(client(people=PARTNER, **exchange)))
    assert "own word" in problems([BARE, B], put(client(people=PARTNER)))
    assert "looks like a person" in problems([], put(client("partner::marty")))


def test_what_is_worth_a_second_look() -> None:
    assert list(warnings(prospect_of([], [put(BARE)]))) == []
    ((same,), (moved,)) = (
        list(warnings(prospect_of([BARE], [put(made)]))) for made in (provider(MOVED, "", LOGIN), provider(LOGIN, "corp"))
    )
    assert same.startswith(f"{MOVED} will speak for everybody whom {LOGIN} names or named")
    assert "stay with the names they had" in moved
