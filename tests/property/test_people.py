"""The law of names: one name, one person.  draft-ietf-oauth-transaction-tokens-10."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.commands import Change
from schemas.facts import UserIssuer
from schemas.subject_ids import AnySubject, parse_subject
from streams.facts_keys import key_of
from tests.support.facts import table_of
from tests.support.people import provider, speaker
from workers.common.people import NoPerson, parts_of, person_of, population, provider_of
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric
from workers.registry.validate import validate
from workers.signals.policy.persons import Speaker

FABRIC = Fabric("88mph.com", frozenset(), "development")
ISSUERS = [f"https://{name}.example" for name in "abcd"]
NAMESPACES = ["", "a", "a-b", "b"]
PIECES = st.sampled_from(["a", "b", ":", "::", "a::", "b::", "a-b::", "marty", "@x"])
SUBS = st.lists(PIECES, min_size=1, max_size=4).map("".join)


@st.composite
def issuers(draw: st.DrawFn) -> list[UserIssuer]:
    chosen = draw(st.lists(st.sampled_from(ISSUERS), unique=True, min_size=1, max_size=4))
    follows = st.none() | st.sampled_from(ISSUERS)
    return [provider(iss, draw(st.sampled_from(NAMESPACES)), draw(follows)) for iss in chosen]


def accepted(asked: list[UserIssuer]) -> list[UserIssuer]:
    """Those that the registry lets in, one after the other."""
    held: list[UserIssuer] = []
    for issuer in asked:
        change = Change(kind=issuer.kind, key=key_of(issuer), body=issuer)
        if not validate(Prospect(table_of([one.plain() for one in held]), [change]), [change], FABRIC):
            held.append(issuer)
    return held


def person(issuer: UserIssuer, sub: str, held: list[UserIssuer]) -> str | None:
    try:
        return person_of(issuer, sub, held)
    except NoPerson:
        return None


@given(asked=issuers(), subs=st.lists(SUBS, min_size=2, max_size=3))
def test_no_two_people_have_one_name(asked: list[UserIssuer], subs: list[str]) -> None:
    """INVARIANT: for all providers that the registry accepts, two different (iss, sub) have two names, but for people said to be one.

    Broken by a separator that a `sub` may hold where there is no namespace, or by a second provider with the first's namespace.
    """
    held = accepted(asked)
    assert held, "the first is never refused"
    names: dict[str, tuple[str, str]] = {}
    for issuer in held:
        for sub in subs:
            name = person(issuer, sub, held)
            if name is not None:
                assert names.setdefault(name, (population(issuer), sub)) == (population(issuer), sub)


@given(asked=issuers(), subs=st.lists(SUBS, min_size=2, max_size=3))
def test_whatever_stands_among_the_facts(asked: list[UserIssuer], subs: list[str]) -> None:
    """INVARIANT: nor do two have one name where the registry was never asked; and who has a name is found again by it.

    Broken by leaving to the registry what has to hold of facts of before.
    """
    names: dict[str, tuple[str, str]] = {}
    for issuer in asked:
        for sub in subs:
            name = person(issuer, sub, asked)
            if name is None:
                continue
            assert names.setdefault(name, (population(issuer), sub)) == (population(issuer), sub)
            assert parts_of(name) == (issuer.namespace, sub)
            found = provider_of(name, asked)
            assert found is not None
            assert (population(found[0]), found[1]) == (population(issuer), sub)


@st.composite
def subjects(draw: st.DrawFn) -> AnySubject:
    simple = st.one_of(
        st.builds(lambda iss, sub: {"format": "iss_sub", "iss": iss, "sub": sub}, st.sampled_from(ISSUERS), SUBS),
        st.builds(lambda sub: {"format": "email", "email": f"{sub.replace('@', '')}@x"}, SUBS),
        st.builds(lambda sub: {"format": "opaque", "id": sub}, SUBS),
    )
    several = st.lists(simple, min_size=1, max_size=3).map(lambda said: {"format": "aliases", "identifiers": said})
    return parse_subject(draw(st.one_of(simple, several)))


@given(
    asked=issuers(),
    sender=st.sampled_from([*ISSUERS, "https://edr.example"]),
    listed=st.none() | st.lists(st.sampled_from(ISSUERS)),
    said=subjects(),
)
def test_a_transmitter_names_nobody_beyond_its_reach(
    asked: list[UserIssuer], sender: str, listed: list[str] | None, said: AnySubject
) -> None:
    """INVARIANT: whatever a transmitter says, whom it means is a person of a provider that its fact lists, or of its own.

    Broken by any format that is a person whatever the transmitter may speak of.
    """
    person = Speaker(speaker(sender, None if listed is None else tuple(listed)), asked).person(said)
    if person is None:
        return
    namespaces = {one.namespace for one in asked}
    reach = listed if listed is not None else [sender] if any(one.iss == sender for one in asked) else [one.iss for one in asked]
    assert parts_of(person).namespace in {one.namespace for one in asked if one.iss in reach}
    assert listed is not None or len(namespaces) == 1 or sender in ISSUERS
