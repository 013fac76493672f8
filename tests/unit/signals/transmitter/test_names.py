"""How people are named to receivers."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.facts import UserIssuer
from tests.support.people import LOGIN, MOVED, PARTNER, provider
from workers.signals.transmitter.mapping import names_of

BARE, B = provider(), provider(PARTNER, "partner")


def iss_sub(iss: str, sub: str) -> dict[str, Any]:
    return {"format": "iss_sub", "iss": iss, "sub": sub}


def opaque(name: str) -> dict[str, Any]:
    return {"format": "opaque", "id": name}


@pytest.mark.parametrize(
    ("person", "issuers", "names"),
    [
        ("m@88mph.com", (B, BARE), [{"format": "email", "email": "m@88mph.com"}, iss_sub(LOGIN, "m@88mph.com"), opaque("m@88mph.com")]),
        ("marty", (B, BARE), [iss_sub(LOGIN, "marty"), opaque("marty")]),
        ("marty", (), [opaque("marty")]),
        ("partner::m@88mph.com", (B, BARE), [iss_sub(PARTNER, "m@88mph.com"), opaque("partner::m@88mph.com")]),
        ("partner::m@88mph.com", (BARE,), [opaque("partner::m@88mph.com")]),
        ("marty", (provider(MOVED, "", LOGIN), BARE), [iss_sub(LOGIN, "marty"), iss_sub(MOVED, "marty"), opaque("marty")]),
        ("marty", (BARE, provider(PARTNER)), [opaque("marty")]),
    ],
)
def test_the_name_that_is_told_and_the_others(person: str, issuers: tuple[UserIssuer, ...], names: list[dict[str, Any]]) -> None:
    """Verifies that it is the provider's own, and never an address that another provider's people may have too."""
    assert [name.plain() for name in names_of(person, issuers)] == names


@pytest.mark.parametrize("name", ["a@b@c", "@", "a@", f"{'a' * 400}@88mph.com"])
def test_whoever_somebody_is_called_there_are_names_to_tell(name: str) -> None:
    """INVARIANT: no name of a person keeps what happened to them, and what happened after it, from being told.

    Broken by taking whatever holds an `@` for an address: a name that is none raises each time it is tried, and sixty-four of those are all
    that the consumer of what is to be told hands out.
    """
    names = names_of(name, ())
    assert [one.plain() for one in names] == [{"format": "opaque", "id": name}]
