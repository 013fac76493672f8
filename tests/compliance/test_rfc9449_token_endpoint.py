"""RFC 9449 section 5: DPoP at the token endpoint.  The proof itself is tests/compliance/test_rfc9449_dpop.py."""

from __future__ import annotations

from typing import Any

import pytest
from weft.dpop import thumbprint

from tests.support.oauth import NOW, OAuthWorld, client, payload

CC = {"grant_type": "client_credentials"}


async def test_5_a_proof_binds_the_token(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/token", {**CC, **world.proven()}, headers={"dpop": world.proof()})
    assert answer.json()["token_type"] == "DPoP"
    assert payload(answer.json()["access_token"])["cnf"] == {"jkt": thumbprint(world.keys["other"].jwk)}
    bare = await world.post("/oauth/token", {**CC, **world.proven()})
    assert "cnf" not in payload(bare.json()["access_token"])


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "https://other/oauth/token"},
        {"url": "https://as.88mph.com/oauth/revoke"},
        {"method": "GET"},
        {"iat": NOW - 60},
        {"iat": NOW + 60},
        {"jti": ""},
    ],
)
async def test_5_invalid_dpop_proof(world: OAuthWorld, changes: dict[str, Any]) -> None:
    answer = await world.post("/oauth/token", {**CC, **world.proven()}, headers={"dpop": world.proof(**changes)})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


async def test_4_3_one_header_and_one_well_formed(world: OAuthWorld) -> None:
    for proofs in ([world.proof(), world.proof()], ["nonsense"], [""]):
        answer = await world.post("/oauth/token", {**CC, **world.proven()}, headers=[("dpop", proof) for proof in proofs])
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


async def test_11_1_a_proof_is_good_once(world: OAuthWorld) -> None:
    """INVARIANT: a proof shown at the token endpoint is worth nothing the second time, whatever copy of the broker sees it.

    Otherwise whoever copies one request could have tokens bound to that key for as long as the proof is fresh.
    """
    proof = world.proof()
    first = await world.post("/oauth/token", {**CC, **world.proven()}, headers={"dpop": proof})
    second = await world.post("/oauth/token", {**CC, **world.proven()}, headers={"dpop": proof})
    assert (first.status_code, second.status_code) == (200, 400)
    assert second.json()["error"] == "invalid_dpop_proof"


async def test_5_2_a_client_whose_tokens_are_bound_needs_a_proof(world: OAuthWorld) -> None:
    world.put(client("console", world.keys["console"], dpop_required=True))
    answer = await world.post("/oauth/token", {**CC, **world.proven()})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


async def test_a_transaction_token_is_bound_too(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/token", world.exchange(), headers={"dpop": world.proof()})
    assert answer.json()["token_type"] == "N_A"
    assert payload(answer.json()["access_token"])["cnf"] == {"jkt": thumbprint(world.keys["other"].jwk)}
