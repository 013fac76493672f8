"""RFC 9449 section 5: DPoP at the token endpoint.  The proof itself is tests/compliance/test_rfc9449_dpop.py."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from weft.dpop import thumbprint

from tests.support.oauth import NOW, OAuthWorld, client, payload
from workers.broker.oauth.nonces import WINDOW_S, Nonces

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


# --- nonces, sections 8, 8.2 and 11.2 ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def asking() -> AsyncIterator[OAuthWorld]:
    """A fabric whose token endpoint wants a nonce."""
    made = OAuthWorld(nonces=Nonces(b"n" * 32))
    yield made
    await made.recorder.close()


async def shown(world: OAuthWorld, form: dict[str, Any] | None = None, **claims: Any) -> httpx.Response:
    return await world.post("/oauth/token", form or {**CC, **world.proven()}, headers={"dpop": world.proof(**claims)})


@pytest.mark.parametrize("claims", [{}, {"nonce": "mine"}, {"nonce": ["mine"]}, {"nonce": ""}])
async def test_8_a_proof_without_the_nonce_is_told_which(asking: OAuthWorld, claims: dict[str, Any]) -> None:
    """INVARIANT: where a nonce is asked for, no proof without one that counts has a token bound to its key (section 8).

    Broken by looking at a nonce only where there is one: whoever made proofs in advance leaves it out.
    """
    answer = await shown(asking, **claims)
    assert (answer.status_code, answer.json().get("error")) == (400, "use_dpop_nonce")
    nonce = answer.headers["dpop-nonce"]
    granted = await shown(asking, nonce=nonce)
    assert (granted.status_code, granted.json()["token_type"]) == (200, "DPoP")


async def test_8_the_same_assertion_may_come_again_with_the_nonce(asking: OAuthWorld) -> None:
    """Nothing was decided, so nothing is spent, neither the client's assertion nor its share of RECORD; and it is good once after that."""
    form = {**CC, **asking.proven()}
    nonce = (await shown(asking, form)).headers["dpop-nonce"]
    assert await asking.records() == []
    assert (await shown(asking, form, nonce=nonce)).status_code == 200
    assert (await shown(asking, form, nonce=nonce)).json()["error"] == "invalid_client"


async def test_8_2_every_answer_has_the_next_nonce(asking: OAuthWorld) -> None:
    first = (await shown(asking)).headers["dpop-nonce"]
    asking.clock.at += WINDOW_S
    answer = await shown(asking, nonce=first)
    assert answer.status_code == 200, "the one of the minute before counts"
    assert answer.headers["dpop-nonce"] != first
    assert (await asking.post("/oauth/introspect", {**asking.proven(), "token": "x"})).headers.get("dpop-nonce") is None


async def test_11_2_a_nonce_of_long_ago_or_of_later_is_none(asking: OAuthWorld) -> None:
    """INVARIANT: a proof can be made no earlier than a minute or two before it is used, whatever its `iat` says.

    Broken by a nonce that counts for ever: whoever had the key for a moment made proofs for a year.
    """
    old = (await shown(asking)).headers["dpop-nonce"]
    asking.clock.at += 2 * WINDOW_S
    assert (await shown(asking, nonce=old)).json().get("error") == "use_dpop_nonce"
    assert (await shown(asking, nonce=Nonces(b"m" * 32).fresh(asking.clock.now()))).json().get("error") == "use_dpop_nonce"


def test_8_a_nonce_counts_at_every_broker_of_the_fabric() -> None:
    one, other = Nonces(b"n" * 32), Nonces(b"n" * 32)
    for ahead in (-WINDOW_S, 0, WINDOW_S):
        assert one.fresh(NOW + ahead) in other.good(NOW)
    assert one.fresh(NOW + 2 * WINDOW_S) not in other.good(NOW)
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", one.fresh(NOW))
    assert "nn" not in repr(one)


async def test_8_where_no_nonce_is_asked_for_none_is_given(world: OAuthWorld) -> None:
    answer = await shown(world)
    assert (answer.status_code, answer.headers.get("dpop-nonce")) == (200, None)


async def test_8_what_else_is_wrong_with_a_proof_is_said_first(asking: OAuthWorld) -> None:
    for claims in ({"iat": NOW - 60}, {"method": "GET"}):
        assert (await shown(asking, **claims)).json()["error"] == "invalid_dpop_proof"
