"""draft-ietf-oauth-spiffe-client-auth-02: clients that authenticate with a JWT-SVID."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.identities import NOW, Signer
from tests.support.oauth import ISSUER, RESEARCHER, SPIFFE, TOKEN_URL, OAuthWorld, client

CC = {"grant_type": "client_credentials"}
SERVICE = "spiffe://88mph.com/services/billing"


async def status(world: OAuthWorld, form: dict[str, str]) -> int:
    return (await world.post("/oauth/token", {**CC, "scope": "web.search.execute", **form})).status_code


@pytest.fixture
def world(world: OAuthWorld) -> OAuthWorld:
    world.put(client("svid-researcher", auth_method="spiffe_jwt", spiffe_id=RESEARCHER, scopes=["web.search.execute"]))
    return world


async def test_3_1_a_jwt_svid_for_this_issuer(world: OAuthWorld) -> None:
    assert await status(world, world.svid()) == 200
    assert await status(world, world.svid(aud=ISSUER)) == 200


async def test_3_1_it_may_be_used_for_its_whole_life(world: OAuthWorld) -> None:
    svid = world.svid(jti="one")
    assert [await status(world, svid) for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [ISSUER, "https://other"]},
        {"aud": TOKEN_URL},
        {"aud": "weft:88mph.com:UAAA"},
        {"aud": None},
        {"sub": "https://88mph.com/agents/researcher"},
        {"sub": "spiffe://88mph.com/agents/researcher/"},
        {"sub": None},
        {"exp": NOW},
        {"exp": None},
        {"exp": NOW + 4000},
        {"weft_instance": "x"},
    ],
)
async def test_3_1_refuses(world: OAuthWorld, changes: dict[str, Any]) -> None:
    assert await status(world, world.svid(**{"sub": RESEARCHER, **changes})) == 401


async def test_3_1_signed_by_a_key_of_the_trust_domains_bundle(world: OAuthWorld) -> None:
    claims = {"sub": RESEARCHER, "aud": ISSUER, "exp": NOW + 100, "iat": NOW}
    forged = {"client_assertion_type": SPIFFE, "client_assertion": Signer(kid="svid-1").sign(claims)}
    assert await status(world, forged) == 401
    foreign = {**claims, "sub": "spiffe://other.org/agents/researcher"}
    assert await status(world, {"client_assertion_type": SPIFFE, "client_assertion": world.keys["svid"].sign(foreign)}) == 401


async def test_a_jwt_svid_is_no_private_key_jwt_and_the_other_way_round(world: OAuthWorld) -> None:
    """The two have an assertion type each, because an SVID has no `iss` that is its client."""
    swapped = {**world.svid(), "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}
    assert await status(world, swapped) == 401
    assert await status(world, {**world.proven("researcher"), "client_assertion_type": SPIFFE}) == 401


async def test_3_4_a_prefix_of_whole_segments(world: OAuthWorld) -> None:
    world.put(client("services", auth_method="spiffe_jwt", spiffe_id="spiffe://88mph.com/services/*", scopes=["web.search.execute"]))
    assert await status(world, world.svid(SERVICE)) == 200
    assert await status(world, world.svid("spiffe://88mph.com/servicesx/billing")) == 401
    assert await status(world, world.svid("spiffe://88mph.com/services")) == 401


async def test_one_workload_of_two_clients_says_which(world: OAuthWorld) -> None:
    world.put(client("second", auth_method="spiffe_jwt", spiffe_id=RESEARCHER, scopes=["web.search.execute"]))
    assert await status(world, world.svid()) == 401
    assert await status(world, {**world.svid(), "client_id": "second"}) == 200
    assert await status(world, {**world.svid(), "client_id": "console"}) == 401


async def test_a_workload_may_be_its_own_client(world: OAuthWorld) -> None:
    world.put(client(SERVICE, auth_method="spiffe_jwt", spiffe_id=SERVICE, scopes=["web.search.execute"]))
    assert await status(world, world.svid(SERVICE)) == 200


async def test_an_unregistered_workload_is_nobody(world: OAuthWorld) -> None:
    assert await status(world, world.svid(SERVICE)) == 401


async def test_a_development_svid_is_worth_nothing_in_production(world: OAuthWorld) -> None:
    """INVARIANT: a fabric in production believes no SVID of assurance development, at this face as at admission.

    The claim alone may lower an SVID's assurance; forgetting either source would let a laptop's issuer in.
    """
    from dataclasses import replace

    world.handlers._here = replace(world.handlers._here, mode="production")
    assert await status(world, world.svid()) == 200
    assert await status(world, world.svid(weft_assurance="development")) == 401
