"""Names of people: draft-ietf-oauth-transaction-tokens-10, `sub` is unique within the trust domain."""

from __future__ import annotations

import pytest

from schemas.facts import UserIssuer
from tests.support.people import LOGIN, MOVED, PARTNER, provider
from workers.common.people import NoPerson, alike, named, parts_of, person_of, provider_of

BARE, B = provider(), provider(PARTNER, "partner")


@pytest.mark.parametrize(
    ("namespace", "sub", "name"),
    [
        ("", "marty", "marty"),
        ("", "auth0|5f7c", "auth0|5f7c"),
        ("", "f:1b2c:marty", "f:1b2c:marty"),
        ("", "urn:example:marty", "urn:example:marty"),
        ("", "Partner::marty", "Partner::marty"),  # no namespace has capitals
        ("", "::marty", "::marty"),
        ("", "partner::", "partner::"),  # no provider says an empty sub
        ("partner", "marty", "partner::marty"),
        ("partner", "marty@88mph.com", "partner::marty@88mph.com"),
        ("partner", "partner::marty", "partner::partner::marty"),
        ("partner", ":x", "partner:::x"),
        ("partner", "spiffe://88mph.com/agents/advisor", "partner::spiffe://88mph.com/agents/advisor"),
    ],
)
def test_a_name_and_its_parts(namespace: str, sub: str, name: str) -> None:
    assert named(namespace, sub) == name
    assert parts_of(name) == (namespace, sub)


@pytest.mark.parametrize(
    ("namespace", "sub"),
    [
        ("", "partner::marty"),
        ("", "nobody-has-it-yet::marty"),
        ("", ""),
        ("", "two words"),
        ("", "márty"),
        ("partner", ""),
        ("partner", "x" * 504),
        ("partner", "a\nb"),
    ],
)
def test_nobody(namespace: str, sub: str) -> None:
    with pytest.raises(NoPerson) as caught:
        named(namespace, sub)
    assert sub == "" or sub not in str(caught.value)


def test_two_providers_that_name_marty_name_two_people() -> None:
    """INVARIANT: a person's name says whose `sub` it is.

    Broken by taking `sub` without `iss`: whoever controls the second provider would be everybody of the first.
    """
    assert person_of(BARE, "marty", (BARE, B)) == "marty"
    assert person_of(B, "marty", (BARE, B)) == "partner::marty"


@pytest.mark.parametrize("namespace", ["", "corp"])
def test_providers_that_share_a_namespace_without_saying_so_name_nobody(namespace: str) -> None:
    """INVARIANT: facts that would make one person of two people make nobody of either.

    Broken by believing that the registry has refused them: facts of before, or two commands at the same moment, may have put them there.
    """
    both = (provider(LOGIN, namespace), provider(PARTNER, namespace))
    for issuer in both:
        with pytest.raises(NoPerson, match="same_people_as"):
            person_of(issuer, "marty", both)
    assert list(alike(both)) == [both]
    assert provider_of(named(namespace, "marty"), both) is None


@pytest.mark.parametrize("namespace", ["", "corp"])
def test_a_provider_that_another_took_over_from(namespace: str) -> None:
    first, second, third = provider(LOGIN, namespace), provider(MOVED, namespace, LOGIN), provider(PARTNER, namespace, LOGIN)
    for issuers in ((first, second, third), (third, second), (second, first)):
        assert not list(alike(issuers))
        assert {person_of(issuer, "marty", issuers) for issuer in issuers} == {named(namespace, "marty")}
    assert provider_of(named(namespace, "marty"), (second, third, first)) == (first, "marty")
    other = provider(PARTNER, namespace, "https://elsewhere.example")
    with pytest.raises(NoPerson):
        person_of(second, "marty", (second, other))


@pytest.mark.parametrize(
    ("name", "found"),
    [("marty", (BARE, "marty")), ("partner::marty", (B, "marty")), ("else::marty", None), ("partner::", (BARE, "partner::"))],
)
def test_who_calls_somebody_so(name: str, found: tuple[UserIssuer, str] | None) -> None:
    assert provider_of(name, (B, BARE)) == found


def test_without_a_provider_nobody_calls_anybody() -> None:
    assert provider_of("marty", ()) is None
    assert provider_of("marty", (B,)) is None


def test_facts_of_before_keep_their_meaning() -> None:
    """Verifies that what was written before providers had namespaces is read as it was, and means whom it meant."""
    issuer = UserIssuer.model_validate_json('{"kind": "issuer", "iss": "https://login.88mph.com", "jwks": {"keys": []}, "aud": "a"}')
    assert person_of(issuer, "marty@88mph.com", (issuer,)) == "marty@88mph.com"
