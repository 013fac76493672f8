"""Subject identifiers: every format with its members, and which subjects match.  RFC 9493 section 3.2, SSF 1.0 section 3."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.subject_ids import SIMPLE_FORMATS, matches, parse_subject

USER = {"format": "email", "email": "ann@example.com"}
OTHER = {"format": "email", "email": "bob@example.com"}
PHONE = {"format": "phone_number", "phone_number": "+12065550100"}
AGENT = {"format": "uri", "uri": "spiffe://88mph.com/agents/a"}
DEVICE = {"format": "iss_sub", "iss": "https://issuer.example", "sub": "device-1"}

GOOD: dict[str, dict[str, Any]] = {
    "account": {"format": "account", "uri": "acct:ann@example.com"},
    "email": USER,
    "iss_sub": DEVICE,
    "opaque": {"format": "opaque", "id": "11112222"},
    "phone_number": PHONE,
    "did": {"format": "did", "url": "did:example:123456/did/url/path?versionId=1"},
    "uri": AGENT,
    "jwt_id": {"format": "jwt_id", "iss": "https://issuer.example", "jti": "B70BA622"},
    "saml_assertion_id": {"format": "saml_assertion_id", "issuer": "https://idp.example", "assertion_id": "_8e8dc5"},
    "ip-addresses": {"format": "ip-addresses", "ip-addresses": ["10.29.37.75", "2001:db8::1"]},
    "aliases": {"format": "aliases", "identifiers": [USER, PHONE]},
    "complex": {"format": "complex", "user": USER, "device": DEVICE},
}
BAD: dict[str, Any] = {
    "no format": {"email": "ann@example.com"},
    "a format nobody defined": {"format": "passport", "id": "1"},
    "not an object": "ann@example.com",
    "account without acct": {"format": "account", "uri": "mailto:ann@example.com"},
    "email without a domain": {"format": "email", "email": "ann"},
    "iss_sub without sub": {"format": "iss_sub", "iss": "https://issuer.example"},
    "opaque as a number": {"format": "opaque", "id": 1},
    "phone without the prefix": {"format": "phone_number", "phone_number": "2065550100"},
    "did that is a URL": {"format": "did", "url": "https://example.com"},
    "uri without a scheme": {"format": "uri", "uri": "agents/a"},
    "jwt_id without jti": {"format": "jwt_id", "iss": "https://issuer.example"},
    "saml without issuer": {"format": "saml_assertion_id", "assertion_id": "_8e8dc5"},
    "an address that is none": {"format": "ip-addresses", "ip-addresses": ["10.0.0.256"]},
    "no address": {"format": "ip-addresses", "ip-addresses": []},
    "aliases of nothing": {"format": "aliases", "identifiers": []},
    "aliases in aliases": {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [USER]}]},
    "complex in aliases": {"format": "aliases", "identifiers": [{"format": "complex", "user": USER}]},
    "complex of nobody": {"format": "complex"},
    "complex with a member that is none": {"format": "complex", "user": "ann"},
    "complex in complex": {"format": "complex", "user": {"format": "complex", "user": USER}},
    "workload that is no uri": {"format": "complex", "workload": USER},
}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_every_format_is_read_and_written_as_it_was(name: str) -> None:
    read = parse_subject({**GOOD[name], "unknown": 1} if name != "complex" else GOOD[name])
    assert read.format == name
    assert read.plain() == GOOD[name]


def test_no_registered_format_is_missing() -> None:
    assert SIMPLE_FORMATS | {"complex"} == set(GOOD)


@pytest.mark.parametrize("said", BAD.values(), ids=BAD)
def test_what_is_no_subject_is_refused_and_not_repeated(said: Any) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - pydantic's
        parse_subject(said)
    assert "ann" not in str(refused.value).replace("cannot", "")


def test_members_that_others_defined_are_kept_where_they_are_subjects() -> None:
    read = parse_subject({"format": "complex", "user": USER, "region": AGENT, "note": "text", "odd": {"format": "passport"}})
    assert read.plain() == {"format": "complex", "user": USER, "region": AGENT}


def complex_of(**members: Any) -> dict[str, Any]:
    return {"format": "complex", **members}


MATCHING = [  # added to the stream, of the event, match.  SSF 1.0 section 8.1.3.1
    ("identical simple", USER, USER, True),
    ("another value", USER, OTHER, False),
    ("another case", USER, {"format": "email", "email": "Ann@example.com"}, False),
    ("another format", USER, PHONE, False),
    ("identical complex", complex_of(user=USER, device=DEVICE), complex_of(user=USER, device=DEVICE), True),
    ("a member absent from the event", complex_of(user=USER, device=DEVICE), complex_of(user=USER), True),
    ("a member absent from the added one", complex_of(user=USER), complex_of(user=USER, device=DEVICE), True),
    ("no member in common", complex_of(user=USER), complex_of(device=DEVICE), True),
    ("one member differs", complex_of(user=USER, device=DEVICE), complex_of(user=OTHER, device=DEVICE), False),
    ("a member of another format", complex_of(user=USER), complex_of(user=PHONE), False),
    ("names of others match too", complex_of(user=USER, region=AGENT), complex_of(user=USER, region=AGENT), True),
    ("names of others differ too", complex_of(user=USER, region=AGENT), complex_of(user=USER, region=DEVICE), False),
    ("simple and complex", USER, complex_of(user=USER), False),
    ("complex and simple", complex_of(user=USER), USER, False),
    ("the same aliases", {"format": "aliases", "identifiers": [USER, PHONE]}, {"format": "aliases", "identifiers": [USER, PHONE]}, True),
    ("an alias alone", {"format": "aliases", "identifiers": [USER, PHONE]}, USER, False),
    ("an agent and its instance", complex_of(workload=AGENT), complex_of(workload=AGENT, instance={"format": "opaque", "id": "i1"}), True),
]


@pytest.mark.parametrize(("added", "event", "match"), [row[1:] for row in MATCHING], ids=[row[0] for row in MATCHING])
def test_which_subjects_match(added: dict[str, Any], event: dict[str, Any], *, match: bool) -> None:
    assert matches(parse_subject(added), parse_subject(event)) is match


_members = st.dictionaries(st.sampled_from(["user", "device", "group"]), st.sampled_from([USER, OTHER, DEVICE]), min_size=1)


@given(_members, _members)
def test_matching_has_no_direction(one: dict[str, Any], other: dict[str, Any]) -> None:
    left, right = parse_subject(complex_of(**one)), parse_subject(complex_of(**other))
    assert matches(left, right) == matches(right, left)
    assert matches(left, left)
