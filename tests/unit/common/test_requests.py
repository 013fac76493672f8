"""An agent's signed request: what is taken, and every way it may be wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weft.digest import b64u, sha256
from weft.nkey import KeyPair

from schemas.invocation import MAX_REQUEST_BYTES, InvocationRequest
from schemas.reasons import DenyReason
from tests.support.identities import NOW, Signer
from tests.support.invocations import AgentSide, envelope
from workers.common.requests import RequestRefused, check_carried, check_fresh, parse_invocation, parse_request, verify_signature

ISSUER = Signer()
AGENT = AgentSide(ISSUER)
REQUESTED = "org.weft.invocation.requested.v1"


def refused(call: Any, *arguments: Any, **options: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        call(*arguments, **options)
    return caught.value


def test_a_good_request_is_read_and_its_digest_is_of_the_text() -> None:
    compact = AGENT.sign(AGENT.payload(NOW, id="r-1"))
    request = parse_request(compact)
    verify_signature(request, nkey=AGENT.key.public)
    assert (request.claims.id, request.nkey, request.digest) == ("r-1", AGENT.key.public, sha256(compact))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "typ": "weft-request+jwt", "kid": AGENT.key.public},
        {"alg": "ES256", "typ": "weft-request+jwt", "kid": AGENT.key.public},
        {"alg": "EdDSA", "typ": "JWT", "kid": AGENT.key.public},
        {"alg": "EdDSA", "kid": AGENT.key.public},
        {"alg": "EdDSA", "typ": "weft-request+jwt"},
        {"alg": "EdDSA", "typ": "weft-request+jwt", "kid": 7},
        {"alg": "EdDSA", "typ": "weft-request+jwt", "kid": "U" + "A" * 55},
        {"alg": "EdDSA", "typ": "weft-request+jwt", "kid": AGENT.key.public, "crit": ["exp"]},
        {"alg": "EdDSA", "typ": "weft-request+jwt", "kid": AGENT.key.public, "jwk": {}},
        b'{"alg":"EdDSA","alg":"EdDSA","typ":"weft-request+jwt","kid":"%s"}' % AGENT.key.public.encode(),
        b"[]",
        b"not json",
        b"\xff",
    ],
)
def test_any_other_header_is_refused(header: Any) -> None:
    assert refused(parse_request, AGENT.sign(AGENT.payload(NOW), header=header)).reason is DenyReason.MALFORMED


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"[" * 5000,
        json.dumps({**AGENT.payload(NOW), "more": 1}).encode(),
        json.dumps({**AGENT.payload(NOW), "actions": []}).encode(),
        json.dumps({**AGENT.payload(NOW), "iat": "1"}).encode(),
        json.dumps({**AGENT.payload(NOW), "id": "with space"}).encode(),
        b'{"id":"a",' + json.dumps(AGENT.payload(NOW)).encode()[1:],
    ],
)
def test_any_other_payload_is_refused(payload: bytes) -> None:
    assert refused(parse_request, AGENT.sign(payload)).reason is DenyReason.MALFORMED


def test_base64url_is_taken_literally() -> None:
    compact = AGENT.sign(AGENT.payload(NOW))
    for broken in (compact + "=", compact + "!", compact.replace(".", "..", 1), compact + ".x", "a", "", ".."):
        assert refused(parse_request, broken).reason is DenyReason.MALFORMED


def test_only_the_bound_key_signs() -> None:
    """INVARIANT: a request counts only when the key of the SVID signed exactly its text.

    Broken by believing `kid`, or by verifying anything but the text as received.
    """
    thief = KeyPair("U")
    head = {"alg": "EdDSA", "typ": "weft-request+jwt", "kid": AGENT.key.public}
    by_thief = parse_request(AGENT.sign(AGENT.payload(NOW), key=thief))
    claims_to_be_agent = parse_request(AGENT.sign(AGENT.payload(NOW), key=thief, header=head))
    good = AGENT.sign(AGENT.payload(NOW, tool="web-search"))
    first, second, signature = good.split(".")
    swapped = b64u(json.dumps(AGENT.payload(NOW, tool="payments-processing")).encode())
    for request in (by_thief, claims_to_be_agent, parse_request(f"{first}.{swapped}.{signature}")):
        assert refused(verify_signature, request, nkey=AGENT.key.public).reason is DenyReason.SIGNATURE_INVALID
    assert refused(verify_signature, parse_request(f"{first}.{second}."), nkey=AGENT.key.public).reason is DenyReason.SIGNATURE_INVALID


@pytest.mark.parametrize(("age_s", "fresh"), [(0, True), (30, True), (31, False), (-5, True), (-6, False)])
def test_a_request_lives_half_a_minute(age_s: int, fresh: bool) -> None:
    claims = parse_request(AGENT.sign(AGENT.payload(NOW - age_s))).claims
    if fresh:
        check_fresh(claims, NOW)
    else:
        assert refused(check_fresh, claims, NOW).reason is DenyReason.REQUEST_STALE


TOKEN, OTHER = "aaaa.bbbb.cccc", "aaaa.bbbb.dddd"


@pytest.mark.parametrize(
    ("signed_for", "carried", "reason"),
    [
        ({}, {}, None),
        ({"parent": TOKEN}, {"parent_token": TOKEN}, None),
        ({"parent": TOKEN}, {"parent_token": OTHER}, DenyReason.PARENT_INVALID),
        ({"parent": TOKEN}, {}, DenyReason.PARENT_INVALID),
        ({}, {"parent_token": TOKEN}, DenyReason.PARENT_INVALID),
        ({"user": TOKEN}, {"user_token": OTHER}, DenyReason.USER_TOKEN_INVALID),
        ({}, {"user_token": TOKEN}, DenyReason.USER_TOKEN_INVALID),
        ({"intent": "to search"}, {"intent": "to search"}, None),
        ({"intent": "to search"}, {"intent": "to steal"}, DenyReason.MALFORMED),
    ],
)
def test_what_is_carried_is_what_was_signed_for(signed_for: dict[str, str], carried: dict[str, str], reason: DenyReason | None) -> None:
    compact = AGENT.sign(AGENT.payload(NOW, **{name: sha256(text) for name, text in signed_for.items()}))
    invocation = InvocationRequest(request=compact, svid=AGENT.svid(NOW), **carried)
    claims = parse_request(compact).claims
    if reason is None:
        check_carried(claims, invocation)
    else:
        assert refused(check_carried, claims, invocation).reason is reason


def test_an_invocation_is_sized_before_it_is_read() -> None:
    assert refused(parse_invocation, b"{" * (MAX_REQUEST_BYTES + 1)).reason is DenyReason.TOO_LARGE
    assert refused(parse_invocation, b"{").reason is DenyReason.MALFORMED
    assert refused(parse_invocation, envelope("org.weft.other.v1", AGENT.carried(NOW))).reason is DenyReason.MALFORMED
    assert refused(parse_invocation, envelope(REQUESTED, {})).reason is DenyReason.MALFORMED


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_refused(raw: bytes) -> None:
    """INVARIANT: reading ends in a typed refusal whose text repeats nothing of the input.

    Broken by any exception that escapes, or by a message that quotes.
    """
    for refusal in (refused(parse_invocation, raw), refused(parse_request, raw.decode("latin-1"))):
        assert refusal.reason in (DenyReason.MALFORMED, DenyReason.TOO_LARGE)
        assert len(raw) < 8 or raw.decode("latin-1") not in str(refusal)


def test_nothing_secret_is_in_a_repr() -> None:
    request = parse_request(AGENT.sign(AGENT.payload(NOW)))
    assert b64u(request.signature) not in repr(request)
    assert repr(request.signing_input) not in repr(request)
