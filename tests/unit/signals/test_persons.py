"""Of whom a transmitter may speak, and whom it means."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.facts import UserIssuer
from schemas.subject_ids import parse_subject
from tests.support.people import LOGIN, MOVED, PARTNER, provider, speaker
from workers.signals.policy.assess import subject_of
from workers.signals.policy.persons import Speaker

EDR = "https://edr.example"
BARE, B, FOLLOWS = provider(), provider(PARTNER, "partner"), provider(MOVED, "", LOGIN)
BOTH = (BARE, B)


def iss_sub(iss: str, sub: str = "marty") -> dict[str, Any]:
    return {"format": "iss_sub", "iss": iss, "sub": sub}


def email(said: str = "m@88mph.com") -> dict[str, Any]:
    return {"format": "email", "email": said}


def aliases(*said: dict[str, Any]) -> dict[str, Any]:
    return {"format": "aliases", "identifiers": list(said)}


def person(
    said: dict[str, Any], iss: str = EDR, people: tuple[str, ...] | None = None, issuers: tuple[UserIssuer, ...] = BOTH
) -> str | None:
    return Speaker(speaker(iss, people), issuers).person(parse_subject(said))


@pytest.mark.parametrize(
    ("iss", "people", "issuers", "namespaces"),
    [
        (EDR, None, (), {""}),
        (EDR, None, (BARE,), {""}),
        (EDR, None, (B,), {"partner"}),
        (EDR, None, (BARE, FOLLOWS), {""}),
        (EDR, None, BOTH, set()),
        (EDR, (), BOTH, set()),
        (EDR, (LOGIN,), BOTH, {""}),
        (EDR, (PARTNER,), BOTH, {"partner"}),
        (EDR, (LOGIN, PARTNER), BOTH, {"", "partner"}),
        (EDR, ("https://gone.example",), BOTH, set()),
        (EDR, ("https://gone.example",), (BARE,), set()),
        (PARTNER, None, BOTH, {"partner"}),
        (PARTNER, (LOGIN,), BOTH, {""}),
    ],
)
def test_of_whom_it_may_speak(iss: str, people: tuple[str, ...] | None, issuers: tuple[UserIssuer, ...], namespaces: set[str]) -> None:
    assert Speaker(speaker(iss, people), issuers).namespaces == namespaces


def test_a_provider_speaks_of_its_own_people_alone() -> None:
    """INVARIANT: a transmitter names no person of a provider that its fact does not name.

    Broken by taking `sub` for the person whatever `iss` says: the second provider would quarantine, or take back, the first one's people.
    """
    for own, other, name in ((LOGIN, PARTNER, "marty"), (PARTNER, LOGIN, "partner::marty")):
        assert person(iss_sub(own), own) == name
        assert person(iss_sub(other), own) is None
        assert person(iss_sub(own, "partner::marty"), own) == ("partner::partner::marty" if own == PARTNER else None)
        assert person(iss_sub("https://nobody.example"), own) is None
        assert person(aliases(iss_sub(other), iss_sub("https://nobody.example")), own) is None


def test_an_email_address_means_the_people_it_may_speak_of() -> None:
    assert person(email(), LOGIN) == "m@88mph.com"
    assert person(email(), PARTNER) == "partner::m@88mph.com"
    assert person(email(), people=(PARTNER,)) == "partner::m@88mph.com"
    assert person(email("partner::m@88mph.com"), LOGIN) is None
    assert person(email("márty@88mph.com"), LOGIN) is None


def test_an_email_address_of_one_of_several_providers_is_nobodys() -> None:
    """INVARIANT: who could be two people is neither.

    Broken by the first that fits: a sender trusted with two providers' people would hit the wrong one.
    """
    assert person(email(), people=(LOGIN, PARTNER)) is None
    assert person(email()) is None
    assert person(email(), issuers=(BARE, FOLLOWS)) == "m@88mph.com"


def test_providers_that_cannot_be_told_apart_name_nobody() -> None:
    both = (BARE, provider(PARTNER))
    for said in (iss_sub(LOGIN), iss_sub(PARTNER), email()):
        assert person(said, people=(LOGIN, PARTNER), issuers=both) is None
        assert person(said, issuers=both) is None


def test_of_several_names_the_one_that_says_whose() -> None:
    listed = (LOGIN,)
    assert person(aliases(email("123@88mph.com"), iss_sub(LOGIN, "123")), people=listed) == "123"
    assert person(aliases(iss_sub(PARTNER), email()), people=listed) == "m@88mph.com"
    assert person(aliases({"format": "opaque", "id": "marty"}), people=listed) is None


@pytest.mark.parametrize(
    "said",
    [
        {"format": "opaque", "id": "marty"},
        {"format": "account", "uri": "acct:marty@88mph.com"},
        {"format": "phone_number", "phone_number": "+12065550100"},
        {"format": "did", "url": "did:example:marty"},
        {"format": "uri", "uri": "mailto:marty@88mph.com"},
        {"format": "jwt_id", "iss": LOGIN, "jti": "marty"},
    ],
)
def test_what_no_token_says_names_nobody(said: dict[str, Any]) -> None:
    assert person(said, people=(LOGIN,), issuers=(BARE,)) is None


def test_in_a_complex_subject_too() -> None:
    about = {"format": "complex", "user": iss_sub(PARTNER), "workload": {"format": "uri", "uri": "spiffe://88mph.com/agents/a"}}
    found = subject_of(parse_subject(about), Speaker(speaker(LOGIN), BOTH))
    assert (found.user, found.workload) == (None, "spiffe://88mph.com/agents/a")
    found = subject_of(parse_subject(about), Speaker(speaker(PARTNER), BOTH))
    assert found.user == "partner::marty"
