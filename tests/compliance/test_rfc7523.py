"""RFC 7523 section 3 as draft-ietf-oauth-rfc7523bis-10 narrows it: client authentication with a JWT (`private_key_jwt`)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.identities import NOW, Signer
from tests.support.oauth import BEARER, ISSUER, TOKEN_URL, OAuthWorld, client

CC = {"grant_type": "client_credentials"}


async def status(world: OAuthWorld, **form: Any) -> tuple[int, str | None]:
    answer = await world.post("/oauth/token", {**CC, **form})
    return answer.status_code, answer.json().get("error")


@pytest.mark.parametrize("typ", ["client-authentication+jwt", "JWT", None])
async def test_bis_4_typed_and_untyped_assertions_are_taken(world: OAuthWorld, typ: str | None) -> None:
    """Untyped ones are not refused while clients migrate; those of another type are."""
    assert await status(world, **world.proven(typ=typ)) == (200, None)


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512", "RS256", "PS256"])
async def test_3_asymmetric_algorithms(world: OAuthWorld, alg: str) -> None:
    signer = Signer(alg, kid="c")
    world.put(client("console", signer))
    assert await status(world, **world.proven(signer=signer)) == (200, None)


REFUSED: dict[str, dict[str, Any]] = {
    "bis 4: the token endpoint as audience": {"aud": TOKEN_URL},
    "bis 4: the issuer among several audiences": {"aud": [ISSUER, "https://other"]},
    "bis 4: another issuer as audience": {"aud": "https://other"},
    "bis 4: the issuer with a slash more": {"aud": ISSUER + "/"},
    "3.3: no audience": {"aud": None},
    "3.1: no iss": {"iss": None},
    "3.2: no sub": {"sub": None},
    "3.2: sub of another client": {"sub": "front"},
    "3.1: iss of another client": {"iss": "front"},
    "3.4: no exp": {"exp": None},
    "3.4: expired": {"exp": NOW},
    "3.4: lives for ever": {"exp": NOW + 306},
    "3.5: not yet": {"nbf": NOW + 60},
    "3.6: from the future": {"iat": NOW + 60},
    "3.7: no jti": {"jti": None},
    "3.7: an endless jti": {"jti": "j" * 257},
    "3: typ of an access token": {"typ": "at+jwt"},
    "3: typ of a DPoP proof": {"typ": "dpop+jwt"},
}


@pytest.mark.parametrize("what", REFUSED)
async def test_3_refuses(world: OAuthWorld, what: str) -> None:
    assert await status(world, **world.proven(**REFUSED[what])) == (401, "invalid_client")


async def test_3_9_signed_by_the_client_and_nobody_else(world: OAuthWorld) -> None:
    assert await status(world, **world.proven(signer=Signer(kid="console-1"))) == (401, "invalid_client")
    assert await status(world, **world.proven(signer=world.keys["front"])) == (401, "invalid_client")


@pytest.mark.parametrize(
    "assertion",
    [
        "eyJhbGciOiJub25lIn0.eyJpc3MiOiJjb25zb2xlIn0.",
        "a.b.c",
        "",
        "eyJhbGciOiJIUzI1NiIsImtpZCI6ImNvbnNvbGUtMSJ9.eyJpc3MiOiJjb25zb2xlIn0.AAAA",
        '{"payload":"","signatures":[]}',
    ],
)
async def test_3_9_unsigned_symmetric_and_json_forms_are_refused(world: OAuthWorld, assertion: str) -> None:
    code, error = await status(world, client_assertion_type=BEARER, client_assertion=assertion)
    assert (code, error) in {(401, "invalid_client"), (400, "invalid_request")}


async def test_3_7_an_assertion_is_good_once(world: OAuthWorld) -> None:
    """INVARIANT: a client assertion authenticates one request in the world.

    Keeping what was seen in one process, or forgetting it before `exp`, would let a copied assertion be used again.
    """
    once = world.proven()
    assert await status(world, **once) == (200, None)
    assert await status(world, **once) == (401, "invalid_client")


async def test_3_7_the_same_jti_of_two_clients_is_two(world: OAuthWorld) -> None:
    assert await status(world, **world.proven("console", jti="one")) == (200, None)
    assert await status(world, **world.proven("front", jti="one")) == (200, None)


async def test_client_id_agrees_or_is_absent(world: OAuthWorld) -> None:
    assert await status(world, **world.proven(), client_id="console") == (200, None)
    assert await status(world, **world.proven(), client_id="front") == (401, "invalid_client")


async def test_an_unknown_client_and_a_wrong_key_are_one_answer(world: OAuthWorld) -> None:
    unknown = await world.post("/oauth/token", {**CC, **world.proven(iss="nobody", sub="nobody")})
    wrong = await world.post("/oauth/token", {**CC, **world.proven(signer=Signer(kid="console-1"))})
    assert unknown.content == wrong.content
    assert await world.records() == [], "who is nobody writes nothing to RECORD"


async def test_a_client_of_another_method_is_refused(world: OAuthWorld) -> None:
    assert await status(world, **world.proven(iss="svid-researcher", sub="svid-researcher")) == (401, "invalid_client")


async def test_unknown_assertion_types_and_halves(world: OAuthWorld) -> None:
    good = world.proven()
    assert await status(world, **{**good, "client_assertion_type": "urn:other"}) == (401, "invalid_client")
    assert await status(world, client_assertion=good["client_assertion"]) == (400, "invalid_request")
    assert await status(world, client_assertion_type=BEARER) == (400, "invalid_request")


async def test_a_key_for_encryption_signs_nothing(world: OAuthWorld) -> None:
    key = world.keys["console"]
    world.put(client("console", None, jwks={"keys": [{**key.jwk, "use": "enc"}]}))
    assert await status(world, **world.proven()) == (401, "invalid_client")
